package reach

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/output"
	"github.com/ovnkctl/ovnkctl/internal/trace"
)

// mark is a verdict in one character, so that a wide matrix can be seen at once.
type mark struct {
	verdict    trace.Verdict
	char, text string
}

var marks = []mark{
	{trace.Allowed, ".", "allowed"},
	{trace.Dropped, "X", "dropped"},
	{trace.Rejected, "R", "rejected"},
	{trace.Unreachable, "U", "unreachable"},
	{Same, "=", "one and the same pod"},
	{Impossible, "-", "no such packet"},
	{trace.Unknown, "?", "not known"},
	{NotAsked, " ", "not asked"},
}

func markOf(v trace.Verdict) mark {
	for _, m := range marks {
		if m.verdict == v {
			return m
		}
	}
	return mark{v, "?", string(v)}
}

// colored is a mark as terminals show it.
func (r *Result) colored(v trace.Verdict, text string) string {
	switch v {
	case trace.Allowed:
		return r.Style.Good(text)
	case trace.Dropped, trace.Rejected, trace.Unreachable:
		return r.Style.Bad(text)
	case trace.Unknown:
		return r.Style.Warn(text)
	}
	return r.Style.Dim(text)
}

// matrix is the cells by row and column.
type matrix struct {
	rows    []string
	columns []key // without source
	cells   map[key]*Cell
}

func (r *Result) matrix() matrix {
	m := matrix{cells: map[key]*Cell{}}
	for _, c := range r.Cells {
		if !slices.Contains(m.rows, c.Source) {
			m.rows = append(m.rows, c.Source)
		}
		m.cells[c.key()] = c
	}
	seen := map[key]bool{}
	for _, c := range r.Cells {
		k := key{"", c.Destination, c.Port}
		if !seen[k] {
			seen[k] = true
			m.columns = append(m.columns, k)
		}
	}
	return m
}

// widestHeader is how wide the names of columns may be together, in characters. Beyond that
// columns have numbers: usual terminals have 120 columns, and sources need some.
const widestHeader = 90

// Table implements output.Tabular.
func (r *Result) Table(wide bool) output.Table {
	t := output.Table{Before: []string{r.summary(), ""}}
	if wide {
		r.list(&t)
	} else {
		r.squares(&t)
	}
	t.After = append(t.After, r.details(wide)...)
	return t
}

// summary is the matrix in a sentence.
func (r *Result) summary() string {
	var counts []string
	for _, m := range marks {
		if n := r.Summary[m.verdict]; n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, m.text))
		}
	}
	by := "by ovn-trace"
	if r.Oracle == Policies {
		by = "by the policies alone, OVN was not asked"
	}
	return fmt.Sprintf("%d cells, %s: %s", len(r.Cells), by, strings.Join(counts, ", "))
}

// squares are the cells as a matrix of marks.
func (r *Result) squares(t *output.Table) {
	m := r.matrix()
	numbered, total := false, 0
	for _, k := range m.columns {
		total += len(k.destination) + 1 + len(k.port)
	}
	numbered = total > widestHeader
	t.Header = []string{"SOURCE"}
	for i, k := range m.columns {
		if numbered {
			t.Header = append(t.Header, fmt.Sprint(i+1))
		} else {
			t.Header = append(t.Header, k.destination+" "+k.port)
		}
	}
	used := map[trace.Verdict]bool{}
	for _, source := range m.rows {
		row := []string{source}
		for _, k := range m.columns {
			c := m.cells[key{source, k.destination, k.port}]
			if c == nil { // of an expectation about other ends
				row = append(row, " ")
				continue
			}
			used[c.Verdict] = true
			char := markOf(c.Verdict).char
			if c.Disagreement != "" {
				char += "!"
			}
			row = append(row, r.colored(c.Verdict, char))
		}
		t.Rows = append(t.Rows, row)
	}
	if numbered {
		t.After = append(t.After, "")
		for i, k := range m.columns {
			t.After = append(t.After, fmt.Sprintf("%4d  %s %s", i+1, k.destination, k.port))
		}
	}
	var legend []string
	for _, m := range marks {
		if used[m.verdict] && m.verdict != NotAsked {
			legend = append(legend, m.char+" "+m.text)
		}
	}
	if r.Disagreements > 0 {
		legend = append(legend, "! OVN and the policies disagree")
	}
	t.After = append(t.After, "", strings.Join(legend, "   "))
}

// list are the cells one by one.
func (r *Result) list(t *output.Table) {
	t.Header = []string{"SOURCE", "DESTINATION", "PORT", "VERDICT", "FROM", "TO", "WHY"}
	for _, c := range r.Cells {
		t.Rows = append(t.Rows, []string{c.Source, c.Destination, c.Port, r.colored(c.Verdict, string(c.Verdict)), c.From, c.To, c.why()})
	}
}

// reason is what decided in several cells.
type reason struct {
	Verdict trace.Verdict
	Text    string
	Cells   []*Cell
}

// reasons are those of cells that are not allowed, the most frequent first.
func (r *Result) reasons() []*reason {
	found := map[string]*reason{}
	for _, c := range r.Cells {
		if c.Verdict == trace.Allowed || c.Verdict == Same || c.Verdict == NotAsked {
			continue
		}
		k := string(c.Verdict) + c.why()
		if found[k] == nil {
			found[k] = &reason{Verdict: c.Verdict, Text: c.why()}
		}
		found[k].Cells = append(found[k].Cells, c)
	}
	return slices.SortedFunc(maps.Values(found), func(a, b *reason) int {
		return cmp.Or(cmp.Compare(len(b.Cells), len(a.Cells)), cmp.Compare(a.Verdict, b.Verdict), cmp.Compare(a.Text, b.Text))
	})
}

// mostReasons is how many reasons the matrix tells; the list of cells has all.
const mostReasons = 12

// details are what the marks do not say.
func (r *Result) details(wide bool) []string {
	var out []string
	if reasons := r.reasons(); !wide && len(reasons) > 0 {
		out = append(out, "")
		for i, reason := range reasons {
			if i == mostReasons {
				out = append(out, fmt.Sprintf("and %d further reasons: -o wide", len(reasons)-i))
				break
			}
			var cells []string
			for _, c := range reason.Cells {
				cells = append(cells, c.name())
			}
			out = append(out, fmt.Sprintf("%s %d  %s", r.colored(reason.Verdict, markOf(reason.Verdict).char), len(reason.Cells), reason.Text), "     "+few(cells, "; "))
		}
	}
	out = append(out, r.warnings()...)
	if r.Expected == "" {
		return out
	}
	out = append(out, "")
	if len(r.Differences) == 0 {
		return append(out, "as expected: "+r.Expected)
	}
	out = append(out, fmt.Sprintf("%d differences from %s", len(r.Differences), r.Expected))
	for _, d := range r.Differences {
		out = append(out, "  "+d.String())
		if d.Why != "" {
			out = append(out, "    "+d.Why)
		}
	}
	return out
}

// warnings are what makes the answers uncertain, each with the cells that it is about.
func (r *Result) warnings() []string {
	var texts []string
	about := map[string][]string{}
	add := func(text string, c *Cell) {
		if about[text] == nil {
			texts = append(texts, text)
		}
		about[text] = append(about[text], c.name())
	}
	for _, c := range r.Cells {
		if c.Disagreement != "" {
			add(c.Disagreement, c)
			continue
		}
		for _, p := range c.Problems {
			add(p, c)
		}
	}
	var out []string
	for _, text := range texts {
		out = append(out, r.Style.Warn("warning: ")+few(about[text], "; ")+": "+text)
	}
	for _, n := range r.Notes {
		out = append(out, r.Style.Warn("warning: ")+n)
	}
	if len(out) == 0 {
		return nil
	}
	return append([]string{""}, out...)
}

func (c *Cell) name() string { return c.Source + " → " + c.Destination + " " + c.Port }

// String is one line for people.
func (d Difference) String() string {
	name := strings.TrimSpace(d.Source + " → " + d.Destination + " " + d.Port)
	switch {
	case d.Expected == "":
		return fmt.Sprintf("%s: %s, and nothing is expected of it", name, d.Found)
	case d.Found == "":
		return fmt.Sprintf("%s: %s is expected, and it is not there", name, d.Expected)
	}
	return fmt.Sprintf("%s: %s, expected %s", name, d.Found, d.Expected)
}
