package diagnose

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/output"
)

const changeKind = "DiagnosisChange"

// Change is what became different since the look before; the first one tells all.
type Change struct {
	output.Meta
	Source inspect.Origin `json:"source"`
	Time   time.Time      `json:"time"` // of the state that was looked at
	// New are findings that were not there.
	New []Finding `json:"new"`
	// Gone are findings that are not there any more.
	Gone []Finding `json:"gone"`
	// Findings is how many there are now.
	Findings int `json:"findings"`
	// Problems are what cannot be read now; they are told when they change. What is found of
	// a node that cannot be read is neither new nor gone.
	Problems []*inspect.Problem `json:"problems,omitempty"`
}

// ChangeDocument is an empty change, for its schema.
func ChangeDocument() any { return &Change{Meta: output.Kind(changeKind)} }

// Watching is what Watch needs besides Options.
type Watching struct {
	// Every is the pause between two looks.
	Every time.Duration
	// Tell is told of the first look and of every one that differs from the one before.
	Tell func(*Change) error
}

// Watch looks again and again until the context ends, and returns what it knew last, nil if
// that is nothing yet. What is new is told once a second look finds it, too; what is not
// found any more is told at once. A look that fails tells nothing of the cluster: it is a
// problem like others, but for the first, which would fail again.
func Watch(ctx context.Context, o Options, w Watching) (*Report, error) {
	checks, err := Select(o.Select)
	if err != nil {
		return nil, err
	}
	return (&watcher{
		Watching: w, again: o.Again, now: o.Now, after: time.After,
		look: func(ctx context.Context) (*Report, error) {
			r, _, err := o.look(ctx, checks)
			return r, err
		},
	}).run(ctx)
}

// watcher is a watch, with the time of its own that tests need.
type watcher struct {
	Watching
	again time.Duration
	now   func() time.Time
	after func(time.Duration) <-chan time.Time
	look  func(context.Context) (*Report, error)

	last *Report
}

func (w *watcher) run(ctx context.Context) (*Report, error) {
	for {
		now, err := w.confirm(ctx)
		if ctx.Err() != nil {
			return w.last, nil //nolint:nilerr // Ctrl-C is how it ends, and may be in the middle of a look
		}
		if err != nil {
			if w.last == nil {
				return nil, err
			}
			now = w.last.unseen(err, w.now())
		}
		if c := changeOf(w.last, now); c != nil {
			if err := w.Tell(c); err != nil {
				return w.last, err
			}
		}
		w.last = now
		select {
		case <-ctx.Done():
			return w.last, nil
		case <-w.after(w.Every):
		}
	}
}

// confirm looks, and again if there is something that was not known.
func (w *watcher) confirm(ctx context.Context) (*Report, error) {
	first, err := w.look(ctx)
	if err != nil {
		return nil, err
	}
	var known []Finding
	if w.last != nil {
		known = w.last.Findings
	}
	first.keep(known)
	if len(without(first.Findings, known)) == 0 {
		return first, nil
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-w.after(w.again):
	}
	second, err := w.look(ctx)
	if err != nil {
		return nil, err
	}
	second.Findings = both(slices.Concat(first.Findings, known), second.Findings)
	second.keep(known)
	return second, nil
}

// keep adds what was known of nodes that could not be read: nobody has seen that it is gone.
// Where the API server does not answer that is all.
func (r *Report) keep(known []Finding) {
	for i := range known {
		f := &known[i]
		unread := slices.ContainsFunc(r.Problems, func(p *inspect.Problem) bool { return p.Node == "" || p.Node == f.Node })
		if unread && !holds(r.Findings, f) {
			r.Findings = append(r.Findings, *f)
		}
	}
}

// unseen is what was known, and why nothing newer is.
func (r *Report) unseen(why error, now time.Time) *Report {
	out := *r
	out.Time, out.Problems = now.UTC(), []*inspect.Problem{{What: "the cluster", Why: why.Error()}}
	return &out
}

// changeOf is the difference of two looks; nil for none.
func changeOf(before, now *Report) *Change {
	c := &Change{
		Meta: output.Kind(changeKind), Source: now.Source, Time: now.Time, Findings: len(now.Findings), Problems: now.Problems,
		New: now.Findings, Gone: []Finding{},
	}
	if before == nil {
		return c
	}
	c.New, c.Gone = without(now.Findings, before.Findings), without(before.Findings, now.Findings)
	same := slices.EqualFunc(before.Problems, now.Problems, func(a, b *inspect.Problem) bool { return a.Error() == b.Error() })
	if len(c.New)+len(c.Gone) == 0 && same {
		return nil
	}
	return c
}

// without are the findings that none of others is. Of what is about no object there may be
// several on a node, which their words tell apart.
func without(findings, others []Finding) []Finding {
	out := []Finding{}
	for i := range findings {
		if !holds(others, &findings[i]) {
			out = append(out, findings[i])
		}
	}
	return out
}

func holds(list []Finding, f *Finding) bool {
	return slices.ContainsFunc(list, func(g Finding) bool { return alike(&g, f) && (f.Object != nil || g.Message == f.Message) })
}

// ExitCode implements output.Coded: a change is news, the code is the last report's.
func (c *Change) ExitCode() int { return output.OK }

// Text implements output.Textual: what is new as a report tells it, what is gone in a line.
func (c *Change) Text(w io.Writer, s output.Style, wide bool) error {
	p := &output.Printer{W: w}
	at := c.Time.Local().Format(time.TimeOnly)
	for i := range c.Gone {
		f := &c.Gone[i]
		p.Line("%s %s %s: %s", at, s.Good("gone"), s.Bold(f.Code), f.Message)
	}
	for i := range c.New {
		p.F("%s %s ", at, s.Bold("new"))
		c.New[i].print(p, s, wide)
	}
	for _, x := range c.Problems {
		p.Line("%s %s %s", at, s.Warn("unread"), strings.TrimSpace(x.Error()))
	}
	if c.Findings == 0 {
		p.Line("%s %s", at, s.Good("no findings"))
	} else {
		p.Line("%s findings: %d", at, c.Findings)
	}
	return p.Err
}

// Names implements output.Named: what happened to which code.
func (c *Change) Names() []string {
	out := []string{}
	for i := range c.Gone {
		out = append(out, "gone/"+strings.ToLower(c.Gone[i].Code))
	}
	for i := range c.New {
		out = append(out, "new/"+strings.ToLower(c.New[i].Code))
	}
	return out
}

// Items implements output.Listed.
func (c *Change) Items() any { return c.New }
