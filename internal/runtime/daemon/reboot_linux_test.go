package daemon

import (
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/ovs"
)

func TestReleaseNIC(t *testing.T) {
	t.Parallel()
	now, err := os.ReadFile(bootIDFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		boot string
		kept bool
	}{
		"the same boot":  {strings.TrimSpace(string(now)), true},
		"another boot":   {"00000000-0000-0000-0000-000000000000", false},
		"never attached": {"", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := ovntest.OVS(t)
			client := &ovs.Client{DB: server.Connect(t)}
			root := &vswitch.OpenvSwitch{NextCfg: 1}
			if test.boot != "" {
				root.ExternalIDs = map[string]string{"ovnkctl.io/uplink": `{"nic":"eth0","boot":"` + test.boot + `"}`}
			}
			if _, err := client.DB.Transact(t.Context(), "init", ovn.Insert(root, "root")); err != nil {
				t.Fatal(err)
			}
			if err := client.Apply(t.Context(), "init", []ovs.Change{ovs.PutBridge{Name: "br-ex"}, ovs.PutPort{Bridge: "br-ex", Name: "eth0"}}); err != nil {
				t.Fatal(err)
			}
			if err := releaseNIC(t.Context(), strings.TrimPrefix(server.Endpoint(), "unix:"), slog.New(slog.DiscardHandler)); err != nil {
				t.Fatal(err)
			}
			// The next transaction of this connection sees all that were before it.
			if err := client.Apply(t.Context(), "see", []ovs.Change{ovs.SetRoot{ExternalIDs: map[string]string{"seen": "true"}}}); err != nil {
				t.Fatal(err)
			}
			s, err := client.State(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, kept := s.Port("br-ex", "eth0"); kept != test.kept {
				t.Errorf("eth0 is a port: %v, want %v", kept, test.kept)
			}
		})
	}
}
