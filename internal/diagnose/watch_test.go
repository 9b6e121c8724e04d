package diagnose

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/output"
)

// sight is what one look of a watch sees: nodes with a finding, or why nothing is seen.
type sight struct {
	on     []string
	unread string // a node
	err    error
}

func (s sight) report() (*Report, error) {
	if s.err != nil {
		return nil, s.err
	}
	r := &Report{failOn: Warning, Result: Result{Findings: []Finding{}}}
	for _, n := range s.on {
		r.Findings = append(r.Findings, Finding{Code: drift.Code, Severity: Error, Node: n, Object: nodeObject(n), Message: "drift on " + n})
	}
	if s.unread != "" {
		r.Problems = []*inspect.Problem{{Node: s.unread, What: "OVN_Northbound", Why: "no answer in time"}}
	}
	return r, nil
}

// watchOf has a watch see these, and end in the pause after the last.
func watchOf(t *testing.T, sights ...sight) (told []string, pauses []time.Duration, last *Report, err error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	over := make(chan time.Time, len(sights)+1)
	w := &watcher{
		Watching: Watching{Every: time.Minute, Tell: func(c *Change) error {
			var b strings.Builder
			for i := range c.New {
				fmt.Fprintf(&b, "+%s ", c.New[i].Node)
			}
			for i := range c.Gone {
				fmt.Fprintf(&b, "-%s ", c.Gone[i].Node)
			}
			told = append(told, fmt.Sprintf("%s%d findings, %d problems", &b, c.Findings, len(c.Problems)))
			return nil
		}},
		again: time.Second, now: func() time.Time { return now },
		look: func(context.Context) (*Report, error) {
			s := sights[0]
			sights = sights[1:]
			return s.report()
		},
		after: func(d time.Duration) <-chan time.Time {
			pauses = append(pauses, d)
			if len(sights) == 0 {
				cancel()
				return nil
			}
			over <- now
			return over
		},
	}
	last, err = w.run(ctx)
	return told, pauses, last, err
}

func TestWatch(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sights []sight
		want   []string
		code   int
	}{
		"nothing":   {[]sight{{}, {}, {}}, []string{"0 findings, 0 problems"}, output.OK},
		"confirmed": {[]sight{{on: []string{"n1"}}, {on: []string{"n1"}}, {on: []string{"n1"}}}, []string{"+n1 1 findings, 0 problems"}, output.Findings},
		"fleeting":  {[]sight{{}, {on: []string{"n1"}}, {}, {}}, []string{"0 findings, 0 problems"}, output.OK},
		"comes and goes": {
			[]sight{{}, {on: []string{"n1"}}, {on: []string{"n1"}}, {}},
			[]string{"0 findings, 0 problems", "+n1 1 findings, 0 problems", "-n1 0 findings, 0 problems"}, output.OK,
		},
		"another": {
			[]sight{{on: []string{"n1"}}, {on: []string{"n1"}}, {on: []string{"n1", "n2"}}, {on: []string{"n1", "n2"}}},
			[]string{"+n1 1 findings, 0 problems", "+n2 2 findings, 0 problems"}, output.Findings,
		},
		"node unread": { // what is known of it is not gone
			[]sight{{on: []string{"n1"}}, {on: []string{"n1"}}, {unread: "n1"}, {unread: "n1"}, {}},
			[]string{"+n1 1 findings, 0 problems", "1 findings, 1 problems", "-n1 0 findings, 0 problems"}, output.OK,
		},
		"cluster unread": {
			[]sight{{}, {err: errors.New("refused")}, {err: errors.New("refused")}},
			[]string{"0 findings, 0 problems", "0 findings, 1 problems"}, output.Partial,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			told, _, last, err := watchOf(t, c.sights...)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, told); d != "" {
				t.Errorf("told (-want +got):\n%s", d)
			}
			if code := last.ExitCode(); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
		})
	}
}

func TestWatchPauses(t *testing.T) {
	t.Parallel()
	_, pauses, _, _ := watchOf(t, sight{}, sight{on: []string{"n1"}}, sight{on: []string{"n1"}}, sight{on: []string{"n1"}})
	if d := cmp.Diff([]time.Duration{time.Minute, time.Second, time.Minute, time.Minute}, pauses); d != "" {
		t.Errorf("only what is new needs a second look (-want +got):\n%s", d)
	}
}

func TestWatchEnds(t *testing.T) {
	t.Parallel()
	if _, _, last, err := watchOf(t, sight{err: errors.New("refused")}); err == nil || last != nil {
		t.Errorf("the first look failed, and so must the watch: %v, %v", last, err)
	}
	// Ctrl-C while a finding waits for its second look: it is not told.
	if told, _, last, err := watchOf(t, sight{}, sight{on: []string{"n1"}}); err != nil || len(told) != 1 || last.ExitCode() != output.OK {
		t.Errorf("told %q, last %v, error %v", told, last, err)
	}
}

func TestChangeText(t *testing.T) {
	t.Parallel()
	gone, _ := sight{on: []string{"n1"}}.report()
	c := changeOf(gone, &Report{Time: now, Result: *Run(testCluster(t, nil), All())})
	var b strings.Builder
	if err := c.Text(&b, output.Style{}, false); err != nil {
		t.Fatal(err)
	}
	at := now.Local().Format(time.TimeOnly)
	if d := cmp.Diff(at+" gone OVNK-DRIFT-001: drift on n1\n"+at+" no findings\n", b.String()); d != "" {
		t.Errorf("text (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"gone/ovnk-drift-001"}, c.Names()); d != "" {
		t.Errorf("names (-want +got):\n%s", d)
	}
}
