package diagnose

import (
	"fmt"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
)

var integrationBridge = &Check{
	Code: "OVNK-BR-001", Severity: Error,
	Title: "the integration bridge is missing or open",
	Meaning: "All pods of a node are on br-int, whose flows ovn-controller writes. Without fail_mode=secure Open vSwitch forwards " +
		"like an ordinary switch while there are no flows: for some moments of a restart no policy holds.",
	Remedy: "Restart the pod ovnkube-node of the node: it makes the bridge and sets the mode.",
	causes: nodeDown(),
	find: func(c *Cluster, found func(Finding)) {
		for _, n := range c.Nodes {
			if n.OVS == nil {
				continue
			}
			b := n.bridge(names.IntegrationBridge)
			if b == nil {
				found(Finding{Node: n.Name, Object: nodeObject(n.Name), Message: "node " + n.Name + " has no bridge " + names.IntegrationBridge, Next: c.replacePod("ovnkube-node", n.Name)})
			} else if value(b.FailMode) != vswitch.BridgeFailModeSecure {
				found(Finding{
					Node: n.Name, Object: nodeObject(n.Name),
					Message:  fmt.Sprintf("bridge %s of node %s has fail_mode %q, not secure", b.Name, n.Name, value(b.FailMode)),
					Evidence: []string{"ovs-vsctl get-fail-mode " + b.Name},
					Next:     c.replacePod("ovnkube-node", n.Name),
				})
			}
		}
	},
}

func (n *Node) bridge(name string) *vswitch.Bridge {
	return one(n.OVS, func(b *vswitch.Bridge) bool { return b.Name == name })
}

// interfaces are those of a bridge.
func (n *Node) interfaces(b *vswitch.Bridge) []*vswitch.Interface {
	var out []*vswitch.Interface
	for _, id := range b.Ports {
		m, ok := n.OVS.Row(tableOf[vswitch.Port](), id)
		if !ok {
			continue
		}
		for _, i := range m.(*vswitch.Port).Interfaces {
			if m, ok := n.OVS.Row(tableOf[vswitch.Interface](), i); ok {
				out = append(out, m.(*vswitch.Interface))
			}
		}
	}
	return out
}

// fault is what keeps an interface from working; empty if nothing does.
func fault(i *vswitch.Interface) string {
	switch {
	case value(i.Error) != "":
		return *i.Error
	case i.Ofport != nil && *i.Ofport < 0:
		return "it could not be opened (ofport -1)"
	case value(i.LinkState) == vswitch.InterfaceLinkStateDown:
		return "its link is down"
	}
	return ""
}
