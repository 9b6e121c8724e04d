package whatif

import (
	"fmt"
	"maps"
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
)

// members writes what a key puts into rows that it shares with others.
func (d *differ) members(p *pair) {
	before, after := map[rows.Member]bool{}, map[rows.Member]bool{}
	for _, m := range p.before.Members {
		before[m] = true
	}
	for _, m := range p.after.Members {
		after[m] = true
		_, inserted := d.coming[m.Parent]
		if before[m] && !inserted && d.resolve(p, m.Value) == d.resolveOld(p, m.Value) {
			continue
		}
		d.put(m, d.resolve(p, m.Value))
	}
	for _, m := range p.before.Members {
		if !after[m] {
			d.drop(p, m)
		}
	}
}

// adopted gives rows that are inserted what keys put into them that want the same as today.
func (d *differ) adopted() {
	if len(d.coming) == 0 {
		return
	}
	paired := map[string]bool{}
	for _, p := range d.pairs {
		paired[p.who] = true
	}
	for _, who := range slices.Sorted(maps.Keys(d.after)) {
		if paired[who] {
			continue
		}
		for _, m := range d.after[who].Members {
			if _, inserted := d.coming[m.Parent]; inserted {
				d.put(m, d.resolvedOld(who, m.Value))
			}
		}
	}
}

func (d *differ) put(m rows.Member, value string) {
	p := d.parent(m.Parent)
	if p == nil || value == "" {
		if value == "" || d.content.Has(m.Parent.Table, "") {
			d.missing = append(d.missing, fmt.Sprintf("%s %s is not there today", m.Parent.Table, m.Parent.Name))
		}
		return
	}
	c, ok := p.table.Column(m.Column)
	if !ok || !d.content.Has(p.table.Name, m.Column) {
		return
	}
	mutation := d.mutation(p, c)
	if c.Map() {
		mutation.Put[m.Key] = value
	} else if !slices.Contains(mutation.Insert, value) {
		mutation.Insert = append(mutation.Insert, value)
	}
}

// drop takes out what a key puts into a row no more, unless another one puts the same there.
func (d *differ) drop(p *pair, m rows.Member) {
	at, value := d.parent(m.Parent), d.resolveOld(p, m.Value)
	if at == nil || at.have == nil || value == "" {
		return
	}
	c, ok := at.table.Column(m.Column)
	if !ok || !d.content.Has(at.table.Name, m.Column) || d.wanted(m, c, value) {
		return
	}
	mutation := d.mutation(at, c)
	if c.Map() {
		mutation.Remove = append(mutation.Remove, m.Key)
	} else {
		mutation.Remove = append(mutation.Remove, value)
	}
}

// element is what a key puts into a row: an element of a set, or a key of a map.
type element struct {
	parent rows.Target
	column string
	value  string
}

// wanted tells whether any key puts this into a row in the end.
func (d *differ) wanted(m rows.Member, c *ovn.Column, value string) bool {
	if d.contributed == nil {
		d.contributed = map[element]bool{}
		for who, set := range d.after {
			for _, o := range set.Members {
				v := o.Key
				if v == "" {
					v = d.resolvedOld(who, o.Value)
				}
				d.contributed[element{o.Parent, o.Column, v}] = true
			}
		}
	}
	if c.Map() {
		value = m.Key
	}
	return d.contributed[element{m.Parent, m.Column, value}]
}

// mutate writes what was collected, each row once.
func (d *differ) mutate() {
	for _, id := range slices.Sorted(maps.Keys(d.parents)) {
		p := d.parents[id]
		var all []ovn.Mutation
		for _, name := range slices.Sorted(maps.Keys(p.mutations)) {
			if m := p.mutations[name]; len(m.Insert)+len(m.Remove)+len(m.Put) > 0 {
				all = append(all, *m)
			}
		}
		if len(all) == 0 {
			continue
		}
		d.ops = append(d.ops, ovn.Mutate(p.table, p.id, all...))
		if p.have != nil {
			d.counted.change(d.rowOf(p.have))
		}
	}
}
