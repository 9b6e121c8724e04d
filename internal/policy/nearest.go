package policy

import (
	"cmp"
	"slices"
)

// Near is a rule that would have allowed a packet if the failed terms had matched.
type Near struct {
	Rule   Rule
	Failed []Term
}

// weights say how far away a term is: a wrong port is a smaller mistake than a wrong peer,
// that a smaller one than a policy for other pods. Each is more than all lesser ones.
var weights = map[TermKind]int{TermPort: 1, TermPeer: 2, TermInvalid: 4, TermSubject: 8}

func (n Near) distance() int {
	sum := 0
	for _, t := range n.Failed {
		sum += weights[t.Kind]
	}
	return sum
}

// Nearest returns the rules that would have allowed a packet which a stage denies, the
// nearest first, rules of equal distance in the order of evaluation. Rules that come too
// late to change the decision are not among them. It is empty if the stage allows the
// packet, or if there is no such rule.
func (e *Evaluator) Nearest(p Packet, s Stage) ([]Near, error) {
	x, err := e.exchange(p)
	if err != nil || e.decide(x, s).Allowed {
		return nil, err
	}
	var out []Near
	for _, t := range tiersOf(s) {
		near, decided := e.nearestOfTier(x, t, directionOf(s))
		out = append(out, near...)
		if decided {
			break
		}
	}
	slices.SortStableFunc(out, func(a, b Near) int { return cmp.Compare(a.distance(), b.distance()) })
	return out, nil
}

// nearestOfTier returns the rules of a tier that could have allowed the packet before
// another one matched.
func (e *Evaluator) nearestOfTier(x exchange, t Tier, dir Direction) (out []Near, decided bool) {
	subject, other := x.sides(dir)
	for _, p := range e.policies {
		foreign := p.subject.namespace != "" && p.subject.namespace != subject.pod.Namespace
		if p.tier != t || foreign {
			continue
		}
		var terms []Term
		if !p.subject.matches(subject) {
			terms = []Term{{TermSubject, p.subject.String(), subject.String()}}
		}
		decided = decided || terms == nil && slices.Contains(p.isolates, dir)
		for _, r := range p.rules[dir] {
			failed := append(slices.Clip(terms), r.failed(x)...)
			switch {
			case len(failed) == 0:
				return out, r.id.Action != Pass
			case r.id.Action == Allow && r.couldMatch(other):
				out = append(out, Near{r.id, failed})
			}
		}
	}
	return out, decided
}

// couldMatch is false for rules whose kind has no peer for the other end: what is not a pod
// cannot be named in the ingress rules of cluster-wide policies.
func (r rule) couldMatch(other end) bool {
	return r.id.Direction == Egress || r.id.Tier == TierNetworkPolicy || other.pod != nil
}
