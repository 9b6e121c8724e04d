package diagnose

import (
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/policy"
)

var policyObject = &Check{
	Code: "OVNK-POL-001", Severity: Warning,
	Title: "a policy cannot be put in force as it is written",
	Meaning: "A part of a policy is not understood, two administrators' policies of one priority leave open which one decides, " +
		"or the addresses of a domain name are not known. A rule that is not understood matches nothing: what it would have allowed " +
		"is refused under an isolating policy.",
	Remedy: "Mend the policy that is named. For a domain name see whether the cluster's DNS answers for it.",
	find: func(c *Cluster, found func(Finding)) {
		c.reasons(func(_ *Node, w *wish, r feature.Reason) bool {
			return w.feature == policyFeature && r.Code != policy.DomainNotAskedFor // this is no fault
		}, found)
	},
}
