package policy

import (
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

func TestOf(t *testing.T) {
	t.Parallel()
	for _, k := range []world.PolicyKey{
		{Kind: world.KindNetworkPolicy, Namespace: "ns", Name: "a.b"},
		{Kind: world.KindAdminNetworkPolicy, Name: "a"},
		{Kind: world.KindBaselineAdminNetworkPolicy, Name: "default"},
		{Kind: world.KindClusterNetworkPolicy, Name: "c"},
		{Kind: world.KindEgressFirewall, Namespace: "ns", Name: "default"},
	} {
		if got, ok := Of(KeyOf(k)); !ok || got != k {
			t.Errorf("%v became %v, %t", k, got, ok)
		}
	}
	for _, k := range []feature.Key{PodKey("ns", "p"), DomainKey(world.DomainName{Name: "example.com"}), {Name: nameZone}, {Name: prefixNode + "n"}} {
		if got, ok := Of(k); ok {
			t.Errorf("%v is taken for the policy %v", k, got)
		}
	}
}

func TestOfNamespace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		annotations map[string]string
		want        int
	}{
		{nil, 0},
		{map[string]string{loggingAnnotation: `{"deny":"warning"}`}, 0},
		{map[string]string{loggingAnnotation: `{"deny":"loud"}`}, 1},
	} {
		reasons := OfNamespace(&world.Namespace{Name: "ns", UID: "u", Annotations: c.annotations})
		if len(reasons) != c.want {
			t.Errorf("%v: %v", c.annotations, reasons)
		}
		for _, r := range reasons {
			if want := (world.ObjectRef{Kind: world.KindNamespace, Name: "ns", UID: "u"}); r.Code != InvalidLogging || r.Object != want || !SameOnEveryNode(r.Code) {
				t.Errorf("%+v", r)
			}
		}
	}
}
