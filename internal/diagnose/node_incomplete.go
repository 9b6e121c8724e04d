package diagnose

import (
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/topology"
)

var nodeIncomplete = &Check{
	Code: "OVNK-NODE-002", Severity: Error,
	Title: "what a node needs to be in the network is missing or wrong",
	Meaning: "The rows of a node follow from its k8s.ovn.org annotations. The controller writes node-id, node-subnets and " +
		"node-transit-switch-port-ifaddr; the node's own program the others. Without one of them the node has no switch, " +
		"no gateway or no tunnels, and pods do not start there.",
	Remedy: "If the controller's are missing, see whether it runs (OVNK-CTL-001) and whether the cluster's subnets are used up: " +
		"its log says so. If the node's own are missing, read the log of ovnkube-controller on that node. " +
		"An annotation that does not parse was written by somebody else: remove it, and it is written again.",
	causes: []cause{{nodeSilent.Code, sameNode}, {nodeComponent.Code, sameNode}, {controlPlane.Code, anywhere}},
	find: func(c *Cluster, found func(Finding)) {
		c.reasons(func(n *Node, w *wish, r feature.Reason) bool {
			return ownNode(n, w) && !slices.Contains(conflicts, r.Code)
		}, found)
	},
}

// conflicts are the reasons of topology that are about two nodes.
var conflicts = []string{
	topology.NodeIDConflict, topology.ChassisIDConflict, topology.NodeSubnetConflict,
	topology.TransitAddressConflict, topology.EncapAddressConflict, topology.LocalNodeCloned,
}

// ownNode tells whether a wish is for the node itself: what others say of it follows.
func ownNode(n *Node, w *wish) bool { return w.feature == topologyFeature && w.key.Name == n.Name }
