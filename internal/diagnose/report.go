package diagnose

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/output"
)

const reportKind = "Diagnosis"

// Report is a result as a document.
type Report struct {
	output.Meta
	Source inspect.Origin `json:"source"`
	Time   time.Time      `json:"time"` // of the state that was looked at
	Nodes  []string       `json:"nodes"`
	Result
	// Problems are what could not be read; then there may be more findings than these.
	Problems []*inspect.Problem `json:"problems,omitempty"`

	failOn Severity
}

// Document is an empty report, for its schema.
func Document() any { return Report{Meta: output.Kind(reportKind)} }

// ExitCode implements output.Coded.
func (r *Report) ExitCode() int {
	if worst, ok := r.Worst(); ok && r.failOn != "" && worst.AtLeast(r.failOn) {
		return output.Findings
	}
	if len(r.Problems) > 0 {
		return output.Partial
	}
	return output.OK
}

// Names implements output.Named: the objects that findings are about.
func (r *Report) Names() []string {
	out := []string{}
	for i := range r.Findings {
		f := &r.Findings[i]
		name := strings.ToLower(f.Code)
		if o := f.Object; o != nil {
			name = strings.ToLower(o.Kind) + "/" + o.Name
			if o.Namespace != "" {
				name = strings.ToLower(o.Kind) + "/" + o.Namespace + "/" + o.Name
			}
		}
		out = append(out, name)
	}
	return out
}

// Items implements output.Listed.
func (r *Report) Items() any { return r.Findings }

// fewest is how many consequences are printed unless all are asked for.
const fewest = 3

// Text implements output.Textual: each finding with what it explains and what to do.
func (r *Report) Text(w io.Writer, s output.Style, wide bool) error {
	p := &output.Printer{W: w}
	for i := range r.Findings {
		r.Findings[i].print(p, s, wide)
	}
	counts := map[Severity]int{}
	for i := range r.Findings {
		counts[r.Findings[i].Severity]++
	}
	summary := fmt.Sprintf("%d checks on %d nodes: ", len(r.Checks), len(r.Nodes))
	if len(r.Findings) == 0 {
		summary += s.Good("no findings")
	} else {
		summary += fmt.Sprintf("%d errors, %d warnings, %d infos", counts[Error], counts[Warning], counts[Info])
	}
	p.Line("%s", summary)
	var problems []error
	for _, x := range r.Problems {
		problems = append(problems, x)
	}
	for _, l := range output.ProblemLines(problems) {
		p.Line("%s", l)
	}
	return p.Err
}

// print writes a finding for people.
func (f *Finding) print(p *output.Printer, s output.Style, wide bool) {
	mark := map[Severity]func(string) string{Info: s.Dim, Warning: s.Warn, Error: s.Bad}[f.Severity]
	p.Line("%s %s %s", mark(string(f.Severity)), s.Bold(f.Code), f.Title)
	where := ""
	if f.Node != "" && !strings.Contains(f.Message, f.Node) {
		where = "node " + f.Node + ": "
	}
	if f.Object != nil && f.Object.Kind != "Node" && !strings.Contains(f.Message, f.Object.Name) {
		where = f.Object.String() + ", " + where
	}
	p.Line("  %s%s", where, f.Message)
	for _, e := range f.Evidence {
		p.Line("    %s", s.Dim(e))
	}
	for i, x := range f.Explains {
		if i == fewest && !wide {
			p.Line("  explains %d more findings (-o wide lists them)", len(f.Explains)-fewest)
			break
		}
		p.Line("  explains %s: %s", x.Code, x.Message)
	}
	p.Line("  → %s", f.Next)
	p.Line("")
}

// Formats implements output.Formatted.
func (r *Report) Formats() map[string]func(io.Writer) error {
	return map[string]func(io.Writer) error{"junit": r.junit, "sarif": r.sarif}
}

// Forms are the names of the forms that a report has more than other results.
func Forms() []string { return []string{"junit", "sarif"} }
