package status

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
)

// The workloads of the chart. Their pods have the name as label "app".
const (
	appLabel   = "app"
	controlApp = "ovnkube-control-plane"
	nodeApp    = "ovnkube-node"
	ovsApp     = "ovs-node"
)

// components are the workloads in the order in which they depend on each other. Those that
// could not be listed are made of their pods.
func (f *facts) components() []Component {
	out := []Component{{Kind: "DaemonSet", Name: ovsApp}, {Kind: "DaemonSet", Name: nodeApp}, {Kind: "Deployment", Name: controlApp}}
	for i := range out {
		c := &out[i]
		on := map[string][]string{}
		for _, p := range f.podsOf(c.Name) {
			c.Desired++
			if ready(p) {
				c.Ready++
			}
			image := imageOf(p)
			on[image] = append(on[image], p.Spec.NodeName)
		}
		for _, image := range slices.Sorted(maps.Keys(on)) {
			slices.Sort(on[image])
			c.Images = append(c.Images, Version{Version: image, Nodes: on[image]})
		}
	}
	for i := range f.installation.DaemonSets {
		d := &f.installation.DaemonSets[i]
		if j := slices.IndexFunc(out, func(c Component) bool { return c.Name == d.Name }); j >= 0 {
			out[j].Desired = int(d.Status.DesiredNumberScheduled)
		}
	}
	for i := range f.installation.Deployments {
		d := &f.installation.Deployments[i]
		if j := slices.IndexFunc(out, func(c Component) bool { return c.Name == d.Name }); j >= 0 {
			out[j].Desired = 1 // what nothing means
			if d.Spec.Replicas != nil {
				out[j].Desired = int(*d.Spec.Replicas)
			}
		}
	}
	return out
}

// podsOf are the pods of a workload. While a pod is replaced, the one that goes is left out.
func (f *facts) podsOf(app string) []*corev1.Pod {
	var out []*corev1.Pod
	for i := range f.networkPods {
		if p := &f.networkPods[i]; p.Labels[appLabel] == app && p.DeletionTimestamp == nil {
			out = append(out, p)
		}
	}
	return out
}

func ready(p *corev1.Pod) bool {
	for _, s := range p.Status.ContainerStatuses {
		if !s.Ready {
			return false
		}
	}
	return len(p.Status.ContainerStatuses) > 0
}

// imageOf is the tag or digest of a pod's image; all containers of the network have one.
func imageOf(p *corev1.Pod) string {
	if len(p.Spec.Containers) == 0 {
		return ""
	}
	image := p.Spec.Containers[0].Image
	if _, digest, ok := strings.Cut(image, "@"); ok {
		return digest
	}
	if i := strings.LastIndex(image, ":"); i > strings.LastIndex(image, "/") {
		return image[i+1:]
	}
	return image
}

// containers are those of the network on a node.
func (f *facts) containers(node string) []Container {
	var out []Container
	for _, app := range []string{ovsApp, nodeApp, controlApp} {
		for _, p := range f.podsOf(app) {
			if p.Spec.NodeName != node {
				continue
			}
			for _, s := range p.Status.ContainerStatuses {
				out = append(out, Container{Pod: p.Name, Name: s.Name, Ready: s.Ready, State: stateOf(s), Restarts: s.RestartCount})
			}
		}
	}
	return out
}

func stateOf(s corev1.ContainerStatus) string {
	switch {
	case s.State.Waiting != nil:
		return cmp.Or(s.State.Waiting.Reason, "Waiting")
	case s.State.Terminated != nil:
		return fmt.Sprintf("ended with exit code %d", s.State.Terminated.ExitCode)
	case s.Ready:
		return "Running"
	}
	return "not ready"
}

// componentNotes tell of what does not run.
func (f *facts) componentNotes(components []Component) []Note {
	if f.unlisted() {
		return nil // there are problems that say so
	}
	var out []Note
	namespace := f.namespace
	for _, c := range components {
		pods := f.podsOf(c.Name)
		object := strings.ToLower(c.Kind) + "/" + c.Name
		for _, p := range pods {
			out = append(out, podNotes(c.Name, p)...)
		}
		describe := fmt.Sprintf("kubectl -n %s describe %s", namespace, object)
		switch {
		case c.Desired > len(pods):
			out = append(out, Note{
				Severity: Error, Object: object, Message: fmt.Sprintf("%d of %d pods are there", len(pods), c.Desired), Next: describe,
			})
		case c.Desired == 0:
			out = append(out, Note{Severity: Error, Object: object, Message: "it is not there, or no node is to run it", Next: describe})
		}
		if len(c.Images) > 1 {
			out = append(out, skewNote(object, "different images", c.Images))
		}
	}
	return out
}

// unlisted tells that there are no pods to judge by: those of records without objects.
func (f *facts) unlisted() bool { return len(f.networkPods) == 0 }

func podNotes(app string, p *corev1.Pod) []Note {
	n := Note{Severity: Error, Node: p.Spec.NodeName, Object: "pod/" + p.Namespace + "/" + p.Name}
	if len(p.Status.ContainerStatuses) == 0 {
		n.Message = app + " is " + cmp.Or(string(p.Status.Phase), "not started")
		n.Next = fmt.Sprintf("kubectl -n %s describe pod %s", p.Namespace, p.Name)
		return []Note{n}
	}
	// What all of a pod's containers share, such as that they are being made, is said once.
	byState := map[string][]corev1.ContainerStatus{}
	var states []string
	for _, c := range p.Status.ContainerStatuses {
		if c.Ready {
			continue
		}
		state := stateOf(c)
		if c.RestartCount > 0 {
			state += fmt.Sprintf(" (restarts: %d)", c.RestartCount)
		}
		if byState[state] == nil {
			states = append(states, state)
		}
		byState[state] = append(byState[state], c)
	}
	var out []Note
	for _, state := range states {
		var names []string
		for _, c := range byState[state] {
			names = append(names, c.Name)
		}
		n.Message = strings.Join(names, ", ") + ": " + state
		n.Next = nextFor(p, byState[state][0])
		out = append(out, n)
	}
	return out
}

// nextFor says where it is told why a container is not ready: one that has never run has no log.
func nextFor(p *corev1.Pod, c corev1.ContainerStatus) string {
	logs := fmt.Sprintf("kubectl -n %s logs %s -c %s", p.Namespace, p.Name, c.Name)
	switch {
	case c.State.Running != nil || c.State.Terminated != nil:
		return logs
	case c.RestartCount > 0:
		return logs + " --previous"
	}
	return fmt.Sprintf("kubectl -n %s describe pod %s", p.Namespace, p.Name)
}

// nodeNotes tell of nodes that are not up themselves.
func (f *facts) nodeNotes() []Note {
	var out []Note
	for i := range f.objects.Nodes {
		n := &f.objects.Nodes[i]
		if !slices.Contains(f.nodes, n.Name) {
			continue
		}
		for _, c := range n.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
				out = append(out, Note{
					Severity: Error, Node: n.Name, Object: "node/" + n.Name, Message: "Kubernetes says it is not ready: " + cmp.Or(c.Message, c.Reason),
					Next: "kubectl describe node " + n.Name,
				})
			}
		}
	}
	return out
}

func skewNote(object, what string, versions []Version) Note {
	var parts []string
	for _, v := range versions {
		parts = append(parts, v.Version+" on "+strings.Join(v.Nodes, ", "))
	}
	return Note{
		Severity: Warning, Object: object, Message: what + ": " + strings.Join(parts, "; "),
		Next: "see how far an upgrade is: kubectl rollout status; ovnkctl help OVNK-VER-001",
	}
}

// kubelets are the versions of the nodes' kubelets.
func kubelets(o *inspect.Objects) map[string]string {
	out := map[string]string{}
	for i := range o.Nodes {
		out[o.Nodes[i].Name] = o.Nodes[i].Status.NodeInfo.KubeletVersion
	}
	return out
}
