package diagnose

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

type junitSuites struct {
	XMLName  xml.Name   `xml:"testsuites"`
	Tests    int        `xml:"tests,attr"`
	Failures int        `xml:"failures,attr"`
	Suite    junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Time     string      `xml:"timestamp,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class    string         `xml:"classname,attr"`
	Name     string         `xml:"name,attr"`
	Failures []junitFailure `xml:"failure"`
	Output   string         `xml:"system-out,omitempty"`
}

type junitFailure struct {
	Type    string `xml:"type,attr"`
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// junit writes a test case for each check. Findings below the severity that the exit code
// tells of do not fail it: a pipeline must not be red with exit code 0.
func (r *Report) junit(w io.Writer) error {
	suite := junitSuite{Name: "ovnkctl diagnose", Time: r.Time.Format("2006-01-02T15:04:05")}
	for _, code := range r.Checks {
		check, _ := Find(code)
		c := junitCase{Class: "ovnkctl." + check.Area(), Name: code + " " + check.Title}
		for i := range r.Findings {
			f := &r.Findings[i]
			switch {
			case f.Code != code:
			case r.failOn != "" && f.Severity.AtLeast(r.failOn):
				c.Failures = append(c.Failures, junitFailure{Type: string(f.Severity), Message: f.Message, Text: f.details()})
			default:
				c.Output += f.Message + "\n" + f.details() + "\n"
			}
		}
		if len(c.Failures) > 0 {
			suite.Failures++
		}
		suite.Cases = append(suite.Cases, c)
	}
	suite.Tests = len(suite.Cases)
	data, err := xml.MarshalIndent(junitSuites{Tests: suite.Tests, Failures: suite.Failures, Suite: suite}, "", "  ")
	if err != nil {
		return fmt.Errorf("result as JUnit: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s%s\n", xml.Header, data)
	return err
}

// details are all of a finding but its message.
func (f *Finding) details() string {
	var lines []string
	if f.Node != "" {
		lines = append(lines, "node: "+f.Node)
	}
	if f.Object != nil {
		lines = append(lines, "object: "+f.Object.String())
	}
	lines = append(lines, f.Evidence...)
	for _, x := range f.Explains {
		lines = append(lines, "explains "+x.Code+": "+x.Message)
	}
	return strings.Join(append(lines, "next: "+f.Next), "\n")
}
