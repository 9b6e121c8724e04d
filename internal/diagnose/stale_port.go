package diagnose

import (
	"fmt"

	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/owner"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
)

var stalePort = &Check{
	Code: "OVNK-POD-008", Severity: Warning,
	Title: "a logical switch port is left of a pod that is gone",
	Meaning: "A port stays in the Northbound database although its pod is gone, has finished or is on another node. " +
		"Its addresses stay in policies and services of this node, for whoever gets them next.",
	Remedy: "The node's program removes such ports at its start: restart the pod ovnkube-node. If they come again, its log says why.",
	causes: nodeDown(),
	find: func(c *Cluster, found func(Finding)) {
		if c.Incomplete {
			return
		}
		for _, n := range c.Nodes {
			here := c.portsOf(n)
			for _, p := range all[nb.LogicalSwitchPort](n.NB) {
				id, _, ok := owner.Of(p.ExternalIDs)
				if !ok || id.Feature != podsFeature || here[id.Key] {
					continue
				}
				k := feature.ParseKey(id.Key)
				found(Finding{
					Node: n.Name, Object: &Object{Kind: "Pod", Namespace: k.Namespace, Name: k.Name},
					Message: fmt.Sprintf("node %s has Logical_Switch_Port %s with %v, and no such pod", n.Name, p.Name, p.Addresses),
				})
			}
		}
	},
}

// portsOf are the pods of a node that have, or may still have, a port there: one that is
// being deleted keeps it to its end.
func (c *Cluster) portsOf(n *Node) map[string]bool {
	out := map[string]bool{}
	for _, p := range c.views().pods[n.Name] {
		if p.Networked() {
			out[p.Namespace+"/"+p.Name] = true
		}
	}
	return out
}
