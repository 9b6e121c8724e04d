package policystatus

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/annotation"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// maxNamed is how many nodes are named of those that have the same problem.
const maxNamed = 3

// zones is what nodes say of policies that they cannot put in force. Nodes without problems
// are counted only.
type zones struct {
	nodes    map[string]struct{}
	problems map[string][]annotation.ZoneProblem           // by node
	about    map[world.PolicyKey]map[string]feature.Reason // by node
}

func newZones() zones {
	return zones{nodes: map[string]struct{}{}, problems: map[string][]annotation.ZoneProblem{}, about: map[world.PolicyKey]map[string]feature.Reason{}}
}

// set takes over what a node says, nil for nothing, and returns the policies concerned.
func (z *zones) set(node string, problems []annotation.ZoneProblem) []world.PolicyKey {
	_, known := z.nodes[node]
	z.nodes[node] = struct{}{}
	if known && slices.Equal(z.problems[node], problems) {
		return nil
	}
	return z.replace(node, problems, !known)
}

// remove forgets a node.
func (z *zones) remove(node string) []world.PolicyKey {
	if _, known := z.nodes[node]; !known {
		return nil
	}
	delete(z.nodes, node)
	return z.replace(node, nil, true)
}

// replace returns those that the problems are about; when the number of nodes changes, it is
// all that any node has a problem with.
func (z *zones) replace(node string, problems []annotation.ZoneProblem, counted bool) []world.PolicyKey {
	concerned := map[world.PolicyKey]struct{}{}
	for _, p := range z.problems[node] {
		key := keyOf(p)
		concerned[key] = struct{}{}
		delete(z.about[key], node)
		if len(z.about[key]) == 0 {
			delete(z.about, key)
		}
	}
	delete(z.problems, node)
	for _, p := range problems {
		key := keyOf(p)
		concerned[key] = struct{}{}
		if z.about[key] == nil {
			z.about[key] = map[string]feature.Reason{}
		}
		z.about[key][node] = feature.Reason{Code: p.Reason, Message: p.Message}
	}
	if len(problems) > 0 {
		z.problems[node] = problems
	}
	if counted {
		for key := range z.about {
			concerned[key] = struct{}{}
		}
	}
	return slices.Collect(maps.Keys(concerned))
}

func keyOf(p annotation.ZoneProblem) world.PolicyKey {
	return world.PolicyKey{Kind: world.Kind(p.Kind), Namespace: p.Namespace, Name: p.Name}
}

// of is what nodes say of a policy: the same of several nodes is one reason, that of most nodes
// first.
func (z *zones) of(key world.PolicyKey) []feature.Reason {
	byReason := map[feature.Reason][]string{}
	for node, r := range z.about[key] {
		byReason[r] = append(byReason[r], node)
	}
	reasons := slices.SortedFunc(maps.Keys(byReason), func(a, b feature.Reason) int {
		return cmp.Or(cmp.Compare(len(byReason[b]), len(byReason[a])), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Message, b.Message))
	})
	out := make([]feature.Reason, 0, len(reasons))
	for _, r := range reasons {
		nodes := byReason[r]
		slices.Sort(nodes)
		named := strings.Join(nodes[:min(len(nodes), maxNamed)], ", ")
		if len(nodes) > maxNamed {
			named += ", …"
		}
		out = append(out, feature.Reason{Code: r.Code, Message: fmt.Sprintf("%d of %d nodes (%s): %s", len(nodes), len(z.nodes), named, r.Message)})
	}
	return out
}

// SetNode takes over the annotation with a node's problems, empty for none.
func (k *Keeper) SetNode(node, text string) {
	var problems []annotation.ZoneProblem
	if text != "" {
		var err error
		if problems, err = annotation.ZoneProblems.Decode(text); err != nil {
			k.c.Logger.Warn("problems of a node not understood", "node", node, "error", err)
		}
	}
	k.mu.Lock()
	concerned := k.zones.set(node, problems)
	k.mu.Unlock()
	for _, key := range concerned {
		k.touch(key)
	}
}

// RemoveNode forgets a node.
func (k *Keeper) RemoveNode(node string) {
	k.mu.Lock()
	concerned := k.zones.remove(node)
	k.mu.Unlock()
	for _, key := range concerned {
		k.touch(key)
	}
}
