package engine

import (
	"slices"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
)

// txn gathers the operations of one plan in one database.
type txn struct {
	rows      int // rows to insert so far, to name them
	deletes   []step
	inserts   []step
	updates   []step
	mutations map[string]*mutation // by UUID of the row
	order     []*mutation

	ops []ovsdb.Operation
	by  [][]*item // the keys that each operation is for
}

type step struct {
	op ovsdb.Operation
	by *item
}

// mutation is all that happens to the shared columns of one row: one operation, however
// many keys put something in.
type mutation struct {
	row     *ovn.Row
	columns []ovn.Mutation
	by      []*item
}

func (t *txn) insert(it *item, op ovsdb.Operation) { t.inserts = append(t.inserts, step{op, it}) }
func (t *txn) update(it *item, op ovsdb.Operation) { t.updates = append(t.updates, step{op, it}) }
func (t *txn) remove(it *item, op ovsdb.Operation) { t.deletes = append(t.deletes, step{op, it}) }

// mutation is the change of one column of one row, for one more key.
func (t *txn) mutation(it *item, r *ovn.Row, c *ovn.Column) columnMutation {
	it.changes++
	m := t.mutations[r.UUID]
	if m == nil {
		m = &mutation{row: r}
		t.mutations[r.UUID] = m
		t.order = append(t.order, m)
	}
	if len(m.by) == 0 || m.by[len(m.by)-1] != it {
		m.by = append(m.by, it)
	}
	for i := range m.columns {
		if m.columns[i].Column == c {
			return columnMutation{&m.columns[i]}
		}
	}
	m.columns = append(m.columns, ovn.Mutation{Column: c})
	return columnMutation{&m.columns[len(m.columns)-1]}
}

type columnMutation struct{ m *ovn.Mutation }

func (c columnMutation) insert(v string) { c.m.Insert = append(c.m.Insert, v) }

func (c columnMutation) remove(v string) {
	if !slices.Contains(c.m.Remove, v) {
		c.m.Remove = append(c.m.Remove, v)
	}
}

func (c columnMutation) put(k, v string) {
	if c.m.Put == nil {
		c.m.Put = map[string]string{}
	}
	c.m.Put[k] = v
}

// close puts the operations in order: what goes makes room for what comes.
func (t *txn) close() {
	n := len(t.deletes) + len(t.inserts) + len(t.updates) + len(t.order)
	if n == 0 {
		return
	}
	t.ops, t.by = make([]ovsdb.Operation, 0, n), make([][]*item, 0, n)
	for _, steps := range [][]step{t.deletes, t.inserts, t.updates} {
		for _, s := range steps {
			t.ops, t.by = append(t.ops, s.op), append(t.by, []*item{s.by})
		}
	}
	for _, m := range t.order {
		t.ops, t.by = append(t.ops, ovn.Mutate(m.row.Table, m.row.UUID, m.columns...)), append(t.by, m.by)
	}
}
