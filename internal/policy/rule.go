package policy

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// policy is a policy of any kind.
type policy struct {
	object   Object
	tier     Tier
	priority int32
	order    order
	subject  podPeer
	// isolates are the directions in which a NetworkPolicy isolates its pods.
	isolates []Direction
	rules    map[Direction][]rule
}

// rule is a rule of any kind. It matches if one of the peers is the other end and one of
// the ports is the destination port.
type rule struct {
	id      Rule
	peers   []peer // nil for anybody
	ports   []port // nil for any protocol and port
	invalid string // not empty for a rule that cannot be understood
	wants   [2]string
}

// newRule makes a rule of its parts, or of what is left if there are errors in them: the
// document says "For Allow rules, fail closed means: treat the rule as matching no traffic.
// For Deny and Pass rules, fail closed means: treat the rule as a Deny all rule."
func (e *Evaluator) newRule(id Rule, peers []peer, ports []port, errs field.ErrorList) rule {
	if len(errs) > 0 {
		effect := "the rule allows nothing"
		if id.Action != Allow {
			id.Action, effect = Deny, "the rule denies everything in its direction"
		}
		e.report(id.Object, effect, errs)
		return rule{id: id, invalid: errs[0].Error()}
	}
	r := rule{id: id, peers: peers, ports: ports}
	r.wants = [2]string{joined(peers, " or "), joined(ports, " or ")}
	return r
}

// failed returns the parts of the rule that do not match; none if the rule matches.
func (r rule) failed(x exchange) []Term {
	if r.invalid != "" {
		if r.id.Action == Deny {
			return nil
		}
		return []Term{{TermInvalid, "a rule that can be understood", r.invalid}}
	}
	var terms []Term
	_, other := x.sides(r.id.Direction)
	if r.peers != nil && !slices.ContainsFunc(r.peers, func(p peer) bool { return p.matches(other) }) {
		terms = append(terms, Term{TermPeer, r.wants[0], other.String()})
	}
	if r.ports != nil && !slices.ContainsFunc(r.ports, func(p port) bool { return p.matches(x) }) {
		terms = append(terms, Term{TermPort, r.wants[1], x.portString()})
	}
	return terms
}

// order is where a policy comes in its tier. See the comment of the package.
type order struct {
	priority int32
	kind     int
	created  int64 // Unix seconds
	name     string
}

func (a order) compare(b order) int {
	return cmp.Or(
		cmp.Compare(a.priority, b.priority),
		cmp.Compare(a.kind, b.kind),
		cmp.Compare(a.created, b.created),
		cmp.Compare(a.name, b.name),
	)
}

// report notes what is wrong with an object.
func (e *Evaluator) report(o Object, effect string, errs field.ErrorList) {
	for _, err := range errs {
		e.problems = append(e.problems, Problem{
			Object: o, Field: err.Field, Message: err.ErrorBody(), Effect: effect,
		})
	}
}
