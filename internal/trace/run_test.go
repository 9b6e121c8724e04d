package trace

import (
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/explain"
	"github.com/ovnkctl/ovnkctl/internal/trace/ovntrace"
)

// sample joins two recorded traces of one packet, as ovn-trace prints them when asked for
// both.
func sample(t *testing.T, detailed, minimal string) *ovntrace.Trace {
	t.Helper()
	read := func(name string) string {
		text, err := os.ReadFile("ovntrace/testdata/" + name + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	a, b := ovntrace.Parse(read(detailed)), ovntrace.Parse(read(minimal))
	if a.Packet != b.Packet {
		t.Fatalf("traces of two packets:\n%s\n%s", a.Packet, b.Packet)
	}
	a.Minimal = b.Minimal
	return a
}

var pod11 = Packet{Protocol: TCP, EthSrc: "0a:58:0a:f4:01:0b", EthDst: "0a:58:0a:f4:01:01", Src: netip.MustParseAddr("10.244.1.11"), TTL: 64, DstPort: 8080}

// TestRunAcrossZones: the packet leaves for the other zone as that zone will see it.
func TestRunAcrossZones(t *testing.T) {
	t.Parallel()
	p := pod11
	p.Dst = netip.MustParseAddr("10.244.2.11")
	r := newRun(sample(t, "23.03-ic-n1-ovn-trace-detailed-cross-zone", "23.03-ic-n1-ovn-trace-minimal-cross-zone"), p, netip.AddrPort{})
	want := p
	want.EthSrc, want.EthDst, want.TTL = "0a:58:64:58:00:01", "0a:58:64:58:00:02", 63
	if len(r.exits) != 1 || r.exits[0] != (exit{port: "tstor-n2", typ: "remote", packet: want}) || len(r.problems) > 0 {
		t.Errorf("%+v, problems %q; want %+v", r.exits, r.problems, want)
	}
}

// TestRunTranslates: what leaves has the node's address.
func TestRunTranslates(t *testing.T) {
	t.Parallel()
	p := pod11
	p.Dst, p.DstPort = netip.MustParseAddr("172.30.0.1"), 9000
	r := newRun(sample(t, "23.03-detailed-pod-to-external", "23.03-minimal-pod-to-external"), p, netip.AddrPort{})
	if len(r.exits) != 1 || r.exits[0].typ != "localnet" || r.exits[0].packet.Src != netip.MustParseAddr("172.30.0.11") || r.exits[0].packet.TTL != 62 || len(r.problems) > 0 {
		t.Errorf("%+v, problems %q", r.exits, r.problems)
	}
}

// TestRunRejects: the answer to a refused packet is not its way.
func TestRunRejects(t *testing.T) {
	t.Parallel()
	p := pod11
	r := newRun(sample(t, "23.03-detailed-acl-reject", "23.03-minimal-acl-reject"), p, netip.AddrPort{})
	if len(r.exits) != 1 || !r.exits[0].side || len(r.problems) > 0 {
		t.Errorf("%+v, problems %q; want the answer alone", r.exits, r.problems)
	}
	var last step
	for _, s := range r.steps {
		if !s.side {
			last = s
		}
	}
	if last.flow.Stage != "ls_out_acl" || last.ports.Datapath != "n2" {
		t.Errorf("the packet's way ends in %+v", last)
	}
}

// TestRunFollowsBackend: up to the choice of a backend by the one trace, then by the other.
func TestRunFollowsBackend(t *testing.T) {
	t.Parallel()
	p := pod11
	p.Dst, p.DstPort = netip.MustParseAddr("10.96.0.10"), 80
	free := newRun(sample(t, "23.03-detailed-pod-to-service", "23.03-minimal-pod-to-service"), p, netip.AddrPort{})
	at, list := free.balanced(true)
	backend := netip.MustParseAddrPort("10.244.3.11:8080")
	if at < 0 || len(list) != 3 || list[2] != backend || free.steps[at].flow.Stage != "ls_in_lb" {
		t.Fatalf("step %d chooses among %v", at, list)
	}
	text, err := os.ReadFile("ovntrace/testdata/23.03-detailed-pod-to-service-with-lb-dst.txt")
	if err != nil {
		t.Fatal(err)
	}
	told := newRun(ovntrace.Parse(string(text)), p, backend)
	r := free.follow(at, told)
	var stages []string
	for _, s := range r.steps {
		stages = append(stages, s.flow.Stage)
	}
	i := slices.Index(stages, "ls_in_lb")
	if i < 0 || i+1 == len(stages) || stages[i+1] != "ls_in_pre_hairpin" || len(r.exits) != 1 || r.exits[0].port != "p31" {
		t.Errorf("stages %v, exits %+v", stages, r.exits)
	}
}

func TestBackends(t *testing.T) {
	t.Parallel()
	a, b, six := netip.MustParseAddrPort("10.0.0.1:80"), netip.MustParseAddrPort("10.0.0.2:80"), netip.MustParseAddrPort("[fd00::1]:80")
	for _, c := range []struct {
		action  string
		told    netip.AddrPort
		list    []netip.AddrPort
		want    netip.AddrPort
		changes bool
	}{
		{"ct_lb_mark(backends=10.0.0.1:80,10.0.0.2:80);", netip.AddrPort{}, []netip.AddrPort{a, b}, netip.AddrPort{}, false},
		{"ct_lb_mark(backends=10.0.0.1:80,10.0.0.2:80; force_snat);", b, []netip.AddrPort{a, b}, b, true},
		{"ct_lb_mark(backends=10.0.0.1:80,[fd00::1]:80);", netip.AddrPort{}, []netip.AddrPort{a, six}, a, true},
		{"ct_lb(backends=10.0.0.1:80);", b, []netip.AddrPort{a}, a, true},
		{"ct_lb_mark;", b, nil, b, true},
		{"ct_lb_mark;", six, nil, netip.AddrPort{}, false},
		{"ct_lb_mark;", netip.AddrPort{}, nil, netip.AddrPort{}, false},
		{"next;", netip.AddrPort{}, nil, netip.AddrPort{}, false},
	} {
		list, _ := backendsOf(c.action)
		got, ok := chosen(c.action, c.told, a.Addr())
		if !slices.Equal(list, c.list) || got != c.want || ok != c.changes {
			t.Errorf("%s told %v: %v of %v (%v)", c.action, c.told, got, list, ok)
		}
	}
}

// TestHairpin: a pod that its own service leads to gets its packet back, whatever ovn-trace
// says of what comes behind the choice.
func TestHairpin(t *testing.T) {
	t.Parallel()
	p := Packet{Protocol: TCP, Src: netip.MustParseAddr("10.244.3.11"), Dst: netip.MustParseAddr("10.96.0.10"), SrcPort: 40000, DstPort: 80}
	r := newRun(sample(t, "23.03-detailed-pod-to-service", "23.03-minimal-pod-to-service"), p, netip.AddrPort{})
	s := start{node: "n3", datapath: "n3", inport: "shop_a", packet: p}
	w := walker{path: &Path{}, ct: "new", source: End{Kind: EndPod, Object: explain.Object{Kind: "Pod", Namespace: "shop", Name: "a"}}}
	if got := w.hairpin(r, s); got >= 0 {
		t.Errorf("nothing was chosen yet, and step %d sends it back", got)
	}
	w.path.Backend = netip.MustParseAddrPort("10.244.3.12:8080")
	if got := w.hairpin(r, s); got >= 0 {
		t.Errorf("another pod was chosen, and step %d sends it back", got)
	}
	w.path.Backend = netip.MustParseAddrPort("10.244.3.11:8080")
	if got := w.hairpin(r, s); got < 0 || r.steps[got].flow.Stage != "ls_in_lb" {
		t.Errorf("step %d sends it back", got)
	}
	w.returned(s)
	if w.path.Verdict != Allowed || w.path.Arrives != "Pod shop/a" || w.path.Packet.String() != "tcp 10.244.3.11:40000 > 10.244.3.11:8080" {
		t.Errorf("%s, arrives at %q as %s", w.path.Verdict, w.path.Arrives, w.path.Packet)
	}
}
