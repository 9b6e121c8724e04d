package diagnose

import (
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// daemonSets are what runs on each node, by name: see the chart.
var daemonSets = []string{"ovs-node", "ovnkube-node"}

var nodeComponent = &Check{
	Code: "OVNK-NODE-001", Severity: Error,
	Title: "a component of the network is not running on a node",
	Meaning: "A node has a pod of the DaemonSet ovs-node (Open vSwitch) and one of ovnkube-node (OVN's databases, northd, " +
		"ovn-controller and ovnkube-controller). While one of them is down the flows that are in place keep working, " +
		"but nothing changes any more: new pods do not start, services keep backends that are gone. " +
		"Without ovs-daemons on the userspace datapath there is no traffic at all.",
	Remedy: "Read the log of the container that is named, also of its last run (kubectl logs --previous). " +
		"A pod that is Pending or missing is told about by `kubectl describe`. " +
		"ovs-node must run before ovnkube-node can become ready.",
	causes: []cause{{nodeSilent.Code, sameNode}, {podMTU.Code, sameNode}}, // with too large an MTU the node's program is not ready
	find: func(c *Cluster, found func(Finding)) {
		for _, n := range c.Nodes {
			for _, name := range daemonSets {
				if i := slices.IndexFunc(c.Installation.DaemonSets, func(d appsv1.DaemonSet) bool { return d.Name == name }); i >= 0 {
					c.component(n.Name, &c.Installation.DaemonSets[i], found)
				}
			}
		}
	},
}

func (c *Cluster) component(node string, d *appsv1.DaemonSet, found func(Finding)) {
	var pod *corev1.Pod
	for _, p := range c.podsOf(d.Namespace, d.Spec.Selector) {
		// While a pod is replaced there are two of it: the younger one counts.
		if p.Spec.NodeName == node && (pod == nil || pod.CreationTimestamp.Before(&p.CreationTimestamp)) {
			pod = p
		}
	}
	if pod == nil {
		found(Finding{
			Node: node, Object: &Object{"DaemonSet", d.Namespace, d.Name}, Message: "there is no pod of " + d.Name + " on node " + node,
			Next: fmt.Sprintf("kubectl -n %s describe daemonset %s", d.Namespace, d.Name),
		})
		return
	}
	if why, evidence, next := c.unwell(pod); why != "" {
		found(Finding{Node: node, Object: &Object{"Pod", pod.Namespace, pod.Name}, Message: d.Name + ": " + why, Evidence: evidence, Next: next})
	}
}

// podsOf are the pods that a selector of a workload selects.
func (c *Cluster) podsOf(namespace string, selector *metav1.LabelSelector) []*corev1.Pod {
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return nil // the API server does not let it in
	}
	var out []*corev1.Pod
	for i := range c.Objects.Pods {
		if p := &c.Objects.Pods[i]; p.Namespace == namespace && s.Matches(labels.Set(p.Labels)) {
			out = append(out, p)
		}
	}
	return out
}

// unwell says why a pod that was made some time ago is not ready; nothing if it is.
func (c *Cluster) unwell(p *corev1.Pod) (why string, evidence []string, next string) {
	describe := fmt.Sprintf("kubectl -n %s describe pod %s", p.Namespace, p.Name)
	if p.DeletionTimestamp != nil {
		return "its pod is being deleted", nil, describe
	}
	if p.Status.Phase == corev1.PodPending && len(p.Status.ContainerStatuses) == 0 {
		return "its pod is Pending", conditions(p), describe
	}
	var down []string
	for _, s := range p.Status.ContainerStatuses {
		if s.Ready {
			continue
		}
		what := s.Name + " is not ready"
		switch {
		case s.State.Waiting != nil:
			what = s.Name + " waits: " + s.State.Waiting.Reason
		case s.State.Terminated != nil:
			what = fmt.Sprintf("%s ended with exit code %d", s.Name, s.State.Terminated.ExitCode)
		case s.State.Running != nil && c.Now.Sub(s.State.Running.StartedAt.Time) < settling:
			what += " yet"
		}
		down = append(down, what)
		next = fmt.Sprintf("kubectl -n %s logs %s -c %s", p.Namespace, p.Name, s.Name)
		if s.RestartCount > 0 {
			evidence = append(evidence, fmt.Sprintf("%s was restarted %d times", s.Name, s.RestartCount))
		}
		if t := s.LastTerminationState.Terminated; t != nil && t.Message != "" {
			evidence = append(evidence, s.Name+" ended: "+strings.TrimSpace(t.Message))
		}
	}
	if len(down) == 0 {
		return "", nil, ""
	}
	return strings.Join(down, "; "), evidence, next
}

// conditions are those of a pod that are not met.
func conditions(p *corev1.Pod) []string {
	var out []string
	for _, x := range p.Status.Conditions {
		if x.Status != corev1.ConditionTrue && x.Message != "" {
			out = append(out, fmt.Sprintf("%s: %s", x.Type, x.Message))
		}
	}
	return out
}
