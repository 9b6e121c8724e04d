package ovn_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
)

// offline waits until db has noticed that its server is away.
func offline(t *testing.T, db *ovn.DB) {
	t.Helper()
	for db.Online() {
		if t.Context().Err() != nil {
			t.Fatal("still online")
		}
		time.Sleep(time.Millisecond)
	}
}

func insertSwitch(t *testing.T, db *ovn.DB, name string) string {
	t.Helper()
	r, err := db.Transact(t.Context(), "", ovn.Insert(&nb.LogicalSwitch{Name: name}, "ls"))
	if err != nil {
		t.Fatal(err)
	}
	return r[0].UUID.GoUUID
}

// TestSettledOnRealServer proves what the engine builds on: when Transact returns, the
// cache shows all of it, side effects in the same table included.
func TestSettledOnRealServer(t *testing.T) {
	t.Parallel()
	db := ovntest.Real(t, ovn.Northbound(), schemaFile(t, func(map[string]any) {})).Connect(t)
	ls := insertSwitch(t, db, "n1")
	table, _ := ovn.Northbound().Table("Logical_Switch")
	ports, _ := table.Column("ports")
	for i := range 200 {
		r, err := db.Transact(t.Context(), "", ovn.Insert(&nb.LogicalSwitchPort{Name: fmt.Sprint("p", i)}, "p"),
			ovn.Mutate(table, ls, ovn.Mutation{Column: ports, Insert: []string{"p"}}))
		if err != nil {
			t.Fatal(err)
		}
		port := r[0].UUID.GoUUID
		got, ok := ovn.Get[nb.LogicalSwitchPort](db, port)
		if sw, _ := ovn.Get[nb.LogicalSwitch](db, ls); !ok || got.Name != fmt.Sprint("p", i) || !slices.Contains(sw.Ports, port) {
			t.Fatalf("port %d is not in the cache", i)
		}
		if i%2 == 0 {
			continue
		}
		if _, err := db.Transact(t.Context(), "", ovn.Mutate(table, ls, ovn.Mutation{Column: ports, Remove: []string{port}})); err != nil {
			t.Fatal(err)
		}
		if sw, _ := ovn.Get[nb.LogicalSwitch](db, ls); slices.Contains(sw.Ports, port) {
			t.Fatalf("port %d is still in the switch", i)
		}
	}
	// An insert that the server throws away at once must not be waited for.
	if _, err := db.Transact(t.Context(), "", ovn.Insert(&nb.LogicalSwitchPort{Name: "orphan"}, "p")); err != nil {
		t.Fatal(err)
	}
}

// TestReconnectTellsWhatChanged cuts the connection, changes the database meanwhile, and
// looks at the changes that arrive.
func TestReconnectTellsWhatChanged(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	s := ovntest.NB(t)
	db := s.ConnectWith(t, ovn.Config{Metrics: ovn.NewMetrics(reg)})
	kept, changed, deleted := insertSwitch(t, db, "kept"), insertSwitch(t, db, "changed"), insertSwitch(t, db, "deleted")

	var mu sync.Mutex
	var got []string
	arrived := make(chan struct{}, 10)
	defer ovn.Watch(db, func(old, now *nb.LogicalSwitch) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case old == nil:
			got = append(got, "new "+now.Name)
		case now == nil:
			got = append(got, "gone "+old.Name)
		default:
			got = append(got, old.Name+" is now "+now.Name)
		}
		if len(got) == 6 {
			arrived <- struct{}{}
		}
	})()
	// The other connection goes around the door.
	behind := connectBackend(t, s)
	s.Shut()
	offline(t, db)
	table, _ := ovn.Northbound().Table("Logical_Switch")
	if _, err := behind.Transact(t.Context(), "", ovn.Delete(table, deleted),
		ovn.Update(&nb.LogicalSwitch{Name: "renamed"}, changed, "name"),
		ovn.Insert(&nb.LogicalSwitch{Name: "added"}, "ls")); err != nil {
		t.Fatal(err)
	}
	s.Open(t)
	<-arrived
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(got[:3])
	slices.Sort(got[3:])
	want := []string{"new changed", "new deleted", "new kept", "changed is now renamed", "gone deleted", "new added"}
	if !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	if _, ok := ovn.Get[nb.LogicalSwitch](db, kept); !ok {
		t.Error("the row that was there all the time is not in the cache")
	}
	if n := counter(t, reg, "ovnk_ovsdb_connects_total"); n != 2 {
		t.Errorf("%v connects counted", n)
	}
}

// counter is the sum of a counter over its labels.
func counter(t *testing.T, reg *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

// connectBackend opens a connection that Shut does not end.
func connectBackend(t *testing.T, s *ovntest.Server) *ovn.DB {
	t.Helper()
	db, err := ovn.Open(t.Context(), ovn.Config{Endpoint: s.Backend(), Database: s.Database})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

func TestTransactWaitsForTheServer(t *testing.T) {
	t.Parallel()
	s := ovntest.NB(t)
	db := s.Connect(t)
	s.Shut()
	offline(t, db)
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := db.Transact(short, "", ovn.Insert(&nb.LogicalSwitch{Name: "n1"}, "ls")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without a server: %v", err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := db.Transact(t.Context(), "", ovn.Insert(&nb.LogicalSwitch{Name: "n2"}, "ls"))
		done <- err
	}()
	s.Open(t)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, ok := ovn.Find[nb.LogicalSwitch](db, "n2"); !ok {
		t.Error("not written")
	}
}

func TestOpenSaysWhyNot(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := ovn.Open(ctx, ovn.Config{Endpoint: "unix:" + t.TempDir() + "/none.sock", Database: ovn.Northbound()})
	if err == nil || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	t.Log(err)
}

func TestRefusalNamesTheOperation(t *testing.T) {
	t.Parallel()
	servers(t, schemaFile(t, func(map[string]any) {}), func(t *testing.T, s *ovntest.Server) {
		db := s.Connect(t)
		_, err := db.Transact(t.Context(), "test", ovn.Insert(&nb.AddressSet{Name: "a"}, "x"), ovn.Insert(&nb.AddressSet{Name: "a"}, "y"))
		var refused *ovn.TxnError
		if !errors.As(err, &refused) || refused.Reason != "constraint violation" {
			t.Errorf("two rows of one name: %v", err)
		}
		if n := len(ovn.List[nb.AddressSet](db)); n != 0 {
			t.Errorf("%d rows of a refused transaction", n)
		}
	})
}

func TestCommitter(t *testing.T) {
	t.Parallel()
	servers(t, schemaFile(t, func(map[string]any) {}), func(t *testing.T, s *ovntest.Server) {
		reg := prometheus.NewRegistry()
		db := s.ConnectWith(t, ovn.Config{Metrics: ovn.NewMetrics(reg)})
		c := ovn.NewCommitter(db)
		insertSwitch(t, db, "taken")
		const callers = 60
		errs := make([]error, callers)
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() {
				group := fmt.Sprint("group", i)
				if i%20 == 7 {
					group = "the same" // three of them: two must fail, and nobody else
				}
				_, errs[i] = c.Transact(t.Context(), group,
					ovn.Insert(&nb.PortGroup{Name: group, ACLs: []string{"acl"}}, "pg"),
					ovn.Insert(&nb.ACL{Action: nb.ACLActionDrop, Direction: nb.ACLDirectionToLport, Match: fmt.Sprint(i)}, "acl"))
			})
		}
		wg.Wait()
		if n := counter(t, reg, "ovnk_ovsdb_txn_duration_seconds"); n >= callers {
			t.Errorf("%v transactions for %d callers", n, callers)
		}
		failed := 0
		for i, err := range errs {
			if err != nil && i%20 != 7 {
				t.Errorf("caller %d: %v", i, err)
			}
			if err != nil {
				failed++
			}
		}
		groups := ovn.List[nb.PortGroup](db)
		if failed != 2 || len(groups) != callers-2 {
			t.Errorf("%d callers failed, %d groups", failed, len(groups))
		}
		for _, g := range groups {
			if len(g.ACLs) != 1 {
				t.Errorf("group %s has ACLs %v", g.Name, g.ACLs)
			} else if acl, ok := ovn.Get[nb.ACL](db, g.ACLs[0]); !ok || g.Name != "the same" && g.Name != "group"+acl.Match {
				t.Errorf("group %s has somebody else's ACL", g.Name)
			}
		}
	})
}

// TestWatchesWhatIsWanted leaves out a table and a column.
func TestWatchesWhatIsWanted(t *testing.T) {
	t.Parallel()
	servers(t, schemaFile(t, func(map[string]any) {}), func(t *testing.T, s *ovntest.Server) {
		db := s.ConnectWith(t, ovn.Config{
			Tables:  []string{"Logical_Switch", "Logical_Switch_Port"},
			Columns: map[string][]string{"Logical_Switch": {"name", "ports"}},
		})
		if _, err := db.Transact(t.Context(), "",
			ovn.Insert(&nb.LogicalSwitch{Name: "n1", Ports: []string{"p"}, OtherConfig: map[string]string{"a": "b"}}, "ls"),
			ovn.Insert(&nb.LogicalSwitchPort{Name: "p1"}, "p"),
			ovn.Insert(&nb.AddressSet{Name: "as"}, "as")); err != nil {
			t.Fatal(err)
		}
		ls, ok := ovn.Find[nb.LogicalSwitch](db, "n1")
		if !ok || len(ls.Ports) != 1 || ls.OtherConfig != nil {
			t.Errorf("switch: %+v", ls)
		}
		if n := len(ovn.List[nb.AddressSet](db)); n != 0 {
			t.Errorf("%d rows of a table that is not watched", n)
		}
		table, other := column(t, "Logical_Switch", "other_config")
		_, name := column(t, "Logical_Switch", "name")
		sets, _ := ovn.Northbound().Table("Address_Set")
		db.Read(func(v ovn.View) {
			if v.Manages(other) || !v.Manages(name) || !v.Watches(table) || v.Watches(sets) {
				t.Error("the view does not know what it has")
			}
		})
		if !db.Has("Address_Set", "addresses") || !db.Has("Logical_Switch", "other_config") {
			t.Error("Has tells what is watched, not what the server has")
		}
	})
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
