package reach

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/ovnkctl/ovnkctl/internal/trace"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Everything is the selector of the pods of all namespaces.
const Everything = "*"

// selector is a selector that was read.
type selector struct {
	kind      trace.EndKind // empty for what has one of several kinds
	namespace string        // empty for none; * for all
	name      string        // empty or * for all
	labels    labels.Selector
	words     string // of labels, as they were written
	port      string // of a service
	addr      netip.Addr
}

var kinds = map[string]trace.EndKind{
	"pod": trace.EndPod, "pods": trace.EndPod, "po": trace.EndPod,
	"service": trace.EndService, "services": trace.EndService, "svc": trace.EndService,
	"node": trace.EndNode, "nodes": trace.EndNode, "no": trace.EndNode,
}

// forms are what selectors look like, for those who wrote something else.
const forms = "write ns/NAMESPACE, NAMESPACE/LABEL=VALUE, pod/NAMESPACE/NAME, svc/NAMESPACE/NAME, node/NAME, an address, or '*'"

// CheckSelector tells what is wrong with a selector, without a cluster.
func CheckSelector(text string) error {
	_, err := parseSelector(text, "default")
	return err
}

// parseSelector reads a selector; namespace is that of names without one.
func parseSelector(text, namespace string) (selector, error) {
	if a, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return selector{kind: trace.EndExternal, addr: a.Unmap()}, nil
	}
	if text == Everything {
		return selector{kind: trace.EndPod, namespace: "*"}, nil
	}
	if text == "" {
		return selector{}, unknown(text, "empty", forms)
	}
	first, rest, cut := strings.Cut(text, "/")
	switch {
	case cut && (first == "ns" || first == "namespace" || first == "namespaces") && rest != "" && !strings.Contains(rest, "/"):
		return selector{kind: trace.EndPod, namespace: rest}, nil
	case cut && kinds[first] != "" && !strings.ContainsAny(rest, "=!"):
		s := selector{kind: kinds[first], namespace: namespace, name: rest}
		if s.kind == trace.EndNode {
			return s, nil
		}
		if s.kind == trace.EndService {
			s.name, s.port, _ = strings.Cut(rest, ":")
		}
		if ns, name, ok := strings.Cut(s.name, "/"); ok {
			s.namespace, s.name = ns, name
		}
		if s.name == "" || strings.Contains(s.name, "/") {
			return selector{}, unknown(text, "not a name", forms)
		}
		return s, nil
	}
	s := selector{namespace: namespace, words: text}
	if cut && (first == "*" || len(validation.IsDNS1123Label(first)) == 0) {
		s.namespace, s.words = first, rest
	}
	if strings.ContainsAny(s.words, "=!() ,") {
		l, err := labels.Parse(s.words)
		if err != nil {
			return selector{}, unknown(text, err.Error(), "write the labels as kubectl's --selector has them, NAMESPACE/app=web,tier!=test")
		}
		s.kind, s.labels = trace.EndPod, l
		return s, nil
	}
	s.name, s.words = s.words, ""
	if s.name == "*" {
		s.kind = trace.EndPod
	}
	if s.name == "" || strings.Contains(s.name, "/") {
		return selector{}, unknown(text, "neither a name nor labels nor an address", forms)
	}
	if !cut {
		s.port = "?" // a node's name has no namespace: see named
	}
	return s, nil
}

func unknown(text, why, next string) error {
	return &trace.UnknownError{Text: text, Why: why, Next: next}
}

// ends are those of selectors, in their order; nil selects the pods of all namespaces.
func (c *cluster) ends(selectors []string, o Options, sends bool) ([]*End, error) {
	if selectors == nil {
		selectors = []string{Everything}
	}
	var out []*End
	for _, text := range selectors {
		s, err := parseSelector(text, cmp.Or(o.Namespace, "default"))
		if err != nil {
			return nil, err
		}
		found, err := c.find(s, text, o.Each)
		if err != nil {
			return nil, err
		}
		for _, e := range found {
			if sends && e.Kind == trace.EndService {
				return nil, unknown(text, "a service does not send packets", "use the pods behind it, by their labels")
			}
			if !slices.ContainsFunc(out, func(o *End) bool { return o.Name == e.Name }) {
				out = append(out, e)
			}
		}
	}
	return out, nil
}

// find are the ends that a selector selects: at least one, but for everything.
func (c *cluster) find(s selector, text string, each bool) ([]*End, error) {
	var out []*End
	switch s.kind {
	case trace.EndExternal:
		return []*End{{Name: s.addr.String(), Kind: trace.EndExternal, Example: s.addr.String()}}, nil
	case trace.EndNode:
		out = c.selectNodes(s)
	case trace.EndService:
		out = c.selectServices(s)
	case trace.EndPod:
		if s.name != "" && s.name != "*" {
			return c.namedPod(s, text)
		}
		return c.selectPods(s, text, each)
	default:
		return c.named(s, text)
	}
	if len(out) == 0 {
		return nil, unknown(text, fmt.Sprintf("there is no such %s", strings.ToLower(string(s.kind))), c.like(s))
	}
	return out, nil
}

// like says what there is instead.
func (c *cluster) like(s selector) string {
	var names []string
	switch s.kind {
	case trace.EndNode:
		for _, n := range c.nodes {
			names = append(names, "node/"+n.Name)
		}
	case trace.EndService:
		for _, o := range c.services {
			if o.Namespace == s.namespace {
				names = append(names, "svc/"+o.Namespace+"/"+o.Name)
			}
		}
	case trace.EndPod:
		for _, p := range c.pods {
			if p.Namespace == s.namespace {
				names = append(names, "pod/"+p.Namespace+"/"+p.Name)
			}
		}
	}
	if len(names) == 0 {
		return forms
	}
	return "there are " + few(names, ", ")
}

// fewNames is how many names a sentence has.
const fewNames = 3

// few are the first of some words, with how many more there are.
func few(words []string, separator string) string {
	if len(words) <= fewNames {
		return strings.Join(words, separator)
	}
	return fmt.Sprintf("%s and %d more", strings.Join(words[:fewNames], separator), len(words)-fewNames)
}

// named is an end whose kind was left out.
func (c *cluster) named(s selector, text string) ([]*End, error) {
	var found []*End
	pod := s
	pod.kind = trace.EndPod
	if ends, err := c.namedPod(pod, text); err == nil {
		found = append(found, ends...)
	}
	svc := s
	svc.kind, svc.port = trace.EndService, ""
	svc.name, svc.port, _ = strings.Cut(s.name, ":")
	found = append(found, c.selectServices(svc)...)
	if s.port == "?" {
		found = append(found, c.selectNodes(s)...)
	}
	switch len(found) {
	case 1:
		return found, nil
	case 0:
		next := forms
		if slices.Contains(c.namespaces, s.name) {
			next = "for the pods of the namespace write ns/" + s.name
		}
		return nil, unknown(text, fmt.Sprintf("no pod or service of that name in namespace %s, and no node", s.namespace), next)
	}
	var names []string
	for _, e := range found {
		names = append(names, e.Name)
	}
	return nil, unknown(text, "it is "+strings.Join(names, " and "), "write one of these")
}

func (c *cluster) namedPod(s selector, text string) ([]*End, error) {
	for _, p := range c.pods {
		if p.Namespace == s.namespace && p.Name == s.name {
			return []*End{podEnd(podName(p), []*world.Pod{p})}, nil
		}
	}
	if p := c.host[world.PodKey{Namespace: s.namespace, Name: s.name}]; p != nil {
		for _, n := range c.nodes {
			if n.Name == p.Node {
				return []*End{{Name: podName(p), Kind: trace.EndPod, Pods: 1, Example: podName(p), node: n, members: []*world.Pod{p}}}, nil
			}
		}
	}
	return nil, unknown(text, fmt.Sprintf("no pod of that name in namespace %s has an address", s.namespace), c.like(s))
}

func (c *cluster) selectNodes(s selector) []*End {
	var out []*End
	for _, n := range c.nodes {
		if s.name == "*" || n.Name == s.name {
			name := "node/" + n.Name
			out = append(out, &End{Name: name, Kind: trace.EndNode, Example: name, node: n})
		}
	}
	return out
}

func (c *cluster) selectServices(s selector) []*End {
	var out []*End
	for _, o := range c.services {
		if (s.namespace == "*" || o.Namespace == s.namespace) && (s.name == "*" || o.Name == s.name) {
			name := "svc/" + o.Namespace + "/" + o.Name
			e := &End{Name: name, Kind: trace.EndService, Example: name, service: o, port: s.port}
			if s.port != "" {
				e.Name += ":" + s.port
			}
			out = append(out, e)
		}
	}
	return out
}
