package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ovnkctl/ovnkctl/test/sandbox/machine"
	"github.com/ovnkctl/ovnkctl/test/sandbox/programs"
	"github.com/ovnkctl/ovnkctl/test/sandbox/progress"
)

// defaultSkip leaves out what breaks other tests or needs what no machine here has.
const defaultSkip = `\[Disruptive\]|\[Serial\]|\[Feature:|\[Flaky\]|\[Slow\]`

// specReport is ginkgo's own report, in the folder of the results.
const specReport = "report.json"

// specLine is a spec in the list that the tests print: where it is, and its name.
var specLine = regexp.MustCompile(`^\s+\S+\.go:\d+: (.+)$`)

// ListE2E returns the names of all specs.
func (s *Sandbox) ListE2E(ctx context.Context) ([]string, error) {
	if err := s.makeLogs(); err != nil {
		return nil, err
	}
	tests, err := s.builder(func(string, ...any) {}).Tests(ctx)
	if err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, tests.Path("e2e.test"), "--list-tests").Output()
	if err != nil {
		return nil, fmt.Errorf("list of end-to-end tests: %w", err)
	}
	return specNames(string(out)), nil
}

func specNames(list string) []string {
	var names []string
	for line := range strings.Lines(list) {
		if m := specLine.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil {
			names = append(names, m[1])
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// E2E is one run of Kubernetes' end-to-end tests.
type E2E struct {
	Focus, Skip string
	Procs       int           // parallel processes
	Timeout     time.Duration // of the whole run
	Out         io.Writer
}

// RunE2E runs the tests once, without retries: a flake is a bug. JUnit, ginkgo's report
// and what this machine cannot carry go to .sandbox/e2e.
func (s *Sandbox) RunE2E(ctx context.Context, run E2E) error {
	if err := s.mustBeUp(); err != nil {
		return err
	}
	var tests, cluster programs.Set
	if err := s.out.Do("end-to-end tests", func(p *progress.Phase) error {
		var err error
		if cluster, err = s.builder(p.Note).Cluster(ctx); err != nil {
			return err
		}
		tests, err = s.builder(p.Note).Tests(ctx)
		return err
	}); err != nil {
		return err
	}
	report := s.path("e2e")
	if err := os.RemoveAll(report); err != nil {
		return fmt.Errorf("test report: %w", err)
	}
	if err := os.MkdirAll(report, 0o755); err != nil {
		return fmt.Errorf("test report: %w", err)
	}
	if err := s.reportMachine(report, run.Out); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, tests.Path("ginkgo"), s.e2eArgs(run, tests, cluster, report)...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = run.Out, run.Out, report
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.Kubeconfig())
	// Ctrl-C lets ginkgo write its report and clean its namespaces.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	err := cmd.Run()
	fmt.Fprintf(run.Out, "JUnit and machine report: %s\n", report) //nolint:errcheck // the tests' result counts
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return errors.New("tests failed")
	}
	if err != nil {
		return fmt.Errorf("ginkgo: %w", err)
	}
	return nil
}

func (s *Sandbox) e2eArgs(run E2E, tests, cluster programs.Set, report string) []string {
	skip := run.Skip
	if skip == "" {
		skip = defaultSkip
	}
	return []string{
		fmt.Sprintf("--procs=%d", run.Procs), "--timeout=" + run.Timeout.String(), "--focus=" + run.Focus, "--skip=" + skip,
		"--no-color", "--silence-skips", "--fail-on-empty", "--flake-attempts=1",
		"--junit-report=junit.xml", "--json-report=" + specReport, "--output-dir=" + report,
		tests.Path("e2e.test"), "--",
		"--provider=skeleton", "--kubeconfig=" + s.Kubeconfig(), "--host=" + s.plan().APIServer(),
		"--kubectl-path=" + cluster.Path("kubectl"), fmt.Sprintf("--num-nodes=%d", len(s.state.Nodes)),
		"--node-os-distro=custom", "--prepull-images=false", "--dns-domain=cluster.local", "--disable-log-dump",
	}
}

// reportMachine says beside the results what this machine's kernel could not carry.
func (s *Sandbox) reportMachine(report string, out io.Writer) error {
	gaps := machine.Gaps()
	data, err := json.MarshalIndent(gaps, "", "  ")
	if err != nil {
		return fmt.Errorf("machine report: %w", err)
	}
	if err := os.WriteFile(filepath.Join(report, "machine.json"), data, 0o644); err != nil {
		return fmt.Errorf("machine report: %w", err)
	}
	for _, g := range gaps {
		fmt.Fprintf(out, "this machine cannot: %s (%s)\n", g.What, g.Why) //nolint:errcheck // also in the file
	}
	return nil
}

// Kubectl replaces this process by kubectl on the sandbox.
func (s *Sandbox) Kubectl(ctx context.Context, argv []string) error {
	if err := s.mustBeUp(); err != nil {
		return err
	}
	set, err := s.builder(func(string, ...any) {}).Cluster(ctx)
	if err != nil {
		return err
	}
	return replaceBy(set.Path("kubectl"), append([]string{"kubectl"}, argv...), append(os.Environ(), "KUBECONFIG="+s.Kubeconfig()))
}
