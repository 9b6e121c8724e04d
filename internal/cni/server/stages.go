//go:build linux

package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// stage is one step of an ADD.
type stage string

// The stages of an ADD; the last four overlap.
const (
	stageTurn      stage = "turn"      // wait for another call for the same sandbox
	stageAddress   stage = "address"   // the pod is known and has addresses
	stageVeth      stage = "veth"      // the veth pair is made
	stageInterface stage = "interface" // addresses and routes are in the pod
	stageNB        stage = "nb"        // the logical switch port is in the Northbound database
	stagePort      stage = "port"      // the port is in the Open_vSwitch database
	stageFlows     stage = "flows"     // ovn-controller has installed the flows
)

// limits is how long each stage may take. Together they stay below wire.Limit, so that
// an ADD that fails says where.
var limits = map[stage]time.Duration{
	stageTurn:      30 * time.Second,
	stageAddress:   20 * time.Second,
	stageVeth:      20 * time.Second,
	stageInterface: 20 * time.Second,
	stageNB:        30 * time.Second,
	stagePort:      35 * time.Second, // a transaction itself gives up after 30
	// All pods of a node that boots wait for one ovn-controller.
	stageFlows: 60 * time.Second,
}

// stageError is why and where an ADD failed.
type stageError struct {
	stage stage
	err   error
}

func (e *stageError) Error() string { return fmt.Sprintf("at stage %s: %v", e.stage, e.err) }
func (e *stageError) Unwrap() error { return e.err }

// errTimeout is the cause of a context whose stage took too long.
var errTimeout = errors.New("timed out")

// stages records how long the stages of one ADD took.
type stages struct {
	metrics *Metrics
	start   time.Time

	mu    sync.Mutex
	order []stage
	took  map[stage]time.Duration
}

func newStages(m *Metrics) *stages {
	return &stages{metrics: m, start: time.Now(), took: map[stage]time.Duration{}}
}

// run does one stage within its limit. An error carries the stage's name, and the limit
// if that was the reason.
func (s *stages) run(ctx context.Context, name stage, f func(context.Context) error) error {
	limit := limits[name]
	limited, cancel := context.WithTimeoutCause(ctx, limit, errTimeout)
	defer cancel()
	start := time.Now()
	err := f(limited)
	s.record(name, time.Since(start))
	switch {
	case err == nil:
		return nil
	case errors.Is(context.Cause(limited), errTimeout):
		return &stageError{name, fmt.Errorf("not done within %s: %w", limit, err)}
	case ctx.Err() != nil:
		// The ADD was given up: that, and not how far this stage was, is the reason.
		return &stageError{name, context.Cause(ctx)}
	}
	return &stageError{name, err}
}

func (s *stages) record(name stage, d time.Duration) {
	s.metrics.stage(name, d)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, again := s.took[name]; !again {
		s.order = append(s.order, name)
	}
	s.took[name] += d
}

// String is "veth 3ms, port 5ms, flows 30s (total 30.1s)".
func (s *stages) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	parts := make([]string, 0, len(s.order))
	for _, name := range s.order {
		parts = append(parts, fmt.Sprintf("%s %s", name, s.took[name].Round(100*time.Microsecond)))
	}
	return fmt.Sprintf("%s (total %s)", strings.Join(parts, ", "), time.Since(s.start).Round(100*time.Microsecond))
}

// oneLine is the text of joined errors on one line.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
