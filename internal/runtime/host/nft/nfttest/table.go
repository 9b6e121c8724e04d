package nfttest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/nft"
)

// What the kernel says, in its words.
var (
	errMissing = errors.New("no such file or directory")
	errExists  = errors.New("file exists")
	errBusy    = errors.New("device or resource busy")
)

// table is the state of one table.
type table struct {
	digest string
	sets   map[string]*set
	chains map[string]*chain
	made   int // sets and chains so far, by which they are listed in order
	// Who refers to a set or map, and to a chain: how many rules and elements.
	setUsers, chainUsers map[string]int
}

// set is a set or a map; the elements of a set have no values.
type set struct {
	nft.Map
	isMap bool
	place int
}

// chain has rules with both texts: what they do, and the comment they are listed with.
type chain struct {
	name  string
	base  *nft.Base
	rules []nft.Rule
	place int
}

func newTable() *table {
	return &table{sets: map[string]*set{}, chains: map[string]*chain{}, setUsers: map[string]int{}, chainUsers: map[string]int{}}
}

func (t *table) clone() *table {
	c := &table{
		digest: t.digest, made: t.made, sets: make(map[string]*set, len(t.sets)), chains: make(map[string]*chain, len(t.chains)),
		setUsers: maps.Clone(t.setUsers), chainUsers: maps.Clone(t.chainUsers),
	}
	for name, s := range t.sets {
		s := *s
		s.Elements = maps.Clone(s.Elements)
		c.sets[name] = &s
	}
	for name, ch := range t.chains {
		ch := *ch
		ch.rules = slices.Clip(ch.rules) // rules are only appended, never changed
		c.chains[name] = &ch
	}
	return c
}

func (t *table) list(family, name string) *nft.Table {
	out := &nft.Table{Family: family, Name: name, Digest: t.digest}
	for _, s := range slices.SortedFunc(maps.Values(t.sets), func(a, b *set) int { return a.place - b.place }) {
		if s.isMap {
			m := s.Map
			m.Elements = maps.Clone(m.Elements)
			out.Maps = append(out.Maps, m)
			continue
		}
		out.Sets = append(out.Sets, nft.Set{
			Name: s.Name, Type: s.Type, Flags: s.Flags, Elements: slices.Sorted(maps.Keys(s.Elements)),
		})
	}
	for _, c := range slices.SortedFunc(maps.Values(t.chains), func(a, b *chain) int { return a.place - b.place }) {
		listed := nft.Chain{Name: c.name, Base: c.base}
		for _, r := range c.rules {
			listed.Rules = append(listed.Rules, nft.Rule{Comment: r.Comment})
		}
		out.Chains = append(out.Chains, listed)
	}
	return out
}

// asMap gives an operation on a set the form of one on a map.
func asMap(o nft.Op) (m nft.Map, isMap bool) {
	if o.Map != nil {
		return *o.Map, true
	}
	m = nft.Map{Name: o.Set.Name, Type: o.Set.Type, Flags: o.Set.Flags, Elements: map[string]string{}}
	for _, e := range o.Set.Elements {
		m.Elements[e] = ""
	}
	return m, false
}

func (t *table) collection(o nft.Op) error {
	m, isMap := asMap(o)
	s := t.sets[m.Name]
	if o.Verb == nft.AddSet || o.Verb == nft.AddMap {
		if s == nil {
			m.Elements = map[string]string{}
			t.made++
			t.sets[m.Name] = &set{Map: m, isMap: isMap, place: t.made}
			return nil
		}
		if s.isMap != isMap || s.Type != m.Type || s.Value != m.Value || s.Flags != m.Flags {
			return errExists
		}
		return nil
	}
	if s == nil || s.isMap != isMap {
		return errMissing
	}
	switch o.Verb {
	case nft.DeleteSet, nft.DeleteMap:
		if n := t.setUsers[s.Name]; n > 0 {
			return fmt.Errorf("%w: %d rules refer to it", errBusy, n)
		}
		for k := range s.Elements {
			t.deleteElement(s, k)
		}
		delete(t.sets, s.Name)
	case nft.AddElements:
		return t.addElements(s, m.Elements)
	case nft.DeleteElements:
		for k := range m.Elements {
			if _, ok := s.Elements[k]; !ok {
				return fmt.Errorf("%w: element %s", errMissing, k)
			}
			t.deleteElement(s, k)
		}
	}
	return nil
}

func (t *table) deleteElement(s *set, key string) {
	if c := s.target(s.Elements[key]); c != "" {
		t.chainUsers[c]--
	}
	delete(s.Elements, key)
}

func (t *table) addElements(s *set, elements map[string]string) error {
	for _, k := range slices.Sorted(maps.Keys(elements)) {
		value := elements[k]
		if old, ok := s.Elements[k]; ok && old == value {
			continue
		} else if ok {
			return fmt.Errorf("%w: element %s", errExists, k)
		}
		if err := s.fits(k, value); err != nil {
			return err
		}
		if c := s.target(value); c != "" {
			if err := t.canJump(c); err != nil {
				return fmt.Errorf("element %s: %w", k, err)
			}
			t.chainUsers[c]++
		}
		s.Elements[k] = value
	}
	return nil
}

// fits tells whether an element has the type of the set and overlaps no other.
func (s *set) fits(key, value string) error {
	e, err := nft.ParseElement(s.Type, key)
	if err != nil {
		return err
	}
	if s.isMap && s.Value != nft.Verdict {
		if _, err := nft.ParseElement(s.Value, value); err != nil {
			return err
		}
	}
	if s.Flags != nft.Interval {
		if e.Range() {
			return fmt.Errorf("%s is no single value, and the set has no intervals", key)
		}
		return nil
	}
	for k := range s.Elements {
		if other, err := nft.ParseElement(s.Type, k); err == nil && k != key && e.Overlaps(other) {
			return fmt.Errorf("conflicting intervals: %s and %s", k, key)
		}
	}
	return nil
}

// target is the chain that an element's value leads to.
func (s *set) target(value string) string {
	if f := strings.Fields(value); s.Value == nft.Verdict && len(f) == 2 && (f[0] == "jump" || f[0] == "goto") {
		return f[1]
	}
	return ""
}

func (t *table) canJump(name string) error {
	switch c := t.chains[name]; {
	case c == nil:
		return fmt.Errorf("%w: chain %s", errMissing, name)
	case c.base != nil:
		return fmt.Errorf("operation not supported: %s is a base chain", name)
	}
	return nil
}

func (t *table) chain(o nft.Op) error {
	c := t.chains[o.Chain.Name]
	if o.Verb == nft.AddChain {
		if c == nil {
			t.made++
			t.chains[o.Chain.Name] = &chain{name: o.Chain.Name, base: o.Chain.Base, place: t.made}
			return nil
		}
		if (c.base == nil) != (o.Chain.Base == nil) || c.base != nil && *c.base != *o.Chain.Base {
			return errExists
		}
		return nil
	}
	if c == nil {
		return errMissing
	}
	switch o.Verb {
	case nft.FlushChain:
		for _, r := range c.rules {
			t.refer(r.Text, -1)
		}
		c.rules = nil
	case nft.DeleteChain:
		if n := t.chainUsers[c.name]; n > 0 || len(c.rules) > 0 {
			return fmt.Errorf("%w: it has %d rules, and %d rules and elements lead to it", errBusy, len(c.rules), n)
		}
		delete(t.chains, c.name)
	case nft.AddRule:
		return t.addRule(c, o)
	}
	return nil
}

func (t *table) addRule(c *chain, o nft.Op) error {
	chains, sets := references(o.Rule.Text)
	for _, name := range chains {
		if err := t.canJump(name); err != nil {
			return err
		}
	}
	for _, name := range sets {
		if t.sets[name] == nil {
			return fmt.Errorf("%w: set %s", errMissing, name)
		}
	}
	t.refer(o.Rule.Text, 1)
	// What nft lists of a rule is the comment at the end of its line.
	line := o.String()
	tag := line[strings.LastIndex(line, " comment ")+len(" comment "):]
	c.rules = append(c.rules, nft.Rule{Text: o.Rule.Text, Comment: strings.Trim(tag, `"`)})
	return nil
}

// refer counts what a rule refers to, up or down.
func (t *table) refer(rule string, n int) {
	chains, sets := references(rule)
	for _, name := range chains {
		t.chainUsers[name] += n
	}
	for _, name := range sets {
		t.setUsers[name] += n
	}
}

// references are the chains that a rule leads to, and the sets and maps it looks into.
func references(rule string) (chains, sets []string) {
	words := strings.FieldsFunc(rule, func(r rune) bool { return strings.ContainsRune(" ,{}", r) })
	for i, w := range words {
		if (w == "jump" || w == "goto") && i+1 < len(words) {
			chains = append(chains, words[i+1])
		}
		if name, ok := strings.CutPrefix(w, "@"); ok {
			sets = append(sets, name)
		}
	}
	return chains, sets
}
