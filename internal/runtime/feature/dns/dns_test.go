package dns

import (
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/featuretest"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

func TestGolden(t *testing.T) {
	t.Parallel()
	given := featuretest.Golden(t, Feature{Service: world.ServiceKey{Namespace: "kube-system", Name: "kube-dns"}})
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
