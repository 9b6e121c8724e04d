package diagnose

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

var nodeNetwork = &Check{
	Code: "OVNK-NODE-006", Severity: Error,
	Title: "a node says that its network is not ready",
	Meaning: "The container runtime of a node finds no configuration of a CNI plugin that it can use, so no pod starts there. " +
		"The node's program writes it when the node is in the network, and removes it while it cannot serve.",
	Remedy: "See whether ovnkube-controller of the node is ready and what it logs (" + logsOf("ovnkube-controller") + "). " +
		"If it is, something else removed or damaged the configuration in /etc/cni/net.d: restart the pod ovnkube-node, which writes it anew.",
	causes: nodeDown(cause{nodeIncomplete.Code, sameNode}, cause{nodeConflict.Code, sameNode}, cause{podMTU.Code, sameNode}),
	find: func(c *Cluster, found func(Finding)) {
		for _, n := range c.Nodes {
			r, ok := c.readiness(n)
			if !ok || r.Status != corev1.ConditionFalse || !strings.Contains(r.Message, "network") {
				continue
			}
			found(Finding{
				Node: n.Name, Object: nodeObject(n.Name), Message: fmt.Sprintf("node %s: %s", n.Name, r.Message),
				Next: c.replacePod("ovnkube-node", n.Name),
			})
		}
	},
}
