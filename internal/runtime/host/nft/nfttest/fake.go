// Package nfttest is an nftables for tests: tables in memory that refuse what the kernel
// refuses.
package nfttest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/nft"
)

// Fake holds tables. Rules are kept by the comment that they are listed with.
type Fake struct {
	mu       sync.Mutex
	tables   map[string]*nft.Table
	changes  int // also the digest of the table changed last
	writes   []nft.Op
	notify   map[int]func()
	watchers int
}

// New makes an empty rule set.
func New() *Fake { return &Fake{tables: map[string]*nft.Table{}, notify: map[int]func(){}} }

// Writes returns the operations made through Apply since it was last called.
func (f *Fake) Writes() []nft.Op {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := f.writes
	f.writes = nil
	return w
}

// Flush removes all tables, as `nft flush ruleset` does.
func (f *Fake) Flush() {
	f.mu.Lock()
	clear(f.tables)
	f.mu.Unlock()
	f.tell()
}

// Edit lets a test change a table behind the comments of its rules.
func (f *Fake) Edit(family, name string) {
	f.mu.Lock()
	f.changes++
	f.tables[family+" "+name].Digest = strconv.Itoa(f.changes)
	f.mu.Unlock()
	f.tell()
}

// Tables are the names of all tables, "family name".
func (f *Fake) Tables() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.tables))
}

// List reads a table.
func (f *Fake) List(_ context.Context, family, name string) (*nft.Table, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.tables[family+" "+name]
	if t == nil {
		return nil, nil
	}
	return clone(t), nil
}

func clone(t *nft.Table) *nft.Table {
	c := &nft.Table{Family: t.Family, Name: t.Name, Digest: t.Digest}
	for _, s := range t.Sets {
		s.Elements = slices.Clone(s.Elements)
		c.Sets = append(c.Sets, s)
	}
	for _, ch := range t.Chains {
		ch.Rules = slices.Clone(ch.Rules)
		c.Chains = append(c.Chains, ch)
	}
	return c
}

// Apply makes all changes or none.
func (f *Fake) Apply(_ context.Context, ops []nft.Op) error {
	if len(ops) == 0 {
		return nil
	}
	defer f.tell()
	f.mu.Lock()
	defer f.mu.Unlock()
	next := map[string]*nft.Table{}
	for key, t := range f.tables {
		next[key] = clone(t)
	}
	for _, o := range ops {
		if err := apply(next, o); err != nil {
			return fmt.Errorf("%s: %w", o, err)
		}
	}
	f.changes++
	for _, o := range ops {
		if t := next[o.Family+" "+o.Table]; t != nil {
			t.Digest = strconv.Itoa(f.changes)
		}
	}
	f.tables = next
	f.writes = append(f.writes, ops...)
	return nil
}

// Watch calls notify after each change.
func (f *Fake) Watch(ctx context.Context, _ []string, notify func()) error {
	f.mu.Lock()
	id := f.watchers
	f.watchers++
	f.notify[id] = notify
	f.mu.Unlock()
	notify()
	<-ctx.Done()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.notify, id)
	return ctx.Err()
}

func (f *Fake) tell() {
	f.mu.Lock()
	all := slices.Collect(maps.Values(f.notify))
	f.mu.Unlock()
	for _, n := range all {
		n()
	}
}

func apply(tables map[string]*nft.Table, o nft.Op) error {
	key := o.Family + " " + o.Table
	if o.Verb == nft.AddTable {
		if tables[key] == nil {
			tables[key] = &nft.Table{Family: o.Family, Name: o.Table}
		}
		return nil
	}
	t := tables[key]
	if t == nil {
		return fmt.Errorf("no such table")
	}
	switch o.Verb {
	case nft.DeleteTable:
		delete(tables, key)
	case nft.AddSet, nft.DeleteSet, nft.AddElements, nft.DeleteElements:
		return applySet(t, o)
	default:
		return applyChain(t, o)
	}
	return nil
}

func applySet(t *nft.Table, o nft.Op) error {
	i := slices.IndexFunc(t.Sets, func(s nft.Set) bool { return s.Name == o.Set.Name })
	if i < 0 {
		if o.Verb != nft.AddSet {
			return fmt.Errorf("no such set")
		}
		t.Sets = append(t.Sets, nft.Set{Name: o.Set.Name, Type: o.Set.Type})
		return nil
	}
	s := &t.Sets[i]
	switch o.Verb {
	case nft.DeleteSet:
		t.Sets = slices.Delete(t.Sets, i, i+1)
	case nft.AddElements:
		s.Elements = append(s.Elements, o.Set.Elements...)
	case nft.DeleteElements:
		s.Elements = slices.DeleteFunc(s.Elements, func(e string) bool { return slices.Contains(o.Set.Elements, e) })
	}
	return nil
}

func applyChain(t *nft.Table, o nft.Op) error {
	i := slices.IndexFunc(t.Chains, func(c nft.Chain) bool { return c.Name == o.Chain.Name })
	if i < 0 {
		if o.Verb != nft.AddChain {
			return fmt.Errorf("no such chain")
		}
		t.Chains = append(t.Chains, nft.Chain{Name: o.Chain.Name, Base: o.Chain.Base})
		return nil
	}
	c := &t.Chains[i]
	switch o.Verb {
	case nft.FlushChain:
		c.Rules = nil
	case nft.DeleteChain:
		if len(c.Rules) > 0 {
			return fmt.Errorf("device or resource busy")
		}
		t.Chains = slices.Delete(t.Chains, i, i+1)
	case nft.AddRule:
		// What nft lists of a rule is the comment at the end of its line.
		line := o.String()
		tag := line[strings.LastIndex(line, " comment ")+len(" comment "):]
		c.Rules = append(c.Rules, nft.Rule{Comment: strings.Trim(tag, `"`)})
	}
	return nil
}
