//go:build ovn && linux

package ovn

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
	"github.com/ovnkctl/ovnkctl/test/ovn/box"
)

// silence is how long a client sends, every 200 ms, before it is taken for cut off.
const silence = 2 * time.Second

// pause is less than there is between two datagrams of a client.
const pause = 50 * time.Millisecond

// What may happen to a client's datagrams, beside the answer of a server.
const (
	fateNobody  = "nobody"
	fateRefused = "refused"
)

// The states of a load balancer, beside the names of its backends.
const (
	lbAbsent   = "absent"
	lbRefuses  = "refuses"
	lbDiscards = "discards"
)

// flushCase is what happens to a load balancer, and where a client that goes on sending
// from one port finds itself then: with ct_flush and without.
type flushCase struct {
	name   string
	states []string
	// stayed is nil where it depends on what else the switch balances.
	flushed, stayed []string
}

var flushCases = []flushCase{
	{"the backend is replaced", []string{"near", "far"}, []string{"near", "far"}, []string{"near", "near"}},
	{"a backend comes, another goes", []string{"near", "near far", "far"}, []string{"near", "near", "far"}, []string{"near", "near", "near"}},
	{"the last backend goes", []string{"near", lbRefuses, "far"}, []string{"near", fateRefused, "far"}, []string{"near", "near", "near"}},
	{"first backend after a refusal", []string{lbRefuses, "near"}, []string{fateRefused, "near"}, []string{fateRefused, "near"}},
	{"first backend after silence", []string{lbDiscards, "near"}, []string{fateNobody, "near"}, []string{fateNobody, "near"}},
	// A packet that no load balancer wants is committed without NAT, and who goes on sending
	// keeps that connection, whatever comes later: OVN flushes backends that were, and there
	// was none. The same when a load balancer goes and comes back.
	{"the load balancer is new", []string{lbAbsent, "near"}, []string{fateNobody, fateNobody}, []string{fateNobody, fateNobody}},
	{"the load balancer is made anew", []string{"near", lbAbsent, "far"}, []string{"near", fateNobody, fateNobody}, nil},
}

// missed is what changes while ovn-controller is not there: it does not learn which backends
// were.
var missed = flushCase{"the backend is replaced unseen", []string{"near", "far"}, []string{"near", "near"}, []string{"near", "near"}}

// TestConnTrackFlush proves with UDP clients what happens to them when their load balancer
// changes, on the switch and on the gateway router. The services' rows count on what
// ct_flush does; where a newer OVN does better, the expectations and what makes up for them
// can go.
func TestConnTrackFlush(t *testing.T) {
	t.Parallel()
	l := newFlushLab(t)
	seen := l.play(flushCases, false)
	unseen := l.play([]flushCase{missed}, true)
	for _, r := range append(seen, unseen...) {
		t.Run(r.String(), func(t *testing.T) {
			if diff := cmp.Diff(r.want(), r.got); r.want() != nil && diff != "" {
				t.Errorf("%s (-want +got):\n%s", strings.Join(r.states, ", then "), diff)
			}
		})
	}
	t.Run("by hand", func(t *testing.T) { l.byHand(t, append(seen, unseen...)) })
	quietLogs(t, l.box)
}

// flushLab is one node with servers.
type flushLab struct {
	t       *testing.T
	box     *box.Box
	zone    *box.Zone
	client  *box.Pod
	servers []*box.Pod
	runs    []*flushRun // all there were
}

// flushRun is one case with one client and one load balancer.
type flushRun struct {
	flushCase
	client string
	router bool // or the switch balances
	flush  bool
	to     netip.AddrPort
	state  string
	conn   net.Conn
	got    []string
}

func (r *flushRun) String() string {
	return fmt.Sprintf("%s/from %s to %s/ct_flush=%t", r.name, r.client, r.to, r.flush)
}

func (r *flushRun) want() []string {
	if r.flush {
		return r.flushed
	}
	return r.stayed
}

func newFlushLab(t *testing.T) *flushLab {
	t.Helper()
	b := program(t, box.Options{Zones: 1, Family: box.Dual, Mode: world.GatewayShared})
	z := b.Zones[0]
	l := &flushLab{t: t, box: b, zone: z, client: z.AddPod("client")}
	l.serve("near")
	l.serve("far")
	// What the node does for the addresses of services, by hand: these are of none.
	in, out := l.ofport("eth0"), l.ofport(names.PatchToIntegration("br-ex_"+z.Name))
	for i, s := range b.Network.ServiceSubnets {
		b.RouteFabric(s, z.Addrs[i].Addr())
		src, dst := "udp,nw_src", "udp,nw_dst"
		if s.Addr().Is6() {
			src, dst = "udp6,ipv6_src", "udp6,ipv6_dst"
		}
		z.Run("ovs-ofctl", "add-flow", "br-ex", fmt.Sprintf("priority=500,in_port=%s,%s=%s,actions=output:%s", in, dst, s, out))
		z.Run("ovs-ofctl", "add-flow", "br-ex", fmt.Sprintf("priority=500,in_port=%s,%s=%s,actions=output:%s", out, src, s, in))
	}
	return l
}

// serve makes another server.
func (l *flushLab) serve(name string) {
	l.t.Helper()
	p := l.zone.AddPod(name)
	serveNamed(l.t, p.NS, name, port)
	l.servers = append(l.servers, p)
}

// ofport is the number of a port, as OpenFlow cuts names.
func (l *flushLab) ofport(name string) string {
	l.t.Helper()
	return strings.TrimSpace(l.zone.Run("ovs-vsctl", "get", "Interface", name, "ofport"))
}

// play plays cases, all at a time, with every client, family and value of the option. Changes
// that are unseen happen while ovn-controller is not there.
func (l *flushLab) play(cases []flushCase, unseen bool) []*flushRun {
	l.t.Helper()
	var runs []*flushRun
	steps := 0
	for _, c := range cases {
		steps = max(steps, len(c.states))
		for _, flush := range []bool{true, false} {
			for _, s := range l.box.Network.ServiceSubnets {
				for _, r := range []*flushRun{{client: "a pod"}, {client: "outside", router: true}} {
					a, _ := plan.Nth(s, uint64(100+len(l.runs)))
					r.flushCase, r.flush, r.to, r.state = c, flush, netip.AddrPortFrom(a, servicePort), lbAbsent
					l.open(r)
					l.runs, runs = append(l.runs, r), append(runs, r)
				}
			}
		}
	}
	for step := range steps {
		var asked []*flushRun
		for _, r := range runs {
			if step < len(r.states) {
				r.state, asked = r.states[step], append(asked, r)
			}
		}
		l.apply(unseen && step > 0)
		if step == 0 {
			l.send(runs)
		}
		l.ask(asked)
	}
	return runs
}

func (l *flushLab) open(r *flushRun) {
	l.t.Helper()
	from := l.client.NS
	if r.router {
		from = l.box.OutsideNS()
	}
	c, err := dial(l.t.Context(), from, "udp", r.to)
	if err != nil {
		l.t.Fatal(err)
	}
	r.conn = c
	l.t.Cleanup(func() { c.Close() }) //nolint:errcheck // the end of a test
}

// send has clients send, and not pause when something changes.
func (l *flushLab) send(runs []*flushRun) {
	done := make(chan struct{})
	l.t.Cleanup(func() { close(done) })
	for _, r := range runs {
		go resend(r.conn, done)
	}
}

// apply makes all load balancers as they should be, and waits for it. What is
// unseen, ovn-controller finds done when it starts.
func (l *flushLab) apply(unseen bool) {
	l.t.Helper()
	if unseen {
		l.zone.Kill("ovn-controller")
	}
	l.write()
	if unseen {
		l.zone.StartController()
	}
	l.zone.Sync()
	// The datapath's cache follows the flows a little later.
	l.zone.Run("ovs-appctl", "-t", "ovs-vswitchd", "revalidator/wait")
}

// write makes the rows of all load balancers as they should be.
func (l *flushLab) write() {
	l.t.Helper()
	var out feature.Output
	for _, r := range l.runs {
		if r.state == lbAbsent {
			continue
		}
		udp, name := nb.LoadBalancerProtocolUDP, "flush-"+r.to.String()
		parent := rows.Target{Table: nb.LogicalSwitchTable, Name: l.zone.Name}
		if r.router {
			parent = rows.Target{Table: nb.LogicalRouterTable, Name: names.Of("").GatewayRouter(l.zone.Name)}
		}
		out.NB.AddTo(parent, "load_balancer", name, &nb.LoadBalancer{
			Name: name, Protocol: &udp, Vips: map[string]string{r.to.String(): l.backends(r)},
			Options: map[string]string{"neighbor_responder": "none", "reject": fmt.Sprint(r.state != lbDiscards), "ct_flush": fmt.Sprint(r.flush)},
		})
	}
	l.zone.Restart(append(slices.Clone(features), fixed{l.zone.Name, out})...)
}

func (l *flushLab) backends(r *flushRun) string {
	var list []string
	for _, p := range l.servers {
		if slices.Contains(strings.Fields(r.state), p.Key.Name) {
			a, _ := plan.AddrOfFamily(p.Addrs, r.to.Addr())
			list = append(list, netip.AddrPortFrom(a, port).String())
		}
	}
	return strings.Join(list, ",")
}

// ask notes what clients hear.
func (l *flushLab) ask(runs []*flushRun) {
	var wg sync.WaitGroup
	for _, r := range runs {
		wg.Go(func() { r.got = append(r.got, r.fate()) })
	}
	wg.Wait()
}

// fate is what the client hears next, but for what it has heard already.
func (r *flushRun) fate() string {
	for err := error(nil); !errors.Is(err, os.ErrDeadlineExceeded); {
		r.conn.SetReadDeadline(time.Now().Add(pause)) //nolint:errcheck // the read fails then, too
		_, err = r.conn.Read(make([]byte, 100))
	}
	r.conn.SetReadDeadline(time.Now().Add(silence)) //nolint:errcheck // the read fails then, too
	name, _, err := readAnswer(bufio.NewReader(r.conn))
	switch {
	case err == nil:
		return name
	case errors.Is(err, syscall.ECONNREFUSED):
		return fateRefused
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fateNobody
	}
	return err.Error()
}

// byHand frees the clients that hang with what frees them: to forget all connections with
// the load balancer's address. Open vSwitch does so for whatever datapath it has.
func (l *flushLab) byHand(t *testing.T, runs []*flushRun) {
	var stuck []*flushRun
	for _, r := range runs {
		if last := r.got[len(r.got)-1]; last != r.state && r.flush {
			stuck = append(stuck, r)
			dst := "ct_nw_dst"
			if r.to.Addr().Is6() {
				dst = "ct_ipv6_dst"
			}
			l.zone.Run("ovs-ofctl", "ct-flush", names.IntegrationBridge,
				fmt.Sprintf("%s=%s,ct_tp_dst=%d,ct_nw_proto=%d", dst, r.to.Addr(), r.to.Port(), syscall.IPPROTO_UDP))
		}
	}
	if len(stuck) == 0 {
		t.Fatal("no client hangs: this test has nothing to do any more")
	}
	l.ask(stuck)
	for _, r := range stuck {
		if got := r.got[len(r.got)-1]; got != r.state {
			t.Errorf("%s: %s after the flush, want %s", r, got, r.state)
		}
	}
}
