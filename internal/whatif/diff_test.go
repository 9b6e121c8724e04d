package whatif

import (
	"fmt"
	"slices"
	"testing"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/ovnkctl/ovnkctl/internal/desired"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
	"github.com/ovnkctl/ovnkctl/internal/ovn/owner"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
)

// wish is what key of feature f wants.
func wish(key string, fill func(*rows.Set)) *desired.Wish {
	w := &desired.Wish{Feature: "f", Key: feature.Key{Name: key}}
	fill(&w.Output.NB)
	return w
}

func ids(key, row string) map[string]string {
	return map[string]string{owner.Key: "f/" + key, owner.Row: row}
}

var set = rows.Target{Table: nb.AddressSetTable, Name: "set"}

// puts is a wish for elements of the set.
func puts(key string, addrs ...string) *desired.Wish {
	return wish(key, func(s *rows.Set) {
		for _, a := range addrs {
			s.Members = append(s.Members, rows.Member{Parent: set, Column: "addresses", Value: a})
		}
	})
}

func holds(s *rows.Set) { s.Add("set", &nb.AddressSet{Name: "set"}) }

// TestDiffer: only what differs between the wishes is written, over what is there.
func TestDiffer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name            string
		today, tomorrow []*desired.Wish
		want            []string // the addresses in the end
		missing         int
	}{
		{"nothing", []*desired.Wish{wish("s", holds), puts("a", "10.0.0.1")}, []*desired.Wish{wish("s", holds), puts("a", "10.0.0.1")}, []string{"10.0.0.1", "10.0.0.9"}, 0},
		{"one more", []*desired.Wish{wish("s", holds)}, []*desired.Wish{wish("s", holds), puts("b", "10.0.0.2")}, []string{"10.0.0.1", "10.0.0.2", "10.0.0.9"}, 0},
		{"one less", []*desired.Wish{wish("s", holds), puts("a", "10.0.0.1")}, []*desired.Wish{wish("s", holds)}, []string{"10.0.0.9"}, 0},
		{"another has it, too", []*desired.Wish{wish("s", holds), puts("a", "10.0.0.1")}, []*desired.Wish{wish("s", holds), puts("b", "10.0.0.1")}, []string{"10.0.0.1", "10.0.0.9"}, 0},
		{"the set goes", []*desired.Wish{wish("s", holds), puts("a", "10.0.0.1")}, nil, nil, 0},
		{"into what is not there", []*desired.Wish{}, []*desired.Wish{wish("b", func(s *rows.Set) {
			s.Members = append(s.Members, rows.Member{Parent: rows.Target{Table: nb.AddressSetTable, Name: "none"}, Column: "addresses", Value: "10.0.0.1"})
		})}, []string{"10.0.0.1", "10.0.0.9"}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := ovntest.NB(t)
			db := server.Connect(t)
			// 10.0.0.9 is nobody's wish: somebody has put it there.
			if _, err := db.Transact(t.Context(), "", ovn.Insert(&nb.AddressSet{Name: "set", Addresses: []string{"10.0.0.1", "10.0.0.9"}, ExternalIDs: ids("s", "set")}, "set")); err != nil {
				t.Fatal(err)
			}
			d := newDiffer("n", indexed(ovn.Northbound(), contentOf(t, db), feature.NorthTables()), c.today, c.tomorrow, func(w *desired.Wish) rows.Set { return w.Output.NB })
			var ops []ovsdb.Operation
			for _, op := range d.operations() {
				ops = append(ops, op.(ovsdb.Operation))
			}
			if len(ops) > 0 {
				if _, err := db.Transact(t.Context(), "", ops...); err != nil {
					t.Fatal(err)
				}
			}
			var got []string
			if s, ok := ovn.Find[nb.AddressSet](db, "set"); ok {
				got = slices.Sorted(slices.Values(s.Addresses))
			}
			if !slices.Equal(got, c.want) || len(d.missing) != c.missing {
				t.Errorf("addresses %v, want %v; missing %q", got, c.want, d.missing)
			}
			if len(c.today) == len(c.tomorrow) && c.name == "nothing" && len(ops) > 0 {
				t.Errorf("%d operations for nothing", len(ops))
			}
		})
	}
}

// contentOf is what a database holds.
func contentOf(t *testing.T, db *ovn.DB) *ovn.Content {
	t.Helper()
	c := ovn.NewContent(ovn.Northbound(), "")
	table, _ := ovn.Northbound().Table(nb.AddressSetTable)
	for _, col := range table.Columns {
		c.Had(col)
	}
	for _, s := range ovn.List[nb.AddressSet](db) {
		addrs := []any{}
		for _, a := range s.Addresses {
			addrs = append(addrs, a)
		}
		pairs := []any{}
		for k, v := range s.ExternalIDs {
			pairs = append(pairs, []any{k, v})
		}
		if err := c.Add(table, s.UUID, map[string]any{"name": s.Name, "addresses": []any{"set", addrs}, "external_ids": []any{"map", pairs}}); err != nil {
			t.Fatal(err)
		}
	}
	c.Seal()
	return c
}

// BenchmarkDifferRemoved: what is taken out of a large set is looked up among what others put
// there.
func BenchmarkDifferRemoved(b *testing.B) {
	const pods = 5000
	var today, tomorrow []*desired.Wish
	for i := range pods {
		w := puts(fmt.Sprint("pod", i), fmt.Sprintf("10.0.%d.%d", i/250, i%250))
		today = append(today, w)
		if i%2 == 0 {
			tomorrow = append(tomorrow, w)
		}
	}
	table, _ := ovn.Northbound().Table(nb.AddressSetTable)
	c := ovn.NewContent(ovn.Northbound(), "")
	for _, col := range table.Columns {
		c.Had(col)
	}
	if err := c.Add(table, "11111111-0000-4000-8000-000000000001", map[string]any{"name": "set"}); err != nil {
		b.Fatal(err)
	}
	c.Seal()
	for b.Loop() {
		d := newDiffer("n", indexed(ovn.Northbound(), c, feature.NorthTables()), today, tomorrow, func(w *desired.Wish) rows.Set { return w.Output.NB })
		if len(d.operations()) != 1 {
			b.Fatal("not one mutation")
		}
	}
}
