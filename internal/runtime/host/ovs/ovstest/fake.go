// Package ovstest is an Open vSwitch database for tests, with as much of ovs-vswitchd
// behind it as a test lets run.
package ovstest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/ovs"
)

// Switch is told of every transaction, as vswitchd is; it may change the state.
type Switch func(*ovs.State)

// Fake is a database in memory.
type Fake struct {
	mu       sync.Mutex
	state    ovs.State
	vswitchd Switch
	down     bool
	writes   [][]ovs.Change
	notify   map[int]func()
	watchers int
}

// New makes an empty database; vswitchd may be nil.
func New(vswitchd Switch) *Fake {
	return &Fake{
		state:  ovs.State{ExternalIDs: map[string]string{}, OtherConfig: map[string]string{}, Bridges: map[string]*ovs.Bridge{}},
		notify: map[int]func(){}, vswitchd: vswitchd,
	}
}

// Writes returns the transactions since it was last called.
func (f *Fake) Writes() [][]ovs.Change {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := f.writes
	f.writes = nil
	return w
}

// SetDown takes the database away, or brings it back.
func (f *Fake) SetDown(down bool) {
	defer f.tell()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

// Change lets a test change the database as somebody else.
func (f *Fake) Change(change func(*ovs.State)) {
	defer f.tell()
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.state)
	if f.vswitchd != nil {
		f.vswitchd(&f.state)
	}
}

// ErrDown is what a database that is down says.
var ErrDown = errors.New("connection refused")

// State is everything there is.
func (f *Fake) State(context.Context) (*ovs.State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return nil, ErrDown
	}
	s := &ovs.State{
		ExternalIDs: maps.Clone(f.state.ExternalIDs), OtherConfig: maps.Clone(f.state.OtherConfig), Bridges: map[string]*ovs.Bridge{},
	}
	for name, b := range f.state.Bridges {
		c := *b
		c.ExternalIDs, c.OtherConfig, c.Ports = maps.Clone(b.ExternalIDs), maps.Clone(b.OtherConfig), map[string]*ovs.Port{}
		for port, p := range b.Ports {
			d := *p
			d.ExternalIDs = maps.Clone(p.ExternalIDs)
			c.Ports[port] = &d
		}
		s.Bridges[name] = &c
	}
	return s, nil
}

// Apply is one transaction.
func (f *Fake) Apply(_ context.Context, _ string, changes []ovs.Change) error {
	defer f.tell()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return ErrDown
	}
	f.writes = append(f.writes, slices.Clone(changes))
	for _, c := range changes {
		if err := f.apply(c); err != nil {
			return err
		}
	}
	if f.vswitchd != nil {
		f.vswitchd(&f.state)
	}
	return nil
}

// Watch calls notify after each change.
func (f *Fake) Watch(ctx context.Context, notify func()) error {
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

func (f *Fake) apply(c ovs.Change) error {
	s := &f.state
	switch c := c.(type) {
	case ovs.SetRoot:
		maps.Copy(s.ExternalIDs, c.ExternalIDs)
		maps.Copy(s.OtherConfig, c.OtherConfig)
		for _, k := range c.RemoveExternalIDs {
			delete(s.ExternalIDs, k)
		}
		for _, k := range c.RemoveOtherConfig {
			delete(s.OtherConfig, k)
		}
	case ovs.PutBridge:
		b, ok := s.Bridges[c.Name]
		if !ok {
			b = &ovs.Bridge{ExternalIDs: map[string]string{}, OtherConfig: map[string]string{}, Ports: map[string]*ovs.Port{
				c.Name: {Type: "internal", ExternalIDs: map[string]string{}},
			}}
			s.Bridges[c.Name] = b
		}
		set(&b.DatapathType, c.DatapathType)
		set(&b.FailMode, c.FailMode)
		maps.Copy(b.ExternalIDs, c.ExternalIDs)
		maps.Copy(b.OtherConfig, c.OtherConfig)
	case ovs.PutPort:
		b, ok := s.Bridges[c.Bridge]
		if !ok {
			return fmt.Errorf("no bridge %s", c.Bridge)
		}
		p, ok := b.Ports[c.Name]
		if !ok {
			p = &ovs.Port{ExternalIDs: map[string]string{}}
			b.Ports[c.Name] = p
		}
		set(&p.Type, c.Type)
		set(&p.MAC, c.MAC)
		set(&p.MTURequest, c.MTURequest)
		maps.Copy(p.ExternalIDs, c.ExternalIDs)
	case ovs.DeletePort:
		if b, ok := s.Bridges[c.Bridge]; ok {
			delete(b.Ports, c.Name)
		}
	case ovs.DeleteBridge:
		delete(s.Bridges, c.Name)
	default:
		return fmt.Errorf("unknown change %T", c)
	}
	return nil
}

func set[T comparable](to *T, v T) {
	var zero T
	if v != zero {
		*to = v
	}
}
