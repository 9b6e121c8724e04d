package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

var encapAddress = &Check{
	Code: "OVNK-TUN-001", Severity: Error,
	Title: "a node's tunnel end point is not an address of the node",
	Meaning: "Other nodes send what is for this node's pods in GENEVE to the address in ovn-encap-ip. If the node does not have that " +
		"address (any more), nothing arrives, and what it sends is refused by reverse path filters on the way.",
	Remedy: "If the node's address has changed, restart the pod ovnkube-node: it sets ovn-encap-ip and the annotations anew. " +
		"If network.encapIP of the configuration names an address, the node must have it.",
	causes: nodeDown(),
	find: func(c *Cluster, found func(Finding)) {
		for _, n := range c.Nodes {
			o, known := c.node(n.Name)
			root := n.root()
			if !known || root == nil {
				continue
			}
			encap := root.ExternalIDs["ovn-encap-ip"]
			evidence := []string{"Open_vSwitch external_ids:ovn-encap-ip=" + encap}
			if encap == "" {
				found(Finding{Node: n.Name, Object: nodeObject(n.Name), Message: "ovn-encap-ip of node " + n.Name + " is not set", Evidence: evidence})
				continue
			}
			for text := range strings.SplitSeq(encap, ",") {
				a, err := netip.ParseAddr(text)
				has := func(p netip.Prefix) bool { return p.Addr() == a }
				if err == nil && (slices.ContainsFunc(o.HostAddrs, has) || slices.ContainsFunc(o.PrimaryAddrs, has) || slices.Contains(o.InternalIPs, a)) {
					continue
				}
				found(Finding{
					Node: n.Name, Object: nodeObject(n.Name), Evidence: evidence,
					Message: fmt.Sprintf("ovn-encap-ip of node %s is %s, which is no address of the node", n.Name, text),
				})
				break
			}
		}
	},
}
