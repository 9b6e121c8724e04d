package report

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Result is a spec as ginkgo saw it.
type Result struct {
	Name    string
	State   State
	Message string // of a failure or a skip: one paragraph
	Took    time.Duration
}

// suite is the part of ginkgo's JSON report that counts.
type suite struct {
	SpecReports []struct {
		ContainerHierarchyTexts []string
		LeafNodeType            string
		LeafNodeText            string
		State                   string
		RunTime                 time.Duration
		NumAttempts             int
		Failure                 struct {
			Message  string
			Location struct {
				FileName   string
				LineNumber int
			}
		}
	}
	SpecialSuiteFailureReasons []string
}

// Ginkgo reads ginkgo's JSON report: the specs that ran. A failure before or after the
// specs is an error.
func Ginkgo(data []byte) ([]Result, error) {
	var suites []suite
	if err := json.Unmarshal(data, &suites); err != nil {
		return nil, fmt.Errorf("report of ginkgo: %w", err)
	}
	var results []Result
	var failures []string
	for _, s := range suites {
		failures = append(failures, s.SpecialSuiteFailureReasons...)
		for _, r := range s.SpecReports {
			name := strings.Join(append(r.ContainerHierarchyTexts, r.LeafNodeText), " ")
			state, ran := states[r.State]
			switch {
			case r.LeafNodeType != "It":
				if state == Failed {
					failures = append(failures, r.LeafNodeType+": "+Paragraph(r.Failure.Message))
				}
				continue
			case state == Skipped && r.Failure.Message == "":
				continue // not in focus
			case !ran:
				continue // pending: not written yet
			case r.NumAttempts > 1:
				failures = append(failures, fmt.Sprintf("%s was tried %d times", name, r.NumAttempts))
			}
			result := Result{Name: name, State: state, Took: r.RunTime}
			if state != Passed {
				result.Message = Paragraph(r.Failure.Message) + place(r.Failure.Location.FileName, r.Failure.Location.LineNumber)
			}
			results = append(results, result)
		}
	}
	if len(failures) > 0 {
		return results, fmt.Errorf("outside of the specs: %s", strings.Join(failures, "; "))
	}
	return results, nil
}

// states are ginkgo's; a spec that was interrupted or timed out has failed.
var states = map[string]State{
	"passed": Passed, "skipped": Skipped, "failed": Failed, "panicked": Failed, "aborted": Failed,
	"interrupted": Failed, "timedout": Failed,
}

// longest is how much of a failure's message is kept, in bytes: the log has it all.
const longest = 400

// volatile is what differs from run to run or from machine to machine.
var volatile = regexp.MustCompile(`\bI?\d{4} \d\d:\d\d:\d\d\.\d+\s+\d+ \S+\]\s*|(/[\w.@+-]+){3,}/`)

// Paragraph makes one line of a message.
func Paragraph(message string) string {
	text := strings.Join(strings.Fields(volatile.ReplaceAllString(message, "")), " ")
	if len(text) > longest {
		text = strings.ToValidUTF8(text[:longest], "") + "…"
	}
	return text
}

// place is where in Kubernetes' tests it happened.
func place(file string, line int) string {
	_, path, inKubernetes := strings.Cut(file, "/test/e2e/")
	if !inKubernetes {
		return ""
	}
	return fmt.Sprintf(" (test/e2e/%s:%d)", path, line)
}
