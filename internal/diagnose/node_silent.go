package diagnose

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

var nodeSilent = &Check{
	Code: "OVNK-NODE-004", Severity: Error,
	Title: "Kubernetes hears nothing of a node",
	Meaning: "The kubelet of a node has not reported for some time: the machine is off, cut off from the API server, or its kubelet does not run. " +
		"Kubernetes takes the node's pods out of services. Pods there may go on working, and nothing that changes reaches them.",
	Remedy: "See whether the machine is up and reaches the API server, and start its kubelet. " +
		"On the userspace datapath a machine without ovs-vswitchd reaches nothing: kill a hanging one, and the kubelet starts it again.",
	find: func(c *Cluster, found func(Finding)) {
		for _, n := range c.Nodes {
			if r, ok := c.readiness(n); ok && r.Status == corev1.ConditionUnknown {
				found(Finding{
					Node: n.Name, Object: nodeObject(n.Name), Message: fmt.Sprintf("node %s: %s", n.Name, r.Message),
					Evidence: []string{"condition Ready is Unknown: " + r.Reason}, Next: "kubectl describe node " + n.Name,
				})
			}
		}
	},
}

// readiness is the condition Ready of a node.
func (c *Cluster) readiness(n *Node) (r corev1.NodeCondition, ok bool) {
	o := c.views().kube[n.Name]
	if o == nil {
		return r, false
	}
	for _, r := range o.Status.Conditions {
		if r.Type == corev1.NodeReady {
			return r, true
		}
	}
	return r, false
}
