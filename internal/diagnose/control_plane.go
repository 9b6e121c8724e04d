package diagnose

import "fmt"

const controlPlaneName = "ovnkube-control-plane"

var controlPlane = &Check{
	Code: "OVNK-CTL-001", Severity: Error,
	Title: "no controller of the network is running",
	Meaning: "The Deployment ovnkube-control-plane allocates node ids and pod subnets. While none of its pods is ready, " +
		"nodes that join get no subnet, and statuses of policies are not collected. Nodes that have their subnets go on working.",
	Remedy: "Read the log of the container that is named, also of its last run (kubectl logs --previous). " +
		"If the Deployment is scaled to 0, scale it to 1. The pods use a port of their nodes: on one node there can be one of them only.",
	find: func(c *Cluster, found func(Finding)) {
		for i := range c.Installation.Deployments {
			d := &c.Installation.Deployments[i]
			if d.Name != controlPlaneName {
				continue
			}
			message, evidence, next := "it has no pod", []string(nil), fmt.Sprintf("kubectl -n %s describe deployment %s", d.Namespace, d.Name)
			if d.Spec.Replicas != nil && *d.Spec.Replicas == 0 {
				message, next = "it is scaled to 0", fmt.Sprintf("kubectl -n %s scale deployment %s --replicas=1", d.Namespace, d.Name)
			}
			ready := false
			for _, p := range c.podsOf(d.Namespace, d.Spec.Selector) {
				why, more, what := c.unwell(p)
				if why == "" {
					ready = true
					break
				}
				message, evidence, next = why, more, what
			}
			if !ready {
				found(Finding{Object: &Object{"Deployment", d.Namespace, d.Name}, Message: message, Evidence: evidence, Next: next})
			}
		}
	},
}
