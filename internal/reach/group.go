package reach

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/ovnkctl/ovnkctl/internal/policy"
	"github.com/ovnkctl/ovnkctl/internal/trace"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// End is a row or a column of the matrix.
type End struct {
	// Name is a selector that selects it again.
	Name string        `json:"name"`
	Kind trace.EndKind `json:"kind"`
	// Pods is how many pods it stands for, Example the first of them, or what else it is.
	Pods    int    `json:"pods,omitempty"`
	Example string `json:"example"`

	members []*world.Pod
	node    *world.Node // of a node, or of a pod on its host's network
	service *world.Service
	port    string // of a service, if one was asked for
}

func podName(p *world.Pod) string { return "pod/" + p.Namespace + "/" + p.Name }

func podEnd(name string, members []*world.Pod) *End {
	return &End{Name: name, Kind: trace.EndPod, Pods: len(members), Example: podName(members[0]), members: members}
}

// selectPods are the pods of namespaces or with labels, as one end for all that no policy
// tells apart.
func (c *cluster) selectPods(s selector, text string, each bool) ([]*End, error) {
	var out []*End
	known := s.namespace == "*"
	for _, namespace := range c.namespaces {
		if s.namespace != "*" && namespace != s.namespace {
			continue
		}
		known = true
		var members []*world.Pod
		for _, p := range c.pods {
			if p.Namespace == namespace && (s.labels == nil || s.labels.Matches(labels.Set(p.Labels))) {
				members = append(members, p)
			}
		}
		if n := c.waiting[namespace]; n > 0 && s.labels == nil {
			c.note("%d pods of namespace %s have no address yet, and are left out: ovnkctl status", n, namespace)
		}
		switch {
		case len(members) == 0:
		case each:
			for _, p := range members {
				out = append(out, podEnd(podName(p), []*world.Pod{p}))
			}
		default:
			out = append(out, c.groups(namespace, s.words, members)...)
		}
	}
	switch {
	case len(out) > 0 || s.namespace == "*" && s.labels == nil:
		return out, nil
	case !known:
		return nil, unknown(text, "there is no namespace "+s.namespace, "there are "+few(c.namespaces, ", "))
	}
	return nil, unknown(text, "it selects no pod with an address of its own", "pods on their host's network are their node: write node/NAME; else look at 'kubectl get pods --show-labels'")
}

func (c *cluster) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(c.notes, text) {
		c.notes = append(c.notes, text)
	}
}

// groups are pods of a namespace as ends. Their names have the labels in which they differ.
func (c *cluster) groups(namespace, words string, members []*world.Pod) []*End {
	classes := map[string][]*world.Pod{}
	var order []string
	for _, p := range members {
		class := c.likeness.Of(policyPod(p))
		if classes[class] == nil {
			order = append(order, class)
		}
		classes[class] = append(classes[class], p)
	}
	keys := slices.DeleteFunc(slices.Clone(c.likeness.Labels), func(key string) bool {
		first := labelWord(members[0], key)
		return !slices.ContainsFunc(members, func(p *world.Pod) bool { return labelWord(p, key) != first })
	})
	var out []*End
	for _, class := range order {
		var parts []string
		if words != "" {
			parts = append(parts, words)
		}
		for _, key := range keys {
			if w := labelWord(classes[class][0], key); !slices.Contains(strings.Split(words, ","), w) {
				parts = append(parts, w)
			}
		}
		name := "ns/" + namespace
		if len(parts) > 0 {
			name = namespace + "/" + strings.Join(parts, ",")
		}
		// Pods that labels do not tell apart, and policies do: by named ports, or addresses.
		if slices.ContainsFunc(out, func(e *End) bool { return e.Name == name }) {
			name = podName(classes[class][0])
		}
		out = append(out, podEnd(name, classes[class]))
	}
	slices.SortStableFunc(out, func(a, b *End) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// labelWord is a pod's label as a selector.
func labelWord(p *world.Pod, key string) string {
	if value, ok := p.Labels[key]; ok {
		return key + "=" + value
	}
	return "!" + key
}

func policyPod(p *world.Pod) policy.Pod {
	out := policy.Pod{Namespace: p.Namespace, Name: p.Name, Labels: p.Labels, IPs: p.Addrs()}
	for _, port := range p.Ports {
		out.Ports = append(out.Ports, policy.ContainerPort{Name: port.Name, Protocol: corev1.Protocol(strings.ToUpper(string(port.Protocol))), Port: port.Port})
	}
	return out
}

func compareKeys(aNamespace, aName, bNamespace, bName string) int {
	return cmp.Or(cmp.Compare(aNamespace, bNamespace), cmp.Compare(aName, bName))
}
