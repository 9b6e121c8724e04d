// Package openflowtest is a switch for tests that keeps flows as lines.
package openflowtest

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/openflow"
)

// Fake holds the flows of bridges.
type Fake struct {
	mu       sync.Mutex
	flows    map[string][]string
	writes   int
	notify   map[int]func()
	watchers int
}

// New is a switch without bridges.
func New() *Fake { return &Fake{flows: map[string][]string{}, notify: map[int]func(){}} }

// Serve makes vswitchd serve a bridge, with the flow that a new bridge has.
func (f *Fake) Serve(bridge string) {
	f.mu.Lock()
	if _, ok := f.flows[bridge]; !ok {
		f.flows[bridge] = []string{"priority=0,actions=NORMAL"}
	}
	f.mu.Unlock()
	f.tell()
}

// Forget takes a bridge away.
func (f *Fake) Forget(bridge string) {
	f.mu.Lock()
	delete(f.flows, bridge)
	f.mu.Unlock()
	f.tell()
}

// Delete removes all flows of a bridge, as `ovs-ofctl del-flows` does.
func (f *Fake) Delete(bridge string) {
	f.mu.Lock()
	f.flows[bridge] = nil
	f.mu.Unlock()
	f.tell()
}

// Flows returns the flows of a bridge.
func (f *Fake) Flows(bridge string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.flows[bridge])
}

// Writes returns how often Replace changed something since it was last called.
func (f *Fake) Writes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := f.writes
	f.writes = 0
	return w
}

// Diff compares lines.
func (f *Fake) Diff(_ context.Context, bridge, flows string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	have, ok := f.flows[bridge]
	if !ok {
		return "", openflow.ErrNoBridge
	}
	want := lines(flows)
	var out []string
	for _, l := range want {
		if !slices.Contains(have, l) {
			out = append(out, "-"+l)
		}
	}
	for _, l := range have {
		if !slices.Contains(want, l) {
			out = append(out, "+"+l)
		}
	}
	return strings.Join(out, "\n"), nil
}

// Replace makes the flows of a bridge those given.
func (f *Fake) Replace(_ context.Context, bridge, flows string) error {
	f.mu.Lock()
	if _, ok := f.flows[bridge]; !ok {
		f.mu.Unlock()
		return openflow.ErrNoBridge
	}
	f.flows[bridge] = lines(flows)
	f.writes++
	f.mu.Unlock()
	f.tell()
	return nil
}

// Watch calls notify after each change.
func (f *Fake) Watch(ctx context.Context, _ string, notify func()) error {
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
	var all []func()
	for _, n := range f.notify {
		all = append(all, n)
	}
	f.mu.Unlock()
	for _, n := range all {
		n()
	}
}

func lines(flows string) []string {
	var out []string
	for l := range strings.Lines(flows) {
		if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "#") {
			out = append(out, l)
		}
	}
	return out
}
