package ovn

import (
	"slices"

	"github.com/ovn-kubernetes/libovsdb/model"

	"github.com/ovnkctl/ovnkctl/internal/ovn/owner"
)

// Row is one row of the cache. It is good as long as the View it came from; Model is good
// for ever and must not be modified, nor appended to.
type Row struct {
	Table *Table
	UUID  string
	Model model.Model

	owner, name string
	sets        map[*Column]map[string]struct{} // indexes of large sets
}

// Owner is the row's owner as its external_ids have it, empty for rows that are not ours.
func (r *Row) Owner() string { return r.owner }

// Name is the row's natural name, see Table.Natural.
func (r *Row) Name() string { return r.name }

// Value returns a pointer to the value of one column.
func (r *Row) Value(c *Column) any { return c.Value(r.Model) }

// Contains tells whether a set of strings has the element.
func (r *Row) Contains(c *Column, element string) bool {
	switch p := r.Value(c).(type) {
	case *[]string:
		if in, ok := r.sets[c]; ok {
			_, ok = in[element]
			return ok
		}
		return slices.Contains(*p, element)
	case **string:
		return *p != nil && **p == element
	case *string:
		return *p == element
	}
	return false
}

// Parent is a reference that keeps a row alive.
type Parent struct {
	Row    *Row
	Column *Column
}

// Change is what one update of the database did to one row. Old is nil when the row is
// new, New when it is gone; Columns are the columns that differ (of a new row, all).
type Change struct {
	Table    *Table
	UUID     string
	Old, New model.Model
	Columns  ColumnSet
	// Sets are the differences of those columns that are sets of strings.
	Sets []SetChange
}

// SetChange is what one change did to a set of strings.
type SetChange struct {
	Column         *Column
	Added, Removed []string
}

// cache holds the rows of one database and the indexes that the engine needs: each look-up
// takes the same time with ten rows and with a hundred thousand.
type cache struct {
	rows    map[string]*Row
	tables  map[*Table]map[string]*Row
	named   map[*Table]map[string][]*Row
	owned   map[string][]*Row
	parents map[string][]Parent // by UUID of the child
}

func newCache() *cache {
	return &cache{
		rows:    map[string]*Row{},
		tables:  map[*Table]map[string]*Row{},
		named:   map[*Table]map[string][]*Row{},
		owned:   map[string][]*Row{},
		parents: map[string][]Parent{},
	}
}

// put adds a row or replaces its content; it reports whether anything is different now.
func (c *cache) put(t *Table, uuid string, m model.Model) (Change, bool) {
	r := c.rows[uuid]
	if r == nil {
		r = &Row{Table: t, UUID: uuid}
		c.rows[uuid] = r
		if c.tables[t] == nil {
			c.tables[t] = map[string]*Row{}
		}
		c.tables[t][uuid] = r
		c.publish(r, m)
		for _, col := range t.Columns {
			c.link(r, col, elements(col, m), nil)
			if set, ok := col.Value(m).(*[]string); ok {
				r.reindex(col, *set, nil, nil)
			}
		}
		return Change{Table: t, UUID: uuid, New: m, Columns: ^ColumnSet(0)}, true
	}
	change := Change{Table: t, UUID: uuid, Old: r.Model, New: m}
	for _, col := range t.Columns {
		was, now := r.Value(col), col.Value(m)
		if set, ok := now.(*[]string); ok {
			added, removed := Difference(*was.(*[]string), *set)
			if len(added)+len(removed) == 0 {
				continue
			}
			change.Columns = change.Columns.With(col)
			change.Sets = append(change.Sets, SetChange{col, added, removed})
			r.reindex(col, *set, added, removed)
			c.link(r, col, added, removed)
			continue
		}
		if EqualValues(was, now) {
			continue
		}
		change.Columns = change.Columns.With(col)
		c.link(r, col, elements(col, m), elements(col, r.Model))
	}
	if change.Columns == 0 {
		return change, false
	}
	c.publish(r, m)
	return change, true
}

func (c *cache) remove(uuid string) (Change, bool) {
	r := c.rows[uuid]
	if r == nil {
		return Change{}, false
	}
	for _, col := range r.Table.Columns {
		c.link(r, col, nil, elements(col, r.Model))
	}
	c.unindex(r)
	delete(c.rows, uuid)
	delete(c.tables[r.Table], uuid)
	return Change{Table: r.Table, UUID: uuid, Old: r.Model, Columns: ^ColumnSet(0)}, true
}

// publish makes m the row's content and files it under its name and owner.
func (c *cache) publish(r *Row, m model.Model) {
	name, who := r.Table.NameOf(m), ownerOf(r.Table, m)
	if r.Model != nil && name == r.name && who == r.owner {
		r.Model = m
		return
	}
	if r.Model != nil {
		c.unindex(r)
	}
	r.Model, r.name, r.owner = m, name, who
	if who != "" {
		c.owned[who] = append(c.owned[who], r)
	}
	if r.hasName() {
		if c.named[r.Table] == nil {
			c.named[r.Table] = map[string][]*Row{}
		}
		c.named[r.Table][name] = append(c.named[r.Table][name], r)
	}
}

func (r *Row) hasName() bool { return r.Table.Singleton || len(r.Table.Natural) > 0 }

func (c *cache) unindex(r *Row) {
	if r.owner != "" {
		drop(c.owned, r.owner, func(o *Row) bool { return o == r })
	}
	if r.hasName() {
		drop(c.named[r.Table], r.name, func(o *Row) bool { return o == r })
	}
}

func drop[K comparable, V any](m map[K][]V, key K, is func(V) bool) {
	if left := slices.DeleteFunc(m[key], is); len(left) > 0 {
		m[key] = left
	} else {
		delete(m, key)
	}
}

// link keeps the index of parents of rows that live by their references.
func (c *cache) link(r *Row, col *Column, added, removed []string) {
	if !col.keepsAlive() {
		return
	}
	for _, child := range removed {
		drop(c.parents, child, func(p Parent) bool { return p.Row == r && p.Column == col })
	}
	for _, child := range added {
		c.parents[child] = append(c.parents[child], Parent{Row: r, Column: col})
	}
}

func (c *Column) keepsAlive() bool {
	return c.Strong && c.Ref != nil && !c.Ref.Root && !c.mapValue
}

// elements are the references in a column that keeps other rows alive.
func elements(c *Column, m model.Model) []string {
	if !c.keepsAlive() {
		return nil
	}
	switch p := c.Value(m).(type) {
	case *[]string:
		return *p
	case **string:
		if *p != nil {
			return []string{**p}
		}
	case *string:
		return []string{*p}
	}
	return nil
}

func ownerOf(t *Table, m model.Model) string {
	if t.ExternalIDs == nil {
		return ""
	}
	ids := *t.ExternalIDs.Value(m).(*map[string]string)
	return ids[owner.Key]
}

// NameOf is the natural name of a row: the columns of Natural with a blank between them;
// empty when there are none.
func (t *Table) NameOf(m model.Model) string {
	switch len(t.Natural) {
	case 0:
		return ""
	case 1:
		return text(t.Natural[0].Value(m))
	}
	out := text(t.Natural[0].Value(m))
	for _, c := range t.Natural[1:] {
		out += " " + text(c.Value(m))
	}
	return out
}

// bigSet is the size from which on a set of strings, such as the addresses of a large
// namespace, gets an index: below, looking at each element is faster.
const bigSet = 64

// reindex keeps the index of a large set while its content goes over to now.
func (r *Row) reindex(c *Column, now, added, removed []string) {
	if c.Role != Collected && c.Role != Shared {
		return
	}
	in := r.sets[c]
	if len(now) < bigSet {
		delete(r.sets, c)
		return
	}
	if in == nil {
		in, added = make(map[string]struct{}, len(now)), now
		if r.sets == nil {
			r.sets = map[*Column]map[string]struct{}{}
		}
		r.sets[c] = in
	}
	for _, v := range removed {
		delete(in, v)
	}
	for _, v := range added {
		in[v] = struct{}{}
	}
}

// Difference tells which elements b has and a has not, and the reverse; neither repeats an
// element. Two versions of a large set have most elements in the same places, and these
// are not looked at twice.
func Difference[T comparable](a, b []T) (added, removed []T) {
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	if len(a) == 0 || len(b) == 0 {
		return b, a
	}
	for i := range max(len(a), len(b)) {
		switch {
		case i >= len(a):
			added = append(added, b[i])
		case i >= len(b):
			removed = append(removed, a[i])
		case a[i] != b[i]:
			added, removed = append(added, b[i]), append(removed, a[i])
		}
	}
	// An element that only moved is in both.
	in := make(map[T]struct{}, len(removed))
	for _, v := range removed {
		in[v] = struct{}{}
	}
	moved := map[T]struct{}{}
	added = slices.DeleteFunc(added, func(v T) bool {
		_, ok := in[v]
		if ok {
			moved[v] = struct{}{}
		}
		return ok
	})
	removed = slices.DeleteFunc(removed, func(v T) bool { _, ok := moved[v]; return ok })
	return added, removed
}
