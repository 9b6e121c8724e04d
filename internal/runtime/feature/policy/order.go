package policy

import (
	"fmt"

	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// The priorities of administrators' policies.
//
// OVN-Kubernetes gives an AdminNetworkPolicy the priorities from 30000 - 100·priority
// downwards, one per rule, which is room for the policies 0 to 99; a baseline policy those
// from 1750 downwards. So do we, but all 1001 priorities of the API have room: those from 100
// on are 22 apart, those of ClusterNetworkPolicy's tier Baseline 28. A policy with more rules
// moves the next ones down, and only where the last would have no room left are earlier ones
// moved up. The numbers follow from the policies that there are, not from their history.
const (
	firstPriority    = 30000
	compatible       = 100 // priorities as in OVN-Kubernetes
	compatibleStep   = 100
	adminStep        = 22
	baselineStep     = 28
	baselinePriority = 1750 // of a BaselineAdminNetworkPolicy
)

// place is where a policy is in the order of its tier.
type place struct {
	first int // priority of its first rules; each further one has one less
	// equal is another policy with the same priority; its name is empty for none.
	equal world.PolicyKey
	// none is true when there is no room for the policy.
	none bool
}

// natural is the place that a policy has when it is the only one, as a distance from the
// first priority.
func natural(p *world.Policy) int {
	n := int(min(max(p.Priority, 0), 1000))
	switch {
	case p.Kind == world.KindBaselineAdminNetworkPolicy:
		return firstPriority - baselinePriority
	case p.Tier == world.TierBaseline:
		return baselineStep * n
	case n < compatible:
		return compatibleStep * n
	}
	return compatible*compatibleStep + adminStep*(n-compatible)
}

// rulesOf is how many priorities a policy needs.
func rulesOf(p *world.Policy) int {
	most := 0
	for i := range p.Rules {
		most = max(most, p.Rules[i].Index+1)
	}
	return most
}

// order places the policies of a tier, which are in order.
func order(policies []*world.Policy) map[world.PolicyKey]place {
	out := make(map[world.PolicyKey]place, len(policies))
	room := firstPriority
	for _, p := range policies {
		room -= rulesOf(p)
	}
	next := 0
	for i, p := range policies {
		latest := room // if all that follow are packed
		room += rulesOf(p)
		at := max(min(max(natural(p), next), latest), next)
		l := place{first: firstPriority - at, none: at+rulesOf(p) > firstPriority}
		next = at + rulesOf(p)
		for _, j := range []int{i - 1, i + 1} {
			if j >= 0 && j < len(policies) && samePriority(p, policies[j]) && l.equal.Name == "" {
				l.equal = policies[j].Key()
			}
		}
		out[p.Key()] = l
	}
	return out
}

func samePriority(a, b *world.Policy) bool {
	const noPriority = world.KindBaselineAdminNetworkPolicy
	return a.Priority == b.Priority && a.Kind != noPriority && b.Kind != noPriority
}

// place finds the policy's place and reports what is wrong with it.
func (c *compiler) place(p *world.Policy) place {
	l := order(c.view.PoliciesInTier(p.Tier))[p.Key()]
	if l.equal.Name != "" {
		c.reasons = append(c.reasons, feature.Reason{
			Code: EqualPriority, Object: p.Ref(),
			Message: fmt.Sprintf("it has priority %d as has %s %s: which of them decides first is not up to their authors", p.Priority, l.equal.Kind, l.equal.Name),
			Remedy:  "give each policy a priority of its own",
		})
	}
	if l.none {
		c.reasons = append(c.reasons, feature.Reason{
			Code: TooManyRules, Object: p.Ref(),
			Message: fmt.Sprintf("the policies of its tier have more than %d rules together: it is left out", firstPriority),
			Remedy:  "delete policies or rules",
		})
	}
	return l
}
