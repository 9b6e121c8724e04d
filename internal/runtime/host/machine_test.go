package host

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/kernel"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/kernel/kerneltest"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/nft"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/nft/nfttest"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/openflow"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/openflow/openflowtest"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/ovs"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/ovs/ovstest"
)

// machine is a host of fakes: a network stack with eth0, a switch whose daemon makes
// devices and numbers ports, and an ovn-controller that connects the bridges.
type machine struct {
	kernel *kerneltest.Fake
	ovs    *ovstest.Fake
	nft    *nfttest.Fake
	flows  *openflowtest.Fake
	// vswitchd and controller tell which daemons run.
	vswitchd, controller bool
	numbers              map[string]int
}

const (
	testMAC  = "02:00:00:00:00:11"
	testBoot = "11111111-1111-1111-1111-111111111111"
)

var testTime = time.Unix(1_800_000_000, 0)

func newMachine(t testing.TB) *machine {
	t.Helper()
	m := &machine{nft: nfttest.New(), flows: openflowtest.New(), vswitchd: true, controller: true, numbers: map[string]int{}}
	m.ovs = ovstest.New(m.daemon)
	m.boot(t)
	return m
}

// boot gives the machine a fresh network stack, as the distribution sets it up.
func (m *machine) boot(t testing.TB) {
	t.Helper()
	m.kernel = kerneltest.New()
	m.nft.Flush()
	m.nft.Writes()
	m.kernel.PutSysctl(bootID, testBoot)
	m.kernel.PutSysctl("net/ipv6/conf/all/forwarding", "0")
	m.kernel.PutSysctl("net/ipv4/conf/all/arp_ignore", "0")
	m.kernel.AddLink(kernel.Link{Name: "lo", Up: true, Loopback: true, MTU: 65536})
	m.kernel.AddLink(kernel.Link{Name: "eth0", Up: true, MAC: testMAC, MTU: 1500})
	m.kernel.AddLink(kernel.Link{Name: "eth1", Up: true, MAC: "02:00:00:00:00:12", MTU: 1500})
	m.do(t,
		kernel.PutAddr{Addr: addr4("172.30.0.11/24", "eth0")},
		kernel.PutAddr{Addr: addr6("fd30::11/64", "eth0")},
		kernel.PutAddr{Addr: addr6("fe80::ff:fe00:11/64", "eth0")},
		kernel.PutAddr{Addr: addr4("10.9.0.11/16", "eth1")},
		kernel.AppendRoute{Route: default4("eth0", "172.30.0.1", 100)},
		kernel.AppendRoute{Route: default6("eth0", "fd30::1")})
}

func (m *machine) do(t testing.TB, changes ...kernel.Change) {
	t.Helper()
	if err := m.kernel.Do(changes...); err != nil {
		t.Fatal(err)
	}
}

// daemon is ovs-vswitchd and ovn-controller: it sees every transaction.
func (m *machine) daemon(s *ovs.State) {
	if m.controller {
		m.patch(s)
	}
	if !m.vswitchd {
		return
	}
	have, wanted := m.kernel.Snapshot(), map[string]bool{}
	for name, b := range s.Bridges {
		for port, p := range b.Ports {
			if p.Type == "internal" {
				wanted[port] = true
				m.device(have, port, p, b.OtherConfig["hwaddr"])
			}
			if _, ok := have.Link(port); !ok && p.Type == "" {
				p.OFPort = -1
				p.Error = "could not open network device " + port + " (No such device)"
				continue
			}
			p.Error = ""
			if m.numbers[port] == 0 {
				m.numbers[port] = len(m.numbers) + 1
			}
			p.OFPort = m.numbers[port]
		}
		m.flows.Serve(name)
	}
	for _, l := range have.Links {
		if l.Kind == "tun" && !wanted[l.Name] {
			m.kernel.RemoveLink(l.Name)
			m.flows.Forget(l.Name)
		}
	}
}

func (m *machine) device(have *kernel.State, name string, p *ovs.Port, hwaddr string) {
	mac := p.MAC
	if mac == "" {
		mac = hwaddr
	}
	l, ok := have.Link(name)
	if !ok {
		m.kernel.AddLink(kernel.Link{Name: name, Kind: "tun", MAC: mac, MTU: max(p.MTURequest, 1280)})
	} else if l.MAC != mac || p.MTURequest > 0 && l.MTU != p.MTURequest {
		m.kernel.ChangeLink(name, func(l *kernel.Link) { l.MAC, l.MTU = mac, max(p.MTURequest, 1280) })
	}
}

// patch is what ovn-controller does for a localnet port once both bridges are there.
func (m *machine) patch(s *ovs.State) {
	b, ok := s.Bridges["br-ex"]
	if _, integration := s.Bridges[names.IntegrationBridge]; ok && integration && s.ExternalIDs["ovn-encap-ip"] != "" {
		if name := names.PatchToIntegration("br-ex_n1"); b.Ports[name] == nil {
			b.Ports[name] = &ovs.Port{Type: "patch", ExternalIDs: map[string]string{}}
		}
	}
}

func (m *machine) host() Host {
	return Host{Switch: m.ovs, Kernel: m.kernel, Firewall: m.nft, Flows: m.flows}
}

// reconciler makes one that knows of n1 all it needs.
func (m *machine) reconciler(t testing.TB, change ...func(*Config)) *Reconciler {
	t.Helper()
	c := m.config(t, change...)
	r := New(c)
	r.SetZone(testZone())
	r.SetServices(noServices())
	return r
}

func testZone() Zone {
	return Zone{
		Subnets:     []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:10:244:1::/64")},
		InternalIPs: []netip.Addr{netip.MustParseAddr("172.30.0.11"), netip.MustParseAddr("fd30::11")},
		ChassisID:   "aaaaaaaa-0000-0000-0000-000000000001",
		RemoteNodes: []netip.Addr{netip.MustParseAddr("172.30.0.12"), netip.MustParseAddr("fd30::12")},
	}
}

func (m *machine) config(t testing.TB, change ...func(*Config)) Config {
	t.Helper()
	cfg := config.Default()
	cfg.Datapath = config.DatapathNetdev
	cfg.Network.ClusterSubnets = "10.244.0.0/16/24,fd00:10:244::/48/64"
	cfg.Network.ServiceSubnets = "10.96.0.0/16,fd00:10:96::/112"
	cfg.CNI.ConfDir, cfg.CNI.BinDir = t.TempDir(), t.TempDir()
	c := Config{Node: "n1", Config: cfg, Host: m.host(), Now: func() time.Time { return testTime }}
	for _, f := range change {
		f(&c)
	}
	if c.Network.Name == "" {
		network, err := cfg.DefaultNetwork()
		if err != nil {
			t.Fatal(err)
		}
		c.Network = network
	}
	return c
}

// settle runs the reconciler until everything is in place.
func settle(t testing.TB, r *Reconciler) {
	t.Helper()
	if !r.Once(t.Context()) {
		t.Fatalf("not ready: %v", r.Status().Reasons)
	}
}

// quiet fails the test if a look at the machine by a new process writes anything.
func (m *machine) quiet(t testing.TB, r *Reconciler) {
	t.Helper()
	m.writes()
	settle(t, r)
	if w := m.writes(); w != (writes{}) {
		t.Errorf("writes though nothing differs: %+v", w)
	}
}

type writes struct{ kernel, ovs, nft, flows int }

func (m *machine) writes() writes {
	return writes{len(m.kernel.Writes()), len(m.ovs.Writes()), len(m.nft.Writes()), m.flows.Writes()}
}

// network is what `ip` would show, without what has no meaning for the host: indexes, and
// the link-local addresses that come and go with devices.
func (m *machine) network() *kernel.State {
	s := m.kernel.Snapshot()
	for i := range s.Links {
		s.Links[i].Index = 0
	}
	linkLocal := func(a netip.Addr) bool { return a.Is6() && a.IsLinkLocalUnicast() }
	s.Addrs = slices.DeleteFunc(s.Addrs, func(a kernel.Addr) bool { return linkLocal(a.Prefix.Addr()) })
	s.Routes = slices.DeleteFunc(s.Routes, func(r kernel.Route) bool { return linkLocal(r.Dst.Addr()) })
	return s
}

var sameNetwork = cmp.Options{
	cmpopts.SortSlices(func(a, b kernel.Addr) bool { return a.Dev+a.Prefix.String() < b.Dev+b.Prefix.String() }),
	cmpopts.SortSlices(func(a, b kernel.Route) bool { return a.String() < b.String() }),
	cmpopts.SortSlices(func(a, b kernel.Link) bool { return a.Name < b.Name }),
	cmpopts.SortSlices(func(a, b kernel.Neighbor) bool { return a.Dev+a.Addr.String() < b.Dev+b.Addr.String() }),
	cmpopts.EquateEmpty(),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
}

// reachable tells why the host could not talk to its next hops at this moment.
func (m *machine) reachable(nextHops ...string) error {
	s := m.kernel.Snapshot()
	state, err := m.ovs.State(context.Background())
	if err != nil {
		return err
	}
	guard := slices.Contains(m.nft.Tables(), guardFamily+" "+guardName)
	bridgeIn := false // what arrives by the NIC reaches the bridge's device
	if p, ok := state.Port("br-ex", "eth0"); ok && p.OFPort > 0 {
		l, ok := s.Link("br-ex")
		bridgeIn = ok && l.Up && l.MAC == testMAC
	}
	if guard && !bridgeIn {
		return errors.New("the NIC's frames are dropped and the bridge does not get them")
	}
	for _, hop := range nextHops {
		to := netip.MustParseAddr(hop)
		r, ok := lookup(s, to)
		if !ok {
			return errors.New("no route to " + hop)
		}
		if dev := r.Hops[0].Dev; dev == "br-ex" && !bridgeIn {
			return errors.New("the route to " + hop + " is by a bridge without the NIC")
		}
		if !slices.ContainsFunc(s.Addrs, func(a kernel.Addr) bool {
			return (a.Dev == "eth0" || a.Dev == "br-ex") && a.Global() && a.Prefix.Addr().Is6() == to.Is6() && a.Prefix.Contains(to)
		}) {
			return errors.New("no address on the network of " + hop)
		}
		if d, ok := defaultRoute(family(to.Is6()), s.Routes, ""); !ok {
			return errors.New("no default route")
		} else if d.Hops[0].Dev == "br-ex" && !bridgeIn {
			return errors.New("the default route is by a bridge without the NIC")
		}
	}
	return nil
}

// lookup is the kernel's choice: the longest prefix, then the least metric, then the
// oldest.
func lookup(s *kernel.State, to netip.Addr) (kernel.Route, bool) {
	var best kernel.Route
	found := false
	for _, r := range s.Routes {
		if r.Table != kernel.TableMain || !r.Dst.Contains(to) {
			continue
		}
		if !found || r.Dst.Bits() > best.Dst.Bits() || r.Dst.Bits() == best.Dst.Bits() && r.Metric < best.Metric {
			best, found = r, true
		}
	}
	return best, found
}

func addr4(p, dev string) kernel.Addr {
	return kernel.Addr{Dev: dev, Prefix: netip.MustParsePrefix(p), Label: dev, Valid: kernel.Forever, Preferred: kernel.Forever}
}

func addr6(p, dev string) kernel.Addr {
	a := kernel.Addr{Dev: dev, Prefix: netip.MustParsePrefix(p), Valid: kernel.Forever, Preferred: kernel.Forever}
	if a.Prefix.Addr().IsLinkLocalUnicast() {
		a.Scope = kernel.ScopeLink
	}
	return a
}

const protocolDHCP = 16

func default4(dev, via string, metric int) kernel.Route {
	return kernel.Route{
		Table: kernel.TableMain, Dst: netip.MustParsePrefix("0.0.0.0/0"), Type: kernel.TypeUnicast, Metric: metric,
		Protocol: protocolDHCP, Hops: []kernel.Hop{{Dev: dev, Via: netip.MustParseAddr(via)}},
	}
}

func default6(dev, via string) kernel.Route {
	return kernel.Route{
		Table: kernel.TableMain, Dst: netip.MustParsePrefix("::/0"), Type: kernel.TypeUnicast, Metric: kernel.DefaultMetric6,
		Protocol: 3, Hops: []kernel.Hop{{Dev: dev, Via: netip.MustParseAddr(via)}},
	}
}

// limited lets a number of writes through and then is dead, as a killed process.
type limited struct {
	left  int
	after func() // after each write
}

var errKilled = errors.New("killed")

func (l *limited) write(f func() error) error {
	if l.left == 0 {
		return errKilled
	}
	l.left--
	err := f()
	l.after()
	return err
}

func (l *limited) wrap(h Host) Host {
	return Host{
		Switch: limitedSwitch{h.Switch, l}, Kernel: limitedKernel{h.Kernel, l},
		Firewall: limitedFirewall{h.Firewall, l}, Flows: limitedFlows{h.Flows, l},
	}
}

type limitedSwitch struct {
	Switch
	l *limited
}

func (s limitedSwitch) Apply(ctx context.Context, comment string, c []ovs.Change) error {
	return s.l.write(func() error { return s.Switch.Apply(ctx, comment, c) })
}

type limitedKernel struct {
	Kernel
	l *limited
}

func (s limitedKernel) Apply(ctx context.Context, c kernel.Change) error {
	return s.l.write(func() error { return s.Kernel.Apply(ctx, c) })
}

type limitedFirewall struct {
	Firewall
	l *limited
}

func (s limitedFirewall) Apply(ctx context.Context, ops []nft.Op) error {
	return s.l.write(func() error { return s.Firewall.Apply(ctx, ops) })
}

type limitedFlows struct {
	Flows
	l *limited
}

func (s limitedFlows) Apply(ctx context.Context, bridge string, c openflow.Changes) error {
	return s.l.write(func() error { return s.Flows.Apply(ctx, bridge, c) })
}
