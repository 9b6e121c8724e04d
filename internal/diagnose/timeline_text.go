package diagnose

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/output"
)

// ExitCode implements output.Coded.
func (t *Timeline) ExitCode() int {
	switch {
	case t.severity != "" && t.failOn != "" && t.severity.AtLeast(t.failOn):
		return output.Findings
	case len(t.Problems) > 0:
		return output.Partial
	}
	return output.OK
}

// Names implements output.Named.
func (t *Timeline) Names() []string { return []string{"pod/" + t.Namespace + "/" + t.Name} }

// Items implements output.Listed.
func (t *Timeline) Items() any { return t.Stages }

// How times are written: the date is told once.
const (
	timelineDay  = "2006-01-02"
	timelineTime = "15:04:05.000"
	timelineCoar = "15:04:05"
)

// Text implements output.Textual: the stages in order, and what the pod waits for.
func (t *Timeline) Text(w io.Writer, s output.Style, wide bool) error {
	p := &output.Printer{W: w}
	p.Line("%s", t.headline(s))
	table := output.Table{Header: []string{"STAGE", "STATE", "TIME (UTC)", "AFTER", "TOOK", "WHAT"}}
	if wide {
		table.Header = append(table.Header, "NODE", "DETAIL")
	}
	r := &rower{style: s, wide: wide}
	for i := range t.Stages {
		table.Rows = append(table.Rows, r.row(&t.Stages[i]))
	}
	if p.Err == nil {
		p.Err = table.Write(w, s)
	}
	for i := range t.Stages {
		if e := &t.Stages[i]; e.Error != "" {
			p.Line("%s", s.Warn(fmt.Sprintf("last error of %s, at %s: %s", e.Name, when(e.ErrorTime), oneLine(e.Error))))
		}
	}
	for _, n := range t.Notes {
		p.Line("%s", s.Dim(n))
	}
	if t.Next != "" {
		p.Line("→ %s", t.Next)
	}
	for _, l := range output.ProblemLines(inspect.Errors(t.Problems)) {
		p.Line("%s", l)
	}
	return p.Err
}

func (t *Timeline) headline(s output.Style) string {
	mark := map[PodState]func(string) string{PodReady: s.Good, PodNetworked: s.Good, PodFailing: s.Bad, PodWaiting: s.Warn, PodUnknown: s.Warn}[t.State]
	if mark == nil {
		mark = s.Dim
	}
	var b strings.Builder
	b.WriteString(s.Bold("pod " + t.Namespace + "/" + t.Name))
	if t.Node != "" {
		b.WriteString(" on node " + t.Node)
	}
	if len(t.Addresses) > 0 {
		b.WriteString(", " + strings.Join(t.Addresses, ", "))
	}
	b.WriteString(": " + mark(string(t.State)))
	switch {
	case t.WaitsFor != "":
		fmt.Fprintf(&b, ", waits for %s: %s", t.WaitsFor, oneLine(t.Message))
	case t.State != PodReady:
		b.WriteString(": " + t.Message)
	}
	if t.NetworkMilliseconds != nil {
		fmt.Fprintf(&b, "; network in place %s after a node was found", short(*t.NetworkMilliseconds))
	}
	if t.Failed > 0 {
		fmt.Fprintf(&b, "; %d of %d ADDs that are remembered failed", t.Failed, t.Adds)
	}
	return b.String()
}

// rower makes rows of stages, which depend on the one before.
type rower struct {
	style  output.Style
	wide   bool
	day    string // that was told
	coarse bool   // the one before is told to the second
}

func (r *rower) row(s *TimelineStage) []string {
	style := r.style
	mark := map[StageState]func(string) string{StageDone: style.Good, StageFailed: style.Bad, StageWaiting: style.Warn}[s.State]
	if mark == nil {
		mark = style.Dim
	}
	name := string(s.Name)
	if part, ok := strings.CutPrefix(name, partOfAdd); ok {
		name = "  " + part
	}
	at := ""
	if !s.Time.IsZero() {
		at = s.Time.Format(timelineTime)
		if s.ToTheSecond {
			at = s.Time.Format(timelineCoar)
		}
		if d := s.Time.Format(timelineDay); d != r.day {
			r.day, at = d, d+" "+at
		}
	}
	after := ""
	if s.AfterMilliseconds != nil {
		if after = "+" + short(*s.AfterMilliseconds); s.ToTheSecond || r.coarse {
			after = "~" + after
		}
	}
	if !isPart(s.Name) && !s.Time.IsZero() {
		r.coarse = s.ToTheSecond
	}
	took := ""
	if s.TookMilliseconds != nil {
		took = short(*s.TookMilliseconds)
	}
	out := []string{name, mark(string(s.State)), at, after, took, s.What}
	if r.wide {
		out = append(out, s.Node, s.Detail)
	}
	return out
}

// short is a duration for people: "3.2ms", "412ms", "1.9s".
func short(ms float64) string {
	d := time.Duration(ms * float64(time.Millisecond))
	switch {
	case d < 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

func when(t time.Time) string {
	if t.IsZero() {
		return "an unknown time"
	}
	return t.UTC().Format(timelineDay + " " + timelineTime)
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
