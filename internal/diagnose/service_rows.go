package diagnose

import "fmt"

var serviceRows = &Check{
	Code: "OVNK-SVC-002", Severity: Error,
	Title: "a service does not lead to its end points on a node",
	Meaning: "The load balancers of a node should have the addresses of the Service and the ready end points of its EndpointSlices, " +
		"and do not: connections from this node's pods go nowhere or to pods that are gone.",
	Remedy: "See whether ovnkube-controller of the node is ready and what it logs (" + logsOf("ovnkube-controller") + "). " +
		"`ovnkctl diagnose --repair` has it look at these rows again, a restart of the pod ovnkube-node at all; traffic goes on meanwhile.",
	causes: nodeDown(cause{nodeIncomplete.Code, sameNode}),
	find: func(c *Cluster, found func(Finding)) {
		for _, n := range c.Nodes {
			for _, d := range c.drifts(n) {
				if d.feature != servicesFeature {
					continue
				}
				f := d.finding(n)
				f.Message = fmt.Sprintf("%s on node %s: %s", f.Object, n.Name, d.lines[0])
				found(f)
			}
		}
	},
}
