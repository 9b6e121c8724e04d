package diagnose

import (
	"fmt"
	"net/netip"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// addr is for signatures.
type addr = netip.Addr

var tunnelPort = &Check{
	Code: "OVNK-TUN-003", Severity: Error,
	Title: "a node has no tunnel to another node",
	Meaning: "ovn-controller makes a GENEVE port on br-int for each chassis that it knows. Without it, or if Open vSwitch could not open it, " +
		"pods of the two nodes do not reach each other.",
	Remedy: "If the port is missing, read the log of ovn-controller. If it has an error, the kernel may lack the module geneve, " +
		"or another program uses UDP port 6081 of the node.",
	causes: nodeDown(
		cause{integrationBridge.Code, sameNode}, cause{nodeIncomplete.Code, sameNode}, cause{nodeConflict.Code, sameNode},
		cause{chassisIdentity.Code, sameNode}, cause{remoteChassis.Code, sameObject}, cause{controllerBehind.Code, sameNode},
	),
	find: func(c *Cluster, found func(Finding)) {
		for _, n := range c.Nodes {
			b := n.bridge(names.IntegrationBridge)
			if n.OVS == nil || n.SB == nil || b == nil {
				continue
			}
			tunnels := map[string]*vswitch.Interface{}
			for _, i := range n.interfaces(b) {
				if i.Type == "geneve" {
					tunnels[i.Options["remote_ip"]] = i
				}
			}
			for _, peer := range c.peers(n) {
				var have *vswitch.Interface
				for _, a := range peer.EncapIPs {
					if i := tunnels[a.String()]; i != nil {
						have = i
					}
				}
				f := Finding{Node: n.Name, Object: nodeObject(peer.Name), peers: []string{peer.Name}}
				switch {
				case have == nil:
					f.Message = fmt.Sprintf("node %s has no tunnel to node %s at %v", n.Name, peer.Name, peer.EncapIPs)
					found(f)
				case fault(have) != "":
					f.Message = fmt.Sprintf("tunnel %s of node %s to node %s: %s", have.Name, n.Name, peer.Name, fault(have))
					found(f)
				}
			}
		}
	},
}

// peers are the other nodes that can be reached: those that have said who and where they are.
func (c *Cluster) peers(n *Node) []*world.Node {
	var out []*world.Node
	for _, p := range c.Nodes {
		if o, ok := c.node(p.Name); ok && p.Name != n.Name && o.ChassisID != "" && len(o.EncapIPs) > 0 {
			out = append(out, o)
		}
	}
	return out
}
