package policy

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

func admin(name string, priority int32, rules int) *world.Policy {
	p := &world.Policy{Kind: world.KindAdminNetworkPolicy, Name: name, Priority: priority}
	for i := range rules {
		p.Rules = append(p.Rules, world.PolicyRule{Index: i})
	}
	return p
}

// TestOrder: whatever policies there are, each has its priorities to itself and decides
// before those that come after it; as long as they have room.
func TestOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var list []*world.Policy
		last := int32(0)
		for i := range rapid.IntRange(0, 40).Draw(t, "policies") {
			last = min(1000, last+rapid.Int32Range(0, 200).Draw(t, "more"))
			list = append(list, admin(fmt.Sprint("p", 100+i), last, rapid.IntRange(0, 100).Draw(t, "rules")))
		}
		places := order(list)
		below := firstPriority + 1
		for _, p := range list {
			l := places[p.Key()]
			if l.none || l.first >= below || l.first-rulesOf(p) < 0 {
				t.Fatalf("%s with %d rules from %d, the one before ends above %d", p.Name, len(p.Rules), l.first, below)
			}
			if below = l.first - max(rulesOf(p), 1) + 1; rulesOf(p) == 0 {
				below = l.first + 1
			}
		}
	})
}

func TestOrderAlone(t *testing.T) {
	t.Parallel()
	for priority, want := range map[int32]int{0: 30000, 7: 29300, 99: 20100, 100: 20000, 101: 19978, 1000: 200} {
		p := admin("a", priority, 1)
		if got := order([]*world.Policy{p})[p.Key()]; got != (place{first: want}) {
			t.Errorf("priority %d: %+v, want %d", priority, got, want)
		}
	}
	banp := &world.Policy{Kind: world.KindBaselineAdminNetworkPolicy, Tier: world.TierBaseline, Rules: make([]world.PolicyRule, 1)}
	if got := order([]*world.Policy{banp})[banp.Key()].first; got != 1750 {
		t.Errorf("BaselineAdminNetworkPolicy: %d", got)
	}
	var list []*world.Policy
	for i := range 301 {
		list = append(list, admin(fmt.Sprint(i), int32(i), 100))
	}
	places := order(list)
	for i, p := range list {
		if l := places[p.Key()]; l.none != (i == 300) {
			t.Errorf("policy %d of 100 rules: %+v", i, l)
		}
	}
}
