package engine_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
	"github.com/ovnkctl/ovnkctl/internal/runtime/engine"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// fixture is an engine with the fake features on a database in memory.
type fixture struct {
	t      testing.TB
	world  *world.Store
	nb     *ovn.DB
	engine *engine.Engine
	txns   *prometheus.Registry
	stop   func()

	mu      sync.Mutex
	reasons []string // what OnReasons told
}

func newWorld() *world.Store { return world.New(world.Config{LocalNode: "n1"}) }

// prepare makes a fixture whose engine does not run yet.
func prepare(t testing.TB, s *ovntest.Server, w *world.Store, more ...func(*engine.Config)) *fixture {
	t.Helper()
	f := &fixture{t: t, world: w, txns: prometheus.NewRegistry()}
	f.nb = s.ConnectWith(t, ovn.Config{Metrics: ovn.NewMetrics(f.txns)})
	cfg := engine.Config{
		World: w, NB: f.nb, Features: []feature.Feature{switches{}, ports{}}, Metrics: prometheus.NewRegistry(),
		OnReasons: func(name string, k feature.Key, rs []feature.Reason) {
			f.mu.Lock()
			defer f.mu.Unlock()
			line := name + " " + k.String() + ":"
			for _, r := range rs {
				line += " " + r.Code
			}
			f.reasons = append(f.reasons, line)
		},
	}
	for _, m := range more {
		m(&cfg)
	}
	f.engine = engine.New(cfg)
	return f
}

func (f *fixture) run() *fixture {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = f.engine.Run(ctx)
	}()
	f.stop = func() {
		cancel()
		<-done
	}
	f.t.Cleanup(f.stop)
	return f
}

// close ends the engine and its connection before the test ends.
func (f *fixture) close() {
	if f.stop != nil {
		f.stop()
	}
	f.nb.Close()
}

func key(name string) feature.Key { return feature.ParseKey(name) }

// start runs an engine on a world that is complete.
func start(t testing.TB, s *ovntest.Server, w *world.Store, more ...func(*engine.Config)) *fixture {
	t.Helper()
	f := prepare(t, s, w, more...).run()
	w.MarkSynced()
	f.sync()
	return f
}

// copyWorld delivers the objects of the fixture's world to another one.
func (f *fixture) copyWorld(to *world.Store) {
	f.world.Read(func(v world.View) {
		for _, n := range v.Nodes() {
			to.SetNode(n)
		}
		for p := range v.Pods {
			to.SetPod(p)
		}
	})
}

// restart stops the engine and starts another one, on a world of the same content.
func (f *fixture) restart(s *ovntest.Server) *fixture {
	f.t.Helper()
	f.close()
	g := prepare(f.t, s, newWorld())
	f.copyWorld(g.world)
	g.world.MarkSynced()
	g.run()
	g.sync()
	return g
}

func (f *fixture) sync() {
	f.t.Helper()
	select {
	case <-f.engine.Synced():
	case <-time.After(20 * time.Second):
		f.t.Fatalf("not in sync: %+v", f.engine.Status())
	}
}

func (f *fixture) wait(featureName, key string) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := f.engine.Wait(ctx, featureName, feature.ParseKey(key)); err != nil {
		f.t.Fatal(err)
	}
}

// repair asks for a key and waits until that is done.
func (f *fixture) repair(featureName, name string) {
	f.t.Helper()
	wait := f.engine.Repair(featureName, key(name))
	if wait == nil {
		f.t.Fatalf("no feature %s", featureName)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := wait(ctx); err != nil {
		f.t.Fatal(err)
	}
}

// idle waits for all pods and nodes.
func (f *fixture) idle() {
	f.t.Helper()
	var keys []feature.Key
	f.world.Read(func(v world.View) {
		for p := range v.Pods {
			keys = append(keys, feature.Key{Namespace: p.Namespace, Name: p.Name})
		}
		for _, n := range v.Nodes() {
			keys = append(keys, feature.Key{Name: n.Name})
		}
	})
	for _, k := range keys {
		f.wait("ports", k.String())
		f.wait("switches", k.String())
	}
}

// until waits until the database satisfies ok, looking at each of its changes.
func (f *fixture) until(what string, ok func() bool) {
	f.t.Helper()
	changed := make(chan struct{}, 1)
	defer f.nb.Follow(func([]ovn.Change) {
		select {
		case changed <- struct{}{}:
		default:
		}
	})()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-changed:
		case <-deadline:
			f.t.Fatalf("never: %s\nstatus: %+v\nrows: %v", what, f.engine.Status(), dump(f.nb))
		}
	}
}

// transactions is the number of committed transactions.
func (f *fixture) transactions() int {
	f.t.Helper()
	families, err := f.txns.Gather()
	if err != nil {
		f.t.Fatal(err)
	}
	n := 0
	for _, fam := range families {
		if fam.GetName() == "ovnk_ovsdb_txn_duration_seconds" {
			for _, m := range fam.GetMetric() {
				n += int(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return n
}

func (f *fixture) told() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.reasons)
}

func pod(name, node, address string, labels ...string) *world.Pod {
	p := &world.Pod{Namespace: "default", Name: name, Node: node, Labels: map[string]string{"address": address}}
	for i := 0; i < len(labels); i += 2 {
		p.Labels[labels[i]] = labels[i+1]
	}
	return p
}

func node(name, id string) *world.Node {
	return &world.Node{Name: name, Labels: map[string]string{"id": id}}
}

func podKey(name string) world.PodKey { return world.PodKey{Namespace: "default", Name: name} }

// dump writes what a database holds without its UUIDs.
func dump(db *ovn.DB) []string {
	var out []string
	port := func(uuid string) string {
		if p, ok := ovn.Get[nb.LogicalSwitchPort](db, uuid); ok {
			return p.Name
		}
		return "?"
	}
	names := func(uuids []string) []string {
		ns := make([]string, len(uuids))
		for i, u := range uuids {
			ns[i] = port(u)
		}
		slices.Sort(ns)
		return ns
	}
	for _, r := range ovn.List[nb.LogicalSwitch](db) {
		out = append(out, fmt.Sprint("switch ", r.Name, names(r.Ports), sorted(r.OtherConfig), r.ExternalIDs["ovnkctl.io/owner"]))
	}
	for _, r := range ovn.List[nb.LogicalSwitchPort](db) {
		out = append(out, fmt.Sprint("port ", r.Name, r.Addresses, sorted(r.ExternalIDs)))
	}
	for _, r := range ovn.List[nb.AddressSet](db) {
		as := slices.Clone(r.Addresses)
		slices.Sort(as)
		out = append(out, fmt.Sprint("set ", r.Name, as, r.ExternalIDs["ovnkctl.io/owner"]))
	}
	for _, r := range ovn.List[nb.PortGroup](db) {
		out = append(out, fmt.Sprint("group ", r.Name, names(r.Ports)))
	}
	for _, r := range ovn.List[nb.StaticMACBinding](db) {
		out = append(out, fmt.Sprint("mac ", r.LogicalPort, r.MAC))
	}
	for _, r := range ovn.List[nb.LogicalRouter](db) {
		out = append(out, fmt.Sprint("router ", r.Name, len(r.Ports)))
	}
	for _, r := range ovn.List[nb.LogicalRouterPort](db) {
		out = append(out, fmt.Sprint("router port ", r.Name, r.MAC))
	}
	for _, r := range ovn.List[nb.NBGlobal](db) {
		out = append(out, fmt.Sprint("global ", sorted(r.Options)))
	}
	slices.Sort(out)
	return out
}

func sorted(m map[string]string) []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+"="+m[k])
	}
	return out
}

func (f *fixture) holds(want ...string) {
	f.t.Helper()
	if got := dump(f.nb); !cmp.Equal(got, want) {
		f.t.Errorf("database (-want +got):\n%s", cmp.Diff(want, got))
	}
}

// clock is a time that stands still until it is told to move on.
type clock struct {
	mu     sync.Mutex
	now    time.Time
	timers []timer
	armed  chan time.Duration
}

type timer struct {
	at time.Time
	c  chan time.Time
}

func newClock() *clock {
	return &clock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), armed: make(chan time.Duration, 1000)}
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := timer{c.now.Add(d), make(chan time.Time, 1)}
	c.timers = append(c.timers, t)
	c.armed <- d
	return t.c
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	c.timers = slices.DeleteFunc(c.timers, func(t timer) bool {
		if t.at.After(c.now) {
			return false
		}
		t.c <- c.now
		return true
	})
}
