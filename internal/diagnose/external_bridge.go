package diagnose

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
)

var externalBridge = &Check{
	Code: "OVNK-BR-002", Severity: Error,
	Title: "the external bridge is not what leads outside",
	Meaning: "A node's gateway router is on an external bridge (br-ex as a rule), which has the node's NIC as a port and which " +
		"ovn-bridge-mappings names. Without the bridge, the NIC in it, or the mapping, neither pods nor, in most cases, the node itself reach anything outside.",
	Remedy: "Restart the pod ovnkube-node of the node: it makes the bridge, moves the NIC's addresses and sets the mapping. " +
		"If a network manager of the node takes the NIC back, tell it to leave it alone (docs/install.md).",
	causes: nodeDown(cause{nodeIncomplete.Code, sameNode}),
	find: func(c *Cluster, found func(Finding)) {
		for _, n := range c.Nodes {
			o, ok := c.node(n.Name)
			if !ok || o.Gateway == nil || o.Gateway.BridgeID == "" || n.OVS == nil {
				continue
			}
			for _, f := range n.external(o.Gateway.BridgeID) {
				f.Node, f.Object = n.Name, nodeObject(n.Name)
				found(f)
			}
		}
	},
}

// external is what is wrong with the external bridge, the first thing alone.
func (n *Node) external(name string) []Finding {
	b := n.bridge(name)
	if b == nil {
		return []Finding{{Message: "node " + n.Name + " has no bridge " + name}}
	}
	nic := slices.IndexFunc(n.interfaces(b), nicInterface)
	if nic < 0 {
		return []Finding{{Message: fmt.Sprintf("bridge %s of node %s has no NIC", name, n.Name), Evidence: []string{"ovs-vsctl list-ports " + name}}}
	}
	if i := n.interfaces(b)[nic]; fault(i) != "" {
		return []Finding{{Message: fmt.Sprintf("NIC %s in bridge %s of node %s: %s", i.Name, name, n.Name, fault(i))}}
	}
	want, have := names.PhysicalNetwork+":"+name, ""
	if root := n.root(); root != nil {
		have = root.ExternalIDs["ovn-bridge-mappings"]
	}
	if !slices.Contains(strings.Split(have, ","), want) {
		return []Finding{{
			Message:  fmt.Sprintf("ovn-bridge-mappings of node %s is %q and lacks %s", n.Name, have, want),
			Evidence: []string{"ovs-vsctl get Open_vSwitch . external_ids:ovn-bridge-mappings"},
		}}
	}
	return nil
}

// nicInterface tells whether an interface may lead out of the node: it is neither the
// bridge's own, nor a way to another bridge or to a pod.
func nicInterface(i *vswitch.Interface) bool {
	return i.Type != "internal" && i.Type != "patch" && i.ExternalIDs["iface-id"] == ""
}
