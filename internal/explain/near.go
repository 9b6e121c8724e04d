package explain

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// UnknownError is a text that nothing is known by.
type UnknownError struct {
	Text string
	// Near are objects whose names are like it.
	Near []Object
	// Problems are what could not be read.
	Problems []string
}

func (e *UnknownError) Error() string {
	text := fmt.Sprintf("%q: %s", e.Text, ErrUnknown)
	if len(e.Problems) > 0 {
		text += ", and not all was read: " + strings.Join(e.Problems, "; ")
	}
	return text
}

func (*UnknownError) Unwrap() error { return ErrUnknown }

// Hint is what to ask for instead.
func (e *UnknownError) Hint() string {
	if hint := DoYouMean(e.Near); hint != "" {
		return hint
	}
	return "write [KIND/][NAMESPACE/]NAME, an address, a MAC, the name or UUID of a row, or a cookie; 'ovnkctl explain --help' has examples"
}

// unknownNodeError is --node with what is no node.
type unknownNodeError struct {
	name  string
	nodes []string
}

func (e *unknownNodeError) Error() string { return fmt.Sprintf("node %q: %s", e.name, ErrUnknown) }
func (*unknownNodeError) Unwrap() error   { return ErrUnknown }

// Hint is what --node may be.
func (e *unknownNodeError) Hint() string { return "the nodes are " + strings.Join(e.nodes, ", ") }

// shortKinds are what people write for kinds.
var shortKinds = map[string]string{
	"Pod": "pod", "Service": "svc", "Node": "node", "Namespace": "ns", "NetworkPolicy": "netpol", "AdminNetworkPolicy": "anp",
	"BaselineAdminNetworkPolicy": "banp", "ClusterNetworkPolicy": "cnp", "EgressFirewall": "ef",
}

// Arg is the object as an argument on the command line.
func (o Object) Arg() string {
	if o.Namespace != "" {
		return shortKinds[o.Kind] + "/" + o.Namespace + "/" + o.Name
	}
	return shortKinds[o.Kind] + "/" + o.Name
}

func (e *explainer) unknown(o Options) error {
	err := &UnknownError{Text: o.Text, Problems: e.out.Problems}
	e.world.Read(func(v world.View) { err.Near = near(v, o) })
	return err
}

// nearest bounds what is proposed.
const nearest = 4

// near are objects whose names are like a text.
func near(v world.View, o Options) []Object { return Near(objectsIn(v), Like(o.Text, o.Namespace)) }

// Like is the object that "[kind/][namespace/]name" names, whether there is one or not; without
// a kind that is open.
func Like(text, namespace string) Object {
	words := strings.Split(text, "/")
	like := Object{Kind: kinds[strings.ToLower(words[0])], Namespace: namespace, Name: words[len(words)-1]}
	if len(words) > 2 || len(words) == 2 && like.Kind == "" {
		like.Namespace = words[len(words)-2]
	}
	return like
}

// Near are the few of some objects whose names are most like one: the same name in another
// namespace, or of another kind, before those that it is the beginning of.
func Near(among iter.Seq[Object], like Object) []Object {
	name := like.Name
	if name == "" {
		return nil
	}
	type candidate struct {
		object Object
		rank   int
	}
	var found []candidate
	for c := range among {
		rank := 0
		switch {
		case c.Name == name:
		case strings.HasPrefix(c.Name, name):
			rank = 4
		case len(name) > 3 && (strings.Contains(c.Name, name) || strings.HasPrefix(name, c.Name) && len(c.Name) > 3):
			rank = 8
		default:
			continue
		}
		if c.Kind != like.Kind {
			rank += 2
		}
		if c.Namespace != like.Namespace {
			rank++
		}
		found = append(found, candidate{c, rank})
	}
	slices.SortFunc(found, func(a, b candidate) int {
		return cmp.Or(a.rank-b.rank, strings.Compare(a.object.Arg(), b.object.Arg()))
	})
	var out []Object
	for _, c := range found[:min(nearest, len(found))] {
		out = append(out, c.object)
	}
	return out
}

// DoYouMean is a hint that proposes objects, empty for none.
func DoYouMean(list []Object) string {
	if len(list) == 0 {
		return ""
	}
	names := make([]string, 0, len(list))
	for _, o := range list {
		names = append(names, o.Arg())
	}
	return "do you mean " + strings.Join(names, ", or ") + "?"
}

// objectsIn yields all objects of the cluster that can be explained.
func objectsIn(v world.View) iter.Seq[Object] {
	return func(yield func(Object) bool) {
		for p := range v.Pods {
			if !yield(Object{Kind: "Pod", Namespace: p.Namespace, Name: p.Name}) {
				return
			}
		}
		for s := range v.Services {
			if !yield(Object{Kind: "Service", Namespace: s.Namespace, Name: s.Name}) {
				return
			}
		}
		for p := range v.Policies {
			if !yield(objectOf(p)) {
				return
			}
		}
		for n := range v.Namespaces {
			if !yield(Object{Kind: "Namespace", Name: n.Name}) {
				return
			}
		}
		for _, n := range v.Nodes() {
			if !yield(Object{Kind: "Node", Name: n.Name}) {
				return
			}
		}
	}
}
