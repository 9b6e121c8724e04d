package nft

import (
	"maps"
	"slices"
	"strings"
)

// Diff returns what turns have (nil when there is no such table) into want.
//
// The kernel refuses to delete what something refers to, and to refer to what is not
// there: rules refer to sets, maps and chains, the elements of verdict maps to chains. So
// the order is: rules and elements that go, then sets, maps and chains that go; sets and
// maps that come or grow, chains, verdict maps, and rules.
func Diff(have *Table, want Table) []Op {
	d := &diff{want: want}
	if have == nil {
		have = &Table{}
		d.add(Op{Verb: AddTable})
	}
	d.index(have)
	d.stale()
	for _, c := range have.Chains {
		if d.rewritten[c.Name] {
			d.add(Op{Verb: FlushChain, Chain: &Chain{Name: c.Name}})
		}
	}
	d.shrink()
	for _, name := range d.gone {
		d.add(d.have[name].delete())
		delete(d.have, name)
	}
	for _, c := range have.Chains {
		if w, wanted := d.wantChains[c.Name]; !wanted || !sameBase(c.Base, w.Base) {
			d.add(Op{Verb: DeleteChain, Chain: &Chain{Name: c.Name}})
			delete(d.haveChains, c.Name)
		}
	}
	d.grow(false)
	for _, w := range want.Chains {
		if _, ok := d.haveChains[w.Name]; !ok {
			d.add(Op{Verb: AddChain, Chain: &Chain{Name: w.Name, Base: w.Base}})
			d.rewritten[w.Name] = true
		}
	}
	d.grow(true)
	for _, w := range want.Chains {
		for _, r := range w.Rules {
			if d.rewritten[w.Name] {
				d.add(Op{Verb: AddRule, Chain: &Chain{Name: w.Name}, Rule: &r})
			}
		}
	}
	return d.ops
}

// Rewrite returns what makes want anew, whatever is there.
func Rewrite(have *Table, want Table) []Op {
	var ops []Op
	if have != nil {
		ops = append(ops, Op{Verb: DeleteTable, Family: want.Family, Table: want.Name})
	}
	return append(ops, Diff(nil, want)...)
}

type diff struct {
	want                   Table
	have, wanted           map[string]*collection // have loses those that are deleted
	names                  []string               // of the wanted, in their order
	gone                   []string               // of those that go or are made anew
	haveChains, wantChains map[string]Chain
	// rewritten are the chains whose rules are made anew, and those that go.
	rewritten map[string]bool
	ops       []Op
}

func (d *diff) add(o Op) {
	o.Family, o.Table = d.want.Family, d.want.Name
	d.ops = append(d.ops, o)
}

func (d *diff) index(have *Table) {
	d.have, _ = collections(*have)
	d.wanted, d.names = collections(d.want)
	d.haveChains, d.wantChains = byName(have.Chains), byName(d.want.Chains)
	d.rewritten = map[string]bool{}
}

// stale finds what cannot stay as it is.
func (d *diff) stale() {
	for _, name := range slices.Sorted(maps.Keys(d.have)) {
		if w := d.wanted[name]; w == nil || !w.sameKind(d.have[name]) {
			d.gone = append(d.gone, name)
		}
	}
	d.staleChains()
	for d.staleMaps() {
		d.staleChains()
	}
}

// staleChains finds the chains that differ, and those that refer to what goes.
func (d *diff) staleChains() {
	for name, c := range d.haveChains {
		w, wanted := d.wantChains[name]
		same := slices.EqualFunc(c.Rules, w.Rules, func(have, want Rule) bool { return have.Comment == want.tag() })
		if !wanted || !same || !sameBase(c.Base, w.Base) || refersTo(w.Rules, d.gone...) {
			d.rewritten[name] = true
		}
	}
}

// staleMaps finds the maps with ports for values that rules to come look into. nft (1.0.6
// and 1.1.3 alike) refuses such a rule when it reads the map back from the kernel
// ("conflicting protocols specified: inet-service vs. th"), and takes it when the map is
// declared beside it. So those maps are made anew.
func (d *diff) staleMaps() (found bool) {
	for name, h := range d.have {
		if !h.portValues() || slices.Contains(d.gone, name) {
			continue
		}
		for _, c := range d.want.Chains {
			if _, stays := d.haveChains[c.Name]; (d.rewritten[c.Name] || !stays) && refersTo(c.Rules, name) {
				d.gone, found = append(d.gone, name), true
				break
			}
		}
	}
	slices.Sort(d.gone)
	return found
}

// shrink deletes the elements that go from the sets and maps that stay. One with another
// value goes, too, and comes back.
func (d *diff) shrink() {
	for _, name := range d.names {
		w, h := d.wanted[name], d.have[name]
		if h == nil || slices.Contains(d.gone, name) {
			continue
		}
		if different := h.without(w); len(different) > 0 {
			d.add(h.change(DeleteElements, different))
		}
	}
}

// grow makes the sets and maps that come, and adds the elements that come.
func (d *diff) grow(verdicts bool) {
	for _, name := range d.names {
		w, h := d.wanted[name], d.have[name]
		if w.verdicts() != verdicts {
			continue
		}
		if h == nil {
			h = &collection{}
			d.add(w.create())
		}
		if different := w.without(h); len(different) > 0 {
			d.add(w.change(AddElements, different))
		}
	}
}

// refersTo tells whether a rule looks into one of these sets and maps.
func refersTo(rules []Rule, names ...string) bool {
	if len(names) == 0 {
		return false
	}
	for _, r := range rules {
		for _, word := range strings.FieldsFunc(r.Text, func(c rune) bool { return strings.ContainsRune(" ,{}", c) }) {
			if name, ok := strings.CutPrefix(word, "@"); ok && slices.Contains(names, name) {
				return true
			}
		}
	}
	return false
}

func sameBase(have, want *Base) bool {
	if have == nil || want == nil {
		return have == want
	}
	h := *have
	if h.Device == "" {
		h.Device = want.Device
	}
	return h == *want
}

func byName(chains []Chain) map[string]Chain {
	out := make(map[string]Chain, len(chains))
	for _, c := range chains {
		out[c.Name] = c
	}
	return out
}
