package diagnose

import (
	"fmt"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
)

var staleInterface = &Check{
	Code: "OVNK-POD-009", Severity: Warning,
	Title: "an interface of Open vSwitch is left of a pod that is gone",
	Meaning: "A port of br-int has the iface-id of a pod that is not on the node (any more). If a pod of that name comes, two interfaces claim " +
		"its logical switch port.",
	Remedy: "The node's program removes such ports at its start: restart the pod ovnkube-node.",
	causes: nodeDown(cause{stalePort.Code, sameObject}),
	find: func(c *Cluster, found func(Finding)) {
		if c.Incomplete {
			return
		}
		for _, n := range c.Nodes {
			here := c.portsOf(n)
			for _, p := range c.views().pods[n.Name] {
				if p.Finished { // its sandbox goes when the kubelet collects it
					here[p.Namespace+"/"+p.Name] = true
				}
			}
			for _, i := range all[vswitch.Interface](n.OVS) {
				namespace, pod, ok := strings.Cut(i.ExternalIDs["iface-id"], "_")
				if !ok || i.ExternalIDs["sandbox"] == "" || here[namespace+"/"+pod] {
					continue
				}
				found(Finding{
					Node: n.Name, Object: &Object{Kind: "Pod", Namespace: namespace, Name: pod},
					Message: fmt.Sprintf("interface %s of node %s has iface-id %s, and there is no such pod", i.Name, n.Name, i.ExternalIDs["iface-id"]),
				})
			}
		}
	},
}
