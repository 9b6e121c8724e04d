package hostports

import (
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/featuretest"
)

func TestGolden(t *testing.T) {
	t.Parallel()
	given := featuretest.Golden(t, Feature{})
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
