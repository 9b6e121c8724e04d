package diagnose

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// longStart is how long a pod's sandbox may take. The kubelet tries again for ever; a CNI ADD
// gives up much earlier.
const longStart = 60 * time.Second

var podStart = &Check{
	Code: "OVNK-POD-007", Severity: Error,
	Title: "a pod does not start because of its network",
	Meaning: "The kubelet could not make the pod's sandbox: the CNI plugin failed, or did not answer. The pod stays in ContainerCreating. " +
		"The event of the pod says at which stage: no address, no port, no flows.",
	Remedy: "If the message names no stage, see whether ovnkube-node runs on the node; \"no CNI configuration\" means that the node's program is not ready yet; " +
		"if the plugin is not found, somebody removed it from /opt/cni/bin: restart the pod ovnkube-node, which puts it back.",
	causes: append(podCauses(podAllocation, podPort, podInterface), cause{subnetFull.Code, sameNode}),
	find: func(c *Cluster, found func(Finding)) {
		events := map[string]*corev1.Event{} // the last one of each pod
		for i := range c.Installation.Events {
			e := &c.Installation.Events[i]
			if e.InvolvedObject.Kind != "Pod" || e.Reason != "FailedCreatePodSandBox" {
				continue
			}
			if last := events[string(e.InvolvedObject.UID)]; last == nil || last.LastTimestamp.Before(&e.LastTimestamp) {
				events[string(e.InvolvedObject.UID)] = e
			}
		}
		for _, n := range c.Nodes {
			for _, p := range c.networked(n.Name) {
				s := p.kube.Status
				if s.Phase != corev1.PodPending || s.StartTime == nil || c.Now.Sub(s.StartTime.Time) < longStart || events[p.UID] == nil || started(s) {
					continue
				}
				found(Finding{
					Node: n.Name, Object: object(p.Ref()),
					Message:  fmt.Sprintf("the pod waits for its network on node %s for %s", n.Name, c.Now.Sub(s.StartTime.Time).Round(time.Second)),
					Evidence: []string{strings.TrimSpace(events[p.UID].Message)},
					Next:     fmt.Sprintf("kubectl -n %s describe pod %s", p.Namespace, p.Name),
				})
			}
		}
	},
}

// started tells whether a pod has a sandbox: then containers were started, or addresses told.
func started(s corev1.PodStatus) bool { return s.PodIP != "" }
