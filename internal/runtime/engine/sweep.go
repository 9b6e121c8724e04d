package engine

import (
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
)

// sweep is done once, when all keys of the initial world are known: what was left behind
// by keys that are gone, perhaps while nobody was looking, is put into the queue. To have
// it deleted it is enough to look at its key, which wants nothing.
func (e *Engine) sweep() {
	var states []*keyState
	e.planned(nil, func(p *plan) {
		for _, s := range p.sides {
			if s == nil {
				continue
			}
			for who := range s.view.Owners() {
				if id, ok := e.parse(who); ok && !e.alive(who) {
					states = append(states, e.stateOf(id))
				}
			}
			states = append(states, s.littered()...)
			s.claimLoose()
		}
	})
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range e.queue.keys {
		if s.scrub {
			states = append(states, s)
		}
	}
	for _, s := range states {
		e.queue.add(s, low, causeClean)
	}
}

func (e *Engine) stateOf(id keyID) *keyState {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.queue.state(id)
}

// littered are the keys with elements in the collected columns of their rows that nobody
// contributes.
func (s *side) littered() []*keyState {
	var out []*keyState
	for _, t := range s.db.Tables() {
		for _, c := range t.Columns {
			if c.Role != ovn.Collected || !s.view.Manages(c) {
				continue
			}
			for r := range s.view.Table(t) {
				id, ok := s.p.e.parse(r.Owner())
				if !ok || len(s.strays(r, c)) == 0 {
					continue
				}
				state := s.p.e.stateOf(id)
				state.scrub = true
				out = append(out, state)
			}
		}
	}
	return out
}

// claimLoose gives rows that cannot carry an owner, and that no key wants, to the key that
// owns the row they belong to; it deletes them.
func (s *side) claimLoose() {
	for _, t := range s.db.Tables() {
		column, table, ok := t.OwnerColumn()
		if !ok {
			continue
		}
		c, _ := t.Column(column)
		parent, _ := s.db.Table(table)
		for r := range s.view.Table(t) {
			l := place{s.n, rows.Target{Table: t.Name, Name: r.Name()}}
			if s.p.e.loose[l] != nil {
				continue
			}
			for _, p := range s.view.Named(parent, *r.Value(c).(*string)) {
				if id, ok := s.p.e.parse(p.Owner()); ok {
					state := s.p.e.stateOf(id)
					state.looseGone[s.n] = append(state.looseGone[s.n], l)
					state.scrub = true // has it looked at
				}
			}
		}
	}
}
