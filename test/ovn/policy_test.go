//go:build ovn && linux

package ovn

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
	"github.com/ovnkctl/ovnkctl/internal/policy"
	"github.com/ovnkctl/ovnkctl/internal/policy/policytest"
	"github.com/ovnkctl/ovnkctl/internal/runtime/engine"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/featuretest"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/pods"
	policies "github.com/ovnkctl/ovnkctl/internal/runtime/feature/policy"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/topology"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
	"github.com/ovnkctl/ovnkctl/test/ovn/box"
)

// packetsPerCase is how many packets are traced in one zone of one cluster: about a second.
const packetsPerCase = 300

// TestPolicyAgrees: what northd makes of the rows of random policies decides about packets as
// the reference evaluator does. Each case is one zone of a cluster: packets from and to its
// pods, by the logical flows that real packets meet.
func TestPolicyAgrees(t *testing.T) {
	t.Parallel()
	l := newLogical(t)
	traced, denied := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		c := policytest.Cluster(rt, policytest.Config{Invalid: rapid.Bool().Draw(rt, "invalid")})
		node := c.Nodes[rapid.IntRange(0, len(c.Nodes)-1).Draw(rt, "zone")]
		z := l.program(rt, c, node)
		defer z.close()
		oracle := policy.New(c)
		for _, p := range z.packets(rapid.Uint64().Draw(rt, "packets")) {
			v, err := oracle.Evaluate(p)
			if err != nil {
				rt.Fatalf("%+v: %v", p, err)
			}
			want, about := z.want(v, p)
			got, text := z.passes(rt, p)
			if traced++; !want {
				denied++
			}
			if got != want {
				rt.Fatalf("zone %s: %s\n%s\novn-trace lets it pass: %v, the evaluator says %v: egress %s; firewall %s; ingress %s\nACLs:\n%s\ntrace:\n%s",
					node.Name, describe(p), about, got, want, v.Egress, v.Firewall, v.Ingress, z.acls(), text)
			}
		}
	})
	t.Logf("%d packets traced, %d of them denied", traced, denied)
}

func describe(p policy.Packet) string {
	return fmt.Sprintf("%+v to %+v %s/%d", p.Source, p.Destination, p.Protocol, p.Port)
}

// logical is a Northbound and a Southbound database with northd between them, and nothing
// else: enough for ovn-trace.
type logical struct {
	t      *testing.T
	dir    string
	nb, sb *ovntest.Server
	db     *ovn.DB
	traces int // servers of ovn-trace so far

	southbound *ovn.DB // for those who write there
}

func newLogical(t *testing.T) *logical {
	t.Helper()
	programs, err := box.FindPrograms()
	if err != nil {
		t.Fatal(err)
	}
	server := func(d *ovn.Database, schema string) *ovntest.Server {
		text, err := os.ReadFile(programs.Schema(schema))
		if err != nil {
			t.Fatal(err)
		}
		return ovntest.Real(t, d, text)
	}
	dir, err := os.MkdirTemp("", "policy") // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l := &logical{t: t, dir: dir, nb: server(ovn.Northbound(), "ovn-nb"), sb: server(ovn.Southbound(), "ovn-sb")}
	l.run("ovn-nbctl", "--db="+l.nb.Backend(), "--no-wait", "init")
	l.run("ovn-sbctl", "--db="+l.sb.Backend(), "init")
	northd := ovntest.Command(t, "ovn-northd", "--ovnnb-db="+l.nb.Backend(), "--ovnsb-db="+l.sb.Backend(),
		"--unixctl="+filepath.Join(dir, "northd.ctl"), "-vconsole:off")
	l.start(northd)
	l.db = l.nb.Connect(t)
	return l
}

// start runs a program until the test ends.
func (l *logical) start(c *exec.Cmd) {
	l.t.Helper()
	c.Env = append(os.Environ(), "OVS_RUNDIR="+l.dir, "OVN_RUNDIR="+l.dir)
	if err := c.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
}

func (l *logical) run(name string, args ...string) string {
	l.t.Helper()
	c := ovntest.Command(l.t, name, args...)
	out, err := c.CombinedOutput()
	if err != nil {
		l.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// tracedZone is one zone of a cluster, programmed.
type tracedZone struct {
	*logical
	cluster policy.Cluster
	node    policy.Node
	network world.Network
	pods    map[world.PodKey]*world.Pod
	tracer  *exec.Cmd
	socket  string
}

// program has the databases hold the zone of a node, and nothing of the case before.
func (l *logical) program(t *rapid.T, c policy.Cluster, node policy.Node) *tracedZone {
	z := &tracedZone{logical: l, cluster: c, node: node, network: featuretest.ClusterNetwork(c), pods: map[world.PodKey]*world.Pod{}}
	store := world.New(world.Config{LocalNode: node.Name, Networks: []world.Network{z.network}})
	e := engine.New(engine.Config{World: store, NB: l.db, Features: []feature.Feature{
		topology.Feature{}, pods.Feature{}, policies.Feature{AllowICMP: c.AllowICMP},
	}})
	for _, o := range featuretest.ClusterObjects(c) {
		o.Set(store)
		if o.Pod != nil {
			z.pods[world.PodKey{Namespace: o.Pod.Namespace, Name: o.Pod.Name}] = o.Pod
		}
	}
	for name, addrs := range c.DomainNames {
		store.SetDomain(name, addrs)
	}
	store.MarkSynced()
	l.converge(t, e, topology.Name) // the zone has no way out
	z.startTracer(t, "--ct=new", "--ct=new", "--ct=new", "--ct=new")
	return z
}

// converge runs an engine until the zone's databases hold what it wants and ovn-northd has
// seen it. Objects may be refused by policies, and by the features that are named.
func (l *logical) converge(t *rapid.T, e *engine.Engine, mayRefuse ...string) {
	ctx, cancel := context.WithTimeout(context.Background(), box.Patience)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = e.Run(ctx)
	}()
	select {
	case <-e.Synced():
	case <-ctx.Done():
		t.Fatalf("the zone is not programmed: %+v", e.Status())
	}
	for _, p := range e.Status().Problems {
		for _, r := range p.Reasons {
			if !slices.Contains(policies.Codes, r.Code) && !slices.Contains(mayRefuse, p.Feature) {
				t.Fatalf("not programmed: %+v", p)
			}
		}
	}
	cancel()
	<-ended
	l.run("ovn-nbctl", "--db="+l.nb.Backend(), "--timeout=60", "--wait=sb", "sync")
}

// startTracer starts ovn-trace as a server, which knows the database as it is now, with the
// options that say what conntrack finds in each of the pipelines.
func (z *tracedZone) startTracer(t *rapid.T, conntrack ...string) {
	z.traces++ // the one before removes its files when it gets to it
	name := filepath.Join(z.dir, fmt.Sprint("trace", z.traces))
	z.socket = name + ".ctl"
	z.tracer = ovntest.Command(z.t, "ovn-trace", append(conntrack, "--db="+z.sb.Backend(),
		"--unixctl="+z.socket, "--pidfile="+name+".pid", "--detach", "--no-chdir")...)
	z.tracer.Env = append(os.Environ(), "OVS_RUNDIR="+z.dir, "OVN_RUNDIR="+z.dir)
	if out, err := z.tracer.CombinedOutput(); err != nil {
		t.Fatalf("ovn-trace: %v\n%s", err, out)
	}
}

// call asks the server of ovn-trace.
func (z *tracedZone) call(t *rapid.T, method string, params ...string) string {
	c, err := net.Dial("unix", z.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // only read
	_ = c.SetDeadline(time.Now().Add(box.Patience))
	if params == nil {
		params = []string{}
	}
	if err := json.NewEncoder(c).Encode(map[string]any{"id": 0, "method": method, "params": params}); err != nil {
		t.Fatal(err)
	}
	var reply struct{ Result, Error *string }
	if err := json.NewDecoder(c).Decode(&reply); err != nil {
		t.Fatal(err)
	}
	if reply.Result == nil {
		t.Fatalf("ovn-trace %s: %v", strings.Join(params, " "), *reply.Error)
	}
	return *reply.Result
}

func (z *tracedZone) close() {
	c, err := net.Dial("unix", z.socket)
	if err != nil {
		return
	}
	defer c.Close() //nolint:errcheck // nothing more is sent
	_ = json.NewEncoder(c).Encode(map[string]any{"id": 0, "method": "exit", "params": []string{}})
	_ = json.NewDecoder(c).Decode(new(any))
}

// packets are some of the packets from and to the zone's pods that can come by: a pod's to
// itself do not, and the own node's come from its management port.
func (z *tracedZone) packets(seed uint64) []policy.Packet {
	var out []policy.Packet
	for _, p := range policytest.Packets(z.cluster, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP, policy.ICMP) {
		src, dst := z.local(p.Source), z.local(p.Destination)
		switch {
		case src == nil && dst == nil, src != nil && src == dst:
		case dst != nil && z.nodeOf(p.Source) == z.node.Name && !slices.Contains(z.node.ManagementIPs, z.addr(p.Source, p.Family)):
		default:
			out = append(out, p)
		}
	}
	r := rand.New(rand.NewPCG(seed, 0))
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	// Half of them leave the cluster: all kinds of policies are about those.
	var leaving, others []policy.Packet
	for _, p := range out {
		if to := z.addr(p.Destination, p.Family); z.network.HasSubnet(netip.PrefixFrom(to, to.BitLen())) {
			others = append(others, p)
		} else {
			leaving = append(leaving, p)
		}
	}
	leaving = leaving[:min(len(leaving), packetsPerCase/2)]
	return append(leaving, others[:min(len(others), packetsPerCase-len(leaving))]...)
}

func (z *tracedZone) pod(e policy.Endpoint) *world.Pod {
	return z.pods[world.PodKey{Namespace: e.Namespace, Name: e.Pod}]
}

// local is the pod at an end if it has a port in the zone.
func (z *tracedZone) local(e policy.Endpoint) *world.Pod {
	if p := z.pod(e); p != nil && p.Networked() && p.Node == z.node.Name {
		return p
	}
	return nil
}

// nodeOf is the node that an end is, or a pod on the host's network is on.
func (z *tracedZone) nodeOf(e policy.Endpoint) string {
	if p := z.pod(e); p != nil && p.HostNetwork {
		return p.Node
	}
	return e.Node
}

// addr is the address of an end.
func (z *tracedZone) addr(e policy.Endpoint, f policy.Family) netip.Addr {
	var list []netip.Addr
	if e.IP.IsValid() {
		return e.IP
	}
	if p := z.pod(e); p != nil && !p.HostNetwork {
		list = p.Addrs()
	}
	for _, n := range z.cluster.Nodes {
		if n.Name == z.nodeOf(e) && list == nil {
			list = n.StatusIPs
		}
	}
	for _, a := range list {
		if a.Is4() == (f == policy.IPv4) {
			return a
		}
	}
	return netip.Addr{}
}

// want is the part of a verdict that is decided in the zone.
func (z *tracedZone) want(v policy.Verdict, p policy.Packet) (bool, string) {
	switch {
	case z.local(p.Source) == nil:
		return v.Ingress.Allowed, "ingress"
	case z.local(p.Destination) == nil:
		return v.Egress.Allowed && v.Firewall.Allowed, "egress and firewall"
	}
	return v.Allowed, "all stages"
}

// passes traces a packet through the node's switch.
func (z *tracedZone) passes(t *rapid.T, p policy.Packet) (bool, string) {
	src, dst := z.addr(p.Source, p.Family), z.addr(p.Destination, p.Family)
	n := names.Network{}
	var gateways []netip.Addr
	for _, m := range z.node.ManagementIPs {
		bits := 24
		if m.Is6() {
			bits = 64
		}
		gateways = append(gateways, plan.Gateway(netip.PrefixFrom(m, bits).Masked()))
	}
	inport, ethSrc := n.SwitchToRouter(z.node.Name), plan.MACOf(gateways...)
	outport, ethDst := inport, ethSrc
	if s := z.local(p.Source); s != nil {
		inport, ethSrc = names.Pod(s.Namespace, s.Name), plan.MACOf(s.Addrs()...)
	} else if z.nodeOf(p.Source) == z.node.Name {
		inport, ethSrc = n.Management(z.node.Name), plan.MACOf(z.node.ManagementIPs...)
	}
	if d := z.local(p.Destination); d != nil {
		outport, ethDst = names.Pod(d.Namespace, d.Name), plan.MACOf(d.Addrs()...)
	}
	ip, icmp := "ip4", "icmp4.type == 8 && icmp4.code == 0"
	if src.Is6() {
		ip, icmp = "ip6", "icmp6.type == 128 && icmp6.code == 0"
	}
	l4 := icmp
	if p.Protocol != policy.ICMP {
		name := strings.ToLower(string(p.Protocol))
		l4 = fmt.Sprintf("%s && %s.src == 40000 && %s.dst == %d", name, name, name, p.Port)
	}
	text := z.call(t, "trace", "--detailed", n.NodeSwitch(z.node.Name), fmt.Sprintf(
		"inport == %q && eth.src == %s && eth.dst == %s && %s.src == %s && %s.dst == %s && ip.ttl == 64 && %s", inport, ethSrc, ethDst, ip, src, ip, dst, l4))
	return strings.Contains(text, fmt.Sprintf("output to %q", outport)), text
}

func (z *tracedZone) acls() string {
	return z.run("ovn-nbctl", "--db="+z.nb.Backend(), "--columns=name,direction,tier,priority,match,action", "list", "ACL") +
		z.run("ovn-nbctl", "--db="+z.nb.Backend(), "--columns=name,addresses", "list", "Address_Set")
}
