package diagnose

import (
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
)

var nodeConflict = &Check{
	Code: "OVNK-IPAM-001", Severity: Error,
	Title: "two nodes claim the same",
	Meaning: "Node ids, pod subnets, addresses on the transit switch, tunnel end points and chassis ids (Open vSwitch's system-id) " +
		"belong to one node each. Of two nodes that claim the same the older one has it; the other has no network, or a part of it.",
	Remedy: "A chassis id that two nodes have comes from a copied disk image: delete /etc/openvswitch/conf.db and /etc/openvswitch/system-id.conf " +
		"on the younger node and restart its pods ovs-node and ovnkube-node. For ids and subnets that somebody wrote or restored from a backup, " +
		"remove the annotation from the younger node: it is written anew. Pods of that node must be restarted.",
	causes: []cause{{chassisIdentity.Code, sameNode}}, // no clone: the annotation alone is another node's
	find: func(c *Cluster, found func(Finding)) {
		c.reasons(func(n *Node, w *wish, r feature.Reason) bool {
			return ownNode(n, w) && slices.Contains(conflicts, r.Code)
		}, found)
	},
}
