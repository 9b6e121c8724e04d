package diagnose

import "fmt"

var policyNobody = &Check{
	Code: "OVNK-POL-003", Severity: Info,
	Title: "a policy selects no pod",
	Meaning: "No pod of the namespace has the labels that a NetworkPolicy selects, so it is not in force anywhere. " +
		"That is right for pods that are still to come; otherwise a label is misspelt, and the pods that were meant are open to everybody.",
	Remedy: "Compare spec.podSelector of the policy with the labels of the pods: kubectl -n NAMESPACE get pods --show-labels.",
	causes: []cause{{policyObject.Code, sameObject}},
	find: func(c *Cluster, found func(Finding)) {
		if c.Incomplete {
			return
		}
		for i := range c.Objects.NetworkPolicies {
			p := &c.Objects.NetworkPolicies[i]
			if len(p.Spec.PodSelector.MatchLabels)+len(p.Spec.PodSelector.MatchExpressions) > 0 && len(c.selected(p)) == 0 {
				found(Finding{
					Object:  &Object{"NetworkPolicy", p.Namespace, p.Name},
					Message: fmt.Sprintf("NetworkPolicy %s/%s selects no pod of its namespace", p.Namespace, p.Name),
				})
			}
		}
	},
}
