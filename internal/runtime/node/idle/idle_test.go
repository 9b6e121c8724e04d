package idle

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"
	corev1 "k8s.io/api/core/v1"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/runtime/kube/kubetest"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// patience bounds each wait; a busy machine needs seconds where an idle one needs
// milliseconds.
const patience = 30 * time.Second

// lab is a Southbound database, a watcher, and a clock that stands still.
type lab struct {
	t       *testing.T
	server  *ovntest.Server
	db      *ovn.DB // of ovn-controller
	clock   atomic.Int64
	wanted  chan string
	empty   chan struct{} // when the last row went
	watcher *Watcher
	seq     int
}

func newLab(t *testing.T, lookup func(Event) (world.ObjectRef, bool)) *lab {
	t.Helper()
	s := ovntest.SB(t)
	l := &lab{t: t, server: s, db: s.Connect(t), wanted: make(chan string, 100), empty: make(chan struct{}, 100)}
	there := map[string]bool{}
	l.db.Follow(func(changes []ovn.Change) {
		for _, c := range changes {
			if c.New != nil {
				there[c.UUID] = true
			} else {
				delete(there, c.UUID)
			}
		}
		if len(there) == 0 {
			l.empty <- struct{}{}
		}
	})
	w, err := New(Config{
		SB: s.Connect(t, sb.ControllerEventTable), Lookup: lookup, Logger: slog.New(slog.DiscardHandler),
		NeedPods: func(r world.ObjectRef) { l.wanted <- r.Namespace + "/" + r.Name },
		Now:      func() time.Time { return time.Unix(0, l.clock.Load()) },
	})
	if err != nil {
		t.Fatal(err)
	}
	l.watcher = w
	return l
}

func (l *lab) run() {
	ctx, cancel := context.WithCancel(l.t.Context())
	done := make(chan error, 1)
	go func() { done <- l.watcher.Run(ctx) }()
	l.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Error(err)
		}
	})
}

// tell writes events as ovn-controller does, all at a time.
func (l *lab) tell(infos ...map[string]string) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), patience)
	defer cancel()
	ops := make([]ovsdb.Operation, 0, len(infos))
	for _, info := range infos {
		l.seq++
		ops = append(ops, ovn.Insert(&sb.ControllerEvent{
			EventType: sb.ControllerEventEventTypeEmptyLbBackends, EventInfo: info, SeqNum: l.seq,
		}, fmt.Sprint("e", l.seq)))
	}
	if _, err := l.db.Transact(ctx, "", ops...); err != nil {
		l.t.Fatal(err)
	}
}

// awaitEmpty waits until all rows are deleted, and returns who was wanted meanwhile.
func (l *lab) awaitEmpty() map[string]int {
	l.t.Helper()
	select {
	case <-l.empty:
	case <-time.After(patience):
		l.t.Fatalf("the rows are not deleted: %v", ovn.List[sb.ControllerEvent](l.db))
	}
	got := map[string]int{}
	for len(l.wanted) > 0 {
		got[<-l.wanted]++
	}
	return got
}

func info(vip, protocol string) map[string]string {
	return map[string]string{"vip": vip, "protocol": protocol, "load_balancer": "row"}
}

// byAddress knows services by their VIPs.
func byAddress(services map[string]string) func(Event) (world.ObjectRef, bool) {
	return func(e Event) (world.ObjectRef, bool) {
		name, ok := services[fmt.Sprint(e.VIP, "/", e.Protocol)]
		namespace, name, _ := strings.Cut(name, "/")
		return world.ObjectRef{Kind: world.KindService, Namespace: namespace, Name: name}, ok
	}
}

func TestEventsAreHandedOnAndDeleted(t *testing.T) {
	t.Parallel()
	l := newLab(t, byAddress(map[string]string{
		"10.96.0.10:80/tcp": "a/web", "[fd00::10]:80/tcp": "a/web", "10.96.0.10:53/udp": "a/dns", "10.96.0.11:80/sctp": "b/web",
	}))
	// Some were there before.
	l.tell(info("10.96.0.10:80", "tcp"), info("[fd00::10]:80", "tcp"), info("10.96.0.10:53", "tcp"))
	l.run()
	if diff := cmp.Diff(map[string]int{"a/web": 1}, l.awaitEmpty()); diff != "" {
		t.Errorf("at the start (-want +got):\n%s", diff)
	}
	l.tell(info("10.96.0.10:53", "udp"), info("10.96.0.11:80", "sctp"),
		info("10.96.0.11", "tcp"), info("10.96.0.11:80", "icmp"), map[string]string{})
	if diff := cmp.Diff(map[string]int{"a/dns": 1, "b/web": 1}, l.awaitEmpty()); diff != "" {
		t.Errorf("later (-want +got):\n%s", diff)
	}
}

func TestServicesAreNotReportedTooOften(t *testing.T) {
	t.Parallel()
	l := newLab(t, byAddress(map[string]string{"10.96.0.10:80/tcp": "a/web", "10.96.0.10:53/udp": "a/dns"}))
	l.run()
	for _, step := range []struct {
		after time.Duration
		vip   map[string]string
		want  map[string]int
	}{
		{0, info("10.96.0.10:80", "tcp"), map[string]int{"a/web": 1}},
		{quiet - 1, info("10.96.0.10:80", "tcp"), map[string]int{}},
		{0, info("10.96.0.10:53", "udp"), map[string]int{"a/dns": 1}},
		{1, info("10.96.0.10:80", "tcp"), map[string]int{"a/web": 1}},
		{quiet - 1, info("10.96.0.10:80", "tcp"), map[string]int{}},
	} {
		l.clock.Add(int64(step.after))
		l.tell(step.vip)
		if diff := cmp.Diff(step.want, l.awaitEmpty()); diff != "" {
			t.Errorf("at %s, %s (-want +got):\n%s", time.Duration(l.clock.Load()), step.vip, diff)
		}
	}
}

// TestManyEvents has more rows than one transaction deletes.
func TestManyEvents(t *testing.T) {
	t.Parallel()
	services, infos, want := map[string]string{}, []map[string]string{}, map[string]int{}
	const count = maxDeleted + maxDeleted/2
	for i := range count {
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}), 80)
		name := fmt.Sprint("a/svc-", i%90)
		services[at.String()+"/tcp"], want[name] = name, 1
		infos = append(infos, info(at.String(), "tcp"))
	}
	l := newLab(t, byAddress(services))
	l.tell(infos...)
	l.run()
	if diff := cmp.Diff(want, l.awaitEmpty()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestDatabaseGoesAway has the connection break between the report and its deletion.
func TestDatabaseGoesAway(t *testing.T) {
	t.Parallel()
	var l *lab
	lookup := byAddress(map[string]string{"10.96.0.10:80/tcp": "a/web"})
	down := make(chan struct{})
	l = newLab(t, func(e Event) (world.ObjectRef, bool) {
		if l.watcher.cfg.SB.Online() {
			l.server.Shut()
			close(down)
		}
		return lookup(e)
	})
	l.tell(info("10.96.0.10:80", "tcp"))
	l.run()
	<-down
	l.server.Open(t)
	if diff := cmp.Diff(map[string]int{"a/web": 1}, l.awaitEmpty()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestConnectionMustWatchEvents(t *testing.T) {
	t.Parallel()
	if _, err := New(Config{SB: ovntest.SB(t).Connect(t, sb.ChassisTable)}); err == nil || !strings.Contains(err.Error(), sb.ControllerEventTable) {
		t.Errorf("got %v, want an error that names the table", err)
	}
}

func TestByRow(t *testing.T) {
	t.Parallel()
	north := ovntest.NB(t).Connect(t)
	udp := nb.LoadBalancerProtocolUDP
	uuid := func(ids map[string]string) string {
		r, err := north.Transact(t.Context(), "", ovn.Insert(&nb.LoadBalancer{Name: "x", Protocol: &udp, ExternalIDs: ids}, "x"))
		if err != nil {
			t.Fatal(err)
		}
		return r[0].UUID.GoUUID
	}
	of := func(kind, owner string) string {
		return uuid(map[string]string{"k8s.ovn.org/kind": kind, "k8s.ovn.org/owner": owner})
	}
	store := world.New(world.Config{})
	asleep := &world.Service{Namespace: "a", Name: "asleep", UID: "1", Idled: true}
	store.SetService(asleep)
	store.SetService(&world.Service{Namespace: "a", Name: "awake", UID: "2"})
	lookup := ByRow(north, store)
	if ref, ok := lookup(Event{LoadBalancer: of("Service", "a/asleep")}); !ok || ref != asleep.Ref() {
		t.Errorf("a sleeping service: %v, %t", ref, ok)
	}
	for name, row := range map[string]string{
		"awake": of("Service", "a/awake"), "gone": of("Service", "a/gone"), "pod": of("Pod", "a/asleep"),
		"broken": of("Service", "asleep"), "foreign": uuid(nil), "no row": "10c3ff29-0b1a-4d1b-9f3b-000000000000",
	} {
		if ref, ok := lookup(Event{LoadBalancer: row}); ok {
			t.Errorf("%s: got %v", name, ref)
		}
	}
}

func TestNewEvent(t *testing.T) {
	t.Parallel()
	ref := world.ObjectRef{Kind: world.KindService, Namespace: "a", Name: "web", UID: "u"}
	now := time.Unix(1_800_000_000, 5)
	e := NewEvent(ref, "ovnkctl-node", "n1", now)
	if e.Reason != "NeedPods" || e.InvolvedObject.Kind != "Service" || e.InvolvedObject.Name != "web" || e.InvolvedObject.UID != "u" {
		t.Errorf("wakers do not find the service: %+v", e)
	}
	if !e.LastTimestamp.Time.Equal(now) || !e.EventTime.IsZero() {
		t.Errorf("wakers do not see when: last %s, event time %s", e.LastTimestamp, e.EventTime)
	}
	if e.Namespace != e.InvolvedObject.Namespace || e.Name == NewEvent(ref, "ovnkctl-node", "n1", now.Add(1)).Name {
		t.Errorf("the API server would refuse it: %s/%s", e.Namespace, e.Name)
	}
}

func TestTeller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := kubetest.New()
		teller := NewTeller(server.Client(t), "ovnkctl-node", "n1", slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go teller.Run(ctx) //nolint:errcheck // it has none
		told := func() map[string]int {
			synctest.Wait()
			got := map[string]int{}
			for _, o := range server.List("events") {
				e := o.(*corev1.Event)
				got[e.InvolvedObject.Name+": "+e.Message]++
			}
			return got
		}
		web := world.ObjectRef{Kind: world.KindService, Namespace: "a", Name: "web", UID: "u"}
		teller.NeedPods(web)
		told() // the clock stands still meanwhile
		time.Sleep(quiet)
		teller.NeedPods(web)
		if diff := cmp.Diff(map[string]int{"web: The service web needs pods": 2}, told()); diff != "" {
			t.Errorf("a new event each time (-want +got):\n%s", diff)
		}
		time.Sleep(time.Minute)
		for i := range 2 * tellBurst {
			teller.NeedPods(world.ObjectRef{Kind: world.KindService, Namespace: "a", Name: fmt.Sprint("s", i)})
		}
		if got := len(told()); got != 1+tellBurst {
			t.Errorf("events for %d services of a flood, want %d", got-1, tellBurst)
		}
	})
}
