// Package report turns results, such as ginkgo's, into the documents that are kept: Markdown to
// read and JUnit for machines. They hold no paths and no times of day, so that the
// difference between two runs is what changed.
package report

import (
	"cmp"
	"slices"
	"time"
)

// State is the end of a spec.
type State string

// The states. Skipped is a spec that ran and refused: a failure of the run, because no
// reason was given beforehand. Missing did not run at all.
const (
	Passed   State = "passed"
	Failed   State = "failed"
	Skipped  State = "skipped"
	Missing  State = "missing"
	Excluded State = "excluded"
)

// Spec is one spec and what came of it.
type Spec struct {
	Name  string
	Group string // empty for excluded specs
	State State
	// Reason of an exclusion, or what the spec said when it failed.
	Reason string
	Took   time.Duration
}

// Fact is a line about what was tested: a name and its version.
type Fact struct{ Name, Value string }

// Report is a whole run.
type Report struct {
	Title string
	About string // what ran: a sentence
	Facts []Fact
	Specs []Spec
	Took  time.Duration // of the tests, wall clock
}

// New joins what was to run with what ran. Results of specs that nobody asked for do not
// count.
func New(title string, wanted map[string][]string, excluded map[string]string, results []Result) *Report {
	r := &Report{Title: title}
	by := map[string]Result{}
	for _, result := range results {
		by[result.Name] = result
	}
	for group, names := range wanted {
		for _, name := range names {
			result, ran := by[name]
			if !ran {
				result = Result{State: Missing, Message: "it did not run: see the log for what ended the tests before"}
			}
			r.Specs = append(r.Specs, Spec{Name: name, Group: group, State: result.State, Reason: result.Message, Took: result.Took})
		}
	}
	for name, reason := range excluded {
		r.Specs = append(r.Specs, Spec{Name: name, State: Excluded, Reason: reason})
	}
	slices.SortFunc(r.Specs, func(a, b Spec) int { return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Name, b.Name)) })
	return r
}

// Count is how many specs have one of the states.
func (r *Report) Count(states ...State) int {
	n := 0
	for _, s := range r.Specs {
		if slices.Contains(states, s.State) {
			n++
		}
	}
	return n
}

// Good tells whether every spec that was to run passed, and there was one.
func (r *Report) Good() bool {
	return r.Count(Failed, Skipped, Missing) == 0 && r.Count(Passed) > 0
}

// groups are the names of the groups with the specs of each, in order.
func (r *Report) groups() ([]string, map[string][]Spec) {
	var names []string
	by := map[string][]Spec{}
	for _, s := range r.Specs {
		if s.State == Excluded {
			continue
		}
		if by[s.Group] == nil {
			names = append(names, s.Group)
		}
		by[s.Group] = append(by[s.Group], s)
	}
	return names, by
}
