package diagnose

import (
	"fmt"
	"slices"
)

var nextHop = &Check{
	Code: "OVNK-BR-004", Severity: Error,
	Title: "a node's next hop does not answer",
	Meaning: "The node asked for the MAC address of the router that its gateway sends to, by ARP or neighbour discovery, and got no answer within 2.5 s. " +
		"Neither pods nor the node reach anything beyond their own network.",
	Remedy: "See whether the next hop in the node's annotation k8s.ovn.org/l3-gateway-config is right and the router is up. " +
		"If the NIC is a virtual machine's, its network must let through the MAC address of the bridge.",
	causes: nodeDown(cause{externalBridge.Code, sameNode}),
	find: func(c *Cluster, found func(Finding)) {
		for _, n := range c.Nodes {
			o, ok := c.node(n.Name)
			if !ok || o.Gateway == nil {
				continue
			}
			report, ok := n.check()
			if !ok {
				continue
			}
			for _, x := range report.Hops {
				if x.Answers || !slices.Contains(o.Gateway.NextHops, x.Address) {
					continue
				}
				found(Finding{
					Node: n.Name, Object: nodeObject(n.Name),
					Message:  fmt.Sprintf("next hop %s of node %s does not answer on %s", x.Address, n.Name, o.Gateway.BridgeID),
					Evidence: []string{fmt.Sprintf("ip neighbour show %s dev %s: %s, after the node asked for it", x.Address, o.Gateway.BridgeID, x.State)},
				})
			}
		}
	},
}
