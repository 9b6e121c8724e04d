// Package policyapi runs the conformance suites of sigs.k8s.io/network-policy-api: of
// AdminNetworkPolicy and BaselineAdminNetworkPolicy (v1alpha1) and of ClusterNetworkPolicy
// (v1alpha2), with all profiles and features.
package policyapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/test/conformance/report"
)

// module is the Go module of the suites.
const module = "sigs.k8s.io/network-policy-api"

// Version is a version of the API, with its own suite.
type Version struct {
	Name string // of the API
	// modfile of the folder suite has the release of the module with this version.
	modfile string
}

// Versions are all there are.
var Versions = []Version{{"v1alpha1", "v1alpha1.mod"}, {"v1alpha2", "go.mod"}}

// Suite builds and runs one version's suite.
type Suite struct {
	Version
	// Checkout is the root of the repository, Work a folder for what is built.
	Checkout, Work string
	// WithoutSCTP leaves out what a machine without SCTP cannot do.
	WithoutSCTP bool
	// Out gets what the compiler and the tests print.
	Out io.Writer
}

func (s Suite) program() string { return filepath.Join(s.Work, s.Name+".test") }

// source is the folder of the test program's own module.
func (s Suite) source() string { return filepath.Join(s.Checkout, "test/conformance/policyapi/suite") }

// goTool calls the Go tool in the test program's module.
func (s Suite) goTool(ctx context.Context, modfile, verb string, args ...string) (string, error) {
	all := append([]string{verb, "-modfile=" + modfile, "-mod=readonly"}, args...)
	cmd := exec.CommandContext(ctx, "go", all...)
	var stdout strings.Builder
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.source(), append(os.Environ(), "CGO_ENABLED=0"), &stdout, s.Out
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go %s in %s: %w", strings.Join(all, " "), s.source(), err)
	}
	return strings.TrimSpace(stdout.String()), nil
}

// Build makes the test program and returns the release of the module that it is from.
func (s Suite) Build(ctx context.Context) (release string, err error) {
	modfile := s.modfile
	if s.WithoutSCTP {
		if modfile, err = s.changed(ctx); err != nil {
			return "", fmt.Errorf("suite of %s without SCTP: %w", s.Name, err)
		}
	}
	if _, err := s.goTool(ctx, modfile, "test", "-c", "-trimpath", "-ldflags=-s -w", "-tags="+s.Name, "-o="+s.program(), "."); err != nil {
		return "", err
	}
	return s.goTool(ctx, modfile, "list", "-m", "-f", "{{.Version}}", module)
}

// changed makes a copy of the module without SCTP, and a file of requirements with it.
func (s Suite) changed(ctx context.Context) (modfile string, err error) {
	// A package's, not the module's: that downloads it.
	dir, err := s.goTool(ctx, s.modfile, "list", "-f", "{{.Module.Dir}}", module+"/conformance")
	if err != nil {
		return "", err
	}
	copied := filepath.Join(s.Work, s.Name+"-module")
	if err := errors.Join(os.RemoveAll(copied), os.CopyFS(copied, os.DirFS(dir))); err != nil {
		return "", err
	}
	for file, change := range withoutSCTP {
		file = filepath.Join(copied, "conformance", file)
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		if text, err = change(text); err != nil {
			return "", fmt.Errorf("%s: %w", file, err)
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			return "", err
		}
	}
	modfile = filepath.Join(s.Work, s.Name+".mod")
	required, err := os.ReadFile(filepath.Join(s.source(), s.modfile))
	if err != nil {
		return "", err
	}
	sums, err := os.ReadFile(filepath.Join(s.source(), strings.TrimSuffix(s.modfile, ".mod")+".sum"))
	if err != nil {
		return "", err
	}
	required = fmt.Appendf(required, "\nreplace %s => %s\n", module, copied)
	return modfile, errors.Join(os.WriteFile(modfile, required, 0o644),
		os.WriteFile(strings.TrimSuffix(modfile, ".mod")+".sum", sums, 0o644))
}

// Tests lists what the suite has.
func (s Suite) Tests(ctx context.Context) ([]string, error) {
	out, err := exec.CommandContext(ctx, s.program(), "-list-tests").Output()
	if err != nil {
		return nil, fmt.Errorf("list of tests of %s: %w", s.Name, err)
	}
	names := strings.Fields(string(out))
	if len(names) == 0 {
		return nil, fmt.Errorf("the suite of %s has no tests", s.Name)
	}
	return names, nil
}

// Excluded tells whether a test does not run. Those that are about SCTP alone say so at the
// end of their names; of others, checks with SCTP are left out.
func (s Suite) Excluded(test string) bool { return s.WithoutSCTP && strings.HasSuffix(test, "SCTP") }

// Run is one run of a suite.
type Run struct {
	Kubeconfig string
	Tests      []string // those that run
	LeaveOut   []string // those that count as skipped
	Report     string   // file of the suite's own report
	Commit     string   // of what is tested
}

// organization and project are what the suite's own report says of the implementation.
const organization, project, home = "ovnkctl", "ovnkctl", "https://github.com/ovnkctl/ovnkctl"

// Run runs tests once each and returns what came of each part of them, and how many checks
// with SCTP were left out.
func (s Suite) Run(ctx context.Context, r Run) (results []report.Result, leftOut int, err error) {
	about := "test/conformance in the repository; in a sandbox on one machine"
	if s.WithoutSCTP {
		about += ", whose kernel has no SCTP: checks with SCTP are left out of the tests that passed"
	}
	cmd := exec.CommandContext(ctx, "go", "tool", "test2json", "-t", s.program(), "-test.v=test2json", "-test.timeout=40m",
		"-cluster="+r.Kubeconfig, "-only="+strings.Join(r.Tests, ","), "-leave-out="+strings.Join(r.LeaveOut, ","),
		"-organization="+organization, "-project="+project, "-url="+home, "-contact="+home+"/issues", "-version="+r.Commit,
		"-additional-info="+about, "-report-output="+r.Report)
	// Ctrl-C reaches the tests, too; they have a minute to remove what they made.
	cmd.Cancel = func() error { return nil }
	cmd.Stderr = s.Out
	events, err := cmd.StdoutPipe()
	if err != nil {
		return nil, 0, err
	}
	if err := cmd.Start(); err != nil {
		return nil, 0, fmt.Errorf("suite of %s: %w", s.Name, err)
	}
	p, err := parse(events, s.Out)
	ranErr := cmd.Wait()
	if err != nil {
		return nil, 0, errors.Join(err, ranErr)
	}
	results = p.results(r.Tests)
	if ranErr != nil && !slices.ContainsFunc(results, func(r report.Result) bool { return r.State != report.Passed }) {
		err = fmt.Errorf("suite of %s: %w: %s", s.Name, ranErr, p.tests[root].message())
	}
	return results, p.leftOut, err
}
