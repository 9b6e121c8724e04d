package trace

import (
	"net/netip"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/trace/ovntrace"
)

// TestForced: behind a gateway router that balances, the trace begins anew with the router's
// address as the source; elsewhere it does not.
func TestForced(t *testing.T) {
	t.Parallel()
	at := func(datapath, inport string, actions ...string) step {
		return step{ports: ovntrace.Ports{Ingress: true, Datapath: datapath, Inport: inport}, flow: &ovntrace.FlowInfo{}, actions: actions}
	}
	balances := at("GR_n1", "rtoe-GR_n1", "ct_lb_mark(backends=10.244.1.5:8080; force_snat);")
	joins := at("join", "jtor-GR_n1")
	backend := netip.MustParseAddrPort("10.244.1.5:8080")
	for _, c := range []struct {
		name   string
		steps  []step
		source netip.Addr // of a start that was resumed
		ct     string
		at     int
		want   bool
	}{
		{"balanced", []step{at("ext_n1", "br-ex_n1"), balances, joins, joins}, netip.Addr{}, "new", 2, true},
		{"resumed", []step{at("GR_n1", "rtoe-GR_n1"), joins}, netip.MustParseAddr("100.64.0.2"), "new", 1, true},
		{"the client keeps its address", []step{at("GR_n1", "rtoe-GR_n1", "ct_lb_mark(backends=10.244.1.5:8080);"), joins}, netip.Addr{}, "new", 0, false},
		{"balanced by a switch", []step{at("n1", "shop_a", "ct_lb_mark(backends=10.244.1.5:8080; force_snat);"), joins}, netip.Addr{}, "new", 0, false},
		{"does not come to the join switch", []step{balances}, netip.Addr{}, "new", 0, false},
		{"an answer", []step{balances, joins}, netip.Addr{}, "est,rpl", 0, false},
	} {
		w := walker{tracer: &tracer{facts: small(t)}, path: &Path{Backend: backend}, ct: c.ct}
		p := Packet{Protocol: TCP, Src: netip.MustParseAddr("203.0.113.9"), Dst: netip.MustParseAddr("172.30.0.11"), DstPort: 30080, TTL: 64}
		next, cut, ok, err := w.forced(run{steps: c.steps}, start{node: "n1", datapath: "ext_n1", source: c.source, packet: p})
		if err != nil || ok != c.want || ok && cut != c.at {
			t.Errorf("%s: %v at %d, %v; want %v at %d", c.name, ok, cut, err, c.want, c.at)
		}
		want := Packet{
			Protocol: TCP, Src: netip.MustParseAddr("100.64.0.2"), Dst: backend.Addr(), DstPort: backend.Port(), TTL: 63,
			EthSrc: "0a:58:64:40:00:02", EthDst: "0a:58:64:40:00:01",
		}
		if ok && (next.datapath != "join" || next.inport != "jtor-GR_n1" || next.packet != want) {
			t.Errorf("%s: %+v; want %+v", c.name, next, want)
		}
	}
}

// TestReplayKeepsTheLast: what a packet was when it was dropped is known, and answers to it do
// not count.
func TestReplayKeepsTheLast(t *testing.T) {
	t.Parallel()
	p := Packet{Protocol: TCP, Src: netip.MustParseAddr("10.244.1.5"), Dst: netip.MustParseAddr("10.244.2.5"), TTL: 64}
	r := replay{last: p, made: []transformation{{"ct_snat(100.64.0.2);", false}, {"reject {", true}}}
	r.packet([]*ovntrace.Node{{Kind: ovntrace.Modify, Text: "ip.ttl--"}, {Kind: ovntrace.Transformation, Name: "ct_snat", Text: "ct_snat(ip4.src=100.64.0.2)", Children: []*ovntrace.Node{
		{Kind: ovntrace.Transformation, Name: "tcp_reset", Children: []*ovntrace.Node{{Kind: ovntrace.Modify, Text: "ip4.src = 192.0.2.1"}}},
	}}}, p, false)
	want := p
	want.TTL, want.Src = 63, netip.MustParseAddr("100.64.0.2")
	if r.last != want {
		t.Errorf("%+v; want %+v", r.last, want)
	}
}
