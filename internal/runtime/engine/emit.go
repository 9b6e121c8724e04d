package engine

import (
	"fmt"
	"maps"
	"slices"

	"github.com/ovn-kubernetes/libovsdb/model"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/owner"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
)

// emit writes the operations of one admitted key in one database.
func (s *side) emit(it *item, n int) {
	for _, w := range it.wants[n] {
		s.emitRow(w)
	}
	for _, r := range s.view.Owned(it.owner) {
		if s.claims[r.UUID] == nil {
			s.removeRow(it, r)
		}
	}
	for _, l := range it.looseGone[n] {
		t, _ := s.db.Table(l.target.Table)
		if r := s.pick(t, l.target.Name); r != nil && s.p.e.loose[l] == nil && s.claims[r.UUID] == nil {
			s.removeRow(it, r)
		}
	}
	for _, c := range it.members[n] {
		s.emitMember(it, c)
	}
	for _, c := range it.dropped[n] {
		if s.p.e.registry.wanted(c.slot.slot, c.element) {
			s.emitMember(it, c) // a map's entry may have another value now
		} else {
			s.dropMember(it, c)
		}
	}
	if it.scrub {
		s.scrub(it)
	}
}

// emitRow inserts a row or updates the columns that differ.
func (s *side) emitRow(w *want) {
	w.model = s.finished(w)
	if w.have == nil {
		w.item.changes++
		s.txn.insert(w.item, ovn.Insert(w.model, w.id))
		return
	}
	var columns []string
	for _, c := range w.table.Columns {
		if s.differs(w, c) {
			columns = append(columns, c.Name)
		}
	}
	if len(columns) > 0 {
		w.item.changes++
		s.txn.update(w.item, ovn.Update(w.model, w.have.UUID, columns...))
	}
}

func (s *side) differs(w *want, c *ovn.Column) bool {
	if c.Role == ovn.Theirs || c.Role == ovn.Collected || !s.view.Manages(c) {
		return false
	}
	return !ovn.EqualValues(c.Value(w.model), w.have.Value(c))
}

// finished is the row as it is to be written: with its owner, with UUIDs for references,
// and with what others contribute to it.
func (s *side) finished(w *want) model.Model {
	m := copyModel(w.row.Model)
	for _, c := range w.table.Columns {
		p := c.Value(m)
		if !s.view.Manages(c) && c.Role != ovn.Theirs && !ovn.EmptyValue(p) {
			w.item.lack(s, c)
		}
		switch {
		case c == w.table.ExternalIDs:
			ids := p.(*map[string]string)
			*ids = withOwner(*ids, w)
		case c.Role == ovn.Theirs:
			continue
		case c.Role == ovn.Collected:
			empty(p)
		case c.Ref != nil || c.RefValue != nil:
			ovn.MapStrings(p, func(ref string) string { return s.resolve(w.item, ref) })
		}
		if !c.Set() && !c.Map() {
			continue
		}
		// Managed columns get elements from the row's own key only.
		if c.Role == ovn.Shared || c.Role == ovn.Collected && w.have == nil || len(w.item.set(s.n).Members) > 0 && c.Role == ovn.Managed {
			s.collect(w, c, p)
		}
	}
	return m
}

func withOwner(ids map[string]string, w *want) map[string]string {
	out := make(map[string]string, len(ids)+2)
	maps.Copy(out, ids)
	out[owner.Key], out[owner.Row] = w.item.owner, w.row.ID
	return out
}

// collect adds to the value p what keys contribute to the column. What else is in the row
// stays if there may be a reason for it that is not known yet.
func (s *side) collect(w *want, c *ovn.Column, p any) {
	state := s.p.e.registry.slots[slot{place{s.n, rows.Target{Table: w.table.Name, Name: w.name}}, c.Name}]
	starting := s.p.e.phase == starting
	keep := w.have != nil && c.Role == ovn.Shared && (w.table.Singleton || starting || len(s.p.e.wishes) > 0)
	if state == nil && !keep {
		return
	}
	kept := 0
	switch p := p.(type) {
	case *map[string]string:
		out := maps.Clone(*p)
		if out == nil {
			out = map[string]string{}
		}
		if state != nil {
			for e, by := range state.elements {
				out[e.value] = by.entry()
			}
		}
		known := len(out)
		if keep {
			s.keepEntries(out, w, c, w.table.Singleton || starting)
		}
		kept = len(out) - known
		*p = out
	case *[]string:
		out := slices.Clone(*p)
		if state != nil {
			for e := range state.elements {
				if v := s.elementID(e); v != "" && !slices.Contains(*p, v) {
					out = append(out, v)
				}
			}
		}
		if keep && starting {
			more, _ := ovn.Difference(out, *w.have.Value(c).(*[]string))
			kept = len(more)
			out = append(out, more...)
		}
		*p = out
	}
	if kept > 0 && starting && !w.table.Singleton {
		w.item.later = true
	}
}

// keepEntries adds the entries that are in the row: all, or those that a key would
// contribute that cannot be planned now.
func (s *side) keepEntries(out map[string]string, w *want, c *ovn.Column, all bool) {
	now := *w.have.Value(c).(*map[string]string)
	if all {
		for k, v := range now {
			if _, ok := out[k]; !ok {
				out[k] = v
			}
		}
		return
	}
	for _, wish := range s.wished(w.have, c) {
		k := wish.member.Key
		if v, ok := now[k]; ok && out[k] == "" {
			out[k] = v
		}
	}
}

// elementID is an element as it is in the database: a value, the UUID of a row, or the
// name of a row to insert; empty when that row is not there.
func (s *side) elementID(e element) string {
	if e.owner == "" {
		return s.resolve(nil, e.value)
	}
	if it := s.p.by[e.owner]; it != nil && it.problem == nil {
		return s.resolve(it, e.value)
	}
	id, _ := rows.ParseRef(e.value)
	for _, r := range s.view.Owned(e.owner) {
		if rowID(r) == id {
			return r.UUID
		}
	}
	return ""
}

// emitMember puts an element into a row that is there; rows to insert have theirs.
func (s *side) emitMember(it *item, c contribution) {
	target := c.slot.target
	if w := s.coming[target]; w != nil {
		if w.item != it {
			it.changes++ // made by another's operation: not done before that is
		}
		return
	}
	t, _ := s.db.Table(target.Table)
	column, _ := t.Column(c.slot.column)
	parent := s.pick(t, target.Name)
	if parent == nil || !s.view.Manages(column) {
		return
	}
	if w := s.claims[parent.UUID]; w != nil && w.item.problem == nil && column.Role != ovn.Collected {
		return // the row's own update has it
	}
	if column.Map() {
		entry := s.p.e.registry.slots[c.slot.slot].elements[c.element].entry()
		now, ok := (*parent.Value(column).(*map[string]string))[c.element.value]
		if !ok || now != entry {
			s.txn.mutation(it, parent, column).put(c.element.value, entry)
		}
		return
	}
	if id := s.elementID(c.element); id != "" && !parent.Contains(column, id) {
		s.txn.mutation(it, parent, column).insert(id)
	}
}

// dropMember takes out an element that nobody contributes any more.
func (s *side) dropMember(it *item, c contribution) {
	t, _ := s.db.Table(c.slot.target.Table)
	column, _ := t.Column(c.slot.column)
	parent := s.pick(t, c.slot.target.Name)
	if parent == nil {
		return
	}
	if column.Map() {
		if _, ok := (*parent.Value(column).(*map[string]string))[c.element.value]; ok {
			s.txn.mutation(it, parent, column).remove(c.element.value)
		}
		return
	}
	if id := s.elementID(c.element); id != "" && parent.Contains(column, id) {
		s.txn.mutation(it, parent, column).remove(id)
	}
}

// removeRow deletes a row: one that lives by being referred to, by ending the references.
func (s *side) removeRow(it *item, r *ovn.Row) {
	if r.Table.Root {
		it.changes++
		s.txn.remove(it, ovn.Delete(r.Table, r.UUID))
		return
	}
	for _, p := range s.view.Parents(r.UUID) {
		s.txn.mutation(it, p.Row, p.Column).remove(r.UUID)
	}
}

// scrub takes out of the collected columns of a key's rows what nobody contributes.
func (s *side) scrub(it *item) {
	for _, w := range it.wants[s.n] {
		if w.have == nil {
			continue
		}
		for _, c := range w.table.Columns {
			if c.Role == ovn.Collected && s.view.Manages(c) {
				for _, v := range s.strays(w.have, c) {
					s.txn.mutation(it, w.have, c).remove(v)
				}
			}
		}
	}
}

// strays are the elements of a collected column that nobody contributes.
func (s *side) strays(r *ovn.Row, c *ovn.Column) []string {
	var out []string
	set, ok := r.Value(c).(*[]string)
	if !ok || len(*set) == 0 {
		return nil
	}
	state := s.p.e.registry.slots[slot{place{s.n, rows.Target{Table: r.Table.Name, Name: r.Name()}}, c.Name}]
	wanted := map[string]struct{}{}
	if state != nil {
		for e := range state.elements {
			wanted[s.elementID(e)] = struct{}{}
		}
	}
	for _, wish := range s.wished(r, c) {
		e := element{value: wish.member.Value}
		if _, ok := rows.ParseRef(e.value); ok {
			e.owner = wish.state.owner
		}
		wanted[s.elementID(e)] = struct{}{}
	}
	for _, v := range *set {
		if _, ok := wanted[v]; !ok {
			out = append(out, v)
		}
	}
	return out
}

// wished are the contributions to a column of keys that cannot be planned now.
func (s *side) wished(r *ovn.Row, c *ovn.Column) []wish {
	return s.p.e.wishes[slot{place{s.n, rows.Target{Table: r.Table.Name, Name: r.Name()}}, c.Name}]
}

// registerLoose remembers which rows without external_ids a key owns.
func (s *side) registerLoose(it *item) {
	var now []place
	for _, w := range it.wants[s.n] {
		if !s.ownable(w.table) && named(w.table) {
			now = append(now, place{s.n, rows.Target{Table: w.table.Name, Name: w.name}})
		}
	}
	e := s.p.e
	for _, l := range now {
		e.loose[l] = it.keyState
	}
	for _, l := range it.loose[s.n] {
		if !slices.Contains(now, l) {
			if e.loose[l] == it.keyState {
				delete(e.loose, l)
			}
			it.looseGone[s.n] = append(it.looseGone[s.n], l)
		}
	}
	it.loose[s.n] = now
}

// lack notes that a column is wanted which the server does not have.
func (it *item) lack(s *side, c *ovn.Column) {
	it.lacks = append(it.lacks, feature.Reason{
		Code:    "SchemaTooOld",
		Message: fmt.Sprintf("%s (schema %s) has no column %s", s.db.Name, s.p.e.schemas[s.n], c),
		Remedy:  "run a newer OVN; without the column the rest is programmed",
	})
}

func empty(p any) {
	switch p := p.(type) {
	case *[]string:
		*p = nil
	case *map[string]string:
		*p = nil
	}
}
