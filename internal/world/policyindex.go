package world

import (
	"maps"
	"net/netip"
	"slices"
)

// policyIndex knows what policies select, kept up with each change so that a change costs as
// much as what it concerns:
//
//	pod ──namespace──> groups ──labels──> selectors ──> sets ──> policies that use them
//
// A policy is in use when it is for a pod of the local node; only then the sets of pods that
// its rules need are. Without a local node nothing is.
type policyIndex struct {
	local    string
	pods     map[string]map[PodKey]*Pod // by namespace: those that selectors can select
	here     map[string]map[PodKey]*Pod // those of the local node among them
	labels   map[string]map[string]string
	uses     map[string]*selectorUse   // by ID of the selector
	groups   map[string]*selectorGroup // by namespaces in words
	groupsOf map[string][]*selectorGroup
	nodes    map[string]*Node
	nodeUses map[string]*nodeUse
	policies map[string]map[PolicyKey]*Policy // by namespace
	isolated map[string]*[2]int               // by namespace: policies in use that isolate
	names    map[string]*domainUse
	domains  map[string][]netip.Addr // by full name

	multicast  bool               // whether namespaces decide about it
	multicasts map[string]*Policy // by namespace: what multicast needs, see multicastPolicy
}

// selectorUse is what a selector is used for.
type selectorUse struct {
	selector *PodSelector
	subject  map[*Policy]struct{} // the policies that are for its pods
	local    int                  // its pods on the local node, counted for subjects
	isolates [2]int               // the number of those policies that isolate
	sets     map[SetKey]*podSet
}

// SetKey is one of the sets that a selector has.
type SetKey struct {
	// Subject sets have the local node's pods only, others all.
	Subject bool
	// Port restricts the set to pods with a port of that name.
	Port NamedPort
}

type podSet struct {
	users   map[*Policy]struct{}
	numbers map[uint16]int // of the named port: how many pods have each
}

// selectorGroup is the selectors for pods of the same namespaces.
type selectorGroup struct {
	where   *PodSelector
	byLabel map[[2]string]map[*selectorUse]struct{} // those that need a label
	others  map[*selectorUse]struct{}
}

type nodeUse struct {
	selector *NodeSelector
	users    map[*Policy]struct{}
}

type domainUse struct {
	name  DomainName
	users map[*Policy]struct{}
}

func newPolicyIndex(local string) policyIndex {
	return policyIndex{
		local: local, pods: map[string]map[PodKey]*Pod{}, here: map[string]map[PodKey]*Pod{},
		labels: map[string]map[string]string{}, uses: map[string]*selectorUse{},
		groups: map[string]*selectorGroup{}, groupsOf: map[string][]*selectorGroup{},
		nodes: map[string]*Node{}, nodeUses: map[string]*nodeUse{},
		policies: map[string]map[PolicyKey]*Policy{}, isolated: map[string]*[2]int{}, names: map[string]*domainUse{}, domains: map[string][]netip.Addr{},
		multicasts: map[string]*Policy{},
	}
}

// selectable tells whether selectors can select the pod at all.
func (p *Pod) selectable() bool { return p != nil && !p.HostNetwork && !p.Finished }

func (x *policyIndex) isHere(p *Pod) bool { return p.Node == x.local && p.Networked() }

// replacePod takes old out and puts n in; either may be nil.
func (x *policyIndex) replacePod(old, n *Pod) PolicyEffects {
	var fx effects
	s := x.shift(&fx)
	if old.selectable() {
		drop(x.pods, old)
		drop(x.here, old)
	}
	if n.selectable() {
		keep(x.pods, n)
		if x.isHere(n) {
			keep(x.here, n)
		}
	}
	var before, after []*selectorUse
	if n.selectable() {
		after = x.usesOf(n)
	}
	switch {
	case !old.selectable():
	case n.selectable() && maps.Equal(old.Labels, n.Labels):
		before = after
	default:
		before = x.usesOf(old)
	}
	s.join(n, after)
	s.leave(old, before)
	if len(after) > 0 {
		x.touch(&fx, n)
	} else if len(before) > 0 {
		x.touch(&fx, old)
	}
	s.settle()
	return fx.PolicyEffects
}

func drop(m map[string]map[PodKey]*Pod, p *Pod) {
	delete(m[p.Namespace], p.key())
	if len(m[p.Namespace]) == 0 {
		delete(m, p.Namespace)
	}
}

func keep(m map[string]map[PodKey]*Pod, p *Pod) {
	if m[p.Namespace] == nil {
		m[p.Namespace] = map[PodKey]*Pod{}
	}
	m[p.Namespace][p.key()] = p
}

func (p *Pod) key() PodKey { return PodKey{p.Namespace, p.Name} }

// touch notes that the sets of a pod have changed.
func (x *policyIndex) touch(fx *effects, p *Pod) { fx.pod(p.key(), x.isHere(p)) }

// replaceNamespace does so for a namespace, whose labels select it and its pods.
func (x *policyIndex) replaceNamespace(old, n *Namespace) PolicyEffects {
	var fx effects
	name := cmpName(old, n)
	was := x.groupsFor(name)
	delete(x.labels, name)
	if n != nil {
		x.labels[name] = n.Labels
	}
	if old == nil || n == nil || !maps.Equal(old.Annotations, n.Annotations) {
		x.replaceMulticast(name, n, &fx)
		fx.namespace(name)
		for k := range x.policies[name] {
			fx.policy(k)
		}
	}
	if old != nil && n != nil && maps.Equal(old.Labels, n.Labels) {
		return fx.PolicyEffects
	}
	x.setGroups(name, nil)
	if n != nil {
		var now []*selectorGroup
		for _, g := range x.groups {
			if g.where.Namespace == "" && x.covers(g.where, name) {
				now = append(now, g)
			}
		}
		x.setGroups(name, now)
	}
	now := x.groupsFor(name)
	x.regroup(name, minus(was, now), minus(now, was), &fx)
	return fx.PolicyEffects
}

// groupsFor are the groups, besides the namespace's own, whose selectors are for its pods.
func (x *policyIndex) groupsFor(namespace string) []*selectorGroup {
	if _, known := x.labels[namespace]; known {
		return x.groupsOf[namespace]
	}
	if g := x.groups[""]; g != nil { // that of all namespaces
		return []*selectorGroup{g}
	}
	return nil
}

func cmpName(old, n *Namespace) string {
	if n != nil {
		return n.Name
	}
	return old.Name
}

func (x *policyIndex) setGroups(namespace string, g []*selectorGroup) {
	if len(g) == 0 {
		delete(x.groupsOf, namespace)
	} else {
		x.groupsOf[namespace] = g
	}
}

func minus(a, b []*selectorGroup) []*selectorGroup {
	var out []*selectorGroup
	for _, g := range a {
		if !slices.Contains(b, g) {
			out = append(out, g)
		}
	}
	return out
}

// regroup moves the pods of a namespace out of the selectors of some groups and into those
// of others.
func (x *policyIndex) regroup(namespace string, out, in []*selectorGroup, fx *effects) {
	if len(out)+len(in) == 0 {
		return
	}
	s := x.shift(fx)
	for _, p := range x.pods[namespace] {
		before, after := usesIn(out, p), usesIn(in, p)
		s.join(p, after)
		s.leave(p, before)
		if len(before)+len(after) > 0 {
			x.touch(fx, p)
		}
	}
	s.settle()
}

// covers tells whether a selector is for pods of a namespace. One that is not known yet has
// unknown labels: only who asks for none gets it.
func (x *policyIndex) covers(s *PodSelector, namespace string) bool {
	if s.Namespace != "" {
		return s.Namespace == namespace
	}
	labels, known := x.labels[namespace]
	return s.Namespaces.Everything() || known && s.Namespaces.Matches(labels)
}

// usesOf are the selectors in use that select a pod.
func (x *policyIndex) usesOf(p *Pod) []*selectorUse {
	var out []*selectorUse
	if g := x.groups["namespace:"+p.Namespace]; g != nil {
		out = g.selecting(p, out)
	}
	for _, g := range x.groupsFor(p.Namespace) {
		out = g.selecting(p, out)
	}
	return out
}

func usesIn(groups []*selectorGroup, p *Pod) []*selectorUse {
	var out []*selectorUse
	for _, g := range groups {
		out = g.selecting(p, out)
	}
	return out
}

func (g *selectorGroup) selecting(p *Pod, out []*selectorUse) []*selectorUse {
	for k, v := range p.Labels {
		for u := range g.byLabel[[2]string{k, v}] {
			if u.selector.Pods.Matches(p.Labels) {
				out = append(out, u)
			}
		}
	}
	for u := range g.others {
		if u.selector.Pods.Matches(p.Labels) {
			out = append(out, u)
		}
	}
	return out
}

// use finds or makes the use of a selector.
func (x *policyIndex) use(s *PodSelector) *selectorUse {
	if u := x.uses[s.ID]; u != nil {
		return u
	}
	u := &selectorUse{selector: s, subject: map[*Policy]struct{}{}, sets: map[SetKey]*podSet{}}
	x.uses[s.ID] = u
	g := x.groups[s.where()]
	if g == nil {
		g = &selectorGroup{where: s, byLabel: map[[2]string]map[*selectorUse]struct{}{}, others: map[*selectorUse]struct{}{}}
		x.groups[s.where()] = g
		if s.Namespace == "" {
			for n := range x.labels {
				if x.covers(s, n) {
					x.groupsOf[n] = append(x.groupsOf[n], g)
				}
			}
		}
	}
	if k, v, ok := s.Pods.Needs(); ok {
		if g.byLabel[[2]string{k, v}] == nil {
			g.byLabel[[2]string{k, v}] = map[*selectorUse]struct{}{}
		}
		g.byLabel[[2]string{k, v}][u] = struct{}{}
	} else {
		g.others[u] = struct{}{}
	}
	return u
}

// release forgets a selector that nobody uses any more.
func (x *policyIndex) release(u *selectorUse) {
	if len(u.subject)+len(u.sets) > 0 {
		return
	}
	delete(x.uses, u.selector.ID)
	g := x.groups[u.selector.where()]
	if k, v, ok := u.selector.Pods.Needs(); ok {
		delete(g.byLabel[[2]string{k, v}], u)
		if len(g.byLabel[[2]string{k, v}]) == 0 {
			delete(g.byLabel, [2]string{k, v})
		}
	} else {
		delete(g.others, u)
	}
	if len(g.byLabel)+len(g.others) > 0 {
		return
	}
	delete(x.groups, u.selector.where())
	if u.selector.Namespace == "" {
		for n, groups := range x.groupsOf {
			x.setGroups(n, slices.DeleteFunc(groups, func(o *selectorGroup) bool { return o == g }))
		}
	}
}

// selected calls f with the pods that a selector selects, in the pods given.
func (x *policyIndex) selected(s *PodSelector, pods map[string]map[PodKey]*Pod, f func(*Pod)) {
	in := func(namespace string) {
		for _, p := range pods[namespace] {
			if s.Pods.Matches(p.Labels) {
				f(p)
			}
		}
	}
	if s.Namespace != "" {
		in(s.Namespace)
		return
	}
	for n := range pods {
		if x.covers(s, n) {
			in(n)
		}
	}
}
