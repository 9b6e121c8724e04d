package world

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// SetDomain says which addresses a domain name has, for policies that speak of it; none
// when they are not known any more. The name is in lower case, without a final dot.
func (s *Store) SetDomain(name string, addrs []netip.Addr) {
	addrs = slices.Clone(addrs)
	slices.SortFunc(addrs, netip.Addr.Compare)
	addrs = slices.Compact(addrs)
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Equal(s.selections.domains[name], addrs) {
		return
	}
	effects := s.selections.renamed(name, func() {
		if s.selections.domains[name] = addrs; len(addrs) == 0 {
			delete(s.selections.domains, name)
		}
	})
	s.publish(Change{Ref: ObjectRef{Kind: KindDomain, Name: name}, Policy: PolicyChange{PolicyEffects: effects}})
}

// KindDomain is the kind of a domain name, which is no Kubernetes object.
const KindDomain Kind = "DomainName"

// renamed are the effects of the other addresses that change gives a name. Policies are
// touched only when they get the first addresses of a domain name, or lose the last: they
// speak of sets, whatever is in them.
func (x *policyIndex) renamed(name string, change func()) PolicyEffects {
	var fx effects
	var matching []*domainUse
	var known []bool
	for _, u := range x.names {
		if u.name.Matches(name) {
			matching, known = append(matching, u), append(known, x.known(u.name))
		}
	}
	change()
	for i, u := range matching {
		fx.domain(u.name)
		if known[i] == x.known(u.name) {
			continue
		}
		for p := range u.users {
			fx.policy(p.Key())
		}
	}
	return fx.PolicyEffects
}

// known tells whether a domain name has addresses.
func (x *policyIndex) known(d DomainName) bool {
	if !d.Wild() {
		return len(x.domains[d.Name]) > 0
	}
	for name := range x.domains {
		if d.Matches(name) {
			return true
		}
	}
	return false
}

// Wild tells whether the domain name stands for many names.
func (d DomainName) Wild() bool { return strings.HasPrefix(d.Name, "*") }

// Matches tells whether the domain name stands for a full name, which is in lower case and
// without a final dot.
func (d DomainName) Matches(name string) bool {
	suffix, wild := strings.CutPrefix(d.Name, "*")
	if !wild {
		return d.Name == name
	}
	first, ok := strings.CutSuffix(name, suffix)
	return ok && first != "" && (d.Deep || !strings.Contains(first, "."))
}

// DomainAddrs are the known addresses of all names that a domain name stands for, in order.
func (v View) DomainAddrs(d DomainName) []netip.Addr {
	var out []netip.Addr
	for name, addrs := range v.s.selections.domains {
		if d.Matches(name) {
			out = append(out, addrs...)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// DomainNames are the domain names of the policies in use, in order.
func (v View) DomainNames() []DomainName {
	out := make([]DomainName, 0, len(v.s.selections.names))
	for _, u := range v.s.selections.names {
		out = append(out, u.name)
	}
	slices.SortFunc(out, func(a, b DomainName) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// DomainSubjects select the pods that policies with domain names are for, in the order of
// their IDs: of those in use, so that each selects a pod of the local node.
func (v View) DomainSubjects() []*PodSelector {
	seen := map[string]*PodSelector{}
	for _, u := range v.s.selections.names {
		for p := range u.users {
			seen[p.Subject.ID] = p.Subject
		}
	}
	return slices.SortedFunc(maps.Values(seen), func(a, b *PodSelector) int { return strings.Compare(a.ID, b.ID) })
}
