package diagnose

import "github.com/ovnkctl/ovnkctl/internal/runtime/feature"

var serviceObject = &Check{
	Code: "OVNK-SVC-001", Severity: Warning,
	Title:   "a service asks for what it cannot have",
	Meaning: "A field, an end point or an annotation of a service is not understood or not possible, or another service has the address and port already. What is named is left out; the rest of the service works.",
	Remedy:  "Mend the object that is named. Of two services at one address and port the older one has it.",
	find: func(c *Cluster, found func(Finding)) {
		c.reasons(func(_ *Node, w *wish, _ feature.Reason) bool { return w.feature == servicesFeature }, found)
	},
}
