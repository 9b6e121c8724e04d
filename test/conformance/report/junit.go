package report

import (
	"encoding/xml"
	"fmt"
)

type junitSuites struct {
	XMLName xml.Name     `xml:"testsuites"`
	Suites  []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name       string      `xml:"name,attr"`
	Tests      int         `xml:"tests,attr"`
	Failures   int         `xml:"failures,attr"`
	Skipped    int         `xml:"skipped,attr"`
	Time       string      `xml:"time,attr"`
	Properties []junitFact `xml:"properties>property"`
	Cases      []junitCase `xml:"testcase"`
}

type junitFact struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitMessage `xml:"failure"`
	Skipped *junitMessage `xml:"skipped"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
}

// JUnit is the report for machines. An excluded spec is skipped there, with its reason.
func (r *Report) JUnit() ([]byte, error) {
	s := junitSuite{
		Name: r.Title, Tests: len(r.Specs), Failures: r.Count(Failed, Skipped, Missing), Skipped: r.Count(Excluded),
		Time: fmt.Sprintf("%.3f", r.Took.Seconds()),
	}
	for _, f := range r.Facts {
		s.Properties = append(s.Properties, junitFact(f))
	}
	for _, spec := range r.Specs {
		c := junitCase{Name: spec.Name, Class: spec.Group, Time: fmt.Sprintf("%.3f", spec.Took.Seconds())}
		switch spec.State {
		case Passed:
		case Excluded:
			c.Class, c.Skipped = "excluded", &junitMessage{spec.Reason}
		default:
			c.Failure = &junitMessage{string(spec.State) + ": " + spec.Reason}
		}
		s.Cases = append(s.Cases, c)
	}
	out, err := xml.MarshalIndent(junitSuites{Suites: []junitSuite{s}}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("JUnit: %w", err)
	}
	return append([]byte(xml.Header), append(out, '\n')...), nil
}
