package install

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
)

// component is the state of one part of the installation.
type component struct {
	name  string
	ready bool
	state string // "2 of 3 ready", and why not
}

// observed is what the cluster says about the installation at one moment.
type observed struct {
	daemonSets  map[string]*appsv1.DaemonSet
	deployments map[string]*appsv1.Deployment
	pods        []*corev1.Pod
	nodes       []*corev1.Node
	// lastLog is the last line of a container's log, if it is worth a look.
	lastLog func(pod *corev1.Pod, container string) string
	now     time.Time
}

// settled is how long a container may be running and not ready before its log is asked.
const settled = 8 * time.Second

// maxReasons bounds the reasons that one line gives.
const maxReasons = 3

// judge is the state of each workload among the objects, in their order, and then of the
// nodes, which get ready by it.
func (o *observed) judge(objects []*unstructured.Unstructured) []component {
	var all []component
	for _, obj := range objects {
		switch obj.GetKind() {
		case "DaemonSet":
			all = append(all, o.daemonSet(obj.GetName()))
		case "Deployment":
			all = append(all, o.deployment(obj.GetName()))
		}
	}
	return append(all, o.judgeNodes())
}

func (o *observed) daemonSet(name string) component {
	ds := o.daemonSets[name]
	if ds == nil {
		return component{name: name, state: "does not exist"}
	}
	s := ds.Status
	if s.ObservedGeneration < ds.Generation {
		return component{name: name, state: "not yet seen by kube-controller-manager"}
	}
	updated := s.UpdatedNumberScheduled >= s.DesiredNumberScheduled || ds.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType
	c := component{name: name, ready: updated && s.NumberReady >= s.DesiredNumberScheduled}
	c.state = fmt.Sprintf("%d of %d ready", s.NumberReady, s.DesiredNumberScheduled)
	if !updated {
		c.state += fmt.Sprintf(", %d replaced", s.UpdatedNumberScheduled)
	}
	if !c.ready {
		c.state += o.why(ds.Spec.Selector)
	}
	return c
}

func (o *observed) deployment(name string) component {
	d := o.deployments[name]
	if d == nil {
		return component{name: name, state: "does not exist"}
	}
	s, want := d.Status, int32(1)
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	if s.ObservedGeneration < d.Generation {
		return component{name: name, state: "not yet seen by kube-controller-manager"}
	}
	c := component{name: name, ready: s.UpdatedReplicas >= want && s.ReadyReplicas >= want && s.Replicas <= want}
	c.state = fmt.Sprintf("%d of %d ready", s.ReadyReplicas, want)
	if s.UpdatedReplicas < want && s.ReadyReplicas > 0 {
		c.state += fmt.Sprintf(", %d replaced", s.UpdatedReplicas)
	}
	if c.ready {
		return c
	}
	for _, condition := range s.Conditions {
		if condition.Type == appsv1.DeploymentReplicaFailure && condition.Status == corev1.ConditionTrue {
			c.state += "; " + condition.Message
		}
	}
	c.state += o.why(d.Spec.Selector)
	return c
}

// why collects the reasons of a workload's pods. Equal reasons are one, with the nodes.
func (o *observed) why(selector *metav1.LabelSelector) string {
	matches, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return "; " + err.Error()
	}
	where := map[string][]string{}
	pods := 0
	for _, pod := range o.pods {
		if !matches.Matches(labels.Set(pod.Labels)) {
			continue
		}
		pods++
		at := cmp.Or(pod.Spec.NodeName, pod.Name)
		for _, reason := range o.podReasons(pod) {
			where[reason] = append(where[reason], at)
		}
	}
	if pods == 0 {
		return "; no pod was created yet"
	}
	var reasons []string
	for reason, nodes := range where {
		slices.Sort(nodes)
		at := nodes[0]
		if len(nodes) > 1 {
			at += fmt.Sprintf(" and %d more", len(nodes)-1)
		}
		reasons = append(reasons, at+": "+reason)
	}
	slices.Sort(reasons)
	if n := len(reasons) - maxReasons; n > 0 {
		reasons = append(reasons[:maxReasons], fmt.Sprintf("and %s", count(n, "other reason")))
	}
	if len(reasons) == 0 {
		return ""
	}
	return "; " + strings.Join(reasons, "; ")
}

// podReasons says why a pod is not ready, nothing if it is.
func (o *observed) podReasons(pod *corev1.Pod) []string {
	if pod.DeletionTimestamp != nil {
		return []string{"the old pod is ending"}
	}
	for _, c := range pod.Status.Conditions {
		switch {
		case c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue:
			return nil
		case c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse:
			return []string{"not scheduled: " + c.Message}
		}
	}
	if pod.Status.Phase == corev1.PodFailed {
		return []string{strings.TrimSuffix("failed: "+pod.Status.Reason+": "+pod.Status.Message, ": ")}
	}
	statuses := slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses)
	if len(statuses) == 0 {
		return []string{"the kubelet has not started the pod"}
	}
	var reasons []string
	for i := range statuses {
		if r := o.containerReason(pod, &statuses[i]); r != "" {
			reasons = append(reasons, "container "+statuses[i].Name+" "+r)
		}
	}
	return reasons
}

func (o *observed) containerReason(pod *corev1.Pod, s *corev1.ContainerStatus) string {
	switch {
	case s.Ready, s.State.Terminated != nil && s.State.Terminated.ExitCode == 0:
		return ""
	case s.State.Terminated != nil:
		return ended(s.State.Terminated)
	case s.State.Waiting != nil:
		said := "waits: " + s.State.Waiting.Reason
		if last := s.LastTerminationState.Terminated; last != nil {
			return said + ", it " + ended(last)
		}
		if s.State.Waiting.Message != "" {
			said += ": " + lastLine(s.State.Waiting.Message)
		}
		return said
	case s.State.Running != nil:
		said := "runs, but is not ready"
		if o.lastLog != nil && o.now.Sub(s.State.Running.StartedAt.Time) > settled {
			if line := o.lastLog(pod, s.Name); line != "" {
				said += ", it says: " + line
			}
		}
		return said
	}
	return ""
}

// ended says how a container ended; the chart has the kubelet keep the end of its log.
func ended(t *corev1.ContainerStateTerminated) string {
	said := fmt.Sprintf("ended with code %d", t.ExitCode)
	if t.Reason == "OOMKilled" {
		said += " (out of memory)"
	}
	if line := lastLine(t.Message); line != "" {
		said += ": " + line
	}
	return said
}

// maxLine bounds a line of a log in a message, in bytes.
const maxLine = 300

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	line := text[strings.LastIndexByte(text, '\n')+1:]
	if len(line) > maxLine {
		line = strings.ToValidUTF8(line[:maxLine], "") + "…"
	}
	return line
}

// judgeNodes: a node is ready when its kubelet has found the network.
func (o *observed) judgeNodes() component {
	c := component{name: "nodes", ready: true}
	total, ready := 0, 0
	var reasons []string
	for _, n := range o.nodes {
		if n.Labels[corev1.LabelOSStable] != "linux" {
			continue
		}
		total++
		reason := "its kubelet has not reported yet"
		for _, condition := range n.Status.Conditions {
			if condition.Type == corev1.NodeReady {
				reason = lastLine(condition.Message)
				if condition.Status == corev1.ConditionTrue {
					reason = ""
				}
			}
		}
		if reason == "" {
			ready++
			continue
		}
		reasons = append(reasons, n.Name+": "+reason)
	}
	slices.Sort(reasons)
	if n := len(reasons) - maxReasons; n > 0 {
		reasons = append(reasons[:maxReasons], fmt.Sprintf("and %s", count(n, "other node")))
	}
	c.ready = ready == total
	c.state = strings.Join(append([]string{fmt.Sprintf("%d of %d ready", ready, total)}, reasons...), "; ")
	return c
}
