package trace

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Change is what became of a packet, at the first look or since another answer.
type Change struct {
	Time    time.Time `json:"time"`
	Verdict Verdict   `json:"verdict"`
	// Was is the verdict before; empty for the first.
	Was Verdict `json:"was,omitempty"`
	// Why is what decided, or why the question cannot be answered.
	Why string `json:"why"`
	// Trace is the answer; none where there is no answer.
	Trace *Result `json:"trace,omitempty"`
}

// Watching is a question that is asked again and again.
type Watching struct {
	// Look asks once.
	Look func(context.Context) (*Result, error)
	// Every is the pause between two looks.
	Every time.Duration
	// Until ends the watch by an answer; nil for never.
	Until func(*Result) bool
	// Tell is told of the first answer and of every one that differs from the one before.
	Tell func(Change) error
}

// Watch asks until the answer is what is waited for, or the context ends. That an end is not
// there yet, or that one look fails, is an answer like others: things come and go. But what
// fails at the first look for another reason would fail again.
func Watch(ctx context.Context, w Watching) error {
	var last *Change
	for {
		r, err := w.Look(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && last == nil && !errors.As(err, new(*UnknownError)) {
			return err
		}
		now := changeOf(r, err)
		if last == nil || !now.same(last) {
			if last != nil {
				now.Was = last.Verdict
			}
			if err := w.Tell(now); err != nil {
				return err
			}
			last = &now
		}
		if err == nil && w.Until != nil && w.Until(r) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(w.Every):
		}
	}
}

func changeOf(r *Result, err error) Change {
	c := Change{Time: time.Now(), Verdict: Unknown, Trace: r}
	if err != nil {
		c.Why, c.Trace = err.Error(), nil
		return c
	}
	c.Verdict = r.Verdict
	for _, p := range r.Paths {
		if p.Verdict == r.Verdict {
			c.Why = p.Decision.Text
			break
		}
	}
	return c
}

// same tells whether two answers are the same: the verdicts of all ways, and who decided. Another
// backend, or another number of packets' hops, is no other answer.
func (c *Change) same(o *Change) bool {
	return c.Verdict == o.Verdict && c.Why == o.Why && (c.Trace == nil) == (o.Trace == nil) &&
		(c.Trace == nil || slices.EqualFunc(c.Trace.Paths, o.Trace.Paths, func(a, b *Path) bool {
			return a.Verdict == b.Verdict && a.Decision.Text == b.Decision.Text
		}))
}
