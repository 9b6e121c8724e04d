package reach

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"html/template"
	"io"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/output"
	"github.com/ovnkctl/ovnkctl/internal/trace"
)

// Forms are those that a matrix has besides the usual ones.
func Forms() []string { return []string{"csv", "html"} }

// Formats implements output.Formatted.
func (r *Result) Formats() map[string]func(io.Writer) error {
	return map[string]func(io.Writer) error{"csv": r.csv, "html": r.html}
}

// Items implements output.Listed.
func (r *Result) Items() any { return r.Cells }

// Names implements output.Named: the cells, with their verdicts.
func (r *Result) Names() []string {
	var out []string
	for _, c := range r.Cells {
		out = append(out, fmt.Sprintf("%s %s %s %s", c.Source, c.Destination, c.Port, strings.ToLower(string(c.Verdict))))
	}
	return out
}

// csv writes a line for each cell, in the form of expectations.
func (r *Result) csv(w io.Writer) error {
	out := csv.NewWriter(w)
	lines := [][]string{{"source", "destination", "port", "verdict", "from", "to", "why"}}
	for _, c := range r.Cells {
		lines = append(lines, []string{c.Source, c.Destination, c.Port, string(c.Verdict), c.From, c.To, c.why()})
	}
	if err := out.WriteAll(lines); err != nil {
		return fmt.Errorf("matrix as CSV: %w", err)
	}
	return nil
}

//go:embed page.html
var page string

// pageTemplate is the page: it has its style in itself and no script, so that it can be sent
// and kept.
var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"mark": func(v trace.Verdict) string { return markOf(v).char },
	"text": func(v trace.Verdict) string { return markOf(v).text },
	"why":  (*Cell).why,
	"name": (*Cell).name,
}).Parse(page))

// html writes the matrix as a page.
func (r *Result) html(w io.Writer) error {
	m, plain := r.matrix(), *r
	plain.Style = output.Style{} // of terminals
	type row struct {
		Name  string
		Cells []*Cell
	}
	type column struct{ Destination, Port string }
	data := struct {
		*Result
		Title    string
		Columns  []column
		Rows     []row
		Reasons  []*reason
		Warnings []string
	}{Result: r, Title: r.summary(), Reasons: r.reasons(), Warnings: plain.warnings()}
	for _, k := range m.columns {
		data.Columns = append(data.Columns, column{k.destination, k.port})
	}
	for _, name := range m.rows {
		line := row{Name: name}
		for _, k := range m.columns {
			line.Cells = append(line.Cells, m.cells[key{name, k.destination, k.port}])
		}
		data.Rows = append(data.Rows, line)
	}
	if err := pageTemplate.Execute(w, data); err != nil {
		return fmt.Errorf("matrix as a page: %w", err)
	}
	return nil
}
