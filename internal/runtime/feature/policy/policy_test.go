package policy

import (
	"fmt"
	"slices"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/featuretest"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

func TestGolden(t *testing.T) {
	t.Parallel()
	given := featuretest.Golden(t, Feature{})
	given[TooManyRules] = tooManyRules(t)
	for _, code := range Codes {
		if !given[code] {
			t.Errorf("no golden case gives the reason %s", code)
		}
		delete(given, code)
	}
	for code := range given {
		t.Errorf("reason %s is not in Codes", code)
	}
}

// tooManyRules tells whether the last of more policies than there is room for is reported:
// too many for a golden case.
func tooManyRules(t *testing.T) bool {
	s := world.New(world.Config{LocalNode: "n1", Networks: []world.Network{{Name: world.DefaultNetwork}}})
	var last world.PolicyKey
	for i := range firstPriority/100 + 1 {
		p := admin(fmt.Sprint("p", i), int32(i), 100)
		p.Subject, last = world.AllPods(), p.Key()
		s.SetPolicy(p)
	}
	s.SetPod(&world.Pod{Namespace: "ns", Name: "p", Node: "n1"})
	var reported bool
	s.Read(func(v world.View) {
		out, reasons := Feature{}.Desired(v, KeyOf(last))
		reported = slices.ContainsFunc(reasons, func(r feature.Reason) bool { return r.Code == TooManyRules })
		if len(out.NB.Rows) > 0 {
			t.Errorf("a policy without room has %d rows", len(out.NB.Rows))
		}
	})
	return reported
}
