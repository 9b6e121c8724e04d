package reach

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/ovnkctl/ovnkctl/internal/trace"
)

// Denied is expected of a packet that is not to arrive, whatever keeps it.
const Denied trace.Verdict = "Denied"

// Expected is what a matrix is to be.
type Expected struct {
	// Name is where it is from.
	Name  string
	Cells []Expectation
}

// Expectation is what one cell is to be, or several: source and destination are selectors.
type Expectation struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
	// Port is "tcp/80", "80", "http" or "icmp"; empty for those that the destination declares.
	Port    string        `json:"port,omitempty"`
	Verdict trace.Verdict `json:"verdict"`

	line int // of CSV
}

// String is "ns/shop → svc/shop/web tcp/80".
func (e Expectation) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s → %s %s", e.Source, e.Destination, e.Port))
}

// expectable are the verdicts that can be expected.
var expectable = []trace.Verdict{
	trace.Allowed, trace.Dropped, trace.Rejected, trace.Unreachable, trace.Unknown, Denied, Same, Impossible, NotAsked,
}

// ReadExpected reads expectations: CSV with the columns source, destination, port and verdict,
// or YAML or JSON with the same fields in cells. What runs write with -o csv, yaml and json is
// such a file.
func ReadExpected(name string, r io.Reader) (*Expected, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("expectations in %s: %w", name, err)
	}
	e := &Expected{Name: name}
	if isCSV(data) {
		err = e.readCSV(data)
	} else {
		var file struct {
			Cells []Expectation `json:"cells"`
		}
		err = yaml.Unmarshal(data, &file)
		e.Cells = file.Cells
	}
	if err == nil {
		err = e.check()
	}
	if err != nil {
		return nil, &fileError{name, err}
	}
	return e, nil
}

// fileError is a file that cannot be read as expectations.
type fileError struct {
	name string
	err  error
}

func (e *fileError) Error() string { return fmt.Sprintf("expectations in %s: %v", e.name, e.err) }
func (e *fileError) Unwrap() error { return e.err }

// Hint is what to do about it.
func (*fileError) Hint() string {
	return "write 'source,destination,port,verdict' lines, or let 'ovnkctl reach -o csv' write them"
}

// isCSV tells by the first line that says anything.
func isCSV(data []byte) bool {
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		if line := strings.TrimSpace(lines.Text()); line != "" && line[0] != '#' {
			return strings.Contains(line, ",") && line[0] != '{'
		}
	}
	return false
}

func (e *Expected) readCSV(data []byte) error {
	r := csv.NewReader(bytes.NewReader(data))
	r.Comment, r.FieldsPerRecord, r.TrimLeadingSpace = '#', -1, true
	header, err := r.Read()
	if err != nil {
		return err
	}
	at := map[string]int{}
	for i, name := range header {
		at[strings.ToLower(strings.TrimSpace(name))] = i
	}
	for _, name := range []string{"source", "destination", "port", "verdict"} {
		if _, ok := at[name]; !ok {
			return fmt.Errorf("its first line has no column %q", name)
		}
	}
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		line, _ := r.FieldPos(0)
		field := func(name string) string {
			if i := at[name]; i < len(record) {
				return strings.TrimSpace(record[i])
			}
			return ""
		}
		e.Cells = append(e.Cells, Expectation{
			Source: field("source"), Destination: field("destination"), Port: field("port"), Verdict: trace.Verdict(field("verdict")), line: line,
		})
	}
}

// check checks each expectation, and reads its verdict.
func (e *Expected) check() error {
	if len(e.Cells) == 0 {
		return errors.New("there are none")
	}
	for i := range e.Cells {
		x := &e.Cells[i]
		where := fmt.Sprintf("cell %d (%s)", i+1, x)
		if x.line > 0 {
			where = fmt.Sprintf("line %d (%s)", x.line, x)
		}
		v := slices.IndexFunc(expectable, func(v trace.Verdict) bool { return strings.EqualFold(string(v), string(x.Verdict)) })
		if v < 0 {
			return fmt.Errorf("%s: the verdict %q is none of allowed, denied, dropped, rejected and unreachable", where, x.Verdict)
		}
		x.Verdict = expectable[v]
		for _, text := range []string{x.Source, x.Destination} {
			if err := CheckSelector(text); err != nil {
				return fmt.Errorf("%s: %w", where, err)
			}
		}
		if x.Port == "" {
			continue
		}
		if err := CheckPort(x.Port); err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
	}
	return nil
}

// AsExpected is this matrix as what another one is to be.
func (r *Result) AsExpected(name string) *Expected {
	e := &Expected{Name: name}
	for _, c := range r.Cells {
		e.Cells = append(e.Cells, Expectation{Source: c.Source, Destination: c.Destination, Port: c.Port, Verdict: c.Verdict})
	}
	return e
}

// Difference is something that is not as expected.
type Difference struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
	Port        string `json:"port,omitempty"`
	// Expected is empty for a cell that the expectations do not have, Found for one that
	// there is not.
	Expected trace.Verdict `json:"expected,omitempty"`
	Found    trace.Verdict `json:"found,omitempty"`
	// Why is what decided, or why there is no such cell.
	Why string `json:"why,omitempty"`
}

// key is a cell by its names.
type key struct{ source, destination, port string }

func (c *Cell) key() key { return key{c.Source, c.Destination, c.Port} }

// planExpected asks for the cells that are expected.
func (c *cluster) planExpected(r *Result, o Options) error {
	planned := map[key]*Cell{}
	for i := range o.Expected.Cells {
		x := &o.Expected.Cells[i]
		cells, err := c.cellsOf(x, o)
		var gone *trace.UnknownError
		if errors.As(err, &gone) {
			r.Differences = append(r.Differences, Difference{
				Source: x.Source, Destination: x.Destination, Port: x.Port, Expected: x.Verdict, Why: fmt.Sprintf("%q: %s", gone.Text, gone.Why),
			})
			continue
		}
		if err != nil {
			return err
		}
		for _, cell := range cells {
			same := planned[cell.key()]
			if same == nil {
				same = cell
				planned[cell.key()] = cell
				r.Cells = append(r.Cells, cell)
				r.Sources = addEnd(r.Sources, cell.ask.source)
				r.Destinations = addEnd(r.Destinations, cell.ask.to.End)
			}
			same.expected = append(same.expected, x)
		}
	}
	return nil
}

func addEnd(list []*End, e *End) []*End {
	if slices.ContainsFunc(list, func(o *End) bool { return o.Name == e.Name }) {
		return list
	}
	return append(list, e)
}

// cellsOf are the cells that an expectation is about.
func (c *cluster) cellsOf(x *Expectation, o Options) ([]*Cell, error) {
	sources, err := c.ends([]string{x.Source}, o, true)
	if err != nil {
		return nil, err
	}
	destinations, err := c.ends([]string{x.Destination}, o, false)
	if err != nil {
		return nil, err
	}
	var ports []string
	if x.Port != "" {
		ports = []string{x.Port}
	}
	columns, err := c.columns(destinations, ports, o.Declared)
	if err != nil {
		return nil, err
	}
	var out []*Cell
	for _, from := range sources {
		for _, to := range columns {
			out = append(out, newCell(from, to))
		}
	}
	// Of several, those of one and the same pod are not what was meant.
	if others := slices.DeleteFunc(slices.Clone(out), func(c *Cell) bool { return c.Verdict == Same }); len(others) > 0 {
		out = others
	}
	if len(out) == 0 {
		return nil, unknown(x.String(), "nothing is there to ask", forms)
	}
	return out, nil
}

// compare finds what is not as expected. A matrix that selectors chose is compared as a whole:
// what either side lacks is a difference, too.
func (e *Expected) compare(r *Result, o Options) []Difference {
	var out []Difference
	if o.Sources == nil && o.Destinations == nil {
		for _, c := range r.Cells {
			for _, x := range c.expected {
				out = append(out, c.differs(x, r.Oracle)...)
			}
		}
		return out
	}
	cells := map[key]*Cell{}
	for _, c := range r.Cells {
		cells[c.key()] = c
	}
	seen := map[key]bool{}
	for i := range e.Cells {
		x := &e.Cells[i]
		k := key{x.Source, x.Destination, x.Port}
		seen[k] = true
		if c := cells[k]; c != nil {
			out = append(out, c.differs(x, r.Oracle)...)
			continue
		}
		out = append(out, Difference{Source: x.Source, Destination: x.Destination, Port: x.Port, Expected: x.Verdict, Why: "there is no such cell"})
	}
	for _, c := range r.Cells {
		if !seen[c.key()] && c.Verdict != NotAsked {
			out = append(out, Difference{Source: c.Source, Destination: c.Destination, Port: c.Port, Found: c.Verdict, Why: c.why()})
		}
	}
	return out
}

// differs compares a cell with what is expected of it. What was not known when expectations
// were recorded, or is not known now, is no difference.
func (c *Cell) differs(x *Expectation, oracle Oracle) []Difference {
	known := func(v trace.Verdict) bool { return v != trace.Unknown && v != NotAsked }
	if !known(c.Verdict) || !known(x.Verdict) || same(x.Verdict, c.Verdict, oracle) {
		return nil
	}
	return []Difference{{Source: c.Source, Destination: c.Destination, Port: c.Port, Expected: x.Verdict, Found: c.Verdict, Why: c.why()}}
}

// same tells whether a verdict is as expected. The policies say only whether they let a packet
// pass.
func same(expected, found trace.Verdict, oracle Oracle) bool {
	keeps := func(v trace.Verdict) bool {
		return v == trace.Dropped || v == trace.Rejected || v == trace.Unreachable || v == Denied
	}
	if expected == Denied || oracle == Policies {
		return expected == found || keeps(expected) && keeps(found)
	}
	return expected == found
}

// why is what decided, in a sentence.
func (c *Cell) why() string {
	switch {
	case c.Decision != nil:
		return c.Decision.Text
	case c.Verdict == Same:
		return "it is one pod, and no other is like it"
	}
	return cmp.Or(c.Error, "the run ended before")
}
