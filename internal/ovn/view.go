package ovn

import (
	"fmt"
	"iter"
	"strconv"

	"github.com/ovn-kubernetes/libovsdb/model"
)

// View is the cache at one moment. It must not be kept beyond the call that was given it.
type View struct{ db *DB }

// Row returns the row with that UUID, of any table.
func (v View) Row(uuid string) (*Row, bool) {
	r, ok := v.db.cache.rows[uuid]
	return r, ok
}

// Named returns the rows with that natural name: one, unless the name is unique by
// convention only and somebody broke it. The only row of a singleton has the name "".
// The slice must not be kept or modified.
func (v View) Named(t *Table, name string) []*Row { return v.db.cache.named[t][name] }

// Owned returns the rows that carry this owner. The slice must not be kept or modified.
func (v View) Owned(owner string) []*Row { return v.db.cache.owned[owner] }

// Owners yields all owners that have rows.
func (v View) Owners() iter.Seq[string] {
	return func(yield func(string) bool) {
		for o := range v.db.cache.owned {
			if !yield(o) {
				return
			}
		}
	}
}

// Parents returns the references that keep a row of a table without Root alive. The slice
// must not be kept or modified.
func (v View) Parents(uuid string) []Parent { return v.db.cache.parents[uuid] }

// Table yields all rows of a table in no particular order.
func (v View) Table(t *Table) iter.Seq[*Row] {
	return func(yield func(*Row) bool) {
		for _, r := range v.db.cache.tables[t] {
			if !yield(r) {
				return
			}
		}
	}
}

// Len is the number of rows of a table.
func (v View) Len(t *Table) int { return len(v.db.cache.tables[t]) }

// Manages tells whether the server has the column and its content is watched, so that it
// can be compared and written.
func (v View) Manages(c *Column) bool { return v.db.watched[c.Table].Has(c) }

// Watches tells whether the server has the table and its rows are in the cache.
func (v View) Watches(t *Table) bool { return v.db.watched[t] != 0 }

// Get returns the row of type T with that UUID. It must not be modified.
func Get[T any](db *DB, uuid string) (*T, bool) {
	db.mu.RLock()
	defer db.mu.RUnlock()
	r, ok := db.cache.rows[uuid]
	if !ok {
		return nil, false
	}
	m, ok := r.Model.(*T)
	return m, ok
}

// Find returns the row of type T with that natural name ("" for singletons such as
// NB_Global). It must not be modified.
func Find[T any](db *DB, name string) (*T, bool) {
	db.mu.RLock()
	defer db.mu.RUnlock()
	for _, r := range db.cache.named[tableFor[T]()][name] {
		return r.Model.(*T), true
	}
	return nil, false
}

// List returns all rows of type T in no particular order. They must not be modified.
func List[T any](db *DB) []*T {
	db.mu.RLock()
	defer db.mu.RUnlock()
	rows := db.cache.tables[tableFor[T]()]
	out := make([]*T, 0, len(rows))
	for _, r := range rows {
		out = append(out, r.Model.(*T))
	}
	return out
}

// Watch calls f for each row of type T there is and then for each change, in order, until
// cancel is called: old is nil for a new row, now for a deleted one. f must be quick and
// must not call Watch or Transact; the rows must not be modified.
func Watch[T any](db *DB, f func(old, now *T)) (cancel func()) {
	t := tableFor[T]()
	return db.Subscribe(func(changes []Change) {
		for _, c := range changes {
			if c.Table != t {
				continue
			}
			old, _ := c.Old.(*T)
			now, _ := c.New.(*T)
			f(old, now)
		}
	})
}

func tableFor[T any]() *Table {
	var m model.Model = new(T)
	t, ok := TableOf(m)
	if !ok {
		panic(fmt.Sprintf("%T is no row of an OVSDB table", m))
	}
	return t
}

// text is a scalar as part of a natural name.
func text(p any) string {
	switch p := p.(type) {
	case *string:
		return *p
	case **string:
		if *p != nil {
			return **p
		}
	case *int:
		return strconv.Itoa(*p)
	}
	return ""
}
