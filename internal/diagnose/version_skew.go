package diagnose

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

var versionSkew = &Check{
	Code: "OVNK-VER-001", Severity: Warning,
	Title: "nodes run different versions of the network",
	Meaning: "The pods of ovnkube-node do not all have the same image. During an upgrade that is so for some minutes, and versions that " +
		"follow each other work together. If it stays, an upgrade has stopped half-way.",
	Remedy: "See how far the upgrade is (kubectl rollout status daemonset/ovnkube-node) and which pod it waits for. " +
		"If it is complete, somebody changed the image of a pod: delete the pod, and the next one has the DaemonSet's. " +
		"Pods of ovs-node are not looked at: on the userspace datapath they stay until somebody deletes them.",
	causes: []cause{{nodeComponent.Code, anywhere}},
	find: func(c *Cluster, found func(Finding)) {
		i := slices.IndexFunc(c.Installation.DaemonSets, func(d appsv1.DaemonSet) bool { return d.Name == "ovnkube-node" })
		if i < 0 {
			return
		}
		d := &c.Installation.DaemonSets[i]
		on := map[string][]string{}
		for _, p := range c.podsOf(d.Namespace, d.Spec.Selector) {
			image := imageOf(p)
			on[image] = append(on[image], p.Spec.NodeName)
		}
		if len(on) < 2 {
			return
		}
		var evidence []string
		for _, image := range slices.Sorted(maps.Keys(on)) {
			slices.Sort(on[image])
			evidence = append(evidence, fmt.Sprintf("%s: %s", image, strings.Join(on[image], ", ")))
		}
		found(Finding{
			Object:  &Object{"DaemonSet", d.Namespace, d.Name},
			Message: fmt.Sprintf("nodes run %d different images", len(on)), Evidence: evidence,
			Next: fmt.Sprintf("kubectl -n %s rollout status daemonset/%s --timeout=1m", d.Namespace, d.Name),
		})
	},
}

// imageOf is the image of the node's program.
func imageOf(p *corev1.Pod) string {
	for _, c := range p.Spec.Containers {
		if c.Name == "ovnkube-controller" {
			return c.Image
		}
	}
	return ""
}
