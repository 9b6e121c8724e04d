//go:build ovn

package port_test

import (
	"os"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/cni/port"
	"github.com/ovnkctl/ovnkctl/internal/cni/port/porttest"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
)

// A real ovsdb-server takes what the one in memory took: rows of one name replaced in one
// transaction, QoS rows deleted together with the port that refers to them.
func TestRealServer(t *testing.T) {
	t.Parallel()
	schema, err := os.ReadFile("../../ovn/schema/vswitch.ovsschema")
	if err != nil {
		t.Fatal(err)
	}
	db := porttest.On(t, ovntest.Real(t, ovn.OpenVSwitch(), schema))
	ports := port.New(db.DB, db.Committer, porttest.Bridge)
	t.Cleanup(ports.Close)
	porttest.Bind(t, db, nil)
	first, second := portOf("web-0", "aaaa"), portOf("web-0", "bbbb")
	first.IngressRate, first.EgressRate = 10_000_000, 20_000_000
	second.IngressRate = 10_000_000
	for _, step := range []struct {
		what           string
		p              port.Port
		fresh          bool
		ports, limited int
	}{
		{"new", first, true, 1, 1},
		{"again", first, false, 1, 1},
		{"new veth under the same name", first, true, 1, 1},
		{"newer sandbox", second, true, 1, 1},
	} {
		mustAttach(t, ports, step.p, step.fresh)
		if err := ports.WaitInstalled(t.Context(), step.p); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		wantContent(t, db, step.ports, step.limited)
	}
	if n, err := ports.Detach(t.Context(), "DEL", second.Ref()); n != 1 || err != nil {
		t.Errorf("removed %d ports (%v)", n, err)
	}
	wantContent(t, db, 0, 0)
}
