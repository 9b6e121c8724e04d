// Package engine makes the databases what the features want them to be. It is written
// once for all features.
//
//	world ──Change──> Keys ──> queue ──batch──> Desired ──> plan ──> one transaction per database
//	databases ──Change──> whose row? ────┘                    └── what the cache holds
//
// The engine is level-driven: it looks at what should be and at what is, and never at
// what happened. So the order of events is nothing to it, a restart writes nothing, and a
// row changed by hand is put back. One goroutine does all the work; others only put keys
// into the queue and wait.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// WaitingForRow is the code of the reason that a key refers to a row which another key has not
// made yet: it is usual for a moment, and no fault of the key's object.
const WaitingForRow = "WaitingForRow"

// Config is what an engine works with.
type Config struct {
	World    *world.Store
	NB       *ovn.DB
	SB       *ovn.DB // nil when no feature writes there
	Features []feature.Feature
	// OnReasons is called when the reasons why a key is not in order change; an empty list
	// says that it is now. It must be quick and is called by one goroutine.
	OnReasons func(featureName string, key feature.Key, reasons []feature.Reason)
	Logger    *slog.Logger          // nil for none
	Metrics   prometheus.Registerer // nil for none
	Clock     Clock                 // nil for the real one
	// MaxBatch is the number of keys that share a transaction, 1000 when zero: large
	// enough that a start takes few transactions, small enough that a live change does not
	// wait long behind one.
	MaxBatch int
}

// Clock is the time, for tests.
type Clock interface {
	Now() time.Time
	After(time.Duration) <-chan time.Time
}

type realClock struct{}

func (realClock) Now() time.Time                         { return time.Now() }
func (realClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

const (
	nbSide = iota
	sbSide
	sides
)

// Engine runs the features.
type Engine struct {
	cfg      Config
	log      *slog.Logger
	clock    Clock
	metrics  *metrics
	dbs      [sides]*ovn.DB
	features map[string]feature.Feature
	synced   chan struct{}

	mu    sync.Mutex // guards queue, inbox and the outcome of keys
	queue queue
	inbox []news
	wake  chan struct{}

	// Only the engine's goroutine touches these.
	ledger
	phase   phase
	schemas [sides]string // versions, for messages
	seen    [sides]int    // generations of the databases
}

// phase is how far the engine has come since its start.
type phase int

const (
	starting phase = iota // keys of the initial world are being done: contributions are not all known
	cleaning              // what no key wants any more is being removed
	steady
)

// news is what a database told.
type news struct {
	side    int
	changes []ovn.Change
}

// New makes an engine and subscribes it to the world: call it before the world's source
// starts.
func New(cfg Config) *Engine {
	e := &Engine{
		cfg: cfg, log: cfg.Logger, clock: cfg.Clock,
		dbs:      [sides]*ovn.DB{nbSide: cfg.NB, sbSide: cfg.SB},
		features: map[string]feature.Feature{},
		synced:   make(chan struct{}), wake: make(chan struct{}, 1),
		ledger: newLedger(),
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	if e.clock == nil {
		e.clock = realClock{}
	}
	if e.cfg.MaxBatch == 0 {
		e.cfg.MaxBatch = 1000
	}
	e.queue.keys = map[keyID]*keyState{}
	for _, f := range cfg.Features {
		e.features[f.Name()] = f
	}
	e.metrics = newMetrics(cfg.Metrics, e)
	cfg.World.Subscribe(e.onWorld)
	return e
}

// onWorld is called under the world's lock. The keys of all features come into the queue
// together, so that what one change is for several of them is one transaction: a pod's port
// and its membership in the groups that protect it.
func (e *Engine) onWorld(v world.View, c world.Change) {
	cause, lane := causeChange, live
	if c.Initial {
		cause, lane = causeStart, low
	}
	touched := make([][]feature.Key, len(e.cfg.Features))
	for i, f := range e.cfg.Features {
		touched[i] = f.Keys(v, c)
	}
	e.mu.Lock()
	for i, f := range e.cfg.Features {
		for _, k := range touched[i] {
			e.queue.add(e.queue.state(keyID{f.Name(), k}), lane, cause)
		}
	}
	e.mu.Unlock()
	e.poke()
}

// poke wakes the engine's goroutine.
func (e *Engine) poke() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// Run works until ctx ends.
func (e *Engine) Run(ctx context.Context) error {
	for side, db := range e.dbs {
		if db == nil {
			continue
		}
		cancel := db.Follow(func(changes []ovn.Change) {
			e.mu.Lock()
			e.inbox = append(e.inbox, news{side, changes})
			e.mu.Unlock()
			e.poke()
		})
		defer cancel()
		e.schemas[side], e.seen[side] = db.SchemaVersion(), db.Generation()
	}
	stopped := context.AfterFunc(ctx, e.poke)
	defer stopped()
	go func() {
		select {
		case <-e.cfg.World.SyncedC():
			e.poke()
		case <-ctx.Done():
		}
	}()
	for ctx.Err() == nil {
		if err := e.online(ctx); err != nil {
			return ctx.Err()
		}
		e.readInbox(nil)
		batch := e.take()
		if len(batch) == 0 {
			e.advance()
			if err := e.sleep(ctx); err != nil {
				return err
			}
			continue
		}
		e.reconcile(ctx, batch)
	}
	return ctx.Err()
}

// online waits until the databases are connected: without them there is nothing to do.
func (e *Engine) online(ctx context.Context) error {
	for side, db := range e.dbs {
		if db == nil {
			continue
		}
		if err := db.WaitOnline(ctx); err != nil {
			return err
		}
		if g := db.Generation(); g != e.seen[side] {
			e.schemas[side], e.seen[side] = db.SchemaVersion(), g
			e.Resync() // other columns may be writable now
		}
	}
	return nil
}

func (e *Engine) take() []*keyState {
	e.mu.Lock()
	defer e.mu.Unlock()
	batch := e.queue.take(e.cfg.MaxBatch, e.clock.Now())
	e.metrics.depth(e.queue.depth())
	return batch
}

// sleep returns when there may be something to do.
func (e *Engine) sleep(ctx context.Context) error {
	e.mu.Lock()
	if len(e.inbox) > 0 || e.queue.depth() > 0 {
		e.mu.Unlock()
		return nil
	}
	next, ok := e.queue.nextRetry()
	e.mu.Unlock()
	var timer <-chan time.Time
	if ok {
		timer = e.clock.After(max(0, next.Sub(e.clock.Now())))
	}
	select {
	case <-e.wake:
	case <-timer:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// advance is called when the queue is empty and moves the start forward.
func (e *Engine) advance() {
	e.mu.Lock()
	busy := e.queue.depth() > 0 || len(e.inbox) > 0
	e.mu.Unlock()
	if busy {
		return
	}
	switch e.phase {
	case starting:
		if !e.cfg.World.Synced() {
			return
		}
		e.phase = cleaning
		e.sweep()
		e.mu.Lock()
		clean := e.queue.depth() == 0
		e.mu.Unlock()
		if clean {
			e.advance()
		}
	case cleaning:
		e.phase = steady
		close(e.synced)
		e.log.Info("databases are in sync with the cluster")
	}
}

// Synced is closed when every object of the initial world has been handled once and what
// no key wants has been removed.
func (e *Engine) Synced() <-chan struct{} { return e.synced }

// Resync looks at every key again, behind live changes.
func (e *Engine) Resync() {
	e.mu.Lock()
	for _, s := range e.queue.keys {
		e.queue.add(s, low, causeResync)
	}
	e.mu.Unlock()
	e.poke()
}

// Repair looks at a key at once, and at all of its rows, because somebody has seen that they are
// not as they should be; also at one that is put back slowly, because somebody else keeps
// changing it. wait is like Wait, for this look, whatever is asked of the key later; it is nil
// if no such feature runs here.
func (e *Engine) Repair(featureName string, key feature.Key) (wait func(context.Context) error) {
	if e.features[featureName] == nil {
		return nil
	}
	e.mu.Lock()
	s := e.queue.state(keyID{featureName, key})
	e.queue.add(s, live, causeRepair)
	w := s.expect()
	e.mu.Unlock()
	e.poke()
	return func(ctx context.Context) error { return e.await(ctx, s, w) }
}

// Wait returns nil when what the key wants at the time of the call is committed. Else it
// returns, when ctx ends, with the reason why not.
func (e *Engine) Wait(ctx context.Context, featureName string, key feature.Key) error {
	e.mu.Lock()
	s := e.queue.keys[keyID{featureName, key}]
	if s == nil || s.done >= s.asked {
		e.mu.Unlock()
		return nil
	}
	w := s.expect()
	e.mu.Unlock()
	return e.await(ctx, s, w)
}

// await waits for what was asked of a key when w was made.
func (e *Engine) await(ctx context.Context, s *keyState, w waiter) error {
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
	}
	why := errors.New("still in the queue")
	if !e.cfg.NB.Online() { // not under mu: whoever reads a database may take mu
		why = errors.New("the Northbound database is not connected")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if s.problem != nil {
		why = errors.New(s.problem.Message)
	}
	return fmt.Errorf("%s %s is not programmed: %w: %w", s.id.feature, s.id.key, why, ctx.Err())
}
