package diagnose

import (
	"fmt"
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
)

var remoteChassis = &Check{
	Code: "OVNK-TUN-002", Severity: Error,
	Title: "a node does not know another node's chassis",
	Meaning: "Each node's Southbound database has a chassis for every other node, with the address to send GENEVE to. " +
		"Without it, or with another address, pods of the two nodes do not reach each other in this direction.",
	Remedy: "The chassis follow from annotations of the other node (node-chassis-id, node-encap-ips). If these are right, " +
		"see whether ovnkube-controller of the first node runs and what it logs.",
	causes: nodeDown(
		cause{nodeIncomplete.Code, sameNode}, cause{nodeConflict.Code, sameNode}, cause{chassisIdentity.Code, sameNode},
	),
	find: func(c *Cluster, found func(Finding)) {
		for _, n := range c.Nodes {
			if n.SB == nil {
				continue
			}
			chassis := byName(n.SB, func(ch *sb.Chassis) string { return ch.Name })
			for _, peer := range c.peers(n) {
				ch := chassis[peer.ChassisID]
				f := Finding{Node: n.Name, Object: nodeObject(peer.Name), peers: []string{peer.Name}}
				if ch == nil {
					f.Message = fmt.Sprintf("node %s has no chassis %s of node %s", n.Name, peer.ChassisID, peer.Name)
					found(f)
					continue
				}
				for _, a := range n.encaps(ch) {
					if !slices.ContainsFunc(peer.EncapIPs, func(p addr) bool { return p.String() == a }) {
						f.Message = fmt.Sprintf("node %s sends to node %s at %s, which is not its tunnel end point", n.Name, peer.Name, a)
						f.Evidence = []string{fmt.Sprintf("k8s.ovn.org/node-encap-ips of %s: %v", peer.Name, peer.EncapIPs)}
						found(f)
						break
					}
				}
			}
		}
	},
}

// encaps are the addresses of a chassis.
func (n *Node) encaps(ch *sb.Chassis) []string {
	var out []string
	for _, id := range ch.Encaps {
		if m, ok := n.SB.Row(tableOf[sb.Encap](), id); ok {
			out = append(out, m.(*sb.Encap).IP)
		}
	}
	return out
}
