package engine

import (
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
)

// ledger is what the engine has to remember, because the databases do not say it.
type ledger struct {
	registry *registry
	loose    map[place]*keyState              // owners of rows in tables without external_ids
	waiters  map[place]map[*keyState]struct{} // keys that wait for a row
	wishes   map[slot][]wish                  // of keys that cannot be planned
}

func newLedger() ledger {
	return ledger{
		registry: newRegistry(), loose: map[place]*keyState{},
		waiters: map[place]map[*keyState]struct{}{}, wishes: map[slot][]wish{},
	}
}

// The registry counts who contributes which element to which shared column, so that an
// element goes only with the last key that wants it.

// place is a row of one database by its natural name.
type place struct {
	side   int
	target rows.Target
}

// slot is one shared column of one row.
type slot struct {
	place
	column string
}

// element is one element of a slot: a value of a set, or a key of a map.
type element struct {
	// owner is set when value refers to a row by its ID, which is the owner's own.
	owner string
	value string
}

// contribution is one element that one key puts into one slot.
type contribution struct {
	slot    *slotState
	element element
	entry   string // the value, when the column is a map
}

// slotState is the elements of one slot.
type slotState struct {
	slot
	elements map[element]contributors
}

// contributors are the keys that want one element; nearly always one.
type contributors struct {
	first giver
	more  []giver
}

type giver struct {
	state *keyState
	entry string
}

type registry struct{ slots map[slot]*slotState }

func newRegistry() *registry { return &registry{slots: map[slot]*slotState{}} }

func (r *registry) slot(s slot) *slotState {
	out := r.slots[s]
	if out == nil {
		out = &slotState{slot: s, elements: map[element]contributors{}}
		r.slots[s] = out
	}
	return out
}

// replace makes now what s contributes on one side, and remembers in s.dropped what goes.
func (r *registry) replace(s *keyState, side int, now []contribution) {
	was := s.members[side]
	if slices.Equal(was, now) {
		return
	}
	for _, c := range now {
		c.slot.add(s, c)
	}
	keep := finder(now)
	for _, c := range was {
		if !keep(c) {
			r.remove(s, c)
			s.dropped[side] = append(s.dropped[side], c)
		}
	}
	s.dropped[side] = slices.DeleteFunc(s.dropped[side], keep)
	s.members[side] = now
}

// finder tells whether the same element is among cs. Most keys have a handful, but one may
// fill a whole address set.
func finder(cs []contribution) func(contribution) bool {
	same := func(a, b contribution) bool {
		return a.element == b.element && (a.slot == b.slot || a.slot.slot == b.slot.slot)
	}
	const few = 32
	if len(cs) <= few {
		return func(c contribution) bool {
			return slices.ContainsFunc(cs, func(o contribution) bool { return same(o, c) })
		}
	}
	type id struct {
		slot    slot
		element element
	}
	in := make(map[id]struct{}, len(cs))
	for _, c := range cs {
		in[id{c.slot.slot, c.element}] = struct{}{}
	}
	return func(c contribution) bool {
		_, ok := in[id{c.slot.slot, c.element}]
		return ok
	}
}

func (s *slotState) add(k *keyState, c contribution) {
	g := giver{k, c.entry}
	by, ok := s.elements[c.element]
	switch {
	case !ok || by.first.state == k:
		by.first = g
	default:
		if i := slices.IndexFunc(by.more, func(o giver) bool { return o.state == k }); i >= 0 {
			by.more[i] = g
		} else {
			by.more = append(by.more, g)
		}
	}
	s.elements[c.element] = by
}

func (r *registry) remove(k *keyState, c contribution) {
	s := c.slot
	by, ok := s.elements[c.element]
	if !ok {
		return
	}
	by.more = slices.DeleteFunc(by.more, func(o giver) bool { return o.state == k })
	if by.first.state == k {
		if len(by.more) == 0 {
			delete(s.elements, c.element)
			if len(s.elements) == 0 {
				delete(r.slots, s.slot)
			}
			return
		}
		by.first = by.more[0]
		by.more = by.more[1:]
	}
	s.elements[c.element] = by
}

// wanted tells whether anybody contributes the element.
func (r *registry) wanted(s slot, e element) bool {
	if state := r.slots[s]; state != nil {
		_, ok := state.elements[e]
		return ok
	}
	return false
}

// contributorsOf yields the keys that want the element.
func (s *slotState) contributorsOf(e element) []*keyState {
	if s == nil {
		return nil
	}
	by, ok := s.elements[e]
	if !ok {
		return nil
	}
	out := []*keyState{by.first.state}
	for _, g := range by.more {
		out = append(out, g.state)
	}
	return out
}

// entry is the value of a map's key: that of the contributor whose owner comes first, so
// that the outcome does not depend on the order of events.
func (c contributors) entry() string {
	best := c.first
	for _, g := range c.more {
		if g.state.owner < best.state.owner {
			best = g
		}
	}
	return best.entry
}

// wish is what a key would contribute that cannot be planned now, because a row is missing.
// It writes nothing, but what it contributed before, perhaps in an earlier run of the
// program, stays until it can be planned again.
type wish struct {
	state  *keyState
	member rows.Member
}

// setAside remembers what a key that is left out of the plan would contribute.
func (e *Engine) setAside(it *item) {
	e.forgetWishes(it.keyState)
	for n := range it.wants {
		for _, m := range it.set(n).Members {
			at := slot{place{n, m.Parent}, m.Column}
			e.wishes[at] = append(e.wishes[at], wish{it.keyState, m})
			it.wishes = append(it.wishes, at)
		}
	}
}

func (e *Engine) forgetWishes(s *keyState) {
	for _, at := range s.wishes {
		left := slices.DeleteFunc(e.wishes[at], func(w wish) bool { return w.state == s })
		if len(left) > 0 {
			e.wishes[at] = left
		} else {
			delete(e.wishes, at)
		}
	}
	s.wishes = nil
}
