package trace

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
)

// hosted is a small cluster whose hosts show their texts.
type hosted struct {
	*told
	texts map[string]string
}

func (s *hosted) Zone(_ context.Context, node string) (Zone, error) {
	return &hostedZone{toldZone{s.told, node}, s.texts}, nil
}

type hostedZone struct {
	toldZone
	texts map[string]string
}

func (z *hostedZone) HostText(_ context.Context, name string) (string, error) {
	return z.texts[name], nil
}

// TestNodeToOutside: a host's packet for somebody outside arrives if its routes and neighbours
// say so, and what nobody knows is not called allowed.
func TestNodeToOutside(t *testing.T) {
	t.Parallel()
	const routes = `[{"type":"unicast","dst":"default","gateway":"172.30.0.1","dev":"br-ex"},
		{"type":"unicast","dst":"172.30.0.0/24","dev":"br-ex"},
		{"type":"blackhole","dst":"198.51.100.0/24"},
		{"type":"unicast","dst":"198.51.100.7","dev":"dummy0","metric":5},
		{"type":"unicast","dst":"203.0.113.0/24","gateway":"172.30.0.9","dev":"br-ex"},
		{"type":"local","dst":"192.0.2.77","dev":"lo","table":"local"},
		{"type":"unicast","dst":"192.0.2.0/24","dev":"x","table":"1007"}]`
	const neighbours = `[{"dst":"172.30.0.1","dev":"br-ex","lladdr":"0a:00:00:00:00:01","state":["REACHABLE"]},
		{"dst":"172.30.0.9","dev":"br-ex","state":["FAILED"]},{"dst":"172.30.0.50","dev":"br-ex","state":["INCOMPLETE"]},
		{"dst":"172.30.0.60","dev":"br-ex","lladdr":"0a:00:00:00:00:02","state":["STALE"]}]`
	for _, c := range []struct {
		to      string
		verdict Verdict
		why     string
	}{
		{"172.30.0.60", Allowed, "no part of OVN"},
		{"172.30.0.50", Unreachable, "nobody at 172.30.0.50 answers node n1 on br-ex (INCOMPLETE)"},
		{"172.30.0.70", Unknown, "whether anybody has the address is not known"},
		{"198.51.100.1", Unreachable, "gives it up: blackhole 198.51.100.0/24"},
		{"198.51.100.7", Unknown, "would be beside node n1 on dummy0"},
		{"203.0.113.9", Unreachable, "nobody at 172.30.0.9 answers"},
		{"192.0.2.77", Allowed, "no part of OVN"},
		{"192.0.2.78", Allowed, "nobody knows here what is beyond 172.30.0.1"}, // a table of somebody's own
		{"172.30.0.12:22", Allowed, "no part of OVN"},                          // another node
	} {
		s := &hosted{&told{world: smallWorld()}, map[string]string{inspect.TextRoutes: routes, inspect.TextNeighbours: neighbours}}
		r, err := Run(t.Context(), s, Options{Source: "node/n1", Destination: c.to})
		if err != nil {
			t.Errorf("%s: %v", c.to, err)
			continue
		}
		if d := r.Paths[0].Decision; r.Verdict != c.verdict || !strings.Contains(d.Text, c.why) {
			t.Errorf("%s: %s (%s); want %s (%s)", c.to, r.Verdict, d.Text, c.verdict, c.why)
		}
	}
	for text, want := range map[string]string{"": "node n1 has no route", "[": "cannot be read: ip-routes.json of the node"} {
		s := &hosted{&told{world: smallWorld()}, map[string]string{inspect.TextRoutes: text}}
		r, err := Run(t.Context(), s, Options{Source: "node/n1", Destination: "192.0.2.1"})
		if err != nil || !strings.Contains(r.Paths[0].Decision.Text, want) {
			t.Errorf("%q: %v %+v", text, err, r)
		}
	}
	r, err := Run(t.Context(), &told{world: smallWorld()}, Options{Source: "node/n1", Destination: "192.0.2.1"})
	if err != nil || r.Verdict != Unknown {
		t.Errorf("routes that nobody knows: %v %+v", err, r)
	}
}

// TestUnserved: what a packet for a cluster IP that no load balancer takes is told.
func TestUnserved(t *testing.T) {
	t.Parallel()
	f := small(t)
	for _, c := range []struct {
		packet Packet
		want   string
	}{
		{Packet{Protocol: ICMP, Dst: netip.MustParseAddr("10.96.0.10")}, "cannot be pinged is no fault"},
		{Packet{Protocol: TCP, Dst: netip.MustParseAddr("10.96.0.10"), DstPort: 99}, "Service shop/web has no port 99/tcp; it has 80/tcp, 53/udp"},
		{Packet{Protocol: TCP, Dst: netip.MustParseAddr("10.96.0.77"), DstPort: 99}, "no service has it"},
	} {
		if got := f.unserved(c.packet); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.packet, got, c.want)
		}
	}
}
