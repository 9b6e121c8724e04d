//go:build ovn && linux

package ovn

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"

	"github.com/ovnkctl/ovnkctl/internal/explain"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/policy"
	"github.com/ovnkctl/ovnkctl/internal/policy/policytest"
	"github.com/ovnkctl/ovnkctl/internal/runtime/engine"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/featuretest"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/pods"
	policies "github.com/ovnkctl/ovnkctl/internal/runtime/feature/policy"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/topology"
	"github.com/ovnkctl/ovnkctl/internal/trace"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

const (
	// mostZones is how many nodes a drawn cluster has at most.
	mostZones = 4
	// tracesPerCase is how many packets are traced through one cluster.
	tracesPerCase = 60
)

// TestTraceAgrees: whatever policies there are, a trace through all zones ends as the
// reference evaluator says, and the row that decided is that of the rule that it names.
func TestTraceAgrees(t *testing.T) {
	t.Parallel()
	var zones []*logical
	for range mostZones {
		zones = append(zones, newLogical(t))
	}
	verdicts := map[trace.Verdict]int{}
	rapid.Check(t, func(rt *rapid.T) {
		c := policytest.Cluster(rt, policytest.Config{Invalid: rapid.Bool().Draw(rt, "invalid")})
		s := newTracedCluster(rt, zones, c)
		defer s.close()
		oracle := policy.New(c)
		for _, p := range s.questions(rapid.Uint64().Draw(rt, "packets")) {
			o := s.options(p)
			r, err := trace.Run(context.Background(), s, o)
			if err != nil {
				rt.Fatalf("%+v: %v\n%s", o, err, s.show())
			}
			verdicts[r.Verdict]++
			v, err := oracle.Evaluate(p)
			if err != nil {
				rt.Fatalf("%s: %v", describe(p), err)
			}
			path := r.Paths[0]
			if (r.Verdict == trace.Dropped) == v.Allowed || v.Allowed && r.Verdict != trace.Allowed || len(path.Problems) > 0 {
				rt.Fatalf("%s: trace says %s (%s), the evaluator %v: egress %s; firewall %s; ingress %s\nproblems: %s\nhops:\n%s",
					describe(p), r.Verdict, path.Decision.Text, v.Allowed, v.Egress, v.Firewall, v.Ingress, strings.Join(path.Problems, "\n"), hopText(path))
			}
			if r.Verdict == trace.Dropped && path.Decision.Row == nil {
				rt.Fatalf("%s: nobody knows what dropped it\nhops:\n%s", describe(p), hopText(path))
			}
		}
	})
	t.Logf("verdicts: %v", verdicts)
}

func (s *tracedCluster) show() string {
	out := ""
	for _, z := range s.zones {
		out += z.node.Name + "\n" + z.run("ovn-nbctl", "--db="+z.nb.Backend(), "show") + z.run("ovn-sbctl", "--db="+z.sb.Backend(), "--columns=external_ids", "list", "Datapath_Binding")
	}
	return out
}

func hopText(p *trace.Path) string {
	var b strings.Builder
	for _, h := range p.Hops {
		fmt.Fprintf(&b, "%s %s %s", h.Node, h.Kind, h.Text)
		if h.Flow != nil {
			fmt.Fprintf(&b, "%s %s %d %s: %s => %s", h.Datapath, h.Pipeline, h.Flow.Table, h.Flow.Stage, h.Flow.Match, strings.Join(h.Flow.Actions, " "))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// tracedCluster is a cluster with all its zones, as a trace.Source.
type tracedCluster struct {
	t       *rapid.T
	cluster policy.Cluster
	world   *world.Store
	zones   map[string]*tracedNode
}

// tracedNode is one zone, as a trace.Zone.
type tracedNode struct {
	tracedZone
	rapid *rapid.T
	flows map[string]*sb.LogicalFlow
	rows  *explain.Index
}

// newTracedCluster programs the zones of all nodes.
func newTracedCluster(t *rapid.T, zones []*logical, c policy.Cluster) *tracedCluster {
	n := featuretest.ClusterNetwork(c)
	n.GatewayMode = world.GatewayShared
	n.TransitSubnets = []netip.Prefix{netip.MustParsePrefix("100.88.0.0/16"), netip.MustParsePrefix("fd97::/64")}
	objects := featuretest.ClusterObjects(c)
	for _, o := range objects {
		if o.Node != nil {
			connect(t, &n, o.Node)
		}
	}
	fill := func(store *world.Store) {
		for _, o := range objects {
			o.Set(store)
		}
		for name, addrs := range c.DomainNames {
			store.SetDomain(name, addrs)
		}
		store.MarkSynced()
	}
	s := &tracedCluster{t: t, cluster: c, world: world.New(world.Config{Networks: []world.Network{n}}), zones: map[string]*tracedNode{}}
	fill(s.world)
	for i, node := range c.Nodes {
		z := &tracedNode{tracedZone: tracedZone{logical: zones[i], cluster: c, node: node, network: n}, rapid: t}
		z.programAll(t, fill, policies.Feature{AllowICMP: c.AllowICMP})
		s.zones[node.Name] = z
	}
	return s
}

// connect gives a node what it needs to reach others and the outside.
func connect(t *rapid.T, n *world.Network, node *world.Node) {
	var err error
	if node.Transit, err = plan.Transit(n.OfFamilies(n.TransitSubnets), node.ID); err != nil {
		t.Fatal(err)
	}
	node.EncapIPs = node.InternalIPs[:1]
	g := &world.Gateway{Mode: world.GatewayShared, BridgeID: "br-ex", InterfaceID: "br-ex_" + node.Name, MAC: plan.MACOf(node.InternalIPs...)}
	for _, a := range node.InternalIPs {
		if _, has := plan.OfFamily(g.Addresses, a); has || !n.HasFamily(a) {
			continue
		}
		bits := 24
		if a.Is6() {
			bits = 64
		}
		p := netip.PrefixFrom(a, bits)
		g.Addresses = append(g.Addresses, p)
		g.NextHops = append(g.NextHops, plan.Last(p.Masked()))
	}
	node.Gateway = g
}

// programAll has the zone's databases hold all of its rows.
func (z *tracedNode) programAll(t *rapid.T, fill func(*world.Store), f policies.Feature) {
	store := world.New(world.Config{LocalNode: z.node.Name, Networks: []world.Network{z.network}})
	e := engine.New(engine.Config{
		World: store, NB: z.db, SB: z.sbDB(), Features: []feature.Feature{topology.Feature{}, pods.Feature{}, f},
	})
	fill(store) // the engine hears of it
	z.converge(t, e)
	var conntrack []string
	for _, a := range (trace.Request{CT: "new"}).Args() { // what a single run has
		if strings.HasPrefix(a, "--ct") {
			conntrack = append(conntrack, a)
		}
	}
	z.startTracer(t, conntrack...)
	z.index()
	z.readFlows(t)
}

// sbDB is the zone's Southbound database, for what a CMS writes there.
func (l *logical) sbDB() *ovn.DB {
	if l.southbound == nil {
		l.southbound = l.sb.Connect(l.t, "SB_Global", "Chassis", "Encap")
	}
	return l.southbound
}

// index knows the rows of the Northbound database.
func (z *tracedNode) index() {
	z.rows = explain.NewIndex(z.node.Name)
	z.db.Read(func(v ovn.View) {
		for _, t := range ovn.Northbound().Tables() {
			for r := range v.Table(t) {
				z.rows.Add(t, r.Model)
			}
		}
	})
}

// readFlows reads what logical flows are for.
func (z *tracedNode) readFlows(t *rapid.T) {
	text := z.run("ovn-sbctl", "--db="+z.sb.Backend(), "--format=json", "--columns=_uuid,external_ids", "list", "Logical_Flow")
	var table struct {
		Data [][2][]any `json:"data"`
	}
	if err := json.Unmarshal([]byte(text), &table); err != nil {
		t.Fatal(err)
	}
	z.flows = map[string]*sb.LogicalFlow{}
	for _, row := range table.Data {
		f := &sb.LogicalFlow{UUID: row[0][1].(string), ExternalIDs: map[string]string{}}
		for _, pair := range row[1][1].([]any) {
			kv := pair.([]any)
			f.ExternalIDs[kv[0].(string)] = kv[1].(string)
		}
		z.flows[f.UUID[:8]] = f
	}
}

func (s *tracedCluster) close() {
	for _, z := range s.zones {
		z.close()
	}
}

func (s *tracedCluster) World(context.Context) (*world.Store, error) { return s.world, nil }
func (s *tracedCluster) Policies(context.Context, string) (policy.Cluster, error) {
	return s.cluster, nil
}

func (s *tracedCluster) Zone(_ context.Context, node string) (trace.Zone, error) {
	z, ok := s.zones[node]
	if !ok {
		return nil, fmt.Errorf("no zone %q", node)
	}
	return z, nil
}

func (z *tracedNode) OVNTrace(_ context.Context, r trace.Request) (string, error) {
	return z.call(z.rapid, "trace", "--detailed", "--minimal", r.Datapath, r.Microflow), nil
}

func (z *tracedNode) OFProtoTrace(context.Context, string, string) (string, error) {
	return "", fmt.Errorf("no Open vSwitch here")
}

func (z *tracedNode) LogicalFlows(_ context.Context, starts []string) ([]*sb.LogicalFlow, error) {
	var out []*sb.LogicalFlow
	for _, s := range starts {
		if f, ok := z.flows[s]; ok {
			out = append(out, f)
		}
	}
	return out, nil
}

func (z *tracedNode) Rows(context.Context) (*explain.Index, error) { return z.rows, nil }

// questions are some of the packets that begin or end at a pod and meet OVN: host-network
// pods among themselves, their nodes and the outside do not.
func (s *tracedCluster) questions(seed uint64) []policy.Packet {
	var out []policy.Packet
	for _, p := range policytest.Packets(s.cluster, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP, policy.ICMP) {
		src, dst := s.pod(p.Source), s.pod(p.Destination)
		fromPod, toPod := src != nil && !src.HostNetwork, dst != nil && !dst.HostNetwork
		switch {
		case fromPod && src == dst, !fromPod && !toPod:
		case fromPod && p.Destination.IP.IsValid() && s.inCluster(p.Destination.IP): // what nobody has, or a node's own
		case !fromPod && p.Source.Node == "" && src == nil: // addresses of pods are not known outside
		case !fromPod && !s.managed(p.Source):
		default:
			out = append(out, p)
		}
	}
	r := rand.New(rand.NewPCG(seed, 0))
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out[:min(len(out), tracesPerCase)]
}

// managed tells whether an end's packets come with the address of a management port, as a
// host's packets for pods do.
func (s *tracedCluster) managed(e policy.Endpoint) bool {
	if p := s.pod(e); p != nil {
		return false // the evaluator takes its node's first address
	}
	for _, n := range s.cluster.Nodes {
		if n.Name == e.Node {
			return slices.Contains(n.ManagementIPs, e.IP)
		}
	}
	return false
}

func (s *tracedCluster) inCluster(a netip.Addr) bool {
	return slices.ContainsFunc(s.cluster.ClusterSubnets, func(p netip.Prefix) bool { return p.Contains(a) })
}

func (s *tracedCluster) pod(e policy.Endpoint) *policy.Pod {
	for i, p := range s.cluster.Pods {
		if e.Pod != "" && p.Namespace == e.Namespace && p.Name == e.Pod {
			return &s.cluster.Pods[i]
		}
	}
	return nil
}

// options ask the same of a trace.
func (s *tracedCluster) options(p policy.Packet) trace.Options {
	end := func(e policy.Endpoint) string {
		switch {
		case e.Pod != "":
			return "pod/" + e.Namespace + "/" + e.Pod
		case e.IP.IsValid():
			return e.IP.String()
		}
		return "node/" + e.Node
	}
	o := trace.Options{Source: end(p.Source), Destination: end(p.Destination), Protocol: trace.Protocol(strings.ToLower(string(p.Protocol))), Family: int(p.Family)}
	if p.Port != 0 {
		o.Port = fmt.Sprint(p.Port)
	}
	return o
}
