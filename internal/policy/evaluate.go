package policy

import (
	"maps"
	"net/netip"
	"slices"
)

// Evaluator answers questions about one cluster. It does not change after New.
type Evaluator struct {
	cluster    Cluster
	namespaces map[string]map[string]string // labels by name
	domains    map[string][]netip.Addr      // by canonical name
	names      []string                     // the keys of domains, sorted
	policies   []policy                     // of all tiers, each tier in order
	problems   []Problem
}

// New reads the policies of a cluster.
func New(c Cluster) *Evaluator {
	e := &Evaluator{cluster: c, namespaces: map[string]map[string]string{}, domains: map[string][]netip.Addr{}}
	for _, n := range c.Namespaces {
		e.namespaces[n.Name] = n.Labels
	}
	for name, addrs := range c.DomainNames {
		e.domains[canonical(name)] = append(e.domains[canonical(name)], addrs...)
	}
	e.names = slices.Sorted(maps.Keys(e.domains))
	for i := range c.ClusterNetworkPolicies {
		e.clusterNetworkPolicy(&c.ClusterNetworkPolicies[i])
	}
	for i := range c.AdminNetworkPolicies {
		e.adminNetworkPolicy(&c.AdminNetworkPolicies[i])
	}
	for i := range c.NetworkPolicies {
		e.networkPolicy(&c.NetworkPolicies[i])
	}
	if c.BaselineAdminNetworkPolicy != nil {
		e.baselineAdminNetworkPolicy(c.BaselineAdminNetworkPolicy)
	}
	for i := range c.EgressFirewalls {
		e.egressFirewall(&c.EgressFirewalls[i])
	}
	slices.SortStableFunc(e.policies, func(a, b policy) int { return a.order.compare(b.order) })
	return e
}

// Problems are the parts of the cluster's policies that could not be understood.
func (e *Evaluator) Problems() []Problem { return slices.Clone(e.problems) }

// Evaluate decides about a packet. An error means that the packet cannot exist: an end is
// unknown, or has no address of the family.
func (e *Evaluator) Evaluate(p Packet) (Verdict, error) {
	x, err := e.exchange(p)
	if err != nil {
		return Verdict{}, err
	}
	v := Verdict{Egress: e.decide(x, StageEgress), Firewall: e.decide(x, StageFirewall), Ingress: e.decide(x, StageIngress)}
	v.Allowed = v.Egress.Allowed && v.Firewall.Allowed && v.Ingress.Allowed
	return v, nil
}

func (e *Evaluator) decide(x exchange, s Stage) Decision {
	d := Decision{Allowed: true, Reason: e.exempt(x, s)}
	if d.Reason != "" {
		return d
	}
	for _, t := range tiersOf(s) {
		if decided := e.decideTier(x, t, directionOf(s), &d); decided {
			return d
		}
	}
	d.Reason = ByDefault
	return d
}

// exempt returns why a stage is not about the packet, or "" if it is.
func (e *Evaluator) exempt(x exchange, s Stage) Reason {
	subject, other := x.sides(directionOf(s))
	within := func(p netip.Prefix) bool { return p.Contains(x.dst.addr) }
	switch {
	case subject.pod == nil:
		return ByNoSubject
	case s == StageFirewall && slices.ContainsFunc(e.cluster.ClusterSubnets, within):
		return ByNoSubject // "Connections within the cluster are never affected"
	case subject.pod == other.pod:
		return BySelf
	case s == StageIngress && other.node != nil && other.node.Name == subject.pod.Node:
		return ByOwnNode // "OR if the traffic source is the pod's local node"
	}
	return ""
}

// decideTier compares the packet with the rules of a tier. It is true if they decided.
func (e *Evaluator) decideTier(x exchange, t Tier, dir Direction, d *Decision) bool {
	subject, _ := x.sides(dir)
	for _, p := range e.policies {
		if p.tier != t || !p.subject.matches(subject) {
			continue
		}
		if slices.Contains(p.isolates, dir) {
			d.Isolating = append(d.Isolating, p.object)
		}
		for _, r := range p.rules[dir] {
			failed := r.failed(x)
			d.Steps = append(d.Steps, Step{Rule: r.id, Matched: len(failed) == 0, Failed: failed})
			if len(failed) > 0 {
				continue
			}
			if r.id.Action == Pass {
				return false
			}
			if d.By == nil {
				d.By, d.Reason, d.Allowed = &r.id, ByRule, r.id.Action == Allow
			}
			if t != TierNetworkPolicy { // there all rules are looked at: it is a union
				return true
			}
		}
	}
	if d.By != nil {
		return true
	}
	if len(d.Isolating) == 0 {
		return false
	}
	// "v1.NetworkPolicy always makes a final decision for selected pods."
	d.Allowed, d.Reason = false, ByIsolation
	if e.cluster.AllowICMP && x.protocol == ICMP {
		d.Allowed, d.Reason = true, ByICMP
	}
	return true
}

func directionOf(s Stage) Direction {
	if s == StageIngress {
		return Ingress
	}
	return Egress
}

func tiersOf(s Stage) []Tier {
	if s == StageFirewall {
		return []Tier{TierFirewall}
	}
	return []Tier{TierAdmin, TierNetworkPolicy, TierBaseline}
}
