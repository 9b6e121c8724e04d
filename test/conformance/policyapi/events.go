package policyapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ovnkctl/ovnkctl/test/conformance/report"
)

// root is the Go test in which the suite runs: its tests are below it.
const root = "TestConformance"

// event is a line of test2json.
type event struct {
	Action, Test, Output string
	Elapsed              float64 // seconds
}

// test is a Go test or a part of one.
type test struct {
	action string // pass, fail or skip; empty when it did not end
	took   time.Duration
	output []string
	parts  bool // there are tests below it
}

// parsed is a run of the program.
type parsed struct {
	order   []string
	tests   map[string]*test
	leftOut int // checks with SCTP
}

// parse reads events; what the tests print goes to log.
func parse(events io.Reader, log io.Writer) (*parsed, error) {
	p := &parsed{tests: map[string]*test{root: {}}}
	dec := json.NewDecoder(events)
	for {
		var e event
		err := dec.Decode(&e)
		if errors.Is(err, io.EOF) {
			return p, nil
		}
		if err != nil {
			return nil, fmt.Errorf("output of the tests: %w", err)
		}
		if e.Action == "output" {
			if _, err := io.WriteString(log, e.Output); err != nil {
				return nil, fmt.Errorf("log of the tests: %w", err)
			}
		}
		p.add(e)
	}
}

func (p *parsed) add(e event) {
	name := e.Test
	if name == "" {
		name = root // such as a panic, or the time limit
	}
	t := p.tests[name]
	if t == nil {
		t = &test{}
		p.tests[name] = t
		p.order = append(p.order, name)
		if i := strings.LastIndex(name, "/"); i > 0 && p.tests[name[:i]] != nil {
			p.tests[name[:i]].parts = true
		}
	}
	switch e.Action {
	case "pass", "fail", "skip":
		if e.Test != "" {
			t.action, t.took = e.Action, time.Duration(e.Elapsed*float64(time.Second))
		}
	case "output":
		if strings.Contains(e.Output, mark) {
			p.leftOut++
			return
		}
		t.output = append(t.output, e.Output)
	}
}

// separator is between the names of a test and of a part of it.
const separator = ": "

// TestOf is the test of a result.
func TestOf(result string) string {
	name, _, _ := strings.Cut(result, separator)
	return name
}

// results are those of the parts of tests, and of tests that failed without any part of them
// failing, or have none. Of a test that did not run there is none.
func (p *parsed) results(tests []string) []report.Result {
	var out []report.Result
	for _, name := range tests {
		before := len(out)
		prefix := root + "/" + name
		failed := false
		for _, part := range p.order {
			if t := p.tests[part]; strings.HasPrefix(part, prefix+"/") && !t.parts {
				r := t.result(name + separator + strings.ReplaceAll(part[len(prefix)+1:], "_", " "))
				failed = failed || r.State != report.Passed
				out = append(out, r)
			}
		}
		t := p.tests[prefix]
		if t != nil && (len(out) == before || t.action != "pass" && !failed) {
			out = append(out, t.result(name))
		}
	}
	return out
}

func (t *test) result(name string) report.Result {
	r := report.Result{Name: name, Took: t.took}
	switch t.action {
	case "pass":
		r.State = report.Passed
	case "skip":
		r.State, r.Message = report.Skipped, t.message()
	default:
		r.State, r.Message = report.Failed, t.message()
	}
	return r
}

// message is what a test printed, without what every test prints.
func (t *test) message() string {
	lines := slices.DeleteFunc(slices.Clone(t.output), func(s string) bool {
		s = strings.TrimSpace(s)
		return s == "" || strings.HasPrefix(s, "=== ") || strings.HasPrefix(s, "--- ")
	})
	return report.Paragraph(strings.Join(lines, " "))
}
