package diagnose

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/annotation"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

var podAddress = &Check{
	Code: "OVNK-POD-006", Severity: Error,
	Title: "a pod has other addresses than it was given",
	Meaning: "The addresses in a pod's status, which services and other pods use, are not those in its annotation k8s.ovn.org/pod-networks, " +
		"which OVN lets through. Traffic to the pod's address arrives nowhere or at another pod.",
	Remedy: "Delete the pod: its successor gets an address that all agree on. If pods of the node have addresses of another subnet, " +
		"another CNI plugin started them: see /etc/cni/net.d of the node.",
	causes: podCauses(podAllocation),
	find: func(c *Cluster, found func(Finding)) {
		for _, n := range c.Nodes {
			for _, p := range c.networked(n.Name) {
				given, ok := p.Networks[world.DefaultNetwork]
				if !ok || !c.running(p) {
					continue
				}
				for _, status := range p.kube.Status.PodIPs {
					a, err := netip.ParseAddr(status.IP)
					if err != nil || slices.ContainsFunc(given.Addresses, func(g netip.Prefix) bool { return g.Addr() == a }) {
						continue
					}
					found(Finding{
						Node: n.Name, Object: object(p.Ref()),
						Message:  fmt.Sprintf("the pod's status says %s, its annotation %v", a, given.Addresses),
						Evidence: []string{"status.podIPs", annotation.PodNetworks.Key()},
					})
					break
				}
			}
		}
	},
}
