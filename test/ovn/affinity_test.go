//go:build ovn && linux

package ovn

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/netdev"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
	"github.com/ovnkctl/ovnkctl/test/ovn/box"
	"github.com/ovnkctl/ovnkctl/test/sandbox/netspace"
)

const (
	// lostSYN is more than the second after which TCP repeats a SYN, and less than the
	// three after which it repeats it again.
	lostSYN = 2500 * time.Millisecond
	// promptly is less than that second.
	promptly = 900 * time.Millisecond
	// affinityS is long enough for what a test does in one session, in seconds.
	affinityS = 60
)

// TestAffinity proves with packets that clients stay with a backend, that they may leave it
// when time is up or it is gone, and that no connection hangs on the userspace datapath.
func TestAffinity(t *testing.T) {
	t.Parallel()
	b := program(t, box.Options{Zones: 2, Family: box.Dual, Mode: world.GatewayShared, BareRows: true})
	n1, n2 := b.Zones[0], b.Zones[1]
	l := &affinityLab{t: t, box: b, zone: n1, client: n1.AddPod("client")}
	l.near, l.far = []*box.Pod{n1.AddPod("near1"), n1.AddPod("near2")}, n2.AddPod("far")
	for _, p := range append(slices.Clone(l.near), l.far) {
		serveNamed(t, p.NS, p.Key.Name, port)
	}
	serveNamed(t, n2.NS, "host2", port)
	n2.Sync()
	checkOutside := l.quietOutside()

	t.Run("without the rows connections hang", l.hang)
	t.Run("direct connections go on", l.direct)
	t.Run("first connections", l.first)
	t.Run("sources", l.sources)
	t.Run("backends come and go", l.comeAndGo)
	t.Run("equal backends of two services", l.equal)
	t.Run("time-out", l.timeout)
	t.Run("no announcements of join addresses", checkOutside)
	quietLogs(t, b)
}

// affinityLab is a node with services, of two pods of its own, one of another node, and
// the other node itself.
type affinityLab struct {
	t      *testing.T
	box    *box.Box
	zone   *box.Zone
	client *box.Pod
	near   []*box.Pod
	far    *box.Pod
}

// service is a load balancer of the lab, on TCP and UDP.
type service struct {
	n        uint64 // its address is the n-th of the service subnets
	backends []*box.Pod
	// host2 adds the other node.
	host2 bool
	// affinity is in seconds, none when zero.
	affinity int
	skipSNAT bool
	// port of the backends; the usual one when zero.
	port uint16
	// bare leaves out what the userspace datapath needs.
	bare bool
}

// apply makes the services the only ones.
func (l *affinityLab) apply(t *testing.T, services ...service) {
	t.Helper()
	var out feature.Output
	bare := false
	for _, s := range services {
		bare = bare || s.bare
		for _, protocol := range []nb.LoadBalancerProtocol{nb.LoadBalancerProtocolTCP, nb.LoadBalancerProtocolUDP} {
			l.balancers(&out.NB, s, protocol)
		}
	}
	if !bare {
		l.forceSNAT(&out.NB)
	}
	l.zone.Restart(append(slices.Clone(features), fixed{l.zone.Name, out})...)
	l.zone.Sync()
	// The datapath's cache follows the flows a little later.
	l.zone.Run("ovs-appctl", "-t", "ovs-vswitchd", "revalidator/wait")
}

func (l *affinityLab) balancers(out *rows.Set, s service, protocol nb.LoadBalancerProtocol) {
	var hairpin []string
	for _, m := range l.box.Network.Masquerade {
		a, _ := plan.MasqueradeAddr(m, plan.MasqueradeHairpin)
		hairpin = append(hairpin, a.String())
	}
	lb := &nb.LoadBalancer{
		Name: fmt.Sprint("service", s.n, protocol), Protocol: &protocol, Vips: map[string]string{},
		Options: map[string]string{"hairpin_snat_ip": strings.Join(hairpin, " "), "reject": "true", "event": "false", "neighbor_responder": "none"},
	}
	if s.affinity > 0 {
		lb.Options["affinity_timeout"] = fmt.Sprint(s.affinity)
	}
	if s.skipSNAT {
		lb.Options["skip_snat"] = "true"
	}
	var all []netip.AddrPort
	for i := range l.box.Network.ServiceSubnets {
		var texts []string
		for _, a := range l.backends(s, i) {
			all, texts = append(all, a), append(texts, a.String())
		}
		lb.Vips[l.vip(s, i).String()] = strings.Join(texts, ",")
	}
	node := rows.Target{Table: nb.LogicalSwitchTable, Name: l.zone.Name}
	ref := out.AddTo(node, "load_balancer", lb.Name, lb)
	out.Members = append(out.Members, rows.Member{Parent: l.gateway(), Column: "load_balancer", Value: ref})
	if s.affinity > 0 && !s.bare {
		through := netdev.PassThrough(protocol, lb.Options["hairpin_snat_ip"], all)
		through.Name = lb.Name + "_through"
		out.AddTo(node, "load_balancer", through.Name, through)
	}
}

func (l *affinityLab) gateway() rows.Target {
	return rows.Target{Table: nb.LogicalRouterTable, Name: names.Of("").GatewayRouter(l.zone.Name)}
}

func (l *affinityLab) forceSNAT(out *rows.Set) {
	gr := l.gateway()
	peer := names.ExternalToRouter(gr.Name)
	f := netdev.NewForceSNAT(
		netdev.Port{Name: names.RouterToJoin(gr.Name), Addrs: l.join()},
		netdev.Port{Name: names.RouterToExternal(gr.Name), Addrs: plan.Addrs(l.zone.Addrs)}, peer)
	out.AddTo(gr, "policies", "force-snat", f.Policy)
	for _, r := range f.NAT {
		out.AddTo(gr, "nat", "force-snat/"+r.ExternalIP, r)
	}
	out.AddTo(rows.Target{Table: nb.LogicalSwitchTable, Name: names.Of("").JoinSwitch()}, "qos_rules", "force-snat/qos", f.QoS)
	external := rows.Target{Table: nb.LogicalSwitchTable, Name: names.Of("").ExternalSwitch(l.zone.Name)}
	for _, r := range f.ACLs {
		out.AddTo(external, "acls", "force-snat/acl", r)
	}
}

// join are the gateway router's addresses on the join switch.
func (l *affinityLab) join() []netip.Addr {
	l.t.Helper()
	text := l.zone.Run("ovn-nbctl", "--bare", "--columns=networks", "find", "Logical_Router_Port", "name="+names.RouterToJoin(l.gateway().Name))
	var out []netip.Addr
	for f := range strings.FieldsSeq(text) {
		out = append(out, netip.MustParsePrefix(f).Addr())
	}
	if len(out) != 2 {
		l.t.Fatalf("the gateway router has the addresses %q on the join switch", text)
	}
	return out
}

func (l *affinityLab) vip(s service, family int) netip.AddrPort {
	a, _ := plan.Nth(l.box.Network.ServiceSubnets[family], s.n)
	return netip.AddrPortFrom(a, 80)
}

func (l *affinityLab) backends(s service, family int) []netip.AddrPort {
	var out []netip.AddrPort
	to := cmp.Or(s.port, port)
	for _, p := range s.backends {
		out = append(out, netip.AddrPortFrom(p.Addrs[family], to))
	}
	if s.host2 {
		out = append(out, netip.AddrPortFrom(l.box.Zones[1].Addrs[family].Addr(), to))
	}
	return out
}

// fixed is a feature that wants always the same.
type fixed struct {
	node string
	out  feature.Output
}

func (fixed) Name() string { return "fixed" }

func (f fixed) Keys(_ world.View, c world.Change) []feature.Key {
	if c.Ref.Kind != world.KindNode || c.Ref.Name != f.node {
		return nil
	}
	return []feature.Key{{Name: "rows"}}
}

func (f fixed) Desired(world.View, feature.Key) (feature.Output, []feature.Reason) { return f.out, nil }

// hang shows the faults that the rows are for. When a newer OVN fails here, the rows can go.
func (l *affinityLab) hang(t *testing.T) {
	s := service{n: 50, backends: l.near, affinity: affinityS, bare: true}
	far := service{n: 49, backends: []*box.Pod{l.far}, affinity: affinityS, bare: true}
	plain := service{n: 51, backends: l.near[:1], port: silentPort, bare: true}
	l.apply(t, s, far, plain)
	if a := ask(l.client.NS, "tcp", l.vip(s, 0), lostSYN); a.err == nil {
		t.Errorf("the first connection of a pod was answered after %s", a.took)
	}
	for _, to := range []service{s, far} {
		if a := ask(l.zone.NS, "tcp", l.vip(to, 0), lostSYN); a.err == nil {
			t.Errorf("the first connection of the host was answered after %s by %s", a.took, a)
		} else {
			t.Logf("host: after %s: %v", a.took, a.err)
		}
	}
	if seen := burst(t, l.zone.NS, l.near[0].NS, l.vip(plain, 0), l.backends(plain, 0)[0]); len(seen) == 1 {
		t.Errorf("all queries of one socket came from %v", seen)
	}
}

// direct checks that a connection with a backend is not disturbed when the rows that are
// about its address come and go.
func (l *affinityLab) direct(t *testing.T) {
	s := service{n: 50, backends: l.near, affinity: affinityS}
	l.apply(t)
	to := netip.AddrPortFrom(l.near[0].Addrs[0], echoPort)
	echo := openEcho(t, l.client.NS, l.near[0].NS, to)
	echo("before")
	l.apply(t, s)
	echo("with the rows")
	fresh := openEcho(t, l.client.NS, l.near[0].NS, to)
	fresh("a new one")
	l.apply(t)
	echo("after")
	fresh("after")
}

// first checks first and later connections of pods, of backends themselves and of the
// host, to near and far backends.
func (l *affinityLab) first(t *testing.T) {
	all := append(slices.Clone(l.near), l.far)
	services := []service{
		{n: 52, backends: all, affinity: affinityS},
		{n: 53, backends: all[:1], affinity: affinityS},
		{n: 54, backends: all[2:], affinity: affinityS},
		{n: 55, host2: true, affinity: affinityS},
	}
	l.apply(t, services...)
	clients := []string{l.client.NS, l.near[0].NS, l.near[1].NS, l.zone.NS}
	longest := make([]time.Duration, len(clients))
	var wg sync.WaitGroup
	for i, from := range clients {
		wg.Go(func() {
			for _, s := range services {
				for family := range l.box.Network.ServiceSubnets {
					for _, network := range []string{"tcp", "udp"} {
						a := l.session(t, from, network, l.vip(s, family))
						longest[i] = max(longest[i], a.took)
						if a.took > 2*promptly {
							t.Logf("%s %s → %s lost a second packet: %s", network, from, l.vip(s, family), a.took)
						}
					}
				}
			}
		})
	}
	wg.Wait()
	t.Logf("the longest first connections of pods and host took %s", longest)
}

// quietOutside makes the network beyond the nodes learn every address that is announced to
// it, and returns a check that the join addresses are none of them.
func (l *affinityLab) quietOutside() func(*testing.T) {
	l.t.Helper()
	outside := l.box.OutsideNS()
	if err := netspace.Do(outside, func() error {
		return os.WriteFile("/proc/sys/net/ipv4/conf/fabric/arp_accept", []byte("1"), 0o644)
	}); err != nil {
		l.t.Fatal(err)
	}
	return func(t *testing.T) {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "ip", "-n", outside, "neigh", "show").CombinedOutput()
		if err != nil || !strings.Contains(string(out), l.zone.Addrs[0].Addr().String()) {
			t.Fatalf("the neighbours outside: %v\n%s", err, out)
		}
		for _, a := range l.join() {
			if strings.Contains(string(out), a.String()+" ") {
				t.Errorf("%s was announced outside:\n%s", a, out)
			}
		}
	}
}

// session makes a client's first connection, and some more, which must stay.
func (l *affinityLab) session(t *testing.T, from, network string, to netip.AddrPort) answer {
	t.Helper()
	first := ask(from, network, to, lostSYN)
	if first.err != nil {
		t.Errorf("first %s %s → %s: %v", network, from, to, first.err)
		return first
	}
	for range 6 {
		next := ask(from, network, to, promptly)
		switch {
		case next.err != nil:
			t.Errorf("%s %s → %s: %v", network, from, to, next.err)
		case next.name != first.name || next.seen != first.seen:
			t.Errorf("%s %s → %s: first %s, then %s", network, from, to, first, next)
		}
	}
	return first
}

// sources checks whom the backends of the host's connections see: always the same, and the
// host itself where the load balancer leaves the source alone.
func (l *affinityLab) sources(t *testing.T) {
	forced := service{n: 56, backends: l.near[:1], affinity: affinityS}
	kept := service{n: 57, backends: l.near[:1], affinity: affinityS, skipSNAT: true}
	plain := service{n: 58, backends: []*box.Pod{l.far}, port: silentPort}
	l.apply(t, forced, kept, plain)
	join := l.join()
	for family, m := range l.box.Network.Masquerade {
		host, _ := plan.MasqueradeAddr(m, plan.MasqueradeHost)
		for _, network := range []string{"tcp", "udp"} {
			if a := l.session(t, l.zone.NS, network, l.vip(forced, family)); a.err == nil && a.seen != join[family] {
				t.Errorf("%s: the backend saw %s, want %s", network, a.seen, join[family])
			}
			if a := l.session(t, l.zone.NS, network, l.vip(kept, family)); a.err == nil && a.seen != host {
				t.Errorf("%s without SNAT: the backend saw %s, want %s", network, a.seen, host)
			}
		}
		if seen := burst(t, l.zone.NS, l.far.NS, l.vip(plain, family), l.backends(plain, family)[0]); !maps.Equal(seen, map[netip.Addr]int{join[family]: queries}) {
			t.Errorf("queries of one socket to another node's backend came from %v, want %d from %s", seen, queries, join[family])
		}
	}
}

// comeAndGo checks that a client moves when its backend goes, and else stays.
func (l *affinityLab) comeAndGo(t *testing.T) {
	s := service{n: 59, backends: append(slices.Clone(l.near), l.far), affinity: affinityS}
	for _, network := range []string{"tcp", "udp"} {
		l.apply(t, s)
		before := l.session(t, l.client.NS, network, l.vip(s, 0))
		less := s
		less.backends = slices.DeleteFunc(slices.Clone(s.backends), func(p *box.Pod) bool { return p.Key.Name == before.name })
		l.apply(t, less)
		moved := l.session(t, l.client.NS, network, l.vip(s, 0))
		if moved.name == before.name {
			t.Errorf("%s: the client stays with %s, which is gone", network, before.name)
		}
		l.apply(t, s)
		if after := l.session(t, l.client.NS, network, l.vip(s, 0)); after.name != moved.name {
			t.Errorf("%s: the client moved from %s to %s when a backend came", network, moved.name, after.name)
		}
		l.apply(t) // both protocols begin without sessions
	}
}

// equal checks that two services may have the same backends, and that one may go.
func (l *affinityLab) equal(t *testing.T) {
	one := service{n: 60, backends: l.near, affinity: affinityS}
	two := service{n: 61, backends: l.near, affinity: affinityS}
	l.apply(t, one, two)
	l.session(t, l.client.NS, "tcp", l.vip(one, 0))
	l.apply(t, two)
	l.session(t, l.client.NS, "tcp", l.vip(two, 0))
}

// timeout checks that use prolongs a session, and that disuse ends it.
func (l *affinityLab) timeout(t *testing.T) {
	const seconds = 3
	s := service{n: 62, backends: append(slices.Clone(l.near), l.far), affinity: seconds}
	l.apply(t, s)
	to := l.vip(s, 0)
	start := time.Now()
	first := l.session(t, l.client.NS, "tcp", to)
	used := time.Now()
	for tick := time.NewTicker(time.Second); time.Since(start) < 3*seconds*time.Second; <-tick.C {
		used = time.Now()
		if a := ask(l.client.NS, "tcp", to, promptly); a.err != nil || a.name != first.name {
			t.Fatalf("after %s in use: %s, %v; the session was with %s", time.Since(start), a, a.err, first.name)
		}
	}
	// Which backend a new session has is chance: two of three are others.
	const enough = 12
	for n := range enough {
		l.awaitExpiry(to.Addr())
		idle := time.Since(used)
		if idle < (seconds-1)*time.Second {
			t.Errorf("the session ended after %s, want %d s", idle, seconds)
		}
		a := l.session(t, l.client.NS, "tcp", to)
		used = time.Now()
		if a.err == nil && a.name != first.name {
			t.Logf("another backend in session %d; the last ended %s after its last use", n+2, idle)
			return
		}
	}
	t.Errorf("%d sessions and all with %s", enough+1, first.name)
}

// awaitExpiry waits until no session of a VIP is left.
func (l *affinityLab) awaitExpiry(vip netip.Addr) {
	l.t.Helper()
	deadline := time.After(box.Patience)
	for tick := time.NewTicker(100 * time.Millisecond); ; {
		sessions := 0
		for line := range strings.Lines(l.zone.Run("ovs-ofctl", "dump-flows", "br-int")) {
			match, _, _ := strings.Cut(line, " actions=")
			if strings.Contains(match, "idle_timeout=") && strings.Contains(match, "nw_dst="+vip.String()+",") {
				sessions++
			}
		}
		if sessions == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			l.t.Fatalf("%d sessions of %s do not end", sessions, vip)
		}
	}
}
