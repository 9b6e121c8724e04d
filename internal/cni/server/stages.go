//go:build linux

package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/cni/history"
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

// stages records when the stages of one ADD began and how long they took.
type stages struct {
	metrics *Metrics
	start   time.Time

	mu   sync.Mutex
	list []history.Stage // in the order of their beginning
	// uid is the pod's as the API has it, once it is known.
	uid string
}

func newStages(m *Metrics) *stages {
	return &stages{metrics: m, start: time.Now(), list: make([]history.Stage, 0, len(limits))}
}

// run does one stage within its limit. An error carries the stage's name, and the limit
// if that was the reason.
func (s *stages) run(ctx context.Context, name stage, f func(context.Context) error) error {
	limit := limits[name]
	limited, cancel := context.WithTimeoutCause(ctx, limit, errTimeout)
	defer cancel()
	start := time.Now()
	at := s.begin(name, start)
	err := f(limited)
	d := time.Since(start)
	s.metrics.stage(name, d)
	givenUp := false
	switch {
	case err == nil:
	case errors.Is(context.Cause(limited), errTimeout):
		err = fmt.Errorf("not done within %s: %w", limit, err)
	case ctx.Err() != nil:
		// The ADD was given up: that, and not how far this stage was, is the reason.
		givenUp, err = true, context.Cause(ctx)
	}
	s.end(at, d, err, givenUp)
	if err != nil {
		return &stageError{name, err}
	}
	return nil
}

// begin notes a stage and returns where.
func (s *stages) begin(name stage, start time.Time) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, history.Stage{Name: string(name), At: start.Sub(s.start).Microseconds(), Running: true})
	return len(s.list) - 1
}

func (s *stages) end(at int, d time.Duration, err error, givenUp bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := &s.list[at]
	e.Running, e.Took, e.GivenUp = false, d.Microseconds(), givenUp
	if other := (*stageError)(nil); err == nil || givenUp && errors.As(err, &other) {
		return // the error of another stage is not told once more
	}
	e.Error = history.Cut(oneLine(err))
}

// identify notes which pod it is.
func (s *stages) identify(uid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uid = uid
}

// record is how far the ADD is.
func (s *stages) record(c *call) history.Add {
	s.mu.Lock()
	defer s.mu.Unlock()
	return history.Add{
		Namespace: c.pod.Namespace, Name: c.pod.Name, UID: s.uid, Sandbox: c.sandbox,
		Began: s.start, Stages: slices.Clone(s.list),
	}
}

// String is "veth 3ms, port 5ms, flows 30s (total 30.1s)", in the order of their ends.
func (s *stages) String() string {
	s.mu.Lock()
	list := slices.Clone(s.list)
	s.mu.Unlock()
	slices.SortStableFunc(list, func(a, b history.Stage) int { return cmp.Compare(a.At+a.Took, b.At+b.Took) })
	parts := make([]string, 0, len(list))
	for _, e := range list {
		if !e.Running {
			parts = append(parts, fmt.Sprintf("%s %s", e.Name, (time.Duration(e.Took)*time.Microsecond).Round(100*time.Microsecond)))
		}
	}
	return fmt.Sprintf("%s (total %s)", strings.Join(parts, ", "), time.Since(s.start).Round(100*time.Microsecond))
}

// oneLine is the text of joined errors on one line.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
