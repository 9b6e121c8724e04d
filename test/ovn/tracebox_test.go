//go:build ovn && linux

package ovn

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/explain"
	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/policy"
	"github.com/ovnkctl/ovnkctl/internal/trace"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/test/ovn/box"
)

// captures is a folder for what ovn-trace and ofproto/trace print, to make samples of.
var captures = flag.String("captures", "", "write the output of trace programs to this folder")

// boxSource is a box as a trace.Source.
type boxSource struct {
	t     *testing.T
	box   *box.Box
	world *world.Store
	zones map[string]*boxZone
}

// newBoxSource sees the box as it is now.
func newBoxSource(t *testing.T, b *box.Box) *boxSource {
	s := &boxSource{t: t, box: b, world: world.New(world.Config{Networks: []world.Network{b.Network}}), zones: map[string]*boxZone{}}
	for _, z := range b.Zones {
		n := world.FromNode(z.Node)
		for _, a := range z.Addrs {
			n.InternalIPs = append(n.InternalIPs, a.Addr())
		}
		s.world.SetNode(n)
		z.World.Read(func(v world.View) {
			for p := range v.Pods {
				s.world.SetPod(p)
			}
			for o := range v.Services {
				s.world.SetService(o)
			}
		})
		s.zones[z.Name] = &boxZone{t: t, zone: z}
	}
	s.world.MarkSynced()
	return s
}

func (s *boxSource) World(context.Context) (*world.Store, error) { return s.world, nil }
func (s *boxSource) Policies(context.Context, string) (policy.Cluster, error) {
	return trace.ClusterOf(s.world), nil
}
func (s *boxSource) Zone(_ context.Context, node string) (trace.Zone, error) {
	return s.zones[node], nil
}

// boxZone is one zone of a box as a trace.Zone.
type boxZone struct {
	t     *testing.T
	zone  *box.Zone
	runs  int
	flows *ovn.DB
	ovs   *ovn.DB
}

func (z *boxZone) capture(what, text string) {
	if *captures == "" {
		return
	}
	z.runs++
	name := fmt.Sprintf("%s-%s-%s-%d.txt", what, strings.ReplaceAll(z.t.Name(), "/", "-"), z.zone.Name, z.runs)
	if err := os.WriteFile(filepath.Join(*captures, name), []byte(text), 0o600); err != nil {
		z.t.Error(err)
	}
}

func (z *boxZone) OVNTrace(_ context.Context, r trace.Request) (string, error) {
	programs, err := box.FindPrograms()
	if err != nil {
		return "", err
	}
	argv, err := programs.Argv("ovn-trace", append([]string{"--db=" + z.zone.Endpoint("sb")}, r.Args()...)...)
	if err != nil {
		return "", err
	}
	var stderr strings.Builder
	c := exec.Command(argv[0], argv[1:]...)
	c.Stderr = &stderr
	text, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, stderr.String())
	}
	z.capture("ovn-trace", string(text))
	return string(text), nil
}

func (z *boxZone) OFProtoTrace(_ context.Context, bridge, flow string) (string, error) {
	text := z.zone.Run("ovs-appctl", "-t", "ovs-vswitchd", "ofproto/trace", bridge, flow)
	z.capture("ofproto-trace", text)
	return text, nil
}

func (z *boxZone) open(db string, d *ovn.Database, tables ...string) *ovn.DB {
	ctx, cancel := context.WithTimeout(context.Background(), box.Patience)
	defer cancel()
	c, err := ovn.Open(ctx, ovn.Config{Endpoint: z.zone.Endpoint(db), Database: d, Tables: tables})
	if err != nil {
		z.t.Fatal(err)
	}
	z.t.Cleanup(c.Close)
	return c
}

// southbound follows the tables of the Southbound database that traces read.
func (z *boxZone) southbound() *ovn.DB {
	if z.flows == nil {
		z.flows = z.open("sb", ovn.Southbound(), sb.LogicalFlowTable, sb.PortBindingTable)
	}
	return z.flows
}

func (z *boxZone) LogicalFlows(_ context.Context, starts []string) ([]*sb.LogicalFlow, error) {
	return z.flowsWhere(func(f *sb.LogicalFlow) bool { return slices.Contains(starts, f.UUID[:8]) }), nil
}

func (z *boxZone) flowsWhere(wanted func(*sb.LogicalFlow) bool) []*sb.LogicalFlow {
	var out []*sb.LogicalFlow
	t, _ := ovn.Southbound().Table(sb.LogicalFlowTable)
	z.southbound().Read(func(v ovn.View) {
		for r := range v.Table(t) {
			if f := r.Model.(*sb.LogicalFlow); wanted(f) {
				out = append(out, f)
			}
		}
	})
	return out
}

func (z *boxZone) Rows(context.Context) (*explain.Index, error) {
	x := explain.NewIndex(z.zone.Name)
	add := func(db *ovn.DB, d *ovn.Database, names ...string) {
		db.Read(func(v ovn.View) {
			for _, t := range d.Tables() {
				if len(names) > 0 && !slices.Contains(names, t.Name) {
					continue
				}
				for r := range v.Table(t) {
					x.Add(t, r.Model)
				}
			}
		})
	}
	if z.ovs == nil {
		z.ovs = z.open("db", ovn.OpenVSwitch(), "Interface")
	}
	add(z.zone.NB, ovn.Northbound())
	add(z.southbound(), ovn.Southbound(), sb.PortBindingTable)
	add(z.ovs, ovn.OpenVSwitch(), "Interface")
	return x, nil
}

// traced is a question, and what real packets do.
type traced struct {
	from, to string
	port     uint16
	want     trace.Verdict
	arrives  []string // by path, in order of the backends
}

// TestTraceServices: traces end where real packets do, with all backends named.
func TestTraceServices(t *testing.T) {
	t.Parallel()
	for _, mode := range []world.GatewayMode{world.GatewayShared, world.GatewayLocal} {
		t.Run(string(mode), func(t *testing.T) {
			l := newServiceLab(t, box.Options{Zones: 2, Family: box.Dual, Mode: mode})
			t.Run("pods", l.tracePods)
			t.Run("services", l.traceServices)
			t.Run("refused", l.traceRefused)
			t.Run("physical", l.tracePhysical)
			t.Run("neighbours", l.traceNeighbours)
			t.Run("explained", l.explained)
		})
	}
}

// check traces and compares with what packets do.
func (l *serviceLab) check(t *testing.T, c traced) {
	t.Helper()
	r, err := trace.Run(context.Background(), newBoxSource(t, l.box), trace.Options{
		Source: c.from, Destination: c.to, Protocol: trace.TCP, Port: fmt.Sprint(c.port), AllBackends: true, Reply: true,
	})
	if err != nil {
		t.Errorf("%s → %s: %v", c.from, c.to, err)
		return
	}
	var arrives []string
	for _, p := range r.Paths {
		arrives = append(arrives, p.Arrives)
		for _, text := range p.Problems {
			if !strings.HasPrefix(text, "the answer is not traced") {
				t.Errorf("%s → %s: %s", c.from, c.to, text)
			}
		}
	}
	slices.Sort(arrives)
	if r.Verdict != c.want || c.arrives != nil && !slices.Equal(arrives, c.arrives) {
		t.Errorf("%s → %s: %s at %q, want %s at %q: %s\n%s", c.from, c.to, r.Verdict, arrives, c.want, c.arrives, r.Paths[0].Decision.Text, hopText(r.Paths[0]))
	}
	ns, addr := l.namespaceOf(c.from), l.addrOf(t, r)
	a := ask(ns, "tcp", netip.AddrPortFrom(addr, c.port), time.Second)
	got := trace.Allowed
	switch {
	case errors.Is(a.err, syscall.ECONNREFUSED):
		got = trace.Rejected
	case a.err != nil:
		got = trace.Dropped
	}
	if got != c.want {
		t.Errorf("%s → %s: a packet is %s (%v), want %s", c.from, c.to, got, a.err, c.want)
	}
}

func (l *serviceLab) namespaceOf(end string) string {
	for _, p := range []*box.Pod{l.client, l.near, l.far} {
		if end == p.Key.Name {
			return p.NS
		}
	}
	for _, z := range l.box.Zones {
		if end == "node/"+z.Name {
			return z.NS
		}
	}
	return l.box.OutsideNS()
}

func (l *serviceLab) addrOf(t *testing.T, r *trace.Result) netip.Addr {
	t.Helper()
	for _, a := range r.Destination.Addrs {
		return a
	}
	t.Fatalf("%s has no address", r.Destination)
	return netip.Addr{}
}

func (l *serviceLab) tracePods(t *testing.T) {
	for _, c := range []traced{
		{from: "client", to: "near", port: port, want: trace.Allowed, arrives: []string{"Pod default/near"}},
		{from: "client", to: "far", port: port, want: trace.Allowed, arrives: []string{"Pod default/far"}},
		{from: "node/n1", to: "near", port: port, want: trace.Allowed, arrives: []string{"Pod default/near"}},
		{from: "node/n1", to: "far", port: port, want: trace.Allowed, arrives: []string{"Pod default/far"}},
		{from: "client", to: "node/n1", port: port, want: trace.Allowed, arrives: []string{"the host of node n1"}},
		{from: "client", to: "node/n2", port: port, want: trace.Allowed, arrives: nil},
	} {
		l.check(t, c)
	}
}

func (l *serviceLab) traceServices(t *testing.T) {
	l.web(nil)
	l.backends(ofPod(l.near), ofPod(l.far))
	both := []string{"Pod default/far", "Pod default/near"}
	node := l.n1.Addrs[0].Addr().String()
	for _, c := range []traced{
		{from: "client", to: "svc/web", port: servicePort, want: trace.Allowed, arrives: both},
		{from: "near", to: "svc/web", port: servicePort, want: trace.Allowed, arrives: both},
		{from: "node/n1", to: "svc/web", port: servicePort, want: trace.Allowed, arrives: both},
		{from: "client", to: node, port: nodePort, want: trace.Allowed, arrives: both},
		{from: l.box.RouterAddrs()[0].String(), to: node, port: nodePort, want: trace.Allowed, arrives: both},
	} {
		l.check(t, c)
	}
	l.backends(ofPod(l.near))
	l.check(t, traced{from: "client", to: "svc/web", port: servicePort, want: trace.Allowed, arrives: both[1:]})
}

func (l *serviceLab) traceRefused(t *testing.T) {
	l.web(nil)
	l.backends()
	l.check(t, traced{from: "client", to: "svc/web", port: servicePort, want: trace.Rejected})
	r, err := trace.Run(context.Background(), newBoxSource(t, l.box), trace.Options{Source: "client", Destination: "svc/web:80"})
	if err != nil {
		t.Fatal(err)
	}
	if row := r.Paths[0].Decision.Row; row == nil || row.Object != (explain.Object{Kind: "Service", Namespace: "default", Name: "web"}) {
		t.Errorf("what refuses is %v: %+v", row, r.Paths[0].Decision)
	}
}

// tracePhysical: the OpenFlow flows of the logical ones are met, in both families.
func (l *serviceLab) tracePhysical(t *testing.T) {
	for _, family := range []int{4, 6} {
		for _, to := range []string{"near", "far"} {
			for _, p := range []trace.Protocol{trace.TCP, trace.UDP, trace.ICMP} {
				o := trace.Options{Source: "client", Destination: to, Protocol: p, Family: family, Physical: true}
				if p != trace.ICMP {
					o.Port = fmt.Sprint(port)
				}
				r, err := trace.Run(context.Background(), newBoxSource(t, l.box), o)
				if err != nil {
					t.Fatal(err)
				}
				path := r.Paths[0]
				joined := 0
				for _, h := range path.Hops {
					if len(h.OpenFlow) > 0 {
						joined++
					}
				}
				if r.Verdict != trace.Allowed || len(path.Problems) > 0 || len(path.Physical) == 0 || len(path.Physical[0].Missing) > 0 || joined < 10 {
					t.Errorf("%s to %s IPv%d: %s, problems %q, %d hops with OpenFlow, physical %+v", p, to, family, r.Verdict, path.Problems, joined, path.Physical)
				}
			}
		}
	}
}

func (l *serviceLab) traceNeighbours(t *testing.T) {
	for _, c := range []struct {
		to     string
		family int
		want   trace.Verdict
	}{
		{"near", 4, trace.Allowed}, {"near", 6, trace.Allowed},
		{l.gateway(0), 4, trace.Allowed}, {l.gateway(1), 6, trace.Allowed},
	} {
		r, err := trace.Run(context.Background(), newBoxSource(t, l.box), trace.Options{Source: "client", Destination: c.to, Protocol: trace.ARP, Family: c.family})
		if err != nil {
			t.Fatal(err)
		}
		if r.Verdict != c.want || len(r.Paths[0].Problems) > 0 {
			t.Errorf("%s: %s (%s) %q\n%s", c.to, r.Verdict, r.Paths[0].Decision.Text, r.Paths[0].Problems, hopText(r.Paths[0]))
		}
	}
}

// explained: an OpenFlow cookie, an address and a load balancer's name lead to the object.
func (l *serviceLab) explained(t *testing.T) {
	l.web(nil)
	l.backends(ofPod(l.near), ofPod(l.far))
	s := newBoxSource(t, l.box)
	r, err := trace.Run(t.Context(), s, trace.Options{Source: "client", Destination: "svc/web:80", Physical: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range r.Paths[0].Problems {
		t.Error(text)
	}
	service := explain.Object{Kind: "Service", Namespace: "default", Name: "web"}
	cookie := ""
	for _, h := range r.Paths[0].Hops {
		if h.Flow != nil && h.Flow.Stage == "ls_in_lb" {
			cookie = "0x" + h.Flow.Cookie
			if len(h.OpenFlow) == 0 {
				t.Error("no OpenFlow flow of the load balancer was met")
			}
		}
	}
	for text, want := range map[string]explain.Object{
		cookie:                            service,
		"svc/web":                         service,
		l.cluster[0].String():             service,
		l.near.Addrs[0].String():          {Kind: "Pod", Namespace: "default", Name: "near"},
		l.near.MAC:                        {Kind: "Pod", Namespace: "default", Name: "near"},
		"default_near":                    {Kind: "Pod", Namespace: "default", Name: "near"},
		"node/n1":                         {Kind: "Node", Name: "n1"},
		"Service_default/web_TCP_cluster": service,
	} {
		e, err := explain.Run(t.Context(), s, explain.Options{Text: text})
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if e.Object != want || len(e.Rows) == 0 {
			t.Errorf("%q is %s, %d rows; want %s", text, e.Object, len(e.Rows), want)
		}
	}
	e, err := explain.Run(t.Context(), s, explain.Options{Text: "svc/web", Flows: true})
	if err != nil {
		t.Fatal(err)
	}
	flows := 0
	for _, f := range e.Flows {
		flows += len(f.OpenFlow)
	}
	if len(e.Flows) == 0 || flows == 0 {
		t.Errorf("%d logical flows of the service with %d OpenFlow flows", len(e.Flows), flows)
	}
}

// What makes the box an explain.Source.

func (s *boxSource) Nodes(context.Context) ([]string, error) { return []string{"n1", "n2"}, nil }

func (s *boxSource) Rows(ctx context.Context, node string) (*explain.Index, error) {
	return s.zones[node].Rows(ctx)
}

func (s *boxSource) LogicalFlows(ctx context.Context, node string, starts []string) ([]*sb.LogicalFlow, error) {
	return s.zones[node].LogicalFlows(ctx, starts)
}

func (s *boxSource) FlowsFor(_ context.Context, node string, rows []string) ([]*sb.LogicalFlow, error) {
	return s.zones[node].flowsWhere(func(f *sb.LogicalFlow) bool { return slices.Contains(rows, f.ExternalIDs["stage-hint"]) }), nil
}

func (s *boxSource) Text(_ context.Context, node, name string) (string, error) {
	if name != inspect.TextFlows+"br-int" {
		return "", inspect.ErrAbsent
	}
	return s.zones[node].zone.Run("ovs-ofctl", "-O", "OpenFlow15", "--no-names", "dump-flows", "br-int"), nil
}

// gateway is the router's address in the subnet of the client.
func (l *serviceLab) gateway(i int) string { return l.n1.Subnets[i].Addr().Next().String() }
