package host

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/kernel"
)

// Whatever a NIC has, moving it and cleaning up gives it back, also when the move was
// killed before its end; and a second process writes nothing.
func TestMoveAndBackIsNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		m := newMachine(t)
		drawNIC(rt, m)
		before := m.network()
		l := &limited{left: rapid.IntRange(0, 60).Draw(rt, "writes before the kill"), after: func() {}}
		m.reconciler(t, func(c *Config) { c.Host = l.wrap(c.Host) }).Once(t.Context())
		r := m.reconciler(t)
		if !r.Once(t.Context()) {
			rt.Fatalf("not ready: %v", r.Status().Reasons)
		}
		if s := m.network(); len(s.AddrsOf("eth0"))+len(s.RoutesOf("eth0")) > 0 {
			rt.Fatalf("still on the NIC: %v %v", s.AddrsOf("eth0"), s.RoutesOf("eth0"))
		}
		m.writes()
		if second := m.reconciler(t); !second.Once(t.Context()) || m.writes() != (writes{}) {
			rt.Fatalf("a second process writes; reasons %v", second.Status().Reasons)
		}
		if err := Cleanup(t.Context(), m.config(t)); err != nil {
			rt.Fatal(err)
		}
		if d := cmp.Diff(before, m.network(), sameNetwork); d != "" {
			rt.Fatalf("the host is not as before (-want +got)\n%s", d)
		}
	})
}

// drawNIC gives eth0 more addresses and routes.
func drawNIC(rt *rapid.T, m *machine) {
	flag := func(what string) bool { return rapid.Bool().Draw(rt, what) }
	for i := range rapid.IntRange(0, 3).Draw(rt, "addresses") {
		a := addr4(fmt.Sprintf("198.18.%d.%d/24", rapid.IntRange(0, 1).Draw(rt, "subnet"), 10+i), "eth0")
		a.NoPrefixRoute = flag("without prefix route")
		if flag("alias") {
			a.Label = fmt.Sprintf("eth0:%d", i)
		}
		if flag("broadcast") {
			a.Broadcast = netip.MustParseAddr("198.18.0.255")
		}
		must(rt, m, kernel.PutAddr{Addr: a})
	}
	for i := range rapid.IntRange(0, 2).Draw(rt, "IPv6 addresses") {
		a := addr6(fmt.Sprintf("fd31:%d::%d/64", i, 10+i), "eth0")
		a.NoDAD, a.NoPrefixRoute = flag("without detection"), flag("without prefix route")
		must(rt, m, kernel.PutAddr{Addr: a})
	}
	for i := range rapid.IntRange(0, 4).Draw(rt, "routes") {
		r := kernel.Route{
			Table: rapid.SampledFrom([]int{kernel.TableMain, 100}).Draw(rt, "table"), Type: kernel.TypeUnicast,
			Dst: netip.MustParsePrefix(fmt.Sprintf("192.0.%d.0/24", i)), Metric: rapid.IntRange(0, 2).Draw(rt, "metric"),
			Protocol: rapid.SampledFrom([]uint8{kernel.ProtocolKernel, 3, 4, protocolDHCP}).Draw(rt, "protocol"),
			Hops:     []kernel.Hop{{Dev: "eth0"}},
		}
		if flag("gateway") {
			r.Hops[0].Via = netip.MustParseAddr("172.30.0.1")
			if flag("two ways") {
				r.Hops = append(r.Hops, kernel.Hop{Dev: "eth1", Via: netip.MustParseAddr("10.9.0.1"), Weight: 2})
			}
		}
		if flag("source") {
			r.Src = netip.MustParseAddr("172.30.0.11")
		}
		if flag("metrics") {
			r.Metrics = kernel.Metrics{MTU: 1300, AdvMSS: 1200, Congestion: "bbr"}
		}
		must(rt, m, kernel.AppendRoute{Route: r})
	}
	if flag("two IPv6 default routes") {
		must(rt, m, kernel.AppendRoute{Route: default6("eth0", "fd30::2")})
	}
}

func must(rt *rapid.T, m *machine, c kernel.Change) {
	if err := m.kernel.Do(c); err != nil {
		rt.Fatalf("%s: %v", c, err)
	}
}
