package diagnose

import "github.com/ovnkctl/ovnkctl/internal/runtime/feature"

var podObject = &Check{
	Code: "OVNK-POD-001", Severity: Error,
	Title: "a pod says what its network cannot be",
	Meaning: "An annotation of the pod does not parse, or its addresses are not ones that its node can have, or an older pod has them, " +
		"or two pods of a node want the same host port. The pod has no port, or not all that it asks for.",
	Remedy: "Addresses in the annotation k8s.ovn.org/pod-networks are written by the node: if somebody else changed them, " +
		"delete the pod, and its successor gets new ones. Other annotations are the pod template's.",
	causes: []cause{{nodeConflict.Code, sameNode}, {nodeIncomplete.Code, sameNode}},
	find: func(c *Cluster, found func(Finding)) {
		c.reasons(func(_ *Node, w *wish, _ feature.Reason) bool {
			return w.feature == podsFeature || w.feature == hostPortsFeature
		}, found)
	},
}
