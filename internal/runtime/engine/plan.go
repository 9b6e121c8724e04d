package engine

import (
	"fmt"
	"reflect"
	"strconv"

	"github.com/ovn-kubernetes/libovsdb/model"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/owner"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
)

// item is one key in one batch.
type item struct {
	*keyState
	seen    uint64 // value of asked that Desired saw
	why     cause
	out     feature.Output
	reasons []feature.Reason

	wants   [sides][]*want
	problem *feature.Reason // why the key is left out of the plan
	awaits  []place
	changes int // operations that are its own or partly so
	lacks   []feature.Reason
	leans   bool // refers to a row that another key of the batch inserts
	later   bool // look again once all contributions are known
}

func (it *item) set(side int) rows.Set {
	if side == sbSide {
		return it.out.SB
	}
	return it.out.NB
}

// want is one desired row, matched with the row that is there.
type want struct {
	item  *item
	row   rows.Row
	table *ovn.Table
	name  string   // natural name
	have  *ovn.Row // nil when it has to be inserted
	id    string   // UUID, or the name of the row within the transaction
	// model is the row as it is to be written: references resolved, owner filled in.
	model model.Model
}

// plan compares what a batch of keys wants with what the databases hold. It goes in
// steps, because keys of one batch may refer to each other's rows:
//
//	claim    match desired rows with present ones, by owner and by natural name
//	admit    leave out keys that refer to rows which are neither there nor coming
//	register tell the registry what the keys contribute now
//	emit     write the operations
//
// A key is planned as a whole or not at all.
type plan struct {
	e     *Engine
	items []*item
	by    map[string]*item // by owner
	sides [sides]*side
}

// side is the part of a plan in one database.
type side struct {
	p      *plan
	n      int
	db     *ovn.Database
	view   ovn.View
	claims map[string]*want      // by UUID of the row that is there
	coming map[rows.Target]*want // rows to insert that have a name
	txn    txn
}

// planned runs f with the plan of items; the databases' caches do not change meanwhile.
func (e *Engine) planned(items []*item, f func(*plan)) {
	p := &plan{e: e, items: items, by: make(map[string]*item, len(items))}
	for _, it := range items {
		p.by[it.owner] = it
	}
	e.dbs[nbSide].Read(func(v ovn.View) {
		p.sides[nbSide] = p.side(nbSide, v)
		if e.dbs[sbSide] == nil {
			p.build()
			f(p)
			return
		}
		e.dbs[sbSide].Read(func(v ovn.View) {
			p.sides[sbSide] = p.side(sbSide, v)
			p.build()
			f(p)
		})
	})
}

func (p *plan) side(n int, v ovn.View) *side {
	return &side{
		p: p, n: n, db: p.e.dbs[n].Database(), view: v,
		claims: map[string]*want{}, coming: map[rows.Target]*want{},
		txn: txn{mutations: map[string]*mutation{}},
	}
}

func (p *plan) build() {
	for _, it := range p.items {
		it.wants, it.problem, it.awaits, it.changes, it.lacks = [sides][]*want{}, nil, nil, 0, nil
		it.leans, it.later = false, false
		for n, s := range p.sides {
			p.claim(it, n, s)
		}
	}
	p.adopt()
	p.admit()
	for _, it := range p.items {
		if it.problem == nil {
			p.register(it)
		} else {
			p.e.setAside(it)
		}
	}
	for _, it := range p.items {
		if it.problem != nil {
			continue
		}
		for n, s := range p.sides {
			if s != nil {
				s.emit(it, n)
			}
		}
	}
	for _, s := range p.sides {
		if s != nil {
			s.txn.close()
		}
	}
}

// claim matches the rows of one key with those that carry its owner.
func (p *plan) claim(it *item, n int, s *side) {
	set := it.set(n)
	if s == nil {
		if len(set.Rows)+len(set.Members) > 0 {
			it.refuse("NoDatabase", "the Southbound database is not connected here", "this is a fault of the program: report it")
		}
		return
	}
	if len(set.Rows) == 0 {
		return
	}
	it.wants[n] = make([]*want, 0, len(set.Rows))
	for _, r := range set.Rows {
		t, ok := ovn.TableOf(r.Model)
		if !ok || t.DB != s.db {
			it.refuse("WrongTable", fmt.Sprintf("%T is no row of %s", r.Model, s.db.Name), "this is a fault of the program: report it")
			return
		}
		if !s.view.Watches(t) {
			it.refuse("SchemaTooOld", fmt.Sprintf("%s (schema %s) has no table %s", s.db.Name, s.p.e.schemas[n], t.Name), "run a newer OVN")
			return
		}
		w := &want{item: it, row: r, table: t, name: t.NameOf(r.Model)}
		it.wants[n] = append(it.wants[n], w)
		w.have = s.find(w)
		if w.have != nil {
			if s.claims[w.have.UUID] != nil {
				w.have = nil
				continue
			}
			s.claims[w.have.UUID] = w
			w.id = w.have.UUID
		}
	}
}

func named(t *ovn.Table) bool { return t.Singleton || len(t.Natural) > 0 }

// find looks for the row of this owner: by natural name first, because two rows cannot
// have the same.
func (s *side) find(w *want) *ovn.Row {
	if named(w.table) {
		for _, r := range s.view.Named(w.table, w.name) {
			if r.Owner() == w.item.owner {
				return r
			}
		}
	}
	if !s.ownable(w.table) {
		target := rows.Target{Table: w.table.Name, Name: w.name}
		if s.p.e.loose[place{s.n, target}] == w.item.keyState {
			return s.pick(w.table, w.name)
		}
		return nil
	}
	for _, r := range s.view.Owned(w.item.owner) {
		if r.Table == w.table && rowID(r) == w.row.ID && (!named(w.table) || len(s.view.Named(w.table, w.name)) == 0) {
			return r
		}
	}
	return nil
}

// ownable tells whether rows of the table can carry their owner.
func (s *side) ownable(t *ovn.Table) bool {
	return t.ExternalIDs != nil && s.view.Manages(t.ExternalIDs)
}

func rowID(r *ovn.Row) string {
	if r.Table.ExternalIDs == nil {
		return ""
	}
	return (*r.Value(r.Table.ExternalIDs).(*map[string]string))[owner.Row]
}

// adopt takes over rows of the right name that nobody or nobody alive owns, and names the
// rows to insert.
func (p *plan) adopt() {
	for _, it := range p.items {
		for n, s := range p.sides {
			for _, w := range it.wants[n] {
				if w.have == nil && it.problem == nil {
					s.adoptOne(w)
				}
			}
		}
	}
}

func (s *side) adoptOne(w *want) {
	target := rows.Target{Table: w.table.Name, Name: w.name}
	if named(w.table) {
		if other := s.coming[target]; other != nil {
			w.item.taken(s, target, other.item.owner)
			return
		}
		if r := s.pick(w.table, w.name); r != nil {
			if who := s.holder(r, target); who != "" {
				w.item.taken(s, target, who)
				return
			}
			w.have, w.id = r, r.UUID
			s.claims[r.UUID] = w
			return
		}
		s.coming[target] = w
	}
	s.txn.rows++
	w.id = "row" + strconv.Itoa(s.txn.rows)
}

// holder is the living owner of a row, empty when it is free to take. An owner in the same
// batch that has not claimed the row lets it go.
func (s *side) holder(r *ovn.Row, target rows.Target) string {
	if w := s.claims[r.UUID]; w != nil {
		return w.item.owner
	}
	who := r.Owner()
	if k := s.p.e.loose[place{s.n, target}]; k != nil && !s.ownable(r.Table) {
		who = k.owner
	}
	if s.p.by[who] == nil && s.p.e.alive(who) {
		return who
	}
	return ""
}

func (it *item) refuse(code, message, remedy string) {
	if it.problem == nil {
		it.problem = &feature.Reason{Code: code, Message: message, Remedy: remedy}
	}
}

func (it *item) taken(s *side, t rows.Target, by string) {
	it.refuse("NameTaken", fmt.Sprintf("%s %q belongs to %s", t.Table, t.Name, by), "rename or delete one of the two objects")
	it.awaits = append(it.awaits, place{s.n, t})
}

// admit leaves out keys that refer to rows which are neither there nor coming, then keys
// that relied on those, and so on.
func (p *plan) admit() {
	for again := true; again; {
		again = false
		for _, it := range p.items {
			if it.problem != nil {
				continue
			}
			for n, s := range p.sides {
				if s != nil {
					s.check(it, n)
				}
			}
			again = again || it.problem != nil
		}
	}
}

// check resolves all references of a key.
func (s *side) check(it *item, n int) {
	for _, m := range it.set(n).Members {
		s.checkMember(it, m)
	}
	for _, w := range it.wants[n] {
		for _, c := range w.table.Columns {
			if c.Ref == nil && c.RefValue == nil || c.Role == ovn.Theirs || c.Role == ovn.Collected {
				continue
			}
			each(c.Value(w.row.Model), func(ref string) { s.checkRef(it, ref) })
		}
	}
}

func (s *side) checkMember(it *item, m rows.Member) {
	t, ok := s.db.Table(m.Parent.Table)
	var c *ovn.Column
	if ok {
		c, ok = t.Column(m.Column)
	}
	if !ok {
		it.refuse("WrongTable", fmt.Sprintf("%s has no column %s.%s", s.db.Name, m.Parent.Table, m.Column), "this is a fault of the program: report it")
		return
	}
	if !s.there(it, m.Parent) {
		it.wait(s.n, m.Parent)
	} else if c.Role == ovn.Managed && !it.wantsRow(s.n, m.Parent) {
		it.refuse("NotShared", fmt.Sprintf("%s is not shared between keys", c), "this is a fault of the program: report it")
	}
	s.checkRef(it, m.Value)
}

func (it *item) wantsRow(side int, t rows.Target) bool {
	for _, w := range it.wants[side] {
		if w.table.Name == t.Table && w.name == t.Name {
			return true
		}
	}
	return false
}

func (it *item) wait(side int, t rows.Target) {
	what := t.Table
	if t.Name != "" {
		what += " " + t.Name
	}
	it.refuse(WaitingForRow, "waiting for "+what, "it is made from another object: look at that object's state")
	it.awaits = append(it.awaits, place{side, t})
}

func (s *side) checkRef(it *item, ref string) {
	if id, ok := rows.ParseRef(ref); ok {
		if it.find(s.n, id) == nil {
			it.refuse("WrongReference", fmt.Sprintf("no row %q in the same key", id), "this is a fault of the program: report it")
		}
	} else if t, ok := rows.ParseNamed(ref); ok && !s.there(it, t) {
		it.wait(s.n, t)
	}
}

// there tells whether a row of that name exists or is inserted by a key of the plan.
func (s *side) there(it *item, target rows.Target) bool {
	if w := s.coming[target]; w != nil && w.item.problem == nil {
		it.leans = it.leans || w.item != it
		return true
	}
	t, ok := s.db.Table(target.Table)
	return ok && s.pick(t, target.Name) != nil
}

// pick chooses among rows of the same name, where the schema allows several: one of ours,
// else the oldest name in the order of UUIDs, so that it is always the same.
func (s *side) pick(t *ovn.Table, name string) *ovn.Row {
	var best *ovn.Row
	for _, r := range s.view.Named(t, name) {
		switch {
		case best == nil, best.Owner() == "" && r.Owner() != "":
			best = r
		case (best.Owner() == "") == (r.Owner() == "") && r.UUID < best.UUID:
			best = r
		}
	}
	return best
}

func (it *item) find(side int, id string) *want {
	for _, w := range it.wants[side] {
		if w.row.ID == id {
			return w
		}
	}
	return nil
}

// resolve turns a reference into a UUID or the name of a row to insert; other values stay
// as they are. It returns "" for a row that is not there.
func (s *side) resolve(it *item, ref string) string {
	if id, ok := rows.ParseRef(ref); ok {
		if w := it.find(s.n, id); w != nil {
			return w.id
		}
		return ""
	}
	if t, ok := rows.ParseNamed(ref); ok {
		return s.lookup(t)
	}
	return ref
}

func (s *side) lookup(target rows.Target) string {
	if w := s.coming[target]; w != nil && w.item.problem == nil {
		return w.id
	}
	if t, ok := s.db.Table(target.Table); ok {
		if r := s.pick(t, target.Name); r != nil {
			return r.UUID
		}
	}
	return ""
}

// each calls f with every string of a value.
func each(p any, f func(string)) {
	switch p := p.(type) {
	case *string:
		f(*p)
	case **string:
		if *p != nil {
			f(**p)
		}
	case *[]string:
		for _, v := range *p {
			f(v)
		}
	case *map[string]string:
		for k, v := range *p {
			f(k)
			f(v)
		}
	case *map[int]string:
		for _, v := range *p {
			f(v)
		}
	}
}

// register tells the registry what a key contributes, and the index of rows without
// external_ids what it owns.
func (p *plan) register(it *item) {
	p.e.forgetWishes(it.keyState)
	for n, s := range p.sides {
		if s == nil {
			continue
		}
		set := it.set(n)
		var now []contribution
		if len(set.Members) > 0 {
			now = make([]contribution, 0, len(set.Members))
		}
		for _, m := range set.Members {
			now = append(now, p.e.contribution(it, n, s, m))
		}
		p.e.registry.replace(it.keyState, n, now)
		s.registerLoose(it)
	}
}

func (e *Engine) contribution(it *item, n int, s *side, m rows.Member) contribution {
	c := contribution{slot: e.registry.slot(slot{place{n, m.Parent}, m.Column})}
	t, _ := s.db.Table(m.Parent.Table) // checked
	if column, _ := t.Column(m.Column); column.Map() {
		c.element, c.entry = element{value: m.Key}, m.Value
		return c
	}
	c.element.value = m.Value
	if _, ok := rows.ParseRef(m.Value); ok {
		c.element.owner = it.owner
	}
	return c
}

// copyModel is a shallow copy: its sets and maps are shared with m.
func copyModel(m model.Model) model.Model {
	v := reflect.ValueOf(m).Elem()
	out := reflect.New(v.Type())
	out.Elem().Set(v)
	return out.Interface()
}
