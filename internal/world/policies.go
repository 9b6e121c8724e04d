package world

import (
	"maps"
	"slices"
	"strings"
)

// PolicyChange is the part of a Change that is about policies.
type PolicyChange struct {
	// Old and New are set when the change is one of a policy.
	Old, New *Policy
	PolicyEffects
}

// SetPolicy adds or replaces a policy. One that is equal to what is there is no change.
func (s *Store) SetPolicy(n *Policy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, changed := put(s.policies, n.Key(), n); changed {
		effects := s.selections.replacePolicy(old, n)
		s.publish(Change{Ref: n.Ref(), Policy: PolicyChange{old, n, effects}})
	}
}

// DeletePolicy removes a policy.
func (s *Store) DeletePolicy(key PolicyKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := take(s.policies, key); ok {
		effects := s.selections.replacePolicy(old, nil)
		s.publish(Change{Ref: old.Ref(), Policy: PolicyChange{Old: old, PolicyEffects: effects}})
	}
}

// Policy returns the policy of that name.
func (v View) Policy(key PolicyKey) (*Policy, bool) {
	p, ok := v.s.policies[key]
	return p, ok
}

// Policies yields all policies in no particular order.
func (v View) Policies(yield func(*Policy) bool) {
	for _, p := range v.s.policies {
		if !yield(p) {
			return
		}
	}
}

// PoliciesInTier are the policies of a tier in the order in which they decide; it is meant
// for the tiers Admin and Baseline, which have few.
func (v View) PoliciesInTier(t PolicyTier) []*Policy {
	var out []*Policy
	for _, p := range v.s.policies {
		if p.Tier == t {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, ComparePolicies)
	return out
}

// InUse tells whether the policy is for a pod of the local node.
func (v View) InUse(p *Policy) bool {
	if p.Subject == nil {
		return false
	}
	u := v.s.selections.uses[p.Subject.ID]
	return u != nil && u.local > 0
}

// Selector returns the selector of that ID and the sets of it that are in use, in order;
// ok is false if there is none.
func (v View) Selector(id string) (s *PodSelector, sets []SetKey, ok bool) {
	u := v.s.selections.uses[id]
	if u == nil || len(u.sets) == 0 {
		return nil, nil, false
	}
	return u.selector, slices.SortedFunc(maps.Keys(u.sets), compareSets), true
}

func compareSets(a, b SetKey) int {
	if a.Subject != b.Subject {
		return bit(b.Subject) - bit(a.Subject)
	}
	return strings.Compare(string(a.Port.Protocol)+" "+a.Port.Name, string(b.Port.Protocol)+" "+b.Port.Name)
}

// Numbers are those that a set's named port has in pods of the selector, in order.
func (v View) Numbers(s *PodSelector, k SetKey) []uint16 {
	u := v.s.selections.uses[s.ID]
	if u == nil || u.sets[k] == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(u.sets[k].numbers))
}

// Selection is a selector in use that selects a pod.
type Selection struct {
	Selector *PodSelector
	Sets     []SetKey
	// Isolated tells for each direction whether a NetworkPolicy isolates the pod.
	Isolated [2]bool
}

// Selections are the selectors in use that select a pod, in the order of their IDs.
func (v View) Selections(p *Pod) []Selection {
	if !p.selectable() {
		return nil
	}
	uses := v.s.selections.usesOf(p)
	slices.SortFunc(uses, func(a, b *selectorUse) int { return strings.Compare(a.selector.ID, b.selector.ID) })
	out := make([]Selection, 0, len(uses))
	for _, u := range uses {
		s := Selection{Selector: u.selector, Sets: make([]SetKey, 0, len(u.sets))}
		for k := range u.sets {
			s.Sets = append(s.Sets, k)
		}
		slices.SortFunc(s.Sets, compareSets)
		for _, d := range Directions {
			s.Isolated[d] = u.isolates[d] > 0
		}
		out = append(out, s)
	}
	return out
}

// Isolated tells for each direction whether a NetworkPolicy of the namespace isolates pods
// of the local node.
func (v View) Isolated(namespace string) (out [2]bool) {
	if n := v.s.selections.isolated[namespace]; n != nil {
		out = [2]bool{n[Ingress] > 0, n[Egress] > 0}
	}
	return out
}

// Selects tells whether a selector, in use or not, selects a pod.
func (v View) Selects(s *PodSelector, p *Pod) bool {
	return p.selectable() && s.Pods.Matches(p.Labels) && v.s.selections.covers(s, p.Namespace)
}

// Selected calls f with all pods that a selector selects, in no particular order.
func (v View) Selected(s *PodSelector, f func(*Pod)) {
	v.s.selections.selected(s, v.s.selections.pods, f)
}

// NodeSelector returns the selector of nodes of that ID if it is in use.
func (v View) NodeSelector(id string) (*NodeSelector, bool) {
	u := v.s.selections.nodeUses[id]
	if u == nil {
		return nil, false
	}
	return u.selector, true
}

// NodeSelectors are the selectors of nodes in use, in the order of their IDs.
func (v View) NodeSelectors() []*NodeSelector {
	var out []*NodeSelector
	for _, id := range slices.Sorted(maps.Keys(v.s.selections.nodeUses)) {
		out = append(out, v.s.selections.nodeUses[id].selector)
	}
	return out
}

// DomainInUse tells whether a policy in use speaks of the name.
func (v View) DomainInUse(d DomainName) bool { return v.s.selections.names[d.String()] != nil }
