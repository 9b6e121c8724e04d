package udpflush

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/vswitchd"
)

// bound is for each wait; a busy machine needs seconds where an idle one needs milliseconds.
const bound = 30 * time.Second

// maxPairs is the fake switch's limit.
const maxPairs = 3

// lab is a database, a switch that only notes, and a clock that the test moves.
type lab struct {
	t        *testing.T
	nb       *ovn.DB // of the test, which is the engine
	flusher  *Flusher
	log      syncBuffer
	told     chan struct{} // something changed, and the flusher knows
	asked    chan struct{} // somebody waits for the flows
	inForce  chan error    // and is told
	done     chan string   // what the switch did
	interval chan time.Time

	mu     sync.Mutex
	settle error
	fail   error
	swept  int
}

func newLab(t *testing.T, rows ...*nb.LoadBalancer) *lab {
	t.Helper()
	north := ovntest.NB(t)
	l := &lab{
		t: t, nb: north.Connect(t),
		told: make(chan struct{}, 1000), asked: make(chan struct{}, 100), inForce: make(chan error), done: make(chan string, 100),
		interval: make(chan time.Time),
	}
	for _, r := range rows {
		l.put(r)
	}
	own := north.Connect(t, nb.LoadBalancerTable)
	l.flusher = New(Config{
		NB: own, InForce: l.wait, Switch: l, MaxPairs: maxPairs,
		Logger: slog.New(slog.NewTextHandler(&l.log, nil)),
		After:  func(time.Duration) <-chan time.Time { return l.interval },
	})
	own.Follow(func([]ovn.Change) { l.told <- struct{}{} }) // it is told in order
	return l
}

func (l *lab) run() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.flusher.Run(ctx) }()
	l.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			l.t.Error(err)
		}
	})
}

func (l *lab) transact(db *ovn.DB, ops ...ovsdb.Operation) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	if _, err := db.Transact(ctx, "", ops...); err != nil {
		l.t.Fatal(err)
	}
}

// put makes a load balancer, or changes the one of that name.
func (l *lab) put(lb *nb.LoadBalancer) {
	l.t.Helper()
	if old, ok := ovn.Find[nb.LoadBalancer](l.nb, lb.Name); ok {
		l.transact(l.nb, ovn.Update(lb, old.UUID, "vips", "protocol"))
		return
	}
	l.transact(l.nb, ovn.Insert(lb, "lb"))
}

func (l *lab) remove(name string) {
	l.t.Helper()
	old, _ := ovn.Find[nb.LoadBalancer](l.nb, name)
	table, _ := ovn.TableOf(old)
	l.transact(l.nb, ovn.Delete(table, old.UUID))
}

// absent is what is seen of an address that no row has.
const absent = "absent"

// seen returns when the flusher knows that an address has these backends.
func (l *lab) seen(vip, want string) {
	l.t.Helper()
	for {
		l.flusher.stale.mu.Lock()
		got := absent
		if rows := l.flusher.stale.served[vip]; rows != nil {
			got = strings.Join(slices.Sorted(maps.Values(rows)), " ")
		}
		l.flusher.stale.mu.Unlock()
		if got == want {
			return
		}
		receive(l, vip+" with "+want, l.told)
	}
}

func (l *lab) wait(ctx context.Context) error {
	l.asked <- struct{}{}
	select {
	case err := <-l.inForce:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reach is OVN that has the flows, or an error.
func (l *lab) reach(err error) {
	l.t.Helper()
	select {
	case l.inForce <- err:
	case <-time.After(bound):
		l.t.Fatalf("nobody waits for the flows; log:\n%s", l.log.String())
	}
}

func receive[T any](l *lab, what string, from <-chan T) (v T) {
	l.t.Helper()
	select {
	case v = <-from:
	case <-time.After(bound):
		l.t.Fatalf("waited for %s; log:\n%s", what, l.log.String())
	}
	return v
}

// round answers the next barrier, and wants the switch to do this.
func (l *lab) round(want string) {
	l.t.Helper()
	receive(l, "a barrier", l.asked)
	if len(l.done) > 0 {
		l.t.Errorf("%s before ovn-controller is so far", <-l.done)
	}
	l.reach(nil)
	l.expect(want)
}

func (l *lab) expect(want string) {
	l.t.Helper()
	if diff := cmp.Diff(want, receive(l, want, l.done)); diff != "" {
		l.t.Errorf("-want +got:\n%s", diff)
	}
}

// tick ends the pause between rounds.
func (l *lab) tick() {
	l.t.Helper()
	select {
	case l.interval <- time.Time{}:
	case <-time.After(bound):
		l.t.Fatalf("no round has ended; log:\n%s", l.log.String())
	}
}

func (l *lab) Settle(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.settle != nil {
		l.done <- "settle fails"
	}
	return l.settle
}

func (l *lab) ForgetUDP(_ context.Context, pairs []vswitchd.Pair) error {
	var list []string
	for _, p := range pairs {
		list = append(list, p.String())
	}
	slices.Sort(list)
	l.done <- "forget " + strings.Join(list, ", ")
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fail
}

func (l *lab) SweepUDP(_ context.Context, backends map[netip.AddrPort][]netip.AddrPort) (int, error) {
	byName := map[string]string{}
	for at, to := range backends {
		var list []string
		for _, b := range to {
			list = append(list, b.String())
		}
		slices.Sort(list)
		byName[at.String()] = strings.Join(list, " ")
	}
	var list []string
	for _, at := range slices.Sorted(maps.Keys(byName)) {
		list = append(list, at+" to "+byName[at])
	}
	l.done <- "sweep " + strings.Join(list, ", ")
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.swept, l.fail
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func row(name, protocol string, vips ...string) *nb.LoadBalancer {
	lb := &nb.LoadBalancer{Name: name, Vips: map[string]string{}}
	if protocol != "" {
		lb.Protocol = &protocol
	}
	for _, v := range vips {
		at, to, _ := strings.Cut(v, "=")
		lb.Vips[at] = to
	}
	return lb
}

// TestRounds changes load balancers and looks what becomes of connections.
func TestRounds(t *testing.T) {
	t.Parallel()
	l := newLab(t,
		row("dns", "udp", "10.96.0.1:53=10.128.0.5:53,10.128.0.6:53", "[fd00::1]:53=[fd01::5]:53"),
		row("dns-gone", "udp", "10.96.0.2:53=10.128.0.9:53"), row("web", "tcp", "10.96.0.1:80=10.128.0.5:80"), row("plain", "", "10.96.0.3:53=10.128.0.5:53"))
	// What changes before the start is swept with all the rest.
	l.seen("10.96.0.2:53", "10.128.0.9:53")
	l.remove("dns-gone")
	l.put(row("dns", "udp", "10.96.0.1:53=10.128.0.6:53", "[fd00::1]:53=[fd01::5]:53"))
	l.seen("10.96.0.1:53", "10.128.0.6:53")
	l.run()
	l.round("sweep 10.96.0.1:53 to 10.128.0.6:53 10.96.0.1:53, 10.96.0.2:53 to 10.96.0.2:53, [fd00::1]:53 to [fd00::1]:53 [fd01::5]:53")

	// Backends that come, and other protocols, are nothing to do: the next round has only
	// what comes after them.
	l.put(row("dns", "udp", "10.96.0.1:53=10.128.0.6:53,10.128.0.7:53", "[fd00::1]:53=[fd01::5]:53,[fd01::7]:53"))
	l.put(row("web", "tcp", "10.96.0.1:80="))
	l.put(row("plain", "", "10.96.0.3:53="))
	l.put(row("dns", "udp", "10.96.0.1:53=10.128.0.7:53", "[fd00::1]:53=[fd01::7]:53"))
	l.tick()
	l.round("forget 10.96.0.1:53 → 10.128.0.6:53, [fd00::1]:53 → [fd01::5]:53")

	// An address in two rows serves what any of them has.
	l.put(row("dns-switch", "udp", "10.96.0.1:53=10.128.0.7:53,10.128.0.8:53"))
	l.put(row("dns", "udp", "10.96.0.1:53=", "[fd00::1]:53="))
	l.tick()
	l.round("forget [fd00::1]:53 → [fd01::7]:53")

	// The service goes, and comes back: who goes on sending meanwhile is not translated.
	l.remove("dns-switch")
	l.remove("dns")
	l.seen("[fd00::1]:53", absent)
	l.tick()
	l.round("forget 10.96.0.1:53 → 10.128.0.7:53, 10.96.0.1:53 → 10.128.0.8:53")
	l.put(row("dns", "udp", "10.96.0.1:53=10.128.0.8:53"))
	l.tick()
	l.round("forget 10.96.0.1:53 → 10.96.0.1:53")

	// The row is another protocol's: its addresses go.
	l.put(row("dns", "sctp", "10.96.0.1:53=10.128.0.8:53"))
	l.tick()
	l.round("forget 10.96.0.1:53 → 10.128.0.8:53")
	if l.log.String() != "" {
		t.Errorf("log:\n%s", l.log.String())
	}
}

// TestCoalesce: what changes in a round or in the pause after it is one more round, and one
// with many backends lists connections instead.
func TestCoalesce(t *testing.T) {
	t.Parallel()
	l := newLab(t, row("a", "udp", "10.96.0.1:53=10.128.0.1:1,10.128.0.1:2,10.128.0.1:3,10.128.0.1:4,10.128.0.1:5"), row("b", "udp", "10.96.0.2:53=10.128.0.1:1"))
	l.run()
	l.expect("sweep 10.96.0.1:53 to 10.128.0.1:1 10.128.0.1:2 10.128.0.1:3 10.128.0.1:4 10.128.0.1:5 10.96.0.1:53, 10.96.0.2:53 to 10.128.0.1:1 10.96.0.2:53")
	for _, left := range []string{"10.128.0.1:1,10.128.0.1:2,10.128.0.1:3,10.128.0.1:4", "10.128.0.1:1,10.128.0.1:2,10.128.0.1:3", "10.128.0.1:2,10.128.0.1:3"} {
		l.put(row("a", "udp", "10.96.0.1:53="+left))
	}
	l.remove("b")
	l.seen("10.96.0.2:53", absent)
	l.tick()
	l.round("sweep 10.96.0.1:53 to 10.128.0.1:2 10.128.0.1:3 10.96.0.1:53, 10.96.0.2:53 to 10.96.0.2:53")
	if len(l.asked) > 0 {
		t.Error("more than one barrier for changes in a pause")
	}
}

// TestBackendReturns while the round waits for OVN: its connections are good ones.
func TestBackendReturns(t *testing.T) {
	t.Parallel()
	l := newLab(t, row("a", "udp", "10.96.0.1:53=10.128.0.1:1,10.128.0.1:2"))
	l.run()
	l.expect("sweep 10.96.0.1:53 to 10.128.0.1:1 10.128.0.1:2 10.96.0.1:53")
	l.put(row("a", "udp", "10.96.0.1:53=10.128.0.1:2"))
	l.tick()
	receive(l, "a barrier", l.asked)
	l.put(row("a", "udp", "10.96.0.1:53=10.128.0.1:1,10.128.0.1:2"))
	l.put(row("b", "udp", "10.96.0.2:53=")) // after it in order
	l.seen("10.96.0.2:53", "")
	l.reach(nil)
	l.expect("forget ")
}

// TestTriesAgain until it is done, and says so once.
func TestTriesAgain(t *testing.T) {
	t.Parallel()
	l := newLab(t, row("a", "udp", "10.96.0.1:53=10.128.0.1:1,10.128.0.1:2"))
	l.settle, l.swept = errors.New("no daemon"), 5
	l.run()
	for range 2 {
		l.expect("sweep 10.96.0.1:53 to 10.128.0.1:1 10.128.0.1:2 10.96.0.1:53")
		l.round("settle fails")
		l.tick()
	}
	l.expect("sweep 10.96.0.1:53 to 10.128.0.1:1 10.128.0.1:2 10.96.0.1:53")
	l.mu.Lock()
	l.settle = nil
	l.mu.Unlock()
	l.round("sweep 10.96.0.1:53 to 10.128.0.1:1 10.128.0.1:2 10.96.0.1:53")
	l.mu.Lock()
	l.fail = ovn.ErrDisconnected
	l.mu.Unlock()
	l.put(row("a", "udp", "10.96.0.1:53=10.128.0.1:1"))
	l.tick()
	l.round("forget 10.96.0.1:53 → 10.128.0.1:2")
	l.put(row("a", "udp", "10.96.0.1:53=")) // joins what failed
	l.seen("10.96.0.1:53", "")
	l.tick()
	l.round("forget 10.96.0.1:53 → 10.128.0.1:1, 10.96.0.1:53 → 10.128.0.1:2")
	l.mu.Lock()
	l.fail = nil
	l.mu.Unlock()
	l.tick()
	l.round("forget 10.96.0.1:53 → 10.128.0.1:1, 10.96.0.1:53 → 10.128.0.1:2")
	l.tick()
	log := l.log.String()
	for part, want := range map[string]int{"no daemon": 1, "connection to the database lost": 1, "tried again": 2, "found=5": 4} {
		if got := strings.Count(log, part); got != want {
			t.Errorf("%q is %d times in the log, want %d:\n%s", part, got, want, log)
		}
	}
}

// TestSlowController is told of, and asked again.
func TestSlowController(t *testing.T) {
	t.Parallel()
	l := newLab(t, row("a", "udp", "10.96.0.1:53=10.128.0.1:1"))
	l.run()
	l.expect("sweep 10.96.0.1:53 to 10.128.0.1:1 10.96.0.1:53")
	l.tick()
	l.put(row("a", "udp", "10.96.0.1:53=10.128.0.1:2"))
	receive(l, "a barrier", l.asked)
	l.reach(errors.New("no flows yet"))
	l.tick()
	l.round("forget 10.96.0.1:53 → 10.128.0.1:1")
	if !strings.Contains(l.log.String(), "no flows yet") {
		t.Errorf("log:\n%s", l.log.String())
	}
}

// TestNothingToDo: without UDP nobody is asked for anything.
func TestNothingToDo(t *testing.T) {
	t.Parallel()
	l := newLab(t, row("web", "tcp", "10.96.0.1:80=10.128.0.5:80"))
	l.run()
	l.tick()
	if len(l.asked) > 0 || len(l.done) > 0 {
		t.Error("a barrier, or connections ended")
	}
}

// TestStartWritesNothing when all connections lead where they should.
func TestStartWritesNothing(t *testing.T) {
	t.Parallel()
	l := newLab(t, row("dns", "udp", "10.96.0.1:53=10.128.0.5:53"))
	l.run()
	l.expect("sweep 10.96.0.1:53 to 10.128.0.5:53 10.96.0.1:53")
	l.tick()
	if len(l.asked) > 0 {
		t.Error("a barrier after a start that found nothing")
	}
}

// TestLedgerIsBounded: however long OVN is away, memory is.
func TestLedgerIsBounded(t *testing.T) {
	t.Parallel()
	l := newLedger()
	var many []string
	for i := range 2 * maxNoted {
		many = append(many, netip.AddrPortFrom(netip.MustParseAddr("10.128.0.1"), uint16(i+1)).String())
	}
	l.note("r", nil, map[string]string{"10.96.0.1:53": strings.Join(many, ",")})
	l.note("r", map[string]string{"10.96.0.1:53": strings.Join(many, ",")}, nil)
	b := l.take()
	if !b.many || b.noted > maxNoted || len(b.gone["10.96.0.1:53"]) > maxNoted {
		t.Errorf("many=%t, %d noted", b.many, b.noted)
	}
	if got := l.backends(b); len(got) != 1 {
		t.Errorf("to be swept: %v", got)
	}
}
