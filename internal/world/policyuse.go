package world

import "slices"

// PolicyEffects is what a change does to what policies select. Each is there once.
type PolicyEffects struct {
	// Policies whose rows may be others: they came into use or went out of it, or the
	// numbers of a named port have changed.
	Policies []PolicyKey
	// Selectors of which there are other sets, by ID.
	Selectors []string
	// RemotePods and LocalPods that are in other sets, or may be.
	RemotePods, LocalPods []PodKey
	// Namespaces in which other directions are isolated, or whose annotations have changed.
	Namespaces []string
	// NodeSelectors that came into use or went out of it, by ID.
	NodeSelectors []string
	// Nodes with other addresses or in other sets.
	Nodes []string
	// Domains that came into use, went out of it, or have other addresses.
	Domains []DomainName
	// Multicast are the namespaces for whose pods of the local node other multicast may be
	// allowed.
	Multicast []string
}

// effects gathers effects.
type effects struct {
	PolicyEffects
	seen map[any]struct{}
}

func once[K comparable](e *effects, list *[]K, kind int, k K) {
	type id struct {
		kind int
		k    K
	}
	if e.seen == nil {
		e.seen = map[any]struct{}{}
	}
	if _, ok := e.seen[id{kind, k}]; !ok {
		e.seen[id{kind, k}] = struct{}{}
		*list = append(*list, k)
	}
}

func (e *effects) policy(k PolicyKey) {
	if k.Kind == kindMulticast {
		once(e, &e.Multicast, 7, k.Namespace)
	} else {
		once(e, &e.Policies, 0, k)
	}
}
func (e *effects) selector(id string)     { once(e, &e.Selectors, 1, id) }
func (e *effects) namespace(name string)  { once(e, &e.Namespaces, 2, name) }
func (e *effects) nodeSelector(id string) { once(e, &e.NodeSelectors, 3, id) }
func (e *effects) node(name string)       { once(e, &e.Nodes, 4, name) }
func (e *effects) domain(d DomainName)    { once(e, &e.Domains, 5, d) }
func (e *effects) pod(k PodKey, local bool) {
	if local {
		once(e, &e.LocalPods, 6, k)
	} else {
		once(e, &e.RemotePods, 6, k)
	}
}

// shift is a move of pods between selectors. Pods join before others leave, and what follows
// for policies is looked at in the end, so that nothing goes that comes again.
type shift struct {
	x   *policyIndex
	fx  *effects
	was []localCount
	saw map[*selectorUse]struct{}
}

type localCount struct {
	use  *selectorUse
	pods int
}

func (x *policyIndex) shift(fx *effects) *shift {
	return &shift{x: x, fx: fx, saw: map[*selectorUse]struct{}{}}
}

func (s *shift) join(p *Pod, uses []*selectorUse)  { s.move(p, uses, 1) }
func (s *shift) leave(p *Pod, uses []*selectorUse) { s.move(p, uses, -1) }

func (s *shift) move(p *Pod, uses []*selectorUse, by int) {
	if len(uses) == 0 {
		return
	}
	here := s.x.isHere(p)
	for _, u := range uses {
		if _, ok := s.saw[u]; !ok {
			s.saw[u] = struct{}{}
			s.was = append(s.was, localCount{u, u.local})
		}
		if here && len(u.subject) > 0 {
			u.local += by
		}
		for k, set := range u.sets {
			if k.Port.Name == "" || k.Subject && !here {
				continue
			}
			if set.count(p, k.Port, by) {
				s.fx.selector(u.selector.ID)
				for user := range set.users {
					s.fx.policy(user.Key())
				}
			}
		}
	}
}

// count counts the numbers that a pod's named port has, and tells whether one is new or gone.
func (s *podSet) count(p *Pod, port NamedPort, by int) (changed bool) {
	for i, o := range p.Ports {
		if (NamedPort{o.Protocol, o.Name}) != port || slices.Contains(p.Ports[:i], o) {
			continue
		}
		was := s.numbers[o.Port]
		if s.numbers[o.Port] = was + by; was+by == 0 {
			delete(s.numbers, o.Port)
		}
		changed = changed || was == 0 || was+by == 0
	}
	return changed
}

// settle lets policies come into use and go out of it.
func (s *shift) settle() {
	for _, c := range s.was {
		if c.pods == 0 && c.use.local > 0 {
			for p := range c.use.subject {
				s.x.activate(p, s.fx)
			}
		}
	}
	for _, c := range s.was {
		if c.pods > 0 && c.use.local == 0 {
			for p := range c.use.subject {
				s.x.deactivate(p, s.fx)
			}
		}
	}
}

// replacePolicy takes old out and puts n in; either may be nil.
func (x *policyIndex) replacePolicy(old, n *Policy) PolicyEffects {
	var fx effects
	if n != nil {
		fx.policy(n.Key())
		x.watch(n, &fx)
	}
	if old != nil {
		fx.policy(old.Key())
		x.unwatch(old, &fx)
	}
	for _, p := range []*Policy{old, n} {
		if p == nil || p.Namespace == "" {
			continue
		}
		if x.policies[p.Namespace] == nil {
			x.policies[p.Namespace] = map[PolicyKey]*Policy{}
		}
		if p == n {
			x.policies[p.Namespace][p.Key()] = p
		} else if delete(x.policies[p.Namespace], p.Key()); len(x.policies[p.Namespace]) == 0 && n == nil {
			delete(x.policies, p.Namespace)
		}
	}
	return fx.PolicyEffects
}

// watch begins to look whether the policy is for a pod of the local node.
func (x *policyIndex) watch(p *Policy, fx *effects) {
	if p.Subject == nil {
		return
	}
	u := x.use(p.Subject)
	if len(u.subject) == 0 {
		u.local = 0
		x.selected(u.selector, x.here, func(*Pod) { u.local++ })
	}
	u.subject[p] = struct{}{}
	x.isolate(u, p, 1, fx)
	if u.local > 0 {
		x.activate(p, fx)
	}
}

func (x *policyIndex) unwatch(p *Policy, fx *effects) {
	if p.Subject == nil {
		return
	}
	u := x.use(p.Subject)
	if u.local > 0 {
		x.deactivate(p, fx)
	}
	delete(u.subject, p)
	x.isolate(u, p, -1, fx)
	x.release(u)
}

// isolate counts a policy that isolates the selector's pods.
func (x *policyIndex) isolate(u *selectorUse, p *Policy, by int, fx *effects) {
	for _, d := range Directions {
		if !p.Isolates[d] {
			continue
		}
		was := u.isolates[d]
		if u.isolates[d] += by; was == 0 || u.isolates[d] == 0 {
			x.selected(u.selector, x.here, func(p *Pod) { x.touch(fx, p) })
		}
	}
}

// activate brings a policy into use, and with it the sets that it needs.
func (x *policyIndex) activate(p *Policy, fx *effects) {
	fx.policy(p.Key())
	x.isolateNamespace(p, 1, fx)
	p.needs(needs{
		pods: func(s *PodSelector, k SetKey) {
			u := x.use(s)
			set := u.sets[k]
			if set == nil {
				set = &podSet{users: map[*Policy]struct{}{}}
				u.sets[k] = set
				x.fill(u, k, set, fx)
			}
			set.users[p] = struct{}{}
		},
		nodes: func(s *NodeSelector) {
			u := x.nodeUses[s.ID]
			if u == nil {
				u = &nodeUse{selector: s, users: map[*Policy]struct{}{}}
				x.nodeUses[s.ID] = u
				x.touchNodes(s, fx)
			}
			u.users[p] = struct{}{}
		},
		domain: func(d DomainName) {
			u := x.names[d.String()]
			if u == nil {
				u = &domainUse{name: d, users: map[*Policy]struct{}{}}
				x.names[d.String()] = u
				fx.domain(d)
			}
			u.users[p] = struct{}{}
		},
	})
}

func (x *policyIndex) deactivate(p *Policy, fx *effects) {
	fx.policy(p.Key())
	x.isolateNamespace(p, -1, fx)
	p.needs(needs{
		pods: func(s *PodSelector, k SetKey) {
			u := x.use(s)
			if set := u.sets[k]; set != nil {
				if delete(set.users, p); len(set.users) == 0 {
					x.fill(u, k, set, fx)
					delete(u.sets, k)
				}
			}
			x.release(u)
		},
		nodes: func(s *NodeSelector) {
			if u := x.nodeUses[s.ID]; u != nil {
				if delete(u.users, p); len(u.users) == 0 {
					delete(x.nodeUses, s.ID)
					x.touchNodes(s, fx)
				}
			}
		},
		domain: func(d DomainName) {
			if u := x.names[d.String()]; u != nil {
				if delete(u.users, p); len(u.users) == 0 {
					delete(x.names, d.String())
					fx.domain(d)
				}
			}
		},
	})
}

// fill touches the pods of a set that comes or goes, and counts the numbers that they have.
func (x *policyIndex) fill(u *selectorUse, k SetKey, set *podSet, fx *effects) {
	fx.selector(u.selector.ID)
	set.numbers = nil
	if k.Port.Name != "" {
		set.numbers = map[uint16]int{}
	}
	from := x.pods
	if k.Subject {
		from = x.here
	}
	x.selected(u.selector, from, func(p *Pod) {
		if k.Port.Name == "" || set.count(p, k.Port, 1) || p.hasPort(k.Port) {
			x.touch(fx, p)
		}
	})
}

func (p *Pod) hasPort(n NamedPort) bool {
	return slices.ContainsFunc(p.Ports, func(o PodPort) bool { return o.Protocol == n.Protocol && o.Name == n.Name })
}

func (x *policyIndex) touchNodes(s *NodeSelector, fx *effects) {
	fx.nodeSelector(s.ID)
	for _, n := range x.nodes {
		if s.Nodes.Matches(n.Labels) {
			fx.node(n.Name)
		}
	}
}

// isolateNamespace counts a policy in use that isolates pods of its namespace.
func (x *policyIndex) isolateNamespace(p *Policy, by int, fx *effects) {
	for _, d := range Directions {
		if !p.Isolates[d] {
			continue
		}
		n := x.isolated[p.Namespace]
		if n == nil {
			n = &[2]int{}
			x.isolated[p.Namespace] = n
		}
		was := n[d]
		if n[d] += by; was == 0 || n[d] == 0 {
			fx.namespace(p.Namespace)
		}
		if *n == ([2]int{}) {
			delete(x.isolated, p.Namespace)
		}
	}
}

// needs is called with what a policy needs.
type needs struct {
	pods   func(*PodSelector, SetKey)
	nodes  func(*NodeSelector)
	domain func(DomainName)
}

// needs yields the sets that the policy's rules are about, some more than once.
func (p *Policy) needs(f needs) {
	f.pods(p.Subject, SetKey{Subject: true})
	for i := range p.Rules {
		r := &p.Rules[i]
		plain := r.Direction == Ingress || len(r.Ports) == 0
		for _, o := range r.Ports {
			if n, named := o.Named(); !named {
				plain = true
			} else if r.Direction == Ingress {
				f.pods(p.Subject, SetKey{Subject: true, Port: n})
			} else {
				for _, s := range r.NamedIn() {
					f.pods(s, SetKey{Port: n})
				}
			}
		}
		for _, o := range r.Peers {
			switch {
			case o.Pods != nil && plain:
				f.pods(o.Pods, SetKey{})
			case o.Nodes != nil:
				f.nodes(o.Nodes)
			case o.Domain != nil:
				f.domain(*o.Domain)
			}
		}
	}
}

// NamedIn are the selectors of the pods in which a rule for egress looks up the names of
// ports: its peers, and all pods where it has others or none.
func (r *PolicyRule) NamedIn() []*PodSelector {
	var out []*PodSelector
	all := len(r.Peers) == 0
	for _, p := range r.Peers {
		if p.Pods != nil {
			out = append(out, p.Pods)
		}
		all = all || p.Pods == nil
	}
	if all {
		out = append(out, AllPods())
	}
	return out
}

// replaceNode takes old out and puts n in; either may be nil.
func (x *policyIndex) replaceNode(old, n *Node) PolicyEffects {
	var fx effects
	for _, o := range []*Node{old, n} {
		if o == nil {
			continue
		}
		if delete(x.nodes, o.Name); o == n {
			x.nodes[o.Name] = o
		}
		for _, u := range x.nodeUses {
			if u.selector.Nodes.Matches(o.Labels) {
				fx.node(o.Name)
			}
		}
	}
	return fx.PolicyEffects
}
