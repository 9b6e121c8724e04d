package whatif

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"

	"github.com/ovn-kubernetes/libovsdb/model"

	"github.com/ovnkctl/ovnkctl/internal/desired"
	"github.com/ovnkctl/ovnkctl/internal/explain"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/owner"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
)

// pair is what one key wants in one database, today and with the input.
type pair struct {
	who           string // the owner, as rows carry it
	before, after rows.Set
	old           map[string]rows.Row // those of before, by name
	ids           map[string]string   // of the rows of after: UUIDs, or names in the transaction
}

// differ makes the transaction that takes a database from what the features want today to
// what they would want. All else in it stays as it is, right or wrong.
type differ struct {
	*there
	node  string
	pairs []*pair
	after map[string]rows.Set // what all keys want in the end

	coming  map[rows.Target]string // rows to insert, by natural name
	claimed map[string]bool        // UUIDs of rows that stay
	gone    map[string]bool        // and of those that do not
	inserts int
	ops     []any
	parents map[string]*parent
	counted tally
	missing []string
	// contributed is what all keys put into rows in the end; nil until somebody asks.
	contributed map[element]bool
}

// parent is a row whose sets get and lose elements.
type parent struct {
	table     *ovn.Table
	id        string
	have      *present                 // nil for one that is inserted
	mutations map[string]*ovn.Mutation // by column
}

// newDiffer pairs the wishes for one database.
func newDiffer(node string, x *there, today, tomorrow []*desired.Wish, of func(*desired.Wish) rows.Set) *differ {
	d := &differ{
		there: x, node: node, after: map[string]rows.Set{}, coming: map[rows.Target]string{}, claimed: map[string]bool{},
		gone: map[string]bool{}, parents: map[string]*parent{}, counted: tally{},
	}
	before := map[string]rows.Set{}
	for _, w := range today {
		before[ownerOf(w)] = of(w)
	}
	for _, w := range tomorrow {
		who := ownerOf(w)
		d.after[who] = of(w)
		if !reflect.DeepEqual(before[who], d.after[who]) {
			d.pair(who, before[who], d.after[who])
		}
	}
	for _, who := range slices.Sorted(maps.Keys(before)) {
		if _, still := d.after[who]; !still && len(before[who].Rows)+len(before[who].Members) > 0 {
			d.pair(who, before[who], rows.Set{})
		}
	}
	return d
}

func ownerOf(w *desired.Wish) string {
	return owner.ID{Feature: w.Feature, Key: w.Key.String()}.String()
}

func (d *differ) pair(who string, before, after rows.Set) {
	p := &pair{who: who, before: before, after: after, old: map[string]rows.Row{}, ids: map[string]string{}}
	for _, r := range before.Rows {
		p.old[r.ID] = r
	}
	d.pairs = append(d.pairs, p)
}

// operations are the transaction; empty when the database stays as it is.
func (d *differ) operations() []any {
	var write []func()
	for _, p := range d.pairs {
		for _, r := range p.after.Rows {
			if f := d.identify(p, r); f != nil {
				write = append(write, f)
			}
		}
	}
	for _, p := range d.pairs {
		d.remove(p)
	}
	for _, f := range write { // now that all names are known
		f()
	}
	for _, p := range d.pairs {
		d.members(p)
	}
	d.adopted()
	d.mutate()
	for _, uuid := range slices.Sorted(maps.Keys(d.gone)) {
		if p := d.byUUID[uuid]; p.table.Root { // others go with what refers to them
			d.ops = append(d.ops, ovn.Delete(p.table, uuid))
		}
	}
	return d.ops
}

func (d *differ) target(t *ovn.Table, m model.Model) rows.Target {
	return rows.Target{Table: t.Name, Name: t.NameOf(m)}
}

// find is the row of a key that is there.
func (d *differ) find(who string, r rows.Row, t *ovn.Table) *present {
	if p := d.byOwner[who][r.ID]; p != nil && p.table == t {
		return p
	}
	if t.ExternalIDs == nil && named(t) {
		return d.byName[d.target(t, r.Model)]
	}
	return nil
}

// identify finds a row that a key wants, or names the one to insert, and returns what writes
// it.
func (d *differ) identify(p *pair, r rows.Row) func() {
	t, ok := ovn.TableOf(r.Model)
	if !ok || t.DB != d.d || !d.content.Has(t.Name, "") {
		return nil // a newer program than the schema
	}
	have := d.find(p.who, r, t)
	if have == nil && named(t) {
		have = d.byName[d.target(t, r.Model)] // another key's until now
	}
	if have != nil && !d.claimed[have.uuid] {
		d.claimed[have.uuid] = true
		p.ids[r.ID] = have.uuid
		return func() { d.update(p, r, t, have) }
	}
	if _, was := p.old[r.ID]; was {
		d.missing = append(d.missing, fmt.Sprintf("%s %s of %s is not there today", t.Name, t.NameOf(r.Model), p.who))
	}
	d.inserts++
	id := "row" + strconv.Itoa(d.inserts)
	p.ids[r.ID] = id
	if named(t) {
		d.coming[d.target(t, r.Model)] = id
	}
	return func() { d.insert(p, r, t, id) }
}

// remove notes the rows that a key wants no more.
func (d *differ) remove(p *pair) {
	for _, r := range p.before.Rows {
		t, ok := ovn.TableOf(r.Model)
		if _, stays := p.ids[r.ID]; stays || !ok {
			continue
		}
		if have := d.find(p.who, r, t); have != nil && !d.claimed[have.uuid] {
			d.gone[have.uuid] = true
			d.counted.of(d.rowOf(have)).Removed++
		}
	}
}

func (d *differ) rowOf(p *present) explain.RowRef { return explain.RowOf(d.node, p.table, p.model) }

func (d *differ) insert(p *pair, r rows.Row, t *ovn.Table, id string) {
	m := copyModel(r.Model)
	for _, c := range t.Columns {
		v := c.Value(m)
		switch {
		case c == t.ExternalIDs:
			withOwner(t, m, p.who, r.ID)
		case c.Role == ovn.Theirs || c.Role == ovn.Collected:
			reflect.ValueOf(v).Elem().SetZero()
		case c.Ref != nil || c.RefValue != nil:
			ovn.MapStrings(v, func(ref string) string { return d.resolve(p, ref) })
		}
	}
	op := ovn.Insert(m, id)
	for column := range op.Row {
		if !d.content.Has(t.Name, column) {
			delete(op.Row, column)
		}
	}
	d.ops = append(d.ops, op)
	d.counted.of(explain.RowOf(d.node, t, m)).Added++
	if named(t) {
		d.parents[id] = &parent{table: t, id: id, mutations: map[string]*ovn.Mutation{}}
	}
}

// resolve is a reference of a key's rows as the database will have it: a UUID, or a name in
// the transaction. Other values stay.
func (d *differ) resolve(p *pair, ref string) string {
	if id, ok := rows.ParseRef(ref); ok {
		return p.ids[id]
	}
	return d.lookup(ref)
}

func (d *differ) lookup(ref string) string {
	t, ok := rows.ParseNamed(ref)
	if !ok {
		return ref
	}
	if id, ok := d.coming[t]; ok {
		return id
	}
	if p := d.byName[t]; p != nil {
		return p.uuid
	}
	return ""
}

// update writes what differs of a row that stays: between today's wish and tomorrow's, or
// for a row that was another key's, between what is there and the wish.
func (d *differ) update(p *pair, r rows.Row, t *ovn.Table, have *present) {
	m, from := copyModel(r.Model), copyModel(have.model)
	old, mine := p.old[r.ID]
	if mine && have.owner == p.who {
		from = copyModel(old.Model)
		withOwner(t, from, p.who, r.ID)
	}
	withOwner(t, m, p.who, r.ID)
	var columns []string
	for _, c := range t.Columns {
		if c.Role == ovn.Theirs || c.Role == ovn.Collected || !d.content.Has(t.Name, c.Name) {
			continue
		}
		if c.Ref != nil || c.RefValue != nil {
			ovn.MapStrings(c.Value(m), func(ref string) string { return d.resolve(p, ref) })
			if mine && have.owner == p.who {
				ovn.MapStrings(c.Value(from), func(ref string) string { return d.resolveOld(p, ref) })
			}
		}
		if !ovn.EqualValues(c.Value(m), c.Value(from)) && !d.elements(have, c, c.Value(from), c.Value(m)) {
			columns = append(columns, c.Name)
		}
	}
	if len(columns) > 0 {
		d.ops = append(d.ops, ovn.Update(m, have.uuid, columns...))
		d.counted.change(d.rowOf(have))
	}
}

// elements writes a difference one by one where others may add to the same value; false where
// they do not.
func (d *differ) elements(have *present, c *ovn.Column, from, to any) bool {
	switch now := to.(type) {
	case *[]string:
		if !c.Set() {
			return false
		}
		add, drop := ovn.Difference(*now, *from.(*[]string))
		m := d.mutation(d.parentOf(have), c)
		m.Insert, m.Remove = append(m.Insert, add...), append(m.Remove, drop...)
		return true
	case *map[string]string:
		if c.Role != ovn.Shared {
			return false
		}
		was, m := *from.(*map[string]string), d.mutation(d.parentOf(have), c)
		for k, v := range *now {
			if old, ok := was[k]; !ok || old != v {
				m.Put[k] = v
			}
		}
		for k := range was {
			if _, ok := (*now)[k]; !ok {
				m.Remove = append(m.Remove, k)
			}
		}
		return true
	}
	return false
}

// resolveOld is a reference as the database has it today.
func (d *differ) resolveOld(p *pair, ref string) string { return d.resolvedOld(p.who, ref) }

func (d *differ) resolvedOld(who, ref string) string {
	if id, ok := rows.ParseRef(ref); ok {
		if r := d.byOwner[who][id]; r != nil {
			return r.uuid
		}
		return ""
	}
	if t, ok := rows.ParseNamed(ref); ok {
		if r := d.byName[t]; r != nil {
			return r.uuid
		}
		return ""
	}
	return ref
}

func (d *differ) parentOf(have *present) *parent {
	p := d.parents[have.uuid]
	if p == nil {
		p = &parent{table: have.table, id: have.uuid, have: have, mutations: map[string]*ovn.Mutation{}}
		d.parents[have.uuid] = p
	}
	return p
}

// parent is the row of a natural name; nil when there is none in the end.
func (d *differ) parent(t rows.Target) *parent {
	if id, ok := d.coming[t]; ok {
		return d.parents[id]
	}
	if have := d.byName[t]; have != nil && !d.gone[have.uuid] {
		return d.parentOf(have)
	}
	return nil
}

func (d *differ) mutation(p *parent, c *ovn.Column) *ovn.Mutation {
	m := p.mutations[c.Name]
	if m == nil {
		m = &ovn.Mutation{Column: c, Put: map[string]string{}}
		p.mutations[c.Name] = m
	}
	return m
}
