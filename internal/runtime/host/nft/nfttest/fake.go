// Package nfttest is an nftables for tests: tables in memory that refuse what the kernel
// refuses.
package nfttest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/nft"
)

// Fake holds tables. Rules are kept by the comment that they are listed with.
type Fake struct {
	mu       sync.Mutex
	tables   map[string]*table
	changes  int // also the digest of the table changed last
	writes   []nft.Op
	notify   map[int]func()
	watchers int
}

// New makes an empty rule set.
func New() *Fake { return &Fake{tables: map[string]*table{}, notify: map[int]func(){}} }

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
	f.tables[family+" "+name].digest = strconv.Itoa(f.changes)
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
	return t.list(family, name), nil
}

// Digest is that of the table as List would read it.
func (f *Fake) Digest(_ context.Context, family, name string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t := f.tables[family+" "+name]; t != nil {
		return t.digest, nil
	}
	return "", nil
}

// Apply makes all changes or none.
func (f *Fake) Apply(_ context.Context, ops []nft.Op) error {
	if len(ops) == 0 {
		return nil
	}
	defer f.tell()
	f.mu.Lock()
	defer f.mu.Unlock()
	next, copied := maps.Clone(f.tables), map[string]bool{}
	for _, o := range ops {
		key := o.Family + " " + o.Table
		if t := next[key]; t != nil && !copied[key] {
			next[key] = t.clone()
		}
		copied[key] = true
		if err := apply(next, o); err != nil {
			return fmt.Errorf("%s: %w", o, err)
		}
	}
	f.changes++
	for _, o := range ops {
		if t := next[o.Family+" "+o.Table]; t != nil {
			t.digest = strconv.Itoa(f.changes)
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

func apply(tables map[string]*table, o nft.Op) error {
	key := o.Family + " " + o.Table
	if o.Verb == nft.AddTable {
		if tables[key] == nil {
			tables[key] = newTable()
		}
		return nil
	}
	t := tables[key]
	if t == nil {
		return errMissing
	}
	switch o.Verb {
	case nft.DeleteTable:
		delete(tables, key)
		return nil
	case nft.AddSet, nft.AddMap, nft.DeleteSet, nft.DeleteMap, nft.AddElements, nft.DeleteElements:
		return t.collection(o)
	}
	return t.chain(o)
}
