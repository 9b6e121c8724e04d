package engine

import (
	"slices"
	"strings"
	"time"

	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/owner"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
)

// readInbox turns what the databases told into keys to look at. Changes to the rows of
// the items just written are our own, and verify will look at what they became. Other
// changes that are ours too, such as rows that went with their last reference, cost one
// more look that finds nothing.
func (e *Engine) readInbox(own []*item) {
	e.mu.Lock()
	inbox := e.inbox
	e.inbox = nil
	e.mu.Unlock()
	if len(inbox) == 0 {
		return
	}
	mine := make(map[*keyState]struct{}, len(own))
	for _, it := range own {
		mine[it.keyState] = struct{}{}
	}
	for _, n := range inbox {
		for _, c := range n.changes {
			e.arrival(n.side, c)
			for s := range e.touched(n.side, c) {
				if _, ok := mine[s]; !ok {
					e.suspect(s, c)
				}
			}
		}
	}
}

// arrival wakes the keys that wait for the row, be it to appear or to be let go.
func (e *Engine) arrival(side int, c ovn.Change) {
	if len(e.waiters) == 0 || !named(c.Table) {
		return
	}
	waiting := e.waiters[placeOf(side, c)]
	if len(waiting) == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for s := range waiting {
		e.queue.add(s, live, causeArrive)
	}
}

func placeOf(side int, c ovn.Change) place {
	m := c.New
	if m == nil {
		m = c.Old
	}
	return place{side, rows.Target{Table: c.Table.Name, Name: c.Table.NameOf(m)}}
}

// touched yields the keys whose work a change may have undone.
func (e *Engine) touched(side int, c ovn.Change) func(func(*keyState) bool) {
	return func(yield func(*keyState) bool) {
		if ownRow(c) {
			for _, m := range []model.Model{c.Old, c.New} {
				if s := e.ownerState(c.Table, m); s != nil && !yield(s) {
					return
				}
			}
		}
		if !named(c.Table) {
			return
		}
		if s := e.loose[placeOf(side, c)]; s != nil && !yield(s) {
			return
		}
		for _, s := range e.robbed(side, c) {
			if !yield(s) {
				return
			}
		}
		if s := e.littered(side, c); s != nil {
			s.scrub = true
			yield(s)
		}
	}
}

// ownRow tells whether a change touches what the owner of a row decides.
func ownRow(c ovn.Change) bool {
	if c.Old == nil || c.New == nil {
		return true
	}
	for _, col := range c.Table.Columns {
		if c.Columns.Has(col) && (col.Role == ovn.Managed || col.Role == ovn.Shared) {
			return true
		}
	}
	return false
}

// ownerState is the state of the key that a row says it belongs to; nil for rows that are
// not ours. Before all keys are known, those that are not have yet to come.
func (e *Engine) ownerState(t *ovn.Table, m model.Model) *keyState {
	if m == nil || t.ExternalIDs == nil {
		return nil
	}
	id, ok := e.parse((*t.ExternalIDs.Value(m).(*map[string]string))[owner.Key])
	if !ok {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if s := e.queue.keys[id]; s != nil || e.phase == starting {
		return s
	}
	return e.queue.state(id)
}

// robbed are the keys whose elements a change took out of a shared column.
func (e *Engine) robbed(side int, c ovn.Change) []*keyState {
	var out []*keyState
	at := placeOf(side, c)
	for _, col := range c.Table.Columns {
		if !c.Columns.Has(col) || col.Role != ovn.Collected && col.Role != ovn.Shared {
			continue
		}
		state := e.registry.slots[slot{at, col.Name}]
		switch {
		case state == nil:
		case c.New == nil:
			for element := range state.elements {
				out = append(out, state.contributorsOf(element)...)
			}
		case col.Map():
			now := *col.Value(c.New).(*map[string]string)
			for element, by := range state.elements {
				if v, ok := now[element.value]; !ok || v != by.entry() {
					out = append(out, state.contributorsOf(element)...)
				}
			}
		default:
			for _, v := range setChange(c, col).Removed {
				for _, element := range e.elementsOf(side, v) {
					out = append(out, state.contributorsOf(element)...)
				}
			}
		}
	}
	return out
}

// littered is the key that owns a row into whose collected column somebody put what no key
// contributes.
func (e *Engine) littered(side int, c ovn.Change) *keyState {
	if c.New == nil || e.phase == starting {
		return nil
	}
	at := placeOf(side, c)
	for _, col := range c.Table.Columns {
		if !c.Columns.Has(col) || col.Role != ovn.Collected {
			continue
		}
		added := setChange(c, col).Added
		if c.Old == nil {
			added = *col.Value(c.New).(*[]string)
		}
		for _, v := range added {
			if !slices.ContainsFunc(e.elementsOf(side, v), func(x element) bool { return e.registry.wanted(slot{at, col.Name}, x) }) {
				return e.ownerState(c.Table, c.New)
			}
		}
	}
	return nil
}

func setChange(c ovn.Change, col *ovn.Column) ovn.SetChange {
	for _, s := range c.Sets {
		if s.Column == col {
			return s
		}
	}
	return ovn.SetChange{}
}

// elementsOf are the ways in which keys may have contributed what is v in the database.
func (e *Engine) elementsOf(side int, v string) []element {
	out := []element{{value: v}}
	if !ovsdb.IsValidUUID(v) {
		return out
	}
	e.dbs[side].Read(func(view ovn.View) {
		r, ok := view.Row(v)
		if !ok {
			return
		}
		if id := rowID(r); id != "" {
			out = append(out, element{owner: r.Owner(), value: rows.Ref(id)})
		}
		if named(r.Table) {
			out = append(out, element{value: rows.Named(r.Table.Name, r.Name())})
		}
	})
	return out
}

// suspect has a key looked at again.
func (e *Engine) suspect(s *keyState, c ovn.Change) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s.lane != none || s.alone {
		return
	}
	s.evidence = describe(c)
	e.again(s)
}

// again is called with mu held. A key whose rows somebody keeps writing is looked at ever
// more slowly.
func (e *Engine) again(s *keyState) {
	if excess := s.drifts - driftLimit; excess > 0 {
		e.queue.delay(s, e.clock.Now().Add(min(maxRetry, minRetry<<min(excess, 10))), causeDrift)
		return
	}
	e.queue.add(s, live, causeDrift)
}

// repaired is called with mu held when a key had to be put in order though nothing that
// it is computed from had changed.
func (e *Engine) repaired(s *keyState) {
	now := e.clock.Now()
	if now.Sub(s.driftAt) > driftWindow {
		s.drifts, s.driftAt = 0, now
	}
	s.drifts++
	e.metrics.drift(s.id.feature)
	log := e.log.With("feature", s.id.feature, "key", s.id.key.String(), "row", s.evidence)
	switch {
	case s.drifts <= driftLimit:
		log.Warn("row changed by somebody else, it was put back")
	case s.drifts == driftLimit+1:
		log.Error("somebody keeps changing this row; it is put back more and more slowly", "times", s.drifts, "within", driftWindow.String())
	}
}

const (
	// driftLimit is how often per driftWindow a key's rows are put back at once. Beyond,
	// somebody else keeps writing them.
	driftLimit, driftWindow = 3, time.Minute
)

// describe says what happened to a row.
func describe(c ovn.Change) string {
	m := c.New
	if m == nil {
		m = c.Old
	}
	var b strings.Builder
	b.WriteString(c.Table.Name)
	if c.Table.ExternalIDs != nil {
		b.WriteString(" " + (*c.Table.ExternalIDs.Value(m).(*map[string]string))[owner.Row])
	}
	if name := c.Table.NameOf(m); name != "" {
		b.WriteString(" " + name)
	}
	switch {
	case c.Old == nil:
		b.WriteString(" appeared")
	case c.New == nil:
		b.WriteString(" deleted")
	default:
		b.WriteString(": " + strings.Join(c.Columns.Names(c.Table), ", "))
	}
	return b.String()
}
