// Package openflowtest is a switch for tests that keeps flows as lines.
package openflowtest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/openflow"
)

// Fake holds the flows of bridges by what identifies them.
type Fake struct {
	mu       sync.Mutex
	flows    map[string]map[string]string
	writes   int
	notify   map[int]func()
	watchers int
}

// New is a switch without bridges.
func New() *Fake { return &Fake{flows: map[string]map[string]string{}, notify: map[int]func(){}} }

// Serve makes vswitchd serve a bridge, with the flow that a new bridge has.
func (f *Fake) Serve(bridge string) {
	f.mu.Lock()
	if _, ok := f.flows[bridge]; !ok {
		f.flows[bridge] = byIdentity([]string{"priority=0,actions=NORMAL"})
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
	clear(f.flows[bridge])
	f.mu.Unlock()
	f.tell()
}

// Flows returns the flows of a bridge, sorted.
func (f *Fake) Flows(bridge string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Values(f.flows[bridge]))
}

// Writes returns how often Apply changed something since it was last called.
func (f *Fake) Writes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := f.writes
	f.writes = 0
	return w
}

// Add adds flows by another hand, as `ovs-ofctl add-flow` does.
func (f *Fake) Add(bridge string, flows ...string) {
	f.mu.Lock()
	maps.Copy(f.flows[bridge], byIdentity(flows))
	f.mu.Unlock()
	f.tell()
}

// Diff compares lines; two with the same text before their actions are the same flow.
func (f *Fake) Diff(_ context.Context, bridge, flows string) (openflow.Changes, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	have, ok := f.flows[bridge]
	if !ok {
		return openflow.Changes{}, openflow.ErrNoBridge
	}
	var c openflow.Changes
	wanted := byIdentity(lines(flows))
	for _, key := range slices.Sorted(maps.Keys(wanted)) {
		if have[key] != wanted[key] {
			c.Add = append(c.Add, wanted[key])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(have)) {
		switch l, w := have[key], wanted[key]; {
		case w == "" && ours(l):
			c.Delete = append(c.Delete, key)
		case w != "" && !ours(l) && w != l:
			c.Taken = append(c.Taken, l)
		}
	}
	return c, nil
}

// Apply makes the changes. As on the real switch, of flows with cookies of others none is
// deleted.
func (f *Fake) Apply(_ context.Context, bridge string, c openflow.Changes) error {
	if c.Empty() {
		return nil
	}
	f.mu.Lock()
	have, ok := f.flows[bridge]
	if !ok {
		f.mu.Unlock()
		return openflow.ErrNoBridge
	}
	for _, key := range c.Delete {
		if ours(have[key]) {
			delete(have, key)
		}
	}
	maps.Copy(have, byIdentity(c.Add))
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

// cookieOf is the text of a flow's cookie; ours is "cookie=0xdeff105".
func cookieOf(flow string) string {
	for field := range strings.SplitSeq(flow, ",") {
		if strings.HasPrefix(field, "cookie=") {
			return field
		}
	}
	return ""
}

func ours(flow string) bool {
	return cookieOf(flow) == fmt.Sprintf("cookie=%#x", openflow.DefaultCookie)
}

// identity is a flow's text without cookie and actions, with the table in front.
func identity(flow string) string {
	head, _, _ := strings.Cut(flow, "actions=")
	out := []string{"table=0"}
	for field := range strings.SplitSeq(head, ",") {
		switch name, _, _ := strings.Cut(field, "="); name {
		case "", "cookie":
		case "table":
			out[0] = field
		default:
			out = append(out, field)
		}
	}
	return strings.Join(out, ",")
}

// byIdentity finds flows; of two that are the same, the later one stays, as on the switch.
func byIdentity(flows []string) map[string]string {
	out := map[string]string{}
	for _, l := range flows {
		out[identity(l)] = l
	}
	return out
}
