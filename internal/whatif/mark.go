package whatif

import (
	"context"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/explain"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/trace"
)

// notApplied is what stands behind the names of objects of the input.
const notApplied = " (not applied)"

// Mark marks the objects of the input that decided in an answer. Rows that are in a copy alone
// lose their UUIDs, which nobody could look up.
func (w *WhatIf) Mark(ctx context.Context, r *trace.Result) {
	for _, p := range r.Paths {
		w.markPath(ctx, p)
	}
}

func (w *WhatIf) markPath(ctx context.Context, p *trace.Path) {
	w.MarkDecision(ctx, &p.Decision)
	if p.Reply != nil {
		w.markPath(ctx, p.Reply)
	}
}

// Marked is a text in which the objects of the input are marked.
func (w *WhatIf) Marked(text string) string {
	for _, e := range w.overlay.edits {
		if e.pending() {
			text = marked(text, e.Object.String())
		}
	}
	return text
}

// MarkDecision marks the objects of the input in one decision.
func (w *WhatIf) MarkDecision(ctx context.Context, d *trace.Decision) {
	d.Text = w.Marked(d.Text)
	if d.Row != nil {
		row := *d.Row // others have it, too
		w.mark(&row.Object)
		if !w.isThere(ctx, row) {
			row.UUID = ""
		}
		d.Row = &row
	}
	if d.Rule != nil {
		w.mark(&d.Rule.Object)
	}
	for i := range d.Isolating {
		w.mark(&d.Isolating[i])
	}
	for i := range d.Nearest {
		w.mark(&d.Nearest[i].Rule.Object)
	}
}

// isThere tells whether a row is one of today.
func (w *WhatIf) isThere(ctx context.Context, r explain.RowRef) bool {
	d, ok := ovn.DatabaseNamed(r.Database)
	if !ok {
		return false
	}
	c, err := w.today.Node(r.Node).Database(ctx, d)
	t, known := d.Table(r.Table)
	if err != nil || !known {
		return false
	}
	_, ok = c.Row(t, r.UUID)
	return ok
}

func (w *WhatIf) mark(o *explain.Object) {
	for _, e := range w.overlay.edits {
		if e.pending() && e.Object == *o {
			o.NotApplied = true
			return
		}
	}
}

// pending tells whether the object would be there, and is not as it would be.
func (e Edit) pending() bool { return e.Action == Added || e.Action == Replaced }

// marked is a text with a mark behind each name of an object.
func marked(text, name string) string {
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(text, name)
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		b.WriteString(name)
		if after == "" || !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-.", rune(after[0])) || after[0] == '.' && (len(after) == 1 || after[1] == ' ') {
			b.WriteString(notApplied)
		}
		text = after
	}
}

// Today is the answer without the input.
type Today struct {
	// Verdict is empty when the question cannot be asked today: Why says why.
	Verdict  trace.Verdict   `json:"verdict,omitempty"`
	Decision *trace.Decision `json:"decision,omitempty"`
	Why      string          `json:"why,omitempty"`
}

// NewToday is the answer, or why there is none.
func NewToday(r *trace.Result, err error) *Today {
	if err != nil {
		return &Today{Why: err.Error()}
	}
	t := &Today{Verdict: r.Verdict}
	for _, p := range r.Paths {
		if p.Verdict == r.Verdict {
			t.Decision, t.Why = &p.Decision, p.Decision.Text
			break
		}
	}
	return t
}

// String is "ALLOWED", or that it cannot be asked.
func (t *Today) String() string {
	if t.Verdict == "" {
		return "cannot be asked"
	}
	return strings.ToUpper(string(t.Verdict))
}
