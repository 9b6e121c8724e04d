package ovn

import (
	"context"
	"sync"

	libcache "github.com/ovn-kubernetes/libovsdb/cache"
	"github.com/ovn-kubernetes/libovsdb/client"
	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"
)

// session takes over what libovsdb's cache tells during one connection. libovsdb updates
// its cache while it reads from the socket and tells its handlers a little later, in the
// same order. Our cache follows the handlers: its rows are shared and never copied, and it
// has the indexes of the engine.
//
// A connection begins with the whole content. It is gathered first and then compared with
// what was known before, so that a server's restart shows as the few rows that differ.
type session struct {
	db   *DB
	c    client.Client
	plan plan

	mu      sync.Mutex
	initial map[string]staged   // nil once the content is complete
	missing map[string]struct{} // rows of the content not yet told; nil until it is known
	gone    map[string]struct{} // rows told as deleted before the content was known
	ready   chan struct{}
	over    bool // the next connection has begun: what is still told is old
}

type staged struct {
	table *Table
	row   model.Model
}

func newSession(db *DB, c client.Client, p plan) *session {
	return &session{
		db: db, c: c, plan: p,
		initial: map[string]staged{}, gone: map[string]struct{}{}, ready: make(chan struct{}),
	}
}

// wait returns when the content is complete; libovsdb's cache has it already.
func (s *session) wait(ctx context.Context, lost <-chan struct{}) error {
	content := s.c.Cache()
	if content == nil {
		return ErrDisconnected
	}
	s.mu.Lock()
	s.missing = map[string]struct{}{}
	for t := range s.plan.watched {
		for uuid := range content.Table(t.Name).RowsShallow() {
			if _, ok := s.initial[uuid]; ok {
				continue
			}
			if _, ok := s.gone[uuid]; !ok {
				s.missing[uuid] = struct{}{}
			}
		}
	}
	s.checkComplete()
	s.mu.Unlock()
	select {
	case <-s.ready:
		return nil
	case <-lost:
		return ErrDisconnected
	case <-ctx.Done():
		return ctx.Err()
	}
}

// OnAdd implements libovsdb's EventHandler.
func (s *session) OnAdd(table string, m model.Model) { s.put(table, m) }

// OnUpdate implements libovsdb's EventHandler.
func (s *session) OnUpdate(table string, _, m model.Model) { s.put(table, m) }

// OnDelete implements libovsdb's EventHandler.
func (s *session) OnDelete(table string, m model.Model) {
	t, ok := s.db.cfg.Database.Table(table)
	if !ok {
		return
	}
	uuid := t.UUIDOf(m)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	if s.initial == nil {
		s.db.apply(func(c *cache) []Change { return one(c.remove(uuid)) })
		return
	}
	delete(s.initial, uuid)
	delete(s.missing, uuid)
	s.gone[uuid] = struct{}{}
	s.checkComplete()
}

func (s *session) put(table string, m model.Model) {
	t, ok := s.db.cfg.Database.Table(table)
	if !ok {
		return
	}
	m = t.native(m)
	uuid := t.UUIDOf(m)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	if s.initial == nil {
		s.db.apply(func(c *cache) []Change { return one(c.put(t, uuid, m)) })
		return
	}
	s.initial[uuid] = staged{t, m}
	delete(s.missing, uuid)
	s.checkComplete()
}

func (s *session) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
}

// checkComplete makes the content the cache's once nothing is missing.
func (s *session) checkComplete() {
	if s.over || s.initial == nil || s.missing == nil || len(s.missing) > 0 {
		return
	}
	initial := s.initial
	s.initial, s.gone = nil, nil
	s.db.apply(func(c *cache) []Change {
		var changes []Change
		for uuid := range c.rows {
			if _, ok := initial[uuid]; !ok {
				changes = append(changes, one(c.remove(uuid))...)
			}
		}
		for uuid, r := range initial {
			changes = append(changes, one(c.put(r.table, uuid, r.row))...)
		}
		s.db.setOnline(s.c, s.plan)
		return changes
	})
	close(s.ready)
}

func one(c Change, ok bool) []Change {
	if !ok {
		return nil
	}
	return []Change{c}
}

// apply changes the cache and tells the subscribers.
func (db *DB) apply(f func(*cache) []Change) {
	db.deliver.Lock()
	defer db.deliver.Unlock()
	db.mu.Lock()
	changes := f(db.cache)
	var arrived []*awaited
	for _, c := range changes {
		arrived = append(arrived, db.arrived(c)...)
	}
	db.mu.Unlock()
	if len(changes) > 0 {
		for _, s := range db.subscribers {
			s.f(changes)
		}
	}
	for _, a := range arrived {
		a.finish(nil)
	}
}

// awaited is a transaction that waits until our cache holds what libovsdb's already does.
type awaited struct {
	once sync.Once
	left int // rows not yet here
	rows map[string]model.Model
	done chan error
}

func (a *awaited) finish(err error) { a.once.Do(func() { a.done <- err }) }

// settle waits until the cache shows what a transaction did. The server reports the
// changes before it confirms the transaction, so libovsdb's cache has them now, and the
// versions that its handlers will be told of include the present one.
func (db *DB) settle(ctx context.Context, c client.Client, ops []ovsdb.Operation, results []ovsdb.OperationResult) error {
	theirs := c.Cache()
	if theirs == nil {
		return ErrDisconnected
	}
	a := &awaited{rows: map[string]model.Model{}, done: make(chan error, 1)}
	db.mu.Lock()
	if db.client != c {
		db.mu.Unlock()
		return ErrDisconnected
	}
	for i, op := range ops {
		uuid, ok := uuidOfWhere(op)
		if op.Op == ovsdb.OperationInsert {
			uuid, ok = results[i].UUID.GoUUID, true
		}
		if ok {
			db.await(a, theirs, db.cfg.Database.tables[op.Table], uuid)
		}
		for _, child := range unreferenced(op) {
			if r := db.cache.rows[child]; r != nil {
				db.await(a, theirs, r.Table, child)
			}
		}
	}
	for uuid := range a.rows {
		db.awaited[uuid] = append(db.awaited[uuid], a)
	}
	a.left = len(a.rows)
	late := a.left > 0
	db.mu.Unlock()
	if !late {
		return nil
	}
	select {
	case err := <-a.done:
		return err
	case <-ctx.Done():
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	for uuid := range a.rows {
		drop(db.awaited, uuid, func(o *awaited) bool { return o == a })
	}
	return ctx.Err()
}

// await notes a row whose present content our cache has not heard of; with a row that is
// gone go those that lived by it. It is called with mu held.
func (db *DB) await(a *awaited, theirs *libcache.TableCache, t *Table, uuid string) {
	if _, watched := db.watched[t]; !watched {
		return
	}
	if _, known := a.rows[uuid]; known {
		return
	}
	var want model.Model
	if m := theirs.Table(t.Name).Row(uuid); m != nil {
		want = t.native(m)
	}
	r := db.cache.rows[uuid]
	if sameRow(t, r, want) {
		return
	}
	a.rows[uuid] = want
	if r == nil || want != nil {
		return
	}
	for _, c := range t.Columns {
		for _, child := range elements(c, r.Model) {
			db.await(a, theirs, c.Ref, child)
		}
	}
}

// unreferenced are the elements that an operation takes out of sets: where they are rows,
// these may have gone.
func unreferenced(op ovsdb.Operation) []string {
	var out []string
	for _, m := range op.Mutations {
		set, ok := m.Value.(ovsdb.OvsSet)
		if m.Mutator != ovsdb.MutateOperationDelete || !ok {
			continue
		}
		for _, v := range set.GoSet {
			if u, ok := v.(ovsdb.UUID); ok {
				out = append(out, u.GoUUID)
			}
		}
	}
	return out
}

func sameRow(t *Table, r *Row, want model.Model) bool {
	if r == nil || want == nil {
		return r == nil && want == nil
	}
	return t.equal(r.Model, want)
}

// equal compares two versions of a row that have been in the database.
func (t *Table) equal(a, b model.Model) bool {
	for _, c := range t.Columns {
		x, y := c.Value(a), c.Value(b)
		if p, ok := x.(*[]string); ok && len(*p) != len(*y.(*[]string)) {
			return false
		}
		if !EqualValues(x, y) {
			return false
		}
	}
	return true
}

// arrived is called with mu held; it returns the transactions that wait for nothing more.
func (db *DB) arrived(c Change) []*awaited {
	waiting := db.awaited[c.UUID]
	if len(waiting) == 0 {
		return nil
	}
	var done, left []*awaited
	for _, a := range waiting {
		want := a.rows[c.UUID]
		if (want == nil) != (c.New == nil) || want != nil && !c.Table.equal(c.New, want) {
			left = append(left, a)
			continue
		}
		if a.left--; a.left == 0 {
			done = append(done, a)
		}
	}
	if len(left) == 0 {
		delete(db.awaited, c.UUID)
	} else {
		db.awaited[c.UUID] = left
	}
	return done
}
