package host

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/kernel"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/nft"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// A new process that does not know the services yet leaves what others before it did for
// them, and writes nothing when it gets to know them.
func TestServicesUnknown(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	first := m.reconciler(t)
	first.SetServices(testServices())
	settle(t, first)
	flows, network := m.flows.Flows("br-ex"), m.network()
	m.writes()

	second := New(m.config(t))
	second.SetZone(testZone())
	settle(t, second)
	if w := m.writes(); w != (writes{}) {
		t.Errorf("wrote %+v though the services are not known", w)
	}
	if got := m.flows.Flows("br-ex"); !slices.Equal(got, flows) {
		t.Error("other flows")
	}
	if got := m.network(); len(got.Routes) != len(network.Routes) {
		t.Errorf("routes were %v, are %v", network.Routes, got.Routes)
	}
	second.SetServices(testServices())
	m.quiet(t, second)

	second.SetServices(noServices())
	settle(t, second)
	if n := strings.Count(strings.Join(m.flows.Flows("br-ex"), "\n"), "30080"); n > 0 {
		t.Errorf("%d flows left of a node port that is gone", n)
	}
	if slices.ContainsFunc(m.network().RoutesOf("br-ex"), func(r kernel.Route) bool { return r.Dst.String() == "10.97.0.0/16" }) {
		t.Error("the route of a range that is gone is left")
	}
	if v, _, _ := m.kernel.Sysctl("net/ipv4/conf/ovn-k8s-mp0/route_localnet"); v != "0" {
		t.Errorf("route_localnet is %q without host ports on the loopback address", v)
	}
}

// Services that went while no process ran leave nothing behind.
func TestServicesGoneMeanwhile(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	settle(t, m.reconciler(t))
	want := m.flows.Flows("br-ex")
	first := m.reconciler(t)
	first.SetServices(testServices())
	settle(t, first)
	second := New(m.config(t))
	second.SetZone(testZone())
	settle(t, second)
	second.SetServices(noServices())
	second.pass(t.Context(), second.take())
	if got := m.flows.Flows("br-ex"); !slices.Equal(got, want) {
		t.Errorf("%d flows, want %d", len(got), len(want))
	}
}

func TestSetServicesOnlyKicksForOthers(t *testing.T) {
	t.Parallel()
	r := New(newMachine(t).config(t))
	r.SetServices(testServices())
	if r.take() == 0 {
		t.Error("new services are not looked at")
	}
	r.SetServices(testServices())
	if r.take() != 0 {
		t.Error("the same services are looked at again")
	}
}

// Of UDP connections, those are looked at whose backends changed, and at a start all.
func TestUDPConnectionsAreForgotten(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	r := m.reconciler(t)
	port := func(at string, p world.Protocol, to ...string) *Outside {
		a := netip.MustParseAddrPort(at)
		return &Outside{Addr: a.Addr(), Port: a.Port(), Protocol: p, To: ap("10.96.0.53:53"), Local: true, ToLocal: ap(to...)}
	}
	set := func(list ...*Outside) {
		s := noServices()
		s.Outside = list
		r.SetServices(s)
		settle(t, r)
	}
	type asked = map[netip.AddrPort][]netip.AddrPort
	at := netip.MustParseAddrPort
	expect := func(want ...asked) {
		t.Helper()
		if d := cmp.Diff(want, m.kernel.Forgotten(), cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	}
	set(port("0.0.0.0:30053", world.UDP, "10.244.1.5:53"), port("192.0.2.53:53", world.UDP, "10.244.1.5:53"), port("0.0.0.0:30080", world.TCP, "10.244.1.5:80"))
	five := ap("10.96.0.53:53", "10.244.1.5:53")
	expect(asked{at("10.9.0.11:30053"): five, at("172.30.0.11:30053"): five, at("192.0.2.53:53"): five})
	settle(t, r)
	expect()
	set(port("0.0.0.0:30053", world.UDP, "10.244.1.6:53"), port("192.0.2.53:53", world.UDP, "10.244.1.5:53"), port("0.0.0.0:30080", world.TCP))
	six := ap("10.96.0.53:53", "10.244.1.6:53")
	expect(asked{at("10.9.0.11:30053"): six, at("172.30.0.11:30053"): six})
	set(port("0.0.0.0:30053", world.UDP, "10.244.1.6:53"))
	expect(asked{at("192.0.2.53:53"): nil})

	// What failed is tried again, together with what changed since.
	m.kernel.FailToForget(errors.New("table is busy"))
	set(port("192.0.2.53:53", world.UDP, "10.244.1.7:53"))
	set()
	m.kernel.Forgotten()
	m.kernel.FailToForget(nil)
	gone := asked{at("10.9.0.11:30053"): nil, at("172.30.0.11:30053"): nil, at("192.0.2.53:53"): nil}
	settle(t, r)
	expect(gone)
	settle(t, r)
	expect()
}

func TestServicesHeal(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	r := m.reconciler(t)
	r.SetServices(testServices())
	settle(t, r)
	have, err := m.nft.List(t.Context(), tableFamily, tableName)
	if err != nil {
		t.Fatal(err)
	}
	text := tableText(*have)
	for name, harm := range map[string]nft.Op{
		"element deleted": {Verb: nft.DeleteElements, Map: &nft.Map{Name: "nodeports-v4", Elements: map[string]string{"tcp . 30080": "10.96.0.80 . 80"}}},
		"element added":   {Verb: nft.AddElements, Map: &nft.Map{Name: "nodeports-v4", Elements: map[string]string{"tcp . 1": "10.96.0.80 . 80"}}},
		"chain emptied":   {Verb: nft.FlushChain, Chain: &nft.Chain{Name: "services"}},
	} {
		harm.Family, harm.Table = tableFamily, tableName
		if err := m.nft.Apply(t.Context(), []nft.Op{harm}); err != nil {
			t.Fatal(name, err)
		}
		settle(t, r)
		if have, err = m.nft.List(t.Context(), tableFamily, tableName); err != nil || tableText(*have) != text {
			t.Errorf("%s: not mended: %v", name, err)
		}
	}
	m.quiet(t, r)
}

// many are n node ports of both families, with an external address each.
func many(n int) Services {
	s := noServices()
	for i := range n {
		for _, f := range []struct{ every, external, service string }{
			{"0.0.0.0", "192.0.2.1", "10.96.%d.%d"}, {"::", "2001:db8::1", "fd00:10:96::%x:%x"},
		} {
			to := []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf(f.service, i/250, 1+i%250)), 80)}
			s.Outside = append(s.Outside,
				&Outside{Owner: fmt.Sprintf("ns/s%d", i), Addr: netip.MustParseAddr(f.every), Port: uint16(20000 + i), Protocol: world.TCP, To: to},
				&Outside{Owner: fmt.Sprintf("ns/s%d", i), Addr: netip.MustParseAddr(f.external), Port: uint16(20000 + i), Protocol: world.TCP, To: to})
		}
	}
	return s
}

const manyServices = 5000

func benchInput(b *testing.B) input {
	m := newMachine(b)
	c := m.config(b)
	u, f, err := discover(c, testZone(), m.observe(b))
	if err != nil {
		b.Fatal(err)
	}
	services := many(manyServices)
	return input{Config: c, zone: testZone(), services: &services, uplink: u, facts: f}
}

func BenchmarkServiceFlows(b *testing.B) {
	in := benchInput(b)
	b.ReportAllocs()
	for b.Loop() {
		desiredFlows(in, ports{nic: 1, patch: 2})
	}
}

func BenchmarkServiceTable(b *testing.B) {
	in := benchInput(b)
	b.ReportAllocs()
	for b.Loop() {
		tableText(desiredTable(in))
	}
}

// A pass over a host with many services when nothing changed.
func BenchmarkServicePass(b *testing.B) {
	m := newMachine(b)
	r := m.reconciler(b, func(c *Config) { c.Config.Datapath = config.DatapathNetdev })
	r.SetServices(many(manyServices))
	settle(b, r)
	b.ReportAllocs()
	for b.Loop() {
		if _, wrote := r.pass(b.Context(), scopeState); wrote {
			b.Fatal("writes though nothing changed")
		}
	}
}

// One end point of one of many services changes.
func BenchmarkServiceUpdate(b *testing.B) {
	c := newCluster(b)
	set := NewServiceSet(c.network)
	c.store.Subscribe(func(v world.View, ch world.Change) { set.Touch(v, ch) })
	for i := range manyServices {
		c.store.SetService(&world.Service{
			Namespace: "ns", Name: fmt.Sprintf("s%d", i), ClusterIPs: addrs(fmt.Sprintf("10.96.%d.%d", i/250, 1+i%250)),
			Ports: []world.ServicePort{{Name: "p", Protocol: world.TCP, Port: 80, NodePort: uint16(20000 + i)}},
		})
	}
	r := New(newMachine(b).config(b))
	update := func() {
		var s Services
		c.store.Read(func(v world.View) { s = set.Update(v) })
		r.SetServices(s)
	}
	update()
	r.take()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		c.store.SetSlice(&world.EndpointSlice{
			Namespace: "ns", Name: "s7-x", Service: "s7", Ports: []world.EndpointPort{{Name: "p", Protocol: world.TCP, Port: 8080}},
			Endpoints: []world.Endpoint{{Addrs: addrs(fmt.Sprintf("10.244.1.%d", 5+i%200)), Node: "n1", Ready: true, Serving: true}},
		})
		update()
		if r.take() != 0 {
			b.Fatal("an end point of an ordinary service is work for the host")
		}
	}
}
