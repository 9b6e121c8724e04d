package world

import (
	"net/netip"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/annotation"
)

func TestAnAnnotationThatBreaksKeepsItsLastGoodValue(t *testing.T) {
	t.Parallel()
	s := New(Config{})
	subnets := map[string][]netip.Prefix{DefaultNetwork: {netip.MustParsePrefix("10.244.1.0/24")}}
	broken := []Problem{{Field: annotation.NodeSubnets.Key(), Message: "no JSON"}}
	s.SetNode(&Node{Name: "n1", UID: "a", ID: 2, Subnets: subnets})
	s.SetNode(&Node{Name: "n1", UID: "a", ID: 3, Problems: broken})
	check := func(wantSubnets, wantProblems, wantID int) {
		t.Helper()
		s.Read(func(v View) {
			n, _ := v.Node("n1")
			if len(n.Subnets) != wantSubnets || len(n.Problems) != wantProblems || n.ID != wantID {
				t.Errorf("subnets %v, problems %v, id %d", n.Subnets, n.Problems, n.ID)
			}
		})
	}
	check(1, 1, 3) // the others are as they are now
	s.SetNode(&Node{Name: "n1", UID: "a", ID: 3})
	check(0, 0, 3) // removed, not broken
	s.SetNode(&Node{Name: "n1", UID: "a", ID: 3, Subnets: subnets})
	s.SetNode(&Node{Name: "n1", UID: "b", Problems: broken})
	check(0, 1, 0) // another node of the same name starts with nothing
}
