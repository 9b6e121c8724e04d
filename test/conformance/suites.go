package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/ovnkctl/ovnkctl/test/conformance/policyapi"
	"github.com/ovnkctl/ovnkctl/test/conformance/report"
)

// suiteGroup is the name of the group that a suite is.
func suiteGroup(v policyapi.Version) string { return "policyapi-" + v.Name }

// noSCTP is what the sandbox calls a machine without SCTP, and why tests do not run there.
const (
	noSCTP       = "SCTP"
	noSCTPReason = "the machine's kernel has no SCTP, so no pod can open such a socket; SCTP is proved on logical flows in test/ovn"
)

// suiteRun is a suite that was built, and what of it runs.
type suiteRun struct {
	policyapi.Suite
	tests, leaveOut []string
}

// suites builds the suites and plans them.
func (c config) suites(ctx context.Context, status status, versions []policyapi.Version, o *outcome) ([]suiteRun, error) {
	if len(versions) == 0 {
		return nil, nil
	}
	if err := os.MkdirAll(c.logs, 0o755); err != nil {
		return nil, err
	}
	// The tool works in other folders.
	work, err := filepath.Abs(c.logs)
	if err != nil {
		return nil, err
	}
	checkout, err := filepath.Abs(".")
	if err != nil {
		return nil, err
	}
	var out []suiteRun
	for _, v := range versions {
		s := policyapi.Suite{Version: v, Checkout: checkout, Work: work, WithoutSCTP: slices.Contains(status.cannot(), noSCTP), Out: os.Stdout}
		release, err := s.Build(ctx)
		if err != nil {
			return nil, err
		}
		o.facts = append(o.facts, report.Fact{Name: "suite of " + v.Name, Value: release})
		tests, err := s.Tests(ctx)
		if err != nil {
			return nil, err
		}
		run := suiteRun{Suite: s}
		for _, name := range tests {
			switch {
			case !c.only.MatchString(name):
			case s.Excluded(name):
				run.leaveOut = append(run.leaveOut, name)
				o.excluded[name] = noSCTPReason
			default:
				run.tests = append(run.tests, name)
			}
		}
		if len(run.tests) == 0 {
			return nil, fmt.Errorf("group %s: no test matches %s", suiteGroup(v), c.only)
		}
		fmt.Printf("group %s: %d tests\n", suiteGroup(v), len(run.tests))
		out = append(out, run)
	}
	return out, nil
}

// runSuites runs the suites, whatever fails.
func (c config) runSuites(ctx context.Context, box sandbox, suites []suiteRun, o *outcome) error {
	if len(suites) == 0 {
		return nil
	}
	commit, err := gitCommit(ctx)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.out, 0o755); err != nil {
		return err
	}
	var problems error
	leftOut := 0
	for _, s := range suites {
		if err := box.noSuite(ctx); err != nil {
			return errors.Join(problems, err)
		}
		results, n, err := c.runSuite(ctx, s, commit)
		problems = errors.Join(problems, err)
		leftOut += n
		o.results = append(o.results, results...)
		o.wanted[suiteGroup(s.Version)] = wanted(s.tests, results)
	}
	if leftOut > 0 {
		o.facts = append(o.facts, report.Fact{Name: "left out", Value: fmt.Sprintf("%d checks with SCTP in tests of all protocols: %s", leftOut, noSCTPReason)})
	}
	return problems
}

func (c config) runSuite(ctx context.Context, s suiteRun, commit string) ([]report.Result, int, error) {
	kept := filepath.Join(s.Work, fmt.Sprintf("%s-%s.log", c.name, s.Name))
	log, err := os.Create(kept)
	if err != nil {
		return nil, 0, err
	}
	defer log.Close() //nolint:errcheck // a log
	fmt.Printf("running %d tests of %s; log: %s\n", len(s.tests), s.Name, filepath.Join(c.logs, filepath.Base(kept)))
	own, err := filepath.Abs(filepath.Join(c.out, c.name+"-"+s.Name+".yaml"))
	if err != nil {
		return nil, 0, err
	}
	s.Out = io.MultiWriter(os.Stdout, log)
	return s.Run(ctx, policyapi.Run{
		Kubeconfig: c.kubeconfig, Tests: s.tests, LeaveOut: s.leaveOut, Report: own, Commit: commit,
	})
}

// wanted are the parts of tests that ran, which only the tests know, and tests that did not run.
func wanted(tests []string, results []report.Result) []string {
	var out []string
	for _, r := range results {
		out = append(out, r.Name)
	}
	for _, name := range tests {
		if !slices.ContainsFunc(results, func(r report.Result) bool { return policyapi.TestOf(r.Name) == name }) {
			out = append(out, name)
		}
	}
	return out
}
