package host

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/nft"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

var update = flag.Bool("update", false, "write the golden files")

// goldenInput is node n1 with everything known.
func goldenInput(t *testing.T, change ...func(*Config)) input {
	t.Helper()
	m := newMachine(t)
	c := m.config(t, change...)
	u, f, err := discover(c, testZone(), m.observe(t))
	if err != nil {
		t.Fatal(err)
	}
	services := noServices()
	return input{Config: c, zone: testZone(), services: &services, uplink: u, facts: f}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	file = filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got; -update writes it)\n%s", file, d)
	}
}

func ipv4Only(c *Config) {
	c.Config.Network.ClusterSubnets, c.Config.Network.ServiceSubnets = "10.244.0.0/16/24", "10.96.0.0/16"
}

func ipv6Only(c *Config) {
	c.Config.Network.ClusterSubnets, c.Config.Network.ServiceSubnets = "fd00:10:244::/48/64", "fd00:10:96::/112"
}

func TestFlows(t *testing.T) {
	t.Parallel()
	both := func(*Config) {}
	for file, test := range map[string]struct {
		config func(*Config)
		ports  ports
	}{
		"flows/dual.txt":      {both, ports{nic: 1, patch: 2}},
		"flows/ipv4.txt":      {ipv4Only, ports{nic: 1, patch: 2}},
		"flows/ipv6.txt":      {ipv6Only, ports{nic: 1, patch: 2}},
		"flows/bootstrap.txt": {both, ports{nic: 1}},
	} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			golden(t, file, desiredFlows(goldenInput(t, test.config), test.ports))
		})
	}
	for file, mode := range map[string]world.GatewayMode{
		"flows/services.txt": world.GatewayShared, "flows/services-local.txt": world.GatewayLocal,
	} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			in := goldenInput(t, func(c *Config) { c.Config.Gateway.Mode = string(mode) })
			services := testServices()
			in.services = &services
			golden(t, file, desiredFlows(in, ports{nic: 1, patch: 2}))
		})
	}
	in := goldenInput(t)
	if desiredFlows(in, ports{patch: 2}) != desiredFlows(in, ports{nic: -1, patch: -1}) {
		t.Error("other flows than at the start though a port is missing")
	}
}

func TestTables(t *testing.T) {
	t.Parallel()
	for file, change := range map[string]func(*Config){
		"tables/shared.txt": func(c *Config) { c.Config.Gateway.Mode = string(world.GatewayShared) },
		"tables/local.txt":  func(c *Config) { c.Config.Gateway.Mode = string(world.GatewayLocal) },
		"tables/ipv6.txt":   func(c *Config) { c.Config.Gateway.Mode = string(world.GatewayLocal); ipv6Only(c) },
	} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			golden(t, file, script(nft.Diff(nil, desiredTable(goldenInput(t, change)))))
		})
	}
	for file, mode := range map[string]world.GatewayMode{
		"tables/services.txt": world.GatewayShared, "tables/services-local.txt": world.GatewayLocal,
	} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			in := goldenInput(t, func(c *Config) { c.Config.Gateway.Mode = string(mode) })
			services := testServices()
			in.services = &services
			golden(t, file, script(nft.Diff(nil, desiredTable(in))))
		})
	}
	golden(t, "tables/guard.txt", script(nft.Diff(nil, guardTable("enp3s0.100"))))
}

func script(ops []nft.Op) string {
	var b strings.Builder
	for _, o := range ops {
		b.WriteString(o.String() + "\n")
	}
	return b.String()
}
