package diagnose

import (
	"fmt"

	"github.com/ovnkctl/ovnkctl/internal/annotation"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// podDown are the checks that explain what is wrong with the network of all pods of a node.
var podDown = nodeDown(
	cause{nodeIncomplete.Code, sameNode}, cause{nodeConflict.Code, sameNode}, cause{northdBehind.Code, sameNode},
	cause{integrationBridge.Code, sameNode}, cause{controllerBehind.Code, sameNode}, cause{podObject.Code, sameObject},
)

// podCauses are those, and checks of an earlier stage of the same pod.
func podCauses(earlier ...*Check) []cause {
	var out []cause
	for _, e := range earlier {
		out = append(out, cause{e.Code, sameObject})
	}
	return append(out, podDown...)
}

var podAllocation = &Check{
	Code: "OVNK-POD-002", Severity: Error,
	Title: "a running pod has no address",
	Meaning: "The node's program gives a pod its addresses when it hears of the pod, and writes them into the annotation k8s.ovn.org/pod-networks. " +
		"If somebody removes the annotation, it writes it again: a pod that runs without was started by another CNI plugin, or the program does not run.",
	Remedy: "See whether another CNI plugin's configuration is in /etc/cni/net.d of the node, before ours by name. Delete the pod: its successor gets an address.",
	causes: podCauses(),
	find: func(c *Cluster, found func(Finding)) {
		for _, n := range c.Nodes {
			for _, p := range c.networked(n.Name) {
				if _, ok := p.Networks[world.DefaultNetwork]; !ok && c.running(p) {
					found(Finding{
						Node: n.Name, Object: object(p.Ref()),
						Message: fmt.Sprintf("%s runs on node %s without annotation %s", object(p.Ref()), n.Name, annotation.PodNetworks.Key()),
					})
				}
			}
		}
	},
}
