package host

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/kernel"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/ovs"
)

func TestMove(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	var facts []Facts
	r := m.reconciler(t, func(c *Config) { c.OnFacts = func(f Facts) { facts = append(facts, f) } })
	settle(t, r)

	s := m.network()
	if len(s.AddrsOf("eth0"))+len(s.RoutesOf("eth0")) > 0 {
		t.Errorf("eth0 still has %v %v", s.AddrsOf("eth0"), s.RoutesOf("eth0"))
	}
	want := []string{"172.30.0.11/24", "fd30::11/64", "169.254.0.2/17", "fd69::2/112"}
	if d := cmp.Diff(want, prefixes(s.AddrsOf("br-ex"))); d != "" {
		t.Errorf("addresses of br-ex (-want +got)\n%s", d)
	}
	var routes []string
	for _, r := range append(s.RoutesOf("br-ex"), s.RoutesOf(ManagementPort)...) {
		if r.Protocol != kernel.ProtocolKernel {
			routes = append(routes, r.String())
		}
	}
	wantRoutes := []string{
		"10.244.0.0/16 via 10.244.1.1 dev ovn-k8s-mp0 proto 85 metric 0",
		"10.244.1.0/24 dev ovn-k8s-mp0 src 172.30.0.11 proto 85 metric 0",
		"10.96.0.0/16 via 169.254.0.4 dev br-ex src 169.254.0.2 proto 85 metric 0 mtu 1400",
		"100.64.0.0/16 via 10.244.1.1 dev ovn-k8s-mp0 proto 85 metric 0",
		"169.254.0.1/32 dev br-ex src 172.30.0.11 proto 85 metric 0",
		"default via 172.30.0.1 dev br-ex proto 16 metric 100",
		"default via fd30::1 dev br-ex proto 3 metric 1024",
		"fd00:10:244:1::/64 dev ovn-k8s-mp0 src fd30::11 proto 85 metric 1024",
		"fd00:10:244::/48 via fd00:10:244:1::1 dev ovn-k8s-mp0 proto 85 metric 1024",
		"fd00:10:96::/112 via fd69::4 dev br-ex src fd69::2 proto 85 metric 1024 mtu 1400",
		"fd69::1/128 dev br-ex src fd30::11 proto 85 metric 1024",
		"fd98::/64 via fd00:10:244:1::1 dev ovn-k8s-mp0 proto 85 metric 1024",
	}
	slices.Sort(routes)
	if d := cmp.Diff(wantRoutes, routes); d != "" {
		t.Errorf("routes (-want +got)\n%s", d)
	}
	last := facts[len(facts)-1]
	wantFacts := Facts{
		ChassisID: testZone().ChassisID, Uplink: "eth0", Bridge: "br-ex", MAC: testMAC, UplinkMTU: 1500, PodMTU: 1400, NoGatewayMTU: true,
		Addresses: parse("172.30.0.11/24", "fd30::11/64"), Primary: parse("172.30.0.11/24", "fd30::11/64"),
		NextHops: []netip.Addr{netip.MustParseAddr("172.30.0.1"), netip.MustParseAddr("fd30::1")},
		EncapIPs: []netip.Addr{netip.MustParseAddr("172.30.0.11")}, HostAddrs: parse("10.9.0.11/16", "172.30.0.11/24", "fd30::11/64"),
	}
	if !last.Equal(wantFacts) {
		t.Errorf("facts\n got %+v\nwant %+v", last, wantFacts)
	}
	if err := m.reachable("172.30.0.1", "fd30::1"); err != nil {
		t.Error(err)
	}
	m.quiet(t, r)
	m.quiet(t, m.reconciler(t)) // a new process
}

// A change that takes the host's network away, however briefly, or leaves it without at a
// kill, is found here: after each single write the host must be reachable, and a new
// process must bring the same end.
func TestKilledAtEveryWrite(t *testing.T) {
	t.Parallel()
	for _, datapath := range []string{"netdev", "system"} {
		t.Run(datapath, func(t *testing.T) {
			t.Parallel()
			byDatapath := func(c *Config) { c.Config.Datapath = config.Datapath(datapath) }
			done := newMachine(t)
			settle(t, done.reconciler(t, byDatapath))
			want, total := done.network(), 0
			for n := 0; ; n++ {
				m := newMachine(t)
				l := &limited{left: n, after: func() {
					if err := m.reachable("172.30.0.1", "fd30::1"); err != nil {
						t.Errorf("write %d: %v", n, err)
					}
				}}
				first := m.reconciler(t, byDatapath, func(c *Config) { c.Host = l.wrap(c.Host) })
				finished := first.Once(t.Context())
				settle(t, m.reconciler(t, byDatapath))
				if d := cmp.Diff(want, m.network(), sameNetwork); d != "" {
					t.Fatalf("killed after write %d: other end (-want +got)\n%s", n, d)
				}
				if finished {
					total = n
					break
				}
			}
			if total < 30 {
				t.Errorf("the move took only %d writes; does the test kill at all?", total)
			}
		})
	}
}

func TestCleanupGivesBack(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	before := m.network()
	settle(t, m.reconciler(t))
	for n := 0; ; n++ {
		if n > 100 {
			t.Fatal("cleanup never ends")
		}
		l := &limited{left: n, after: func() {
			if err := m.reachable("172.30.0.1", "fd30::1"); err != nil {
				t.Errorf("write %d: %v", n, err)
			}
		}}
		if err := Cleanup(t.Context(), m.config(t, func(c *Config) { c.Host = l.wrap(c.Host) })); err == nil {
			break
		}
		// Killed: what is there must be enough for the next to go on.
	}
	if d := cmp.Diff(before, m.network(), sameNetwork); d != "" {
		t.Errorf("the host is not as before (-want +got)\n%s", d)
	}
	for key, want := range map[string]string{
		"net/ipv6/conf/eth0/disable_ipv6": "0", "net/ipv4/conf/eth0/arp_ignore": "0",
		"net/ipv6/conf/all/forwarding": "0", "net/ipv4/conf/all/arp_ignore": "0",
	} {
		if got, _, _ := m.kernel.Sysctl(key); got != want {
			t.Errorf("sysctl %s is %s, was %s", key, got, want)
		}
	}
	if left := m.nft.Tables(); len(left) > 0 {
		t.Errorf("tables left: %v", left)
	}
	s, _ := m.ovs.State(t.Context())
	if len(s.Bridges) > 0 {
		t.Errorf("bridges left: %v", s.Bridges)
	}
	if d := cmp.Diff(map[string]string{"system-id": testZone().ChassisID, "hostname": "n1"}, s.ExternalIDs); d != "" {
		t.Errorf("external_ids (-want +got)\n%s", d)
	}
	m.writes()
	if err := Cleanup(t.Context(), m.config(t)); err != nil {
		t.Error(err)
	}
	if w := m.writes(); w != (writes{}) {
		t.Errorf("second cleanup writes: %+v", w)
	}
}

func TestReboot(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	settle(t, m.reconciler(t))
	// The database is kept; the distribution has put another address on the NIC.
	m.boot(t)
	m.kernel.PutSysctl(bootID, "22222222-2222-2222-2222-222222222222")
	m.do(t,
		kernel.DeleteAddr{Addr: addr4("172.30.0.11/24", "eth0")},
		kernel.PutAddr{Addr: addr4("172.30.0.99/24", "eth0")},
		kernel.AppendRoute{Route: default4("eth0", "172.30.0.254", 100)})
	m.ovs.Change(func(*ovs.State) {})
	r := m.reconciler(t)
	settle(t, r)
	s := m.network()
	if d := cmp.Diff([]string{"fd30::11/64", "172.30.0.99/24", "169.254.0.2/17", "fd69::2/112"}, prefixes(s.AddrsOf("br-ex"))); d != "" {
		t.Errorf("addresses of br-ex (-want +got)\n%s", d)
	}
	if r, _ := defaultRoute(ipv4, s.Routes, "br-ex"); r.Hops == nil || r.Hops[0].Via != netip.MustParseAddr("172.30.0.254") {
		t.Errorf("default route %s", r)
	}
	if err := m.reachable("172.30.0.254", "fd30::1"); err != nil {
		t.Error(err)
	}
	m.quiet(t, m.reconciler(t))
}

// After a reboot the bridge must not take the NIC's packets before the addresses have
// been moved: vswitchd would, as the database says so.
func TestAfterReboot(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	settle(t, m.reconciler(t))
	m.writes()
	if err := AfterReboot(t.Context(), m.ovs, testBoot); err != nil {
		t.Fatal(err)
	}
	if w := m.writes(); w.ovs != 0 {
		t.Error("the same boot: the NIC was taken out")
	}
	if err := AfterReboot(t.Context(), m.ovs, "another"); err != nil {
		t.Fatal(err)
	}
	s, _ := m.ovs.State(t.Context())
	if _, ok := s.Port("br-ex", "eth0"); ok {
		t.Error("eth0 is still a port")
	}
	if _, ok := s.Bridges["br-ex"]; !ok {
		t.Error("the bridge has gone, too")
	}
}

// What others break is mended, and nothing else is written.
func TestHeals(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(*testing.T, *machine){
		"node address": func(t *testing.T, m *machine) { m.do(t, kernel.DeleteAddr{Addr: addr4("172.30.0.11/24", "br-ex")}) },
		"IPv6 address": func(t *testing.T, m *machine) { m.do(t, kernel.DeleteAddr{Addr: addr6("fd30::11/64", "br-ex")}) },
		"our address": func(t *testing.T, m *machine) {
			a := addr4("169.254.0.2/17", "br-ex")
			m.do(t, kernel.DeleteAddr{Addr: a})
		},
		"address of an older version": func(t *testing.T, m *machine) {
			a := addr4("10.244.1.2/24", ManagementPort)
			m.do(t, kernel.DeleteAddr{Addr: a}, kernel.PutAddr{Addr: a})
		},
		"default route": func(t *testing.T, m *machine) {
			m.do(t, kernel.DeleteRoute{Route: default4("br-ex", "172.30.0.1", 100)})
		},
		"service route": func(t *testing.T, m *machine) { deleteRoute(t, m, "10.96.0.0/16") },
		"pod route":     func(t *testing.T, m *machine) { deleteRoute(t, m, "fd00:10:244::/48") },
		"connected route": func(t *testing.T, m *machine) {
			r, _ := addr4("172.30.0.11/24", "br-ex").ConnectedRoute()
			m.do(t, kernel.DeleteRoute{Route: r}, kernel.DeleteRoute{Route: default4("br-ex", "172.30.0.1", 100)})
		},
		"a route too many": func(t *testing.T, m *machine) {
			m.do(t, kernel.AppendRoute{Route: route(netip.MustParsePrefix("10.111.0.0/16"), ManagementPort, netip.MustParseAddr("10.244.1.1"))})
		},
		"neighbour": func(t *testing.T, m *machine) {
			n := m.kernel.Snapshot().Neighbors[0]
			n.MAC = "02:ff:ff:ff:ff:ff"
			m.do(t, kernel.PutNeighbor{Neighbor: n})
		},
		"MTU":            func(t *testing.T, m *machine) { m.do(t, kernel.SetMTU{Dev: ManagementPort, MTU: 1300}) },
		"link down":      func(_ *testing.T, m *machine) { m.kernel.Down("br-ex") },
		"sysctl":         func(_ *testing.T, m *machine) { m.kernel.PutSysctl("net/ipv4/conf/br-ex/forwarding", "0") },
		"edited table":   func(_ *testing.T, m *machine) { m.nft.Edit("inet", "ovn-kubernetes") },
		"flushed tables": func(_ *testing.T, m *machine) { m.nft.Flush() },
		"deleted flows":  func(_ *testing.T, m *machine) { m.flows.Delete("br-ex") },
		"deleted NIC port": func(_ *testing.T, m *machine) {
			m.ovs.Change(func(s *ovs.State) { delete(s.Bridges["br-ex"].Ports, "eth0") })
		},
		"deleted mgmt port": func(_ *testing.T, m *machine) {
			m.ovs.Change(func(s *ovs.State) { delete(s.Bridges["br-int"].Ports, ManagementPort) })
		},
		"deleted bridge": func(_ *testing.T, m *machine) { m.ovs.Change(func(s *ovs.State) { delete(s.Bridges, "br-ex") }) },
		"empty database": func(_ *testing.T, m *machine) {
			m.ovs.Change(func(s *ovs.State) {
				clear(s.Bridges)
				clear(s.ExternalIDs)
				clear(s.OtherConfig)
			})
		},
		"changed setting": func(_ *testing.T, m *machine) {
			m.ovs.Change(func(s *ovs.State) { s.ExternalIDs["ovn-encap-ip"] = "1.2.3.4" })
		},
		"address back on the NIC": func(t *testing.T, m *machine) { m.do(t, kernel.PutAddr{Addr: addr4("172.30.0.11/24", "eth0")}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			r := m.reconciler(t)
			settle(t, r)
			want, wantOVS := m.network(), mustState(t, m)
			harm(t, m)
			settle(t, r)
			if d := cmp.Diff(want, m.network(), sameNetwork); d != "" {
				t.Errorf("network stack (-before +after)\n%s", d)
			}
			if d := cmp.Diff(wantOVS, mustState(t, m)); d != "" {
				t.Errorf("switch (-before +after)\n%s", d)
			}
			if d := cmp.Diff([]string{"inet ovn-kubernetes", "netdev ovnkctl-guard"}, m.nft.Tables()); d != "" {
				t.Errorf("tables (-want +got)\n%s", d)
			}
			if flows := m.flows.Flows("br-ex"); len(flows) < 20 {
				t.Errorf("flows: %v", flows)
			}
			if own := prefixes(inFamily(ipv4, m.network().AddrsOf("br-ex"), func(a kernel.Addr) netip.Addr { return a.Prefix.Addr() })); own[len(own)-1] != "169.254.0.2/17" {
				t.Errorf("our address is not the last of br-ex: %v", own)
			}
			m.quiet(t, r)
		})
	}
}

// The first address of a subnet is the source of what the node sends there. One that was
// deleted, and put back behind one that the kernel had made the first meanwhile, gets its
// place back, and what others added stays.
func TestFirstAddressStaysFirst(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.do(t, kernel.PutAddr{Addr: addr4("172.30.0.12/24", "eth0")})
	r := m.reconciler(t)
	settle(t, r)
	want := m.network()
	first, second, foreign := addr4("172.30.0.11/24", "br-ex"), addr4("172.30.0.12/24", "br-ex"), addr4("172.30.0.77/24", "br-ex")
	m.do(t, kernel.DeleteAddr{Addr: second}, kernel.DeleteAddr{Addr: first},
		kernel.PutAddr{Addr: foreign}, kernel.PutAddr{Addr: second}, kernel.PutAddr{Addr: first})
	settle(t, r)
	got := m.network()
	inSubnet := func(a kernel.Addr) bool { return a.Connected() == first.Connected() }
	if d := cmp.Diff([]string{"172.30.0.11/24", "172.30.0.12/24", "172.30.0.77/24"},
		prefixes(slices.DeleteFunc(got.AddrsOf("br-ex"), func(a kernel.Addr) bool { return !inSubnet(a) }))); d != "" {
		t.Errorf("addresses (-want +got)\n%s", d)
	}
	if d := cmp.Diff(want.RoutesOf("br-ex"), got.RoutesOf("br-ex"), sameNetwork); d != "" {
		t.Errorf("routes (-before +after)\n%s", d)
	}
	m.quiet(t, r)
}

// Before the cluster has said anything about this node, what is there stays.
func TestUnknownZoneChangesNothing(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	settle(t, m.reconciler(t))
	m.writes()
	r := New(m.config(t))
	if r.Once(t.Context()) {
		t.Error("ready without the node's subnets")
	}
	if w := m.writes(); w != (writes{}) {
		t.Errorf("writes: %+v", w)
	}
}

func TestWaitsForVswitchd(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.vswitchd, m.controller = false, false
	before := m.network()
	r := m.reconciler(t)
	if r.Once(t.Context()) {
		t.Fatal("ready without vswitchd")
	}
	if d := cmp.Diff(before, m.network(), sameNetwork); d != "" {
		t.Errorf("the host changed (-want +got)\n%s", d)
	}
	wantReason(t, r, CodeBridge, "has not made device br-ex yet")
	m.vswitchd = true
	m.ovs.Change(func(*ovs.State) {})
	r.Once(t.Context())
	wantReason(t, r, CodePatchPort, "ovn-controller")
	if got := strings.Join(m.flows.Flows("br-ex"), "\n"); !strings.Contains(got, "priority=5,dl_dst="+testMAC+",actions=LOCAL") {
		t.Errorf("no bootstrap flows: %s", got)
	}
	m.controller = true
	m.ovs.Change(func(*ovs.State) {})
	settle(t, r)
}

func TestDatabaseDown(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.ovs.SetDown(true)
	r := m.reconciler(t)
	if r.Once(t.Context()) {
		t.Fatal("ready without the database")
	}
	wantReason(t, r, CodeNoSwitch, "connection refused")
}

// A bridge that somebody else made stays his: nothing is moved, and Cleanup takes only
// what is ours.
func TestForeignBridge(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.ovs.Change(func(s *ovs.State) {
		s.Bridges["br-ex"] = &ovs.Bridge{
			ExternalIDs: map[string]string{}, OtherConfig: map[string]string{}, DatapathType: "netdev",
			Ports: map[string]*ovs.Port{
				"br-ex": {Type: "internal", ExternalIDs: map[string]string{}}, "eth0": {ExternalIDs: map[string]string{}},
			},
		}
	})
	m.do(t, kernel.SetUp{Dev: "br-ex"},
		kernel.DeleteAddr{Addr: addr4("172.30.0.11/24", "eth0")}, kernel.DeleteAddr{Addr: addr6("fd30::11/64", "eth0")},
		kernel.DeleteRoute{Route: default6("eth0", "fd30::1")},
		kernel.PutAddr{Addr: addr4("172.30.0.11/24", "br-ex")}, kernel.PutAddr{Addr: addr6("fd30::11/64", "br-ex")},
		kernel.AppendRoute{Route: default4("br-ex", "172.30.0.1", 0)}, kernel.AppendRoute{Route: default6("br-ex", "fd30::1")})
	m.kernel.ChangeLink("br-ex", func(l *kernel.Link) { l.MAC, l.MTU = testMAC, 1500 })
	before := m.network()
	settle(t, m.reconciler(t))
	if err := Cleanup(t.Context(), m.config(t)); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, m.network(), sameNetwork); d != "" {
		t.Errorf("the host is not as before (-want +got)\n%s", d)
	}
	if s := mustState(t, m); s.Bridges["br-ex"] == nil || s.Bridges["br-ex"].Ports["eth0"] == nil {
		t.Error("a foreign bridge was removed")
	}
}

func TestMappingsOfOthersStay(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.ovs.Change(func(s *ovs.State) { s.ExternalIDs[keyMappings] = "tenant:br-t,physnet:br-old" })
	settle(t, m.reconciler(t))
	if got := mustState(t, m).ExternalIDs[keyMappings]; got != "physnet:br-ex,tenant:br-t" {
		t.Errorf("mappings %s", got)
	}
	if err := Cleanup(t.Context(), m.config(t)); err != nil {
		t.Fatal(err)
	}
	if got := mustState(t, m).ExternalIDs[keyMappings]; got != "tenant:br-t" {
		t.Errorf("mappings after cleanup %s", got)
	}
}

// An address with a lifetime is given back to whoever leases it, and does not outlive it.
func TestLeasedAddress(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	leased := addr4("172.30.0.11/24", "eth0")
	leased.Valid, leased.Preferred = 3600, 1800
	m.do(t, kernel.PutAddr{Addr: leased})
	now := testTime
	r := m.reconciler(t, func(c *Config) { c.Now = func() time.Time { return now } })
	settle(t, r)
	on := func() (kernel.Addr, bool) {
		for _, a := range m.network().AddrsOf("br-ex") {
			if a.Prefix == leased.Prefix {
				return a, true
			}
		}
		return kernel.Addr{}, false
	}
	if a, _ := on(); a.Valid != 3600 || a.Preferred != 1800 {
		t.Errorf("moved as %+v", a)
	}
	now = now.Add(600 * time.Second)
	m.do(t, kernel.DeleteAddr{Addr: leased}, kernel.DeleteAddr{Addr: addr4("172.30.0.11/24", "br-ex")})
	r.Once(t.Context())
	if a, _ := on(); a.Valid != 3000 || a.Preferred != 1200 {
		t.Errorf("healed as %+v", a)
	}
	renewed := leased
	renewed.Valid, renewed.Preferred = 7200, 3600
	m.do(t, kernel.PutAddr{Addr: renewed})
	settle(t, r)
	if a, _ := on(); a.Valid != 7200 {
		t.Errorf("renewed as %+v", a)
	}
	now = now.Add(8000 * time.Second)
	m.do(t, kernel.DeleteAddr{Addr: addr4("172.30.0.11/24", "br-ex")})
	r.Once(t.Context())
	if a, ok := on(); ok {
		t.Errorf("outlives its lease: %+v", a)
	}
}

// A gateway that DHCP changes replaces the old one.
func TestNewGateway(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	r := m.reconciler(t)
	settle(t, r)
	m.do(t, kernel.PutAddr{Addr: addr4("172.30.0.11/24", "eth0")}, kernel.AppendRoute{Route: default4("eth0", "172.30.0.254", 100)})
	settle(t, r)
	var got []string
	for _, r := range m.network().Routes {
		if r.Default() && r.Dst.Addr().Is4() {
			got = append(got, r.String())
		}
	}
	if d := cmp.Diff([]string{"default via 172.30.0.254 dev br-ex proto 16 metric 100"}, got); d != "" {
		t.Errorf("default routes (-want +got)\n%s", d)
	}
	m.quiet(t, r)
}

func TestFamilies(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		subnets, services string
		zone              []netip.Prefix
		gone              func(netip.Addr) bool
	}{
		"IPv4": {"10.244.0.0/16/24", "10.96.0.0/16", parse("10.244.1.0/24"), netip.Addr.Is6},
		"IPv6": {"fd00:10:244::/48/64", "fd00:10:96::/112", parse("fd00:10:244:1::/64"), netip.Addr.Is4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			r := m.reconciler(t, func(c *Config) {
				c.Config.Network.ClusterSubnets, c.Config.Network.ServiceSubnets = test.subnets, test.services
			})
			z := testZone()
			z.Subnets = test.zone
			r.SetZone(z)
			settle(t, r)
			s := m.network()
			for _, a := range append(s.AddrsOf(ManagementPort), s.AddrsOf("br-ex")...) {
				if test.gone(a.Prefix.Addr()) && (a.Dev == ManagementPort || strings.HasPrefix(a.Prefix.String(), "169.254.") || strings.HasPrefix(a.Prefix.String(), "fd69::")) {
					t.Errorf("%s has %s", a.Dev, a.Prefix)
				}
			}
			for _, r := range s.Routes {
				if r.Protocol == protocol && test.gone(r.Dst.Addr()) {
					t.Errorf("route %s", r)
				}
			}
			// The host's own addresses of the other family move all the same.
			if on := s.AddrsOf("eth0"); len(on) > 0 {
				t.Errorf("eth0 still has %v", on)
			}
			m.quiet(t, r)
		})
	}
}

func mustState(t testing.TB, m *machine) *ovs.State {
	t.Helper()
	s, err := m.ovs.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func wantReason(t testing.TB, r *Reconciler, code, message string) {
	t.Helper()
	reasons := r.Status().Reasons
	if !slices.ContainsFunc(reasons, func(r Reason) bool { return r.Code == code && strings.Contains(r.Message, message) }) {
		t.Errorf("no reason %s with %q in %v", code, message, reasons)
	}
}

func deleteRoute(t *testing.T, m *machine, dst string) {
	t.Helper()
	for _, r := range m.kernel.Snapshot().Routes {
		if r.Dst.String() == dst && r.Protocol == protocol {
			m.do(t, kernel.DeleteRoute{Route: r})
			return
		}
	}
	t.Fatalf("no route %s", dst)
}

func prefixes(addrs []kernel.Addr) []string {
	var out []string
	for _, a := range addrs {
		out = append(out, a.Prefix.String())
	}
	return out
}

func parse(all ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range all {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}
