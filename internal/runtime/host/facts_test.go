package host

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/kernel"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/ovs"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// observe reads a machine as the Reconciler does.
func (m *machine) observe(t testing.TB) *have {
	t.Helper()
	s, err := m.ovs.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &have{kernel: m.kernel.Snapshot(), ovs: s, boot: testBoot, now: testTime}
}

// What is wrong with a host is said with the value that is wrong and what to do; nothing
// is done to the host.
func TestDiscoverErrors(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		config  func(*config.Config)
		machine func(*testing.T, *machine)
		code    string
		says    []string
	}{
		"no such NIC": {
			config: func(c *config.Config) { c.Gateway.Interface = "eth9" },
			code:   CodeNoInterface, says: []string{"eth9 does not exist on node n1", "it has eth0, eth1", "set gateway.interface"},
		},
		"no default route": {
			machine: func(t *testing.T, m *machine) {
				m.do(t, kernel.DeleteRoute{Route: default4("eth0", "172.30.0.1", 100)}, kernel.DeleteRoute{Route: default6("eth0", "fd30::1")})
			},
			code: CodeNoDefaultRoute, says: []string{"node n1 has no default route", "gateway.interface"},
		},
		"two NICs": {
			machine: func(t *testing.T, m *machine) {
				m.do(t, kernel.DeleteRoute{Route: default6("eth0", "fd30::1")}, kernel.PutAddr{Addr: addr6("fd31::1/64", "eth1")},
					kernel.AppendRoute{Route: default6("eth1", "fd31::9")})
			},
			code: CodeBadInterface, says: []string{"IPv4 default route is by eth0 and the IPv6 one by eth1", "set gateway.interface"},
		},
		"MTU": {
			config: func(c *config.Config) { c.Network.MTU = 1500 },
			code:   CodeMTU, says: []string{"network.mtu 1500 and 58 bytes of GENEVE over IPv4 need 1558", "eth0 has an MTU of 1500", "at most 1442"},
		},
		"MTU over IPv6": {
			config: func(c *config.Config) { c.Network.MTU, c.Network.EncapIP = 1430, "fd30::11" },
			code:   CodeMTU, says: []string{"78 bytes of GENEVE over IPv6 need 1508"},
		},
		"MTU too small for IPv6": {
			config:  func(c *config.Config) { c.Network.MTU = 0 },
			machine: func(_ *testing.T, m *machine) { m.kernel.ChangeLink("eth0", func(l *kernel.Link) { l.MTU = 1300 }) },
			code:    CodeMTU, says: []string{"leaves 1242 bytes for pods, but IPv6 needs 1280"},
		},
		"no address of a family": {
			machine: func(t *testing.T, m *machine) { m.do(t, kernel.DeleteAddr{Addr: addr6("fd30::11/64", "eth0")}) },
			code:    CodeNoAddress, says: []string{"the pod network has IPv6, but gateway interface eth0 has no IPv6 address"},
		},
		"VLAN": {
			config: func(c *config.Config) { c.Gateway.VLAN = 12 },
			code:   CodeVLAN, says: []string{"gateway.vlan is 12", "make the VLAN device"},
		},
		"port of a bond": {
			machine: func(_ *testing.T, m *machine) {
				m.kernel.ChangeLink("eth0", func(l *kernel.Link) { l.Master = "bond0" })
			},
			code: CodeBadInterface, says: []string{"eth0 is a port of bond0", "set gateway.interface to bond0"},
		},
		"kernel bridge": {
			machine: func(_ *testing.T, m *machine) {
				m.kernel.ChangeLink("eth0", func(l *kernel.Link) { l.Kind = "bridge" })
			},
			code: CodeBadInterface, says: []string{"eth0 is a bridge of the kernel"},
		},
		"on another bridge": {
			machine: func(_ *testing.T, m *machine) {
				m.ovs.Change(func(s *ovs.State) { s.Bridges["breth0"] = &ovs.Bridge{Ports: map[string]*ovs.Port{"eth0": {}}} })
			},
			code: CodeBadInterface, says: []string{"eth0 is on bridge breth0", "set gateway.bridge to breth0"},
		},
		"another NIC": {
			config: func(c *config.Config) { c.Gateway.Interface = "eth1" },
			machine: func(_ *testing.T, m *machine) {
				m.ovs.Change(func(s *ovs.State) {
					s.Bridges["br-ex"] = &ovs.Bridge{ExternalIDs: map[string]string{keyUplink: "eth0"}, Ports: map[string]*ovs.Port{}}
				})
			},
			code: CodeBadInterface, says: []string{"gateway.interface is eth1, but br-ex was built on eth0", "ovnkctl node cleanup"},
		},
		"OVS bond": {
			machine: func(_ *testing.T, m *machine) {
				m.ovs.Change(func(s *ovs.State) {
					s.Bridges["br-ex"] = &ovs.Bridge{Ports: map[string]*ovs.Port{"bond0": {Bond: true}}}
				})
			},
			code: CodeBadInterface, says: []string{"bond0 of bridge br-ex is a bond made by Open vSwitch"},
		},
		"several NICs": {
			machine: func(_ *testing.T, m *machine) {
				m.ovs.Change(func(s *ovs.State) {
					s.Bridges["br-ex"] = &ovs.Bridge{Ports: map[string]*ovs.Port{"eth0": {}, "eth1": {}}}
				})
			},
			code: CodeBadInterface, says: []string{"br-ex has several NICs: eth0, eth1"},
		},
		"foreign encapsulation address": {
			config: func(c *config.Config) { c.Network.EncapIP = "192.0.2.1" },
			code:   CodeEncap, says: []string{"192.0.2.1 is no address of node n1"},
		},
		"encapsulation address not on the bridge": {
			config: func(c *config.Config) { c.Network.EncapIP = "10.9.0.11" },
			code:   CodeEncap, says: []string{"10.9.0.11 is not an address of br-ex"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			if test.machine != nil {
				test.machine(t, m)
			}
			before, r := m.network(), m.reconciler(t, func(c *Config) {
				if test.config != nil {
					test.config(c.Config)
				}
			})
			if r.Once(t.Context()) {
				t.Fatal("ready")
			}
			reasons := r.Status().Reasons
			if reasons[0].Code != test.code {
				t.Errorf("code %s, want %s", reasons[0].Code, test.code)
			}
			for _, s := range test.says {
				if !strings.Contains(reasons[0].Error(), s) {
					t.Errorf("%q does not say %q", reasons[0].Error(), s)
				}
			}
			if w := m.writes(); w != (writes{}) {
				t.Errorf("writes %+v; before %v, now %v", w, before, m.network())
			}
		})
	}
}

// A problem that comes up later does not stop the bridge from being kept.
func TestLaterProblemsKeepTheHost(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	settle(t, m.reconciler(t))
	r := m.reconciler(t, func(c *Config) { c.Config.Network.MTU = 1500 })
	m.do(t, kernel.DeleteAddr{Addr: addr4("172.30.0.11/24", "br-ex")})
	if r.Once(t.Context()) {
		t.Error("ready with an MTU that does not fit")
	}
	wantReason(t, r, CodeMTU, "1558")
	if err := m.reachable("172.30.0.1", "fd30::1"); err != nil {
		t.Error(err)
	}
}

func TestDiscover(t *testing.T) {
	t.Parallel()
	hops := func(a ...string) (out []netip.Addr) {
		for _, s := range a {
			out = append(out, netip.MustParseAddr(s))
		}
		return out
	}
	for name, test := range map[string]struct {
		config  func(*config.Config)
		machine func(*testing.T, *machine)
		zone    Zone
		check   func(Facts) bool
	}{
		"configured NIC without default route": {
			config: func(c *config.Config) {
				c.Gateway.Interface, c.Network.ClusterSubnets, c.Network.ServiceSubnets = "eth1", "10.244.0.0/16/24", "10.96.0.0/16"
			},
			check: func(f Facts) bool {
				return f.Uplink == "eth1" && len(f.NextHops) == 0 && f.Primary[0].Addr() == hops("10.9.0.11")[0]
			},
		},
		"configured next hops": {
			config: func(c *config.Config) { c.Gateway.NextHops = "172.30.0.7, fd30::7" },
			check: func(f Facts) bool {
				return f.NextHops[0] == hops("172.30.0.7")[0] && f.NextHops[1] == hops("fd30::7")[0]
			},
		},
		"next hop of one family configured": {
			config: func(c *config.Config) { c.Gateway.NextHops = "172.30.0.7" },
			check: func(f Facts) bool {
				return f.NextHops[0] == hops("172.30.0.7")[0] && f.NextHops[1] == hops("fd30::1")[0]
			},
		},
		"least metric": {
			machine: func(t *testing.T, m *machine) {
				m.do(t, kernel.AppendRoute{Route: default4("eth1", "10.9.0.1", 50)}, kernel.DeleteRoute{Route: default6("eth0", "fd30::1")},
					kernel.PutAddr{Addr: addr6("fd39::11/64", "eth1")}, kernel.AppendRoute{Route: default6("eth1", "fd39::1")})
			},
			check: func(f Facts) bool { return f.Uplink == "eth1" && f.NextHops[0] == hops("10.9.0.1")[0] },
		},
		"address on the next hop's network first": {
			machine: func(t *testing.T, m *machine) {
				m.do(t, kernel.DeleteAddr{Addr: addr4("172.30.0.11/24", "eth0")}, kernel.PutAddr{Addr: addr4("192.0.2.5/24", "eth0")},
					kernel.PutAddr{Addr: addr4("172.30.0.11/24", "eth0")}, kernel.AppendRoute{Route: default4("eth0", "172.30.0.1", 0)})
			},
			check: func(f Facts) bool { return f.Primary[0].Addr() == hops("172.30.0.11")[0] && len(f.Addresses) == 3 },
		},
		"the node's own address first": {
			machine: func(t *testing.T, m *machine) { m.do(t, kernel.PutAddr{Addr: addr4("172.30.0.50/24", "eth0")}) },
			zone:    Zone{InternalIPs: hops("fd30::11", "172.30.0.50")},
			check: func(f Facts) bool {
				return f.Primary[0].Addr() == hops("172.30.0.50")[0] && f.Addresses[0] == f.Primary[0] && f.EncapIPs[0] == hops("fd30::11")[0]
			},
		},
		"MTU from the NIC": {
			config:  func(c *config.Config) { c.Network.MTU = 0 },
			machine: func(_ *testing.T, m *machine) { m.kernel.ChangeLink("eth0", func(l *kernel.Link) { l.MTU = 9000 }) },
			check:   func(f Facts) bool { return f.UplinkMTU == 9000 && f.PodMTU == 8942 },
		},
		"addresses that others cannot use": {
			machine: func(t *testing.T, m *machine) {
				tentative, temporary := addr6("fd30::99/64", "eth0"), addr6("fd30::98/64", "eth1")
				tentative.NotUsable, temporary.Temporary = true, true
				m.do(t, kernel.PutAddr{Addr: tentative}, kernel.PutAddr{Addr: temporary}, kernel.PutAddr{Addr: addr4("169.254.7.7/16", "eth1")},
					kernel.PutAddr{Addr: addr4("127.0.0.1/8", "lo")})
			},
			check: func(f Facts) bool { return len(f.HostAddrs) == 3 },
		},
		"a multipath default route": {
			machine: func(t *testing.T, m *machine) {
				r := default4("eth0", "172.30.0.1", 10)
				r.Hops = append(r.Hops, kernel.Hop{Dev: "eth1", Via: netip.MustParseAddr("10.9.0.1")})
				m.do(t, kernel.AppendRoute{Route: r})
			},
			check: func(f Facts) bool { return f.Uplink == "eth0" && f.NextHops[0] == hops("172.30.0.1")[0] },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			if test.machine != nil {
				test.machine(t, m)
			}
			c := m.config(t, func(c *Config) {
				if test.config != nil {
					test.config(c.Config)
				}
			})
			_, f, err := discover(c, test.zone, m.observe(t))
			if err != nil {
				t.Fatal(err)
			}
			if !test.check(f) {
				t.Errorf("%+v", f)
			}
		})
	}
}

func TestGatewayOfFacts(t *testing.T) {
	t.Parallel()
	f := Facts{Bridge: "br-ex", MAC: testMAC, Addresses: parse("172.30.0.11/24"), NextHops: []netip.Addr{netip.MustParseAddr("172.30.0.1")}}
	g := f.Gateway("n1", world.GatewayLocal)
	if g.InterfaceID != "br-ex_n1" || g.BridgeID != "br-ex" || g.Mode != world.GatewayLocal || g.MAC != testMAC || len(g.NextHops) != 1 {
		t.Errorf("%+v", g)
	}
}

func TestReasonIsAnError(t *testing.T) {
	t.Parallel()
	var err error = reason("Code", "do that", "%s is wrong", "this")
	var r *Reason
	if !errors.As(err, &r) || err.Error() != "Code: this is wrong; do that" {
		t.Error(err)
	}
}
