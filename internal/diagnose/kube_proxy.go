package diagnose

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

var kubeProxy = &Check{
	Code: "OVNK-HOST-001", Severity: Warning,
	Title: "kube-proxy runs beside the network",
	Meaning: "OVN balances services, and the node's program does what the host needs for them. kube-proxy translates the same traffic a second time: " +
		"connections from nodes may go to other backends than those that policies and session affinity know of.",
	Remedy: "Remove the DaemonSet kube-proxy (kubectl -n kube-system delete daemonset kube-proxy), and on each node what it left: kube-proxy --cleanup.",
	find: func(c *Cluster, found func(Finding)) {
		var first *corev1.Pod
		var nodes []string
		for i := range c.Objects.Pods {
			p := &c.Objects.Pods[i]
			if p.Labels["k8s-app"] == "kube-proxy" && p.Status.Phase == corev1.PodRunning {
				nodes = append(nodes, p.Spec.NodeName)
				if first == nil {
					first = p
				}
			}
		}
		if first != nil {
			found(Finding{Object: &Object{"Pod", first.Namespace, first.Name}, Message: "kube-proxy runs on " + strings.Join(nodes, ", ")})
		}
	},
}
