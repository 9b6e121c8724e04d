package logs

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/output"
)

// Document is the lines as a document.
type Document struct {
	output.Meta
	Source   inspect.Origin     `json:"source"`
	Lines    []Line             `json:"lines"`
	Problems []*inspect.Problem `json:"problems,omitempty"`
}

// NewDocument makes one.
func NewDocument(from inspect.Origin, lines []Line, problems []*inspect.Problem) *Document {
	return &Document{Meta: output.Kind("Logs"), Source: from, Lines: lines, Problems: problems}
}

// The forms that lines have beside those of documents.
const (
	NDJSON = "ndjson" // each line is a JSON object
	Raw    = "raw"    // as the node has them
)

// Forms are these.
func Forms() []string { return []string{NDJSON, Raw} }

// Formats implements output.Formatted.
func (d *Document) Formats() map[string]func(io.Writer) error {
	out := map[string]func(io.Writer) error{}
	for _, form := range Forms() {
		out[form] = func(w io.Writer) error {
			p := Printer{W: w, Form: form}
			for i := range d.Lines {
				if err := p.Print(&d.Lines[i]); err != nil {
					return err
				}
			}
			return nil
		}
	}
	return out
}

// Text implements output.Textual.
func (d *Document) Text(w io.Writer, style output.Style, wide bool) error {
	p := Printer{W: w, Style: style, Wide: wide}
	for i := range d.Lines {
		if err := p.Print(&d.Lines[i]); err != nil {
			return err
		}
	}
	for _, line := range output.ProblemLines(inspect.Errors(d.Problems)) {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// Items implements output.Listed.
func (d *Document) Items() any { return d.Lines }

// ExitCode implements output.Coded.
func (d *Document) ExitCode() int {
	if len(d.Problems) > 0 {
		return output.Partial
	}
	return output.OK
}

// Printer writes lines one after the other.
type Printer struct {
	W     io.Writer
	Form  string // NDJSON, Raw, or for people
	Style output.Style
	Wide  bool

	day string
}

// clock is how the time of a line is written; the day is said when it changes.
const clock = "15:04:05.000"

// Print writes a line.
func (p *Printer) Print(l *Line) error {
	switch p.Form {
	case NDJSON:
		data, err := json.Marshal(l)
		if err != nil {
			return fmt.Errorf("line as JSON: %w", err)
		}
		_, err = fmt.Fprintf(p.W, "%s\n", data)
		return err
	case Raw:
		_, err := fmt.Fprintln(p.W, l.raw)
		return err
	}
	if day := l.Time.Format("2006-01-02"); day != p.day {
		p.day = day
		if _, err := fmt.Fprintln(p.W, p.Style.Dim(day+" UTC")); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(p.W, p.line(l))
	return err
}

func (p *Printer) line(l *Line) string {
	var b strings.Builder
	who := l.Node + "/" + l.Container
	if p.Wide {
		who = l.Node + "/" + l.Pod + "/" + l.Container
	}
	if l.Previous {
		who += " (before)"
	}
	b.WriteString(p.Style.Dim(l.Time.UTC().Format(clock)) + " " + who + " ")
	mark := map[Level]func(string) string{Error: p.Style.Bad, Warn: p.Style.Warn, Debug: p.Style.Dim}[l.Level]
	switch {
	case l.Level == Unknown:
	case mark != nil:
		b.WriteString(mark(strings.ToUpper(string(l.Level))) + " ")
	default:
		b.WriteString(strings.ToUpper(string(l.Level)) + " ")
	}
	if l.Module != "" {
		b.WriteString(l.Module + ": ")
	}
	b.WriteString(l.Message)
	for _, f := range l.Fields {
		value := f.Value
		if strings.ContainsAny(value, " \t\n\"") || value == "" {
			value = fmt.Sprintf("%q", value)
		}
		b.WriteString(" " + p.Style.Dim(f.Name+"=") + value)
	}
	return b.String()
}
