package engine_test

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
	"github.com/ovnkctl/ovnkctl/internal/ovn/owner"
	"github.com/ovnkctl/ovnkctl/internal/runtime/engine"
)

// logs keeps what was logged.
type logs struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logs) use(cfg *engine.Config) { cfg.Logger = slog.New(slog.NewTextHandler(l, nil)) }

// scene is a database with a bit of everything, and somebody else connected to it.
func scene(t *testing.T, more ...func(*engine.Config)) (f *fixture, hand *ovn.DB, s *ovntest.Server) {
	t.Helper()
	s = ovntest.NB(t)
	f = start(t, s, newWorld(), more...)
	f.world.SetNode(node("n1", "1"))
	f.world.SetPod(pod("maker", "n1", "m", "sets", "set"))
	f.world.SetPod(pod("a", "n1", "1", "in", "set", "shared", "x", "mac", "0a:58:00:00:00:01"))
	f.world.SetPod(pod("b", "n1", "2", "in", "set", "shared", "y", "option", "o", "value", "v"))
	byHand(t, f.nb, ovn.Insert(&nb.NBGlobal{}, "g"))
	f.idle()
	hand = s.Connect(t) // not earlier: the server in memory may forget to tell who connects during a transaction
	return f, hand, s
}

func byHand(t *testing.T, db *ovn.DB, ops ...ovsdb.Operation) {
	t.Helper()
	if _, err := db.Transact(t.Context(), "by hand", ops...); err != nil {
		t.Fatal(err)
	}
}

func column(t *testing.T, table, name string) (*ovn.Table, *ovn.Column) {
	t.Helper()
	x, _ := ovn.Northbound().Table(table)
	c, ok := x.Column(name)
	if !ok {
		t.Fatalf("no column %s.%s", table, name)
	}
	return x, c
}

func TestDriftHeals(t *testing.T) {
	t.Parallel()
	port := func(db *ovn.DB, name string) *nb.LogicalSwitchPort {
		return must(ovn.Find[nb.LogicalSwitchPort](db, name))
	}
	ls := func(db *ovn.DB) *nb.LogicalSwitch { return must(ovn.Find[nb.LogicalSwitch](db, "n1")) }
	set := func(db *ovn.DB) *nb.AddressSet { return must(ovn.Find[nb.AddressSet](db, "set")) }
	lsTable, lsPorts := column(t, "Logical_Switch", "ports")
	_, lsConfig := column(t, "Logical_Switch", "other_config")
	setTable, addresses := column(t, "Address_Set", "addresses")
	macTable, _ := column(t, "Static_MAC_Binding", "mac")
	globalTable, globalOptions := column(t, "NB_Global", "options")
	for name, spoil := range map[string]func(db *ovn.DB) []ovsdb.Operation{
		"column of a row": func(db *ovn.DB) []ovsdb.Operation {
			return []ovsdb.Operation{ovn.Update(&nb.LogicalSwitchPort{Addresses: []string{"unknown"}}, port(db, "default_a").UUID, "addresses")}
		},
		"stray external_ids": func(db *ovn.DB) []ovsdb.Operation {
			p := port(db, "default_a")
			ids := map[string]string{"stray": "entry"}
			for k, v := range p.ExternalIDs {
				ids[k] = v
			}
			return []ovsdb.Operation{ovn.Update(&nb.LogicalSwitchPort{ExternalIDs: ids}, p.UUID, "external_ids")}
		},
		"owner taken away": func(db *ovn.DB) []ovsdb.Operation {
			return []ovsdb.Operation{ovn.Update(&nb.LogicalSwitchPort{}, port(db, "default_a").UUID, "external_ids")}
		},
		"port deleted": func(db *ovn.DB) []ovsdb.Operation {
			return []ovsdb.Operation{ovn.Mutate(lsTable, ls(db).UUID, ovn.Mutation{Column: lsPorts, Remove: []string{port(db, "default_a").UUID}})}
		},
		"switch deleted with its ports": func(db *ovn.DB) []ovsdb.Operation {
			return []ovsdb.Operation{ovn.Delete(lsTable, ls(db).UUID)}
		},
		"stray port": func(db *ovn.DB) []ovsdb.Operation {
			return []ovsdb.Operation{ovn.Insert(&nb.LogicalSwitchPort{Name: "stray"}, "p"),
				ovn.Mutate(lsTable, ls(db).UUID, ovn.Mutation{Column: lsPorts, Insert: []string{"p"}})}
		},
		"element taken out": func(db *ovn.DB) []ovsdb.Operation {
			return []ovsdb.Operation{ovn.Mutate(setTable, set(db).UUID, ovn.Mutation{Column: addresses, Remove: []string{"x"}})}
		},
		"stray element": func(db *ovn.DB) []ovsdb.Operation {
			return []ovsdb.Operation{ovn.Mutate(setTable, set(db).UUID, ovn.Mutation{Column: addresses, Insert: []string{"z"}})}
		},
		"address set deleted": func(db *ovn.DB) []ovsdb.Operation {
			return []ovsdb.Operation{ovn.Delete(setTable, set(db).UUID)}
		},
		"entry of a shared map": func(db *ovn.DB) []ovsdb.Operation {
			return []ovsdb.Operation{ovn.Mutate(lsTable, ls(db).UUID, ovn.Mutation{Column: lsConfig, Put: map[string]string{"o": "w", "id": "7", "stray": "s"}})}
		},
		"entry of the global row": func(db *ovn.DB) []ovsdb.Operation {
			return []ovsdb.Operation{ovn.Mutate(globalTable, must(ovn.Find[nb.NBGlobal](db, "")).UUID, ovn.Mutation{Column: globalOptions, Remove: []string{"o"}})}
		},
		"row without owner deleted": func(db *ovn.DB) []ovsdb.Operation {
			return []ovsdb.Operation{ovn.Delete(macTable, ovn.List[nb.StaticMACBinding](db)[0].UUID)}
		},
		"row without owner changed": func(db *ovn.DB) []ovsdb.Operation {
			return []ovsdb.Operation{ovn.Update(&nb.StaticMACBinding{MAC: "0a:58:00:00:00:02"}, ovn.List[nb.StaticMACBinding](db)[0].UUID, "mac")}
		},
		"row of a key that is none": func(db *ovn.DB) []ovsdb.Operation {
			return []ovsdb.Operation{ovn.Insert(&nb.AddressSet{Name: "ghost", ExternalIDs: map[string]string{owner.Key: "ports/default/ghost", owner.Row: "x"}}, "a")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &logs{}
			f, hand, _ := scene(t, l.use)
			want := dump(f.nb)
			seen := make(chan struct{}, 1)
			defer f.nb.Follow(func([]ovn.Change) {
				select {
				case seen <- struct{}{}:
				default:
				}
			})()
			byHand(t, hand, spoil(hand)...)
			<-seen // the engine's connection has heard of it
			f.until("all as before", func() bool { return slices.Equal(dump(f.nb), want) })
			f.idle()
			f.until("all as before", func() bool { return slices.Equal(dump(f.nb), want) })
			if name != "row of a key that is none" && name != "switch deleted with its ports" && !strings.Contains(l.String(), "it was put back") {
				t.Errorf("nothing of it in the log:\n%s", l)
			}
		})
	}
}

// TestNorthdIsNoDrift has somebody write the columns that are northd's.
func TestNorthdIsNoDrift(t *testing.T) {
	t.Parallel()
	f, hand, _ := scene(t)
	before := f.transactions()
	seen := make(chan struct{})
	defer ovn.Watch(f.nb, func(old, now *nb.LogicalSwitchPort) {
		if old != nil && now != nil && now.Up != nil {
			close(seen)
		}
	})()
	byHand(t, hand, ovn.Update(&nb.LogicalSwitchPort{Up: new(true)}, must(ovn.Find[nb.LogicalSwitchPort](hand, "default_a")).UUID, "up"))
	<-seen
	f.world.SetNode(node("n2", "2")) // behind it in the queue
	f.wait("switches", "n2")
	if n := f.transactions() - before; n != 1 {
		t.Errorf("%d transactions", n-1)
	}
}

// TestDatabaseMadeAnew wipes the database under a running engine.
func TestDatabaseMadeAnew(t *testing.T) {
	t.Parallel()
	f, _, s := scene(t)
	want := slices.DeleteFunc(dump(f.nb), func(l string) bool { return strings.HasPrefix(l, "global") })
	s.Shut()
	s.StartMemory(t, ovntest.Schema(ovn.Northbound()))
	s.Open(t)
	f.until("all but the pod that waits for NB_Global", func() bool {
		for _, l := range want {
			if !strings.Contains(l, "default_b") && !strings.HasPrefix(l, "set") && !slices.Contains(dump(f.nb), l) {
				return false
			}
		}
		return true
	})
	byHand(t, s.Connect(t), ovn.Insert(&nb.NBGlobal{}, "g"))
	f.until("all", func() bool {
		now := dump(f.nb)
		return !slices.ContainsFunc(want, func(l string) bool { return !slices.Contains(now, l) })
	})
	f.idle()
}

// TestLostConnection cuts the connection and changes the world meanwhile.
func TestLostConnection(t *testing.T) {
	t.Parallel()
	s := ovntest.Real(t, ovn.Northbound(), northbound(t))
	f := start(t, s, newWorld())
	f.world.SetNode(node("n1", "1"))
	f.world.SetPod(pod("maker", "n1", "m", "sets", "set"))
	for range 5 {
		s.Shut()
		f.world.SetPod(pod("late", "n1", time.Now().String()))
		f.world.DeletePod(podKey("a"))
		s.Open(t)
		f.idle()
		f.world.SetPod(pod("a", "n1", "1", "in", "set", "shared", "x"))
		s.Shut()
		s.Open(t)
		f.wait("ports", "default/a")
	}
	if st := f.engine.Status(); len(st.Problems) != 0 || len(st.Offline) != 0 {
		t.Errorf("status: %+v", st)
	}
	if g := f.restart(s); g.transactions() != 0 {
		t.Errorf("a restart afterwards writes: %v", dump(g.nb))
	}
}

// TestFight has somebody undo each repair.
func TestFight(t *testing.T) {
	t.Parallel()
	c := newClock()
	l := &logs{}
	f, hand, _ := scene(t, func(cfg *engine.Config) { cfg.Clock = c; l.use(cfg) })
	id := must(ovn.Find[nb.LogicalSwitchPort](hand, "default_a")).UUID
	repaired := make(chan struct{}, 100)
	defer ovn.Watch(f.nb, func(old, now *nb.LogicalSwitchPort) {
		if old != nil && now != nil && now.Name == "default_a" && slices.Equal(now.Addresses, []string{"1"}) {
			repaired <- struct{}{}
		}
	})()
	spoil := ovn.Update(&nb.LogicalSwitchPort{Addresses: []string{"unknown"}}, id, "addresses")
	for range 4 { // the first ones are repaired at once
		byHand(t, hand, spoil)
		<-repaired
	}
	var last time.Duration
	for range 4 { // then ever more slowly
		for len(c.armed) > 0 {
			<-c.armed
		}
		byHand(t, hand, spoil)
		pause := <-c.armed
		if pause <= last || pause > time.Minute {
			t.Errorf("pause of %s after %s", pause, last)
		}
		last = pause
		select {
		case <-repaired:
			t.Fatal("repaired at once")
		default:
		}
		// Others are not held up.
		f.world.SetPod(pod("other", "n1", pause.String()))
		f.wait("ports", "default/other")
		c.advance(pause)
		<-repaired
	}
	if !strings.Contains(l.String(), "somebody keeps changing this row") {
		t.Errorf("the log does not say so:\n%s", l)
	}
	// Who asks for it does not have to wait.
	for len(c.armed) > 0 {
		<-c.armed
	}
	byHand(t, hand, spoil)
	<-c.armed
	f.repair("ports", "default/a")
	if got := must(ovn.Find[nb.LogicalSwitchPort](f.nb, "default_a")).Addresses; !slices.Equal(got, []string{"1"}) {
		t.Errorf("addresses %q after the repair", got)
	}
	if f.engine.Repair("nonsense", key("default/a")) != nil {
		t.Error("a feature that is none was repaired")
	}
}

// TestRepairOfNothing asks for keys that want nothing, and have nothing.
func TestRepairOfNothing(t *testing.T) {
	t.Parallel()
	f, _, _ := scene(t)
	f.idle()
	before, want := f.transactions(), dump(f.nb)
	for _, k := range []string{"default/a", "default/nobody"} {
		f.repair("ports", k)
	}
	if got := dump(f.nb); !slices.Equal(got, want) || f.transactions() != before {
		t.Errorf("%d transactions, now %v", f.transactions()-before, got)
	}
}

// TestLeftovers has rows in the database that nobody wants any more, and others that are
// nobody's business.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	s := ovntest.NB(t)
	hand := s.Connect(t)
	ids := func(o, row string) map[string]string { return map[string]string{owner.Key: o, owner.Row: row} }
	byHand(t, hand,
		ovn.Insert(&nb.LogicalSwitch{Name: "n1", ExternalIDs: ids("switches/n1", "switch"), Ports: []string{"p1", "p2", "p3"}, OtherConfig: map[string]string{"id": "1", "old": "entry"}}, "ls"),
		ovn.Insert(&nb.LogicalSwitchPort{Name: "default_web", Addresses: []string{"1"}, ExternalIDs: map[string]string{"pod": "true", owner.Key: "ports/default/web", owner.Row: "port"}}, "p1"),
		ovn.Insert(&nb.LogicalSwitchPort{Name: "default_gone", ExternalIDs: ids("ports/default/gone", "port")}, "p2"),
		ovn.Insert(&nb.LogicalSwitchPort{Name: "nobodys"}, "p3"),
		ovn.Insert(&nb.LogicalSwitch{Name: "gone", ExternalIDs: ids("switches/gone", "switch")}, "ls2"),
		ovn.Insert(&nb.LogicalSwitch{Name: "foreign", Ports: []string{"p4"}}, "ls3"),
		ovn.Insert(&nb.LogicalSwitchPort{Name: "foreign"}, "p4"),
		ovn.Insert(&nb.LogicalSwitch{Name: "of another feature", ExternalIDs: ids("future/x", "switch")}, "ls4"),
		ovn.Insert(&nb.AddressSet{Name: "set", Addresses: []string{"x", "old"}, ExternalIDs: ids("ports/default/maker", "set/set")}, "as"),
		ovn.Insert(&nb.LogicalSwitch{Name: "n2"}, "ls5"), // of a former system: taken over
	)
	w := newWorld()
	f := prepare(t, s, w)
	w.SetNode(node("n1", "1"))
	w.SetNode(node("n2", "2"))
	w.SetPod(pod("web", "n1", "1", "in", "set", "shared", "x"))
	w.SetPod(pod("maker", "n2", "m", "sets", "set"))
	w.MarkSynced()
	f.run().sync()
	f.holds(
		"group set[]",
		"port default_maker[m] [ovnkctl.io/owner=ports/default/maker ovnkctl.io/row=port pod=true]",
		"port default_web[1] [ovnkctl.io/owner=ports/default/web ovnkctl.io/row=port pod=true]",
		"port foreign[] []",
		"set set[x]ports/default/maker",
		"switch foreign[foreign] []",
		"switch n1[default_web] [id=1]switches/n1",
		"switch n2[default_maker] [id=2]switches/n2",
		"switch of another feature[] []future/x",
	)
	if g := f.restart(s); g.transactions() != 0 {
		t.Errorf("a restart writes: %v", dump(g.nb))
	}
}

// TestLeftoverWithoutOwner deletes a pod with a row that cannot carry its owner while no
// engine runs.
func TestLeftoverWithoutOwner(t *testing.T) {
	t.Parallel()
	s := ovntest.NB(t)
	f := start(t, s, newWorld())
	f.world.SetNode(node("n1", "1"))
	f.world.SetPod(pod("a", "n1", "1", "mac", "0a:58:00:00:00:01"))
	f.idle()
	f.world.SetPod(pod("a", "n1", "1"))
	f.wait("ports", "default/a")
	want := []string{"port default_a[1] [ovnkctl.io/owner=ports/default/a ovnkctl.io/row=port pod=true]", "switch n1[default_a] [id=1]switches/n1"}
	f.holds(want...)
	f.world.SetPod(pod("b", "n1", "1", "mac", "0a:58:00:00:00:02"))
	f.wait("ports", "default/b")
	f.stop()
	f.world.DeletePod(podKey("b"))
	g := f.restart(s)
	g.holds(want...)
	if g = g.restart(s); g.transactions() != 0 {
		t.Error("a second restart writes")
	}
}

// TestWaitingKeepsWhatItHad restarts with a pod that cannot be planned: what it contributed
// to rows of others stays until it can.
func TestWaitingKeepsWhatItHad(t *testing.T) {
	t.Parallel()
	s := ovntest.NB(t)
	f := start(t, s, newWorld())
	byHand(t, f.nb, ovn.Insert(&nb.NBGlobal{}, "g"))
	f.world.SetNode(node("n1", "1"))
	f.world.SetPod(pod("maker", "n1", "m", "sets", "set"))
	f.world.SetPod(pod("a", "n1", "1", "in", "set", "shared", "x", "option", "o", "value", "v", "groups", "set"))
	f.idle()
	want := dump(f.nb)
	f.world.SetPod(pod("a", "n1", "1", "in", "set not-there", "shared", "x", "option", "o", "value", "v", "groups", "set"))
	g := f.restart(s)
	if got := g.engine.Reasons("ports", key("default/a")); len(got) != 1 || got[0].Code != "WaitingForRow" {
		t.Errorf("reasons: %v", got)
	}
	g.holds(want...)
	g.world.SetNode(node("n1", "2"))
	g.wait("switches", "n1")
	if c := must(ovn.Find[nb.LogicalSwitch](g.nb, "n1")).OtherConfig; c["o"] != "v" || c["id"] != "2" {
		t.Errorf("other_config: %v", c)
	}
}
