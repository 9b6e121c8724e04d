package diagnose

import (
	"fmt"
	"net/netip"

	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

// mostUsed is the share of a subnet, in percent, from which on it is nearly full: of a /24
// twelve addresses are left then.
const mostUsed = 95

var subnetFull = &Check{
	Code: "OVNK-IPAM-002", Severity: Warning,
	Title:   "a node's pod subnet is nearly full",
	Meaning: "Every pod that is not on its host's network takes an address of its node's subnet. When there is none left, pods on that node do not start.",
	Remedy:  "Let fewer pods on a node (maxPods of its kubelet), or choose a shorter host prefix in network.clusterSubnets for new nodes: a /23 has 508 addresses for pods. Pods that have ended, and are kept, have given theirs back.",
	find: func(c *Cluster, found func(Finding)) {
		for _, n := range c.Nodes {
			o, ok := c.node(n.Name)
			if !ok {
				continue
			}
			for _, subnet := range o.Subnets[world.DefaultNetwork] {
				bits := subnet.Addr().BitLen() - subnet.Bits()
				if bits > 16 {
					continue // no node has so many pods
				}
				room := 1<<bits - len(plan.Reserved(subnet))
				used := 0
				for _, p := range c.views().pods[n.Name] {
					if p.Networked() && inSubnet(p.Networks[world.DefaultNetwork].Addresses, subnet) {
						used++
					}
				}
				if used*100 >= room*mostUsed {
					found(Finding{
						Node: n.Name, Object: nodeObject(n.Name),
						Message: fmt.Sprintf("%d of %d addresses of subnet %s of node %s are in use", used, room, subnet, n.Name),
					})
				}
			}
		}
	},
}

func inSubnet(addresses []netip.Prefix, subnet netip.Prefix) bool {
	for _, a := range addresses {
		if subnet.Contains(a.Addr()) {
			return true
		}
	}
	return false
}
