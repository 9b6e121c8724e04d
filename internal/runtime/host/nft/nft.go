// Package nft compares nftables tables with what they should be and changes only what
// differs, in one transaction.
//
// nft lists a rule in other words than it was given, so a rule is known by its comment,
// which ends in a hash of the text it was made from. A rule edited behind its comment is
// found by the digest of the listing, as long as this process saw the table when it was
// right.
package nft

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Table is one table. As wanted, rules have a Text; as listed, only their Comment, which
// then has the hash in it.
type Table struct {
	Family, Name string
	Sets         []Set
	Chains       []Chain
	// Digest is the hash of the listing; empty for a wanted table.
	Digest string
}

// Set is a named set of plain elements.
type Set struct {
	Name, Type string
	Elements   []string
}

// Chain is a chain; Base is nil when only other chains lead to it.
type Chain struct {
	Name  string
	Base  *Base
	Rules []Rule
}

// Base is where packets enter a chain.
type Base struct {
	Type, Hook string
	Priority   int
	Policy     string
	Device     string // of a netdev table; nft before 1.1 does not list it
}

// Rule is one rule; the comment says why it is there, without quotes, which nft cannot
// keep.
type Rule struct{ Text, Comment string }

// tag is the comment that is written: what it says and the hash of what it does.
func (r Rule) tag() string {
	sum := sha256.Sum256([]byte(r.Text))
	return r.Comment + " [" + hex.EncodeToString(sum[:4]) + "]"
}

// Op is one line of a transaction.
type Op struct {
	Verb          Verb
	Family, Table string
	Set           *Set   // of the verbs about sets; its Elements those to add or delete
	Chain         *Chain // of the verbs about chains; without rules
	Rule          *Rule  // of AddRule
}

// Verb is what an Op does.
type Verb string

// The verbs.
const (
	AddTable       Verb = "add table"
	DeleteTable    Verb = "delete table"
	AddSet         Verb = "add set"
	DeleteSet      Verb = "delete set"
	AddElements    Verb = "add element"
	DeleteElements Verb = "delete element"
	AddChain       Verb = "add chain"
	DeleteChain    Verb = "delete chain"
	FlushChain     Verb = "flush chain"
	AddRule        Verb = "add rule"
)

// String is the line in nft's language.
func (o Op) String() string {
	head := fmt.Sprintf("%s %s %s", o.Verb, o.Family, o.Table)
	switch o.Verb {
	case AddSet:
		return fmt.Sprintf("%s %s { type %s ; }", head, o.Set.Name, o.Set.Type)
	case DeleteSet:
		return head + " " + o.Set.Name
	case AddElements, DeleteElements:
		return fmt.Sprintf("%s %s { %s }", head, o.Set.Name, strings.Join(o.Set.Elements, ", "))
	case AddChain:
		return head + " " + o.Chain.Name + o.Chain.Base.String()
	case DeleteChain, FlushChain:
		return head + " " + o.Chain.Name
	case AddRule:
		return fmt.Sprintf("%s %s %s comment \"%s\"", head, o.Chain.Name, o.Rule.Text, o.Rule.tag())
	}
	return head
}

// String is the definition of a base chain in nft's language, empty for other chains.
func (b *Base) String() string {
	if b == nil {
		return ""
	}
	device := ""
	if b.Device != "" {
		device = fmt.Sprintf(" device %q", b.Device)
	}
	return fmt.Sprintf(" { type %s hook %s%s priority %d ; policy %s ; }", b.Type, b.Hook, device, b.Priority, b.Policy)
}

// Diff returns what turns have (nil when there is no such table) into want.
func Diff(have *Table, want Table) []Op {
	d := diff{have: have, want: want}
	if have == nil {
		d.have = &Table{}
		d.add(Op{Verb: AddTable})
	}
	changed := d.changedChains()
	// Rules go first, then what they refer to; what they refer to comes first, then rules.
	for _, c := range d.have.Chains {
		if _, wanted := find(want.Chains, c.Name); !wanted || changed[c.Name] {
			d.add(Op{Verb: FlushChain, Chain: &Chain{Name: c.Name}})
		}
	}
	for _, c := range d.have.Chains {
		if w, wanted := find(want.Chains, c.Name); !wanted || !sameBase(c.Base, w.Base) {
			d.add(Op{Verb: DeleteChain, Chain: &Chain{Name: c.Name}})
		}
	}
	d.sets()
	for _, w := range want.Chains {
		if c, ok := find(d.have.Chains, w.Name); !ok || !sameBase(c.Base, w.Base) {
			d.add(Op{Verb: AddChain, Chain: &Chain{Name: w.Name, Base: w.Base}})
		}
	}
	for _, w := range want.Chains {
		if _, ok := find(d.have.Chains, w.Name); ok && !changed[w.Name] {
			continue
		}
		for _, r := range w.Rules {
			d.add(Op{Verb: AddRule, Chain: &Chain{Name: w.Name}, Rule: &r})
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
	have *Table
	want Table
	ops  []Op
}

func (d *diff) add(o Op) {
	o.Family, o.Table = d.want.Family, d.want.Name
	d.ops = append(d.ops, o)
}

func (d *diff) changedChains() map[string]bool {
	changed := map[string]bool{}
	for _, w := range d.want.Chains {
		c, ok := find(d.have.Chains, w.Name)
		same := slices.EqualFunc(c.Rules, w.Rules, func(have, want Rule) bool { return have.Comment == want.tag() })
		if ok && (!same || !sameBase(c.Base, w.Base)) {
			changed[w.Name] = true
		}
	}
	return changed
}

func (d *diff) sets() {
	for _, s := range d.have.Sets {
		if w, ok := findSet(d.want.Sets, s.Name); !ok || w.Type != s.Type {
			d.add(Op{Verb: DeleteSet, Set: &Set{Name: s.Name}})
		}
	}
	for _, w := range d.want.Sets {
		s, ok := findSet(d.have.Sets, w.Name)
		if !ok || s.Type != w.Type {
			d.add(Op{Verb: AddSet, Set: &Set{Name: w.Name, Type: w.Type}})
			s.Elements = nil
		}
		if gone := without(s.Elements, w.Elements); len(gone) > 0 {
			d.add(Op{Verb: DeleteElements, Set: &Set{Name: w.Name, Elements: gone}})
		}
		if more := without(w.Elements, s.Elements); len(more) > 0 {
			d.add(Op{Verb: AddElements, Set: &Set{Name: w.Name, Elements: more}})
		}
	}
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

func find(chains []Chain, name string) (Chain, bool) {
	i := slices.IndexFunc(chains, func(c Chain) bool { return c.Name == name })
	if i < 0 {
		return Chain{}, false
	}
	return chains[i], true
}

func findSet(sets []Set, name string) (Set, bool) {
	i := slices.IndexFunc(sets, func(s Set) bool { return s.Name == name })
	if i < 0 {
		return Set{}, false
	}
	return sets[i], true
}

func without(a, b []string) []string {
	in := make(map[string]bool, len(b))
	for _, s := range b {
		in[s] = true
	}
	var out []string
	for _, s := range a {
		if !in[s] {
			out = append(out, s)
		}
	}
	return out
}
