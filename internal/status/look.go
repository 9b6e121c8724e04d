package status

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/output"
)

// Options say where to look, and for how long.
type Options struct {
	// Open opens the source; a live one is opened for each look.
	Open func(context.Context) (*inspect.Snapshot, error)
	// Again is how long after the first look the second one is, when a zone seems behind, and
	// between looks while it is waited.
	Again time.Duration
	// Wait is how long to wait until all is ready; 0 does not wait.
	Wait time.Duration
	// Findings counts what is wrong besides, of a source that was opened; nil for nobody. While
	// it is waited it is not asked: what changes is not what is wrong with it.
	Findings func(context.Context, *inspect.Snapshot) *Findings
	// Progress hears of each state that is different from the one before, while it is waited.
	Progress func(*Status)
	Now      func() time.Time
}

// Pause is the usual Options.Again: longer than a change takes from the Northbound database
// to the flows of a node.
const Pause = 2 * time.Second

// Run looks, and waits if that is asked for. When the time has run out, there is the last
// status with an error.
func Run(ctx context.Context, o Options) (*Status, error) {
	if o.Wait <= 0 {
		return o.look(ctx)
	}
	waiting, cancel := context.WithTimeout(ctx, o.Wait)
	defer cancel()
	return o.wait(ctx, waiting)
}

func (o *Options) wait(ctx, waiting context.Context) (*Status, error) {
	var last *Status
	var failure error
	said := ""
	for {
		s, err := o.look(waiting)
		if s != nil && s.Source.Kind != inspect.Live {
			return nil, notLive{s.Source}
		}
		switch {
		case err == nil && s.Ready && len(s.Problems) == 0:
			return s, nil
		case err == nil:
			last, failure = s, nil
			if line := s.Summary(); line != said && o.Progress != nil {
				said = line
				o.Progress(s)
			}
		case usage(err):
			return nil, err
		case waiting.Err() == nil:
			failure = err
		}
		select {
		case <-waiting.Done():
			if ctx.Err() != nil {
				return last, ctx.Err()
			}
			return last, &late{after: o.Wait, last: last, err: failure}
		case <-time.After(o.Again):
		}
	}
}

// usage tells whether an error is one that waiting does not heal.
func usage(err error) bool {
	var coded interface{ ExitCode() int }
	return errors.As(err, &coded) && coded.ExitCode() == output.Usage
}

// look looks once, and once more at zones that may be behind: that something is on its way is
// usual, that it is still on its way some time later is not.
func (o *Options) look(ctx context.Context) (*Status, error) {
	f, origin, err := o.read(ctx)
	if err != nil {
		return nil, err
	}
	now := o.Now()
	if origin.Kind != inspect.Live {
		if !origin.Time.IsZero() {
			now = origin.Time // a record is judged as of when it was taken
		}
		return f.status(origin, now, func(node string) int { return dueOfRecord(f.ovn[node], now) }), nil
	}
	asked := map[string]int{}
	for _, node := range f.nodes {
		if z := newZone(f.ovn[node]); z != nil && min(z.SBCfg, z.HVCfg) < z.NBCfg {
			asked[node] = z.NBCfg
		}
	}
	if len(asked) > 0 {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(o.Again):
		}
		if f, origin, err = o.read(ctx); err != nil {
			return nil, err
		}
		now = o.Now()
	}
	return f.status(origin, now, func(node string) int { return asked[node] }), nil
}

func (o *Options) read(ctx context.Context) (*facts, inspect.Origin, error) {
	s, err := o.Open(ctx)
	if err != nil {
		return nil, inspect.Origin{}, err
	}
	defer s.Close() //nolint:errcheck // only read
	f, err := read(ctx, s)
	if err == nil && o.Findings != nil && o.Wait <= 0 {
		f.findings = o.Findings(ctx, s)
	}
	return f, s.Origin(), err
}

// status makes the answer; due is how many changes a node should have in force.
func (f *facts) status(origin inspect.Origin, now time.Time, due func(node string) int) *Status {
	s := &Status{Meta: output.Kind(kind), Source: origin, Time: now.UTC(), Problems: f.problems, Findings: f.findings, Nodes: []Node{}}
	if !f.unlisted() {
		s.Components = f.components()
	}
	waiting, counts := f.pods(now)
	s.Waiting = waiting
	kubelet := kubelets(f.objects)
	s.Notes = append(f.componentNotes(s.Components), f.nodeNotes()...)
	for _, name := range f.nodes {
		n := Node{Name: name, Containers: f.containers(name), Pods: counts[name].all, Networked: counts[name].networked}
		if z := f.ovn[name]; z != nil {
			n.Versions, n.Zone = z.versions, newZone(z)
		}
		n.Versions.Kubelet = kubelet[name]
		if n.Zone != nil {
			n.Zone.judge(due(name))
		}
		if note, behind := n.Zone.note(name); behind {
			s.Notes = append(s.Notes, note)
		}
		s.Nodes = append(s.Nodes, n)
	}
	for i := range waiting {
		s.Notes = append(s.Notes, waiting[i].note())
	}
	s.Notes = append(s.Notes, versionNotes(s.Nodes)...)
	slices.SortStableFunc(s.Notes, func(a, b Note) int { return rank(a.Severity) - rank(b.Severity) })
	s.conclude()
	return s
}

func rank(s Severity) int {
	if s == Error {
		return 0
	}
	return 1
}

// conclude says of each node and of all whether they are ready. What could not be read of a
// node is no word for it.
func (s *Status) conclude() {
	bad := map[string]bool{}
	s.Ready = len(s.Nodes) > 0
	for _, n := range s.Notes {
		if n.Severity == Error {
			bad[n.Node], s.Ready = true, false
		}
	}
	for _, p := range s.Problems {
		bad[p.Node] = true
	}
	for i := range s.Nodes {
		s.Nodes[i].Ready = !bad[s.Nodes[i].Name]
	}
}

// late is that the time to wait has run out.
type late struct {
	after time.Duration
	last  *Status
	err   error
}

func (l *late) Error() string {
	why := "nothing could be read"
	switch {
	case l.err != nil:
		why = l.err.Error()
	case l.last != nil && len(l.last.Problems) > 0 && l.last.Ready:
		why = l.last.Problems[0].Error()
	case l.last != nil:
		why = l.last.Summary()
	}
	return fmt.Sprintf("the network is not ready after %s: %s", l.after, why)
}

// Hint says what to do next.
func (l *late) Hint() string {
	var hint interface{ Hint() string }
	if errors.As(l.err, &hint) && hint.Hint() != "" {
		return hint.Hint()
	}
	return "ovnkctl diagnose says why"
}

// ExitCode is that of waits that were too long.
func (l *late) ExitCode() int { return output.Timeout }

// notLive is a record, which will not change.
type notLive struct{ origin inspect.Origin }

func (n notLive) Error() string {
	return "--wait: " + n.origin.Name + " is a record, which does not change"
}
func (n notLive) Hint() string  { return "leave out --wait, or look at the live cluster without --from" }
func (n notLive) ExitCode() int { return output.Usage }
