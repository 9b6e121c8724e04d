package diagnose

import (
	"fmt"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
)

var podPort = &Check{
	Code: "OVNK-POD-003", Severity: Error,
	Title:   "a running pod has no logical switch port",
	Meaning: "Each pod has a port on its node's switch in the Northbound database of its node. Without it OVN drops all that the pod sends and gets.",
	Remedy: "The node's program makes the port again at once when somebody deletes it. See whether ovnkube-controller of the node is ready " +
		"and what it logs about the pod (" + logsOf("ovnkube-controller") + ").",
	causes: podCauses(podAllocation),
	find: func(c *Cluster, found func(Finding)) {
		for _, n := range c.Nodes {
			if n.NB == nil {
				continue
			}
			ports := byName(n.NB, func(p *nb.LogicalSwitchPort) string { return p.Name })
			for _, p := range c.networked(n.Name) {
				if name := names.Pod(p.Namespace, p.Name); c.running(p) && ports[name] == nil {
					found(Finding{
						Node: n.Name, Object: object(p.Ref()),
						Message: fmt.Sprintf("there is no Logical_Switch_Port %s on node %s, where the pod runs", name, n.Name),
					})
				}
			}
		}
	},
}
