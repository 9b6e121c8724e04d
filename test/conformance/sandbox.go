package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ovnkctl/ovnkctl/test/conformance/report"
)

// sandbox is the cluster that is tested, through the program that controls it.
type sandbox struct{ program string }

// status is the part of `sandbox status -o json` that counts.
type status struct {
	Up          bool   `json:"up"`
	Family      string `json:"family"`
	GatewayMode string `json:"gatewayMode"`
	CNI         string `json:"cni"`
	Nodes       []struct {
		Name string `json:"name"`
	} `json:"nodes"`
	MachineCannot []struct {
		What string `json:"what"`
	} `json:"machineCannot"`
}

func (s status) cannot() []string {
	var out []string
	for _, g := range s.MachineCannot {
		out = append(out, g.What)
	}
	return out
}

// out runs a command of the sandbox and returns what it printed.
func (s sandbox) out(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, s.program, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w: %s", s.program, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

func (s sandbox) status(ctx context.Context) (status, error) {
	var st status
	out, err := s.out(ctx, "status", "-o", "json")
	if jerr := json.Unmarshal([]byte(out), &st); jerr != nil {
		return st, errors.Join(err, fmt.Errorf("status of the sandbox: %w", jerr))
	}
	if !st.Up || st.CNI != "ovnkctl" {
		return st, errors.New("the sandbox does not run with ovnkctl as its network: bin/sandbox up")
	}
	return st, nil
}

// noSuite waits until what a suite of the policy API makes is gone: the next one has
// namespaces of the same names.
func (s sandbox) noSuite(ctx context.Context) error {
	_, err := s.out(ctx, "kubectl", "wait", "--for=delete", "namespaces", "-l", "conformance-house", "--timeout=5m")
	return err
}

func (s sandbox) specs(ctx context.Context) ([]string, error) {
	out, err := s.out(ctx, "e2e", "--list")
	return strings.Split(strings.TrimSpace(out), "\n"), err
}

// never is a pattern that no spec matches: what is left out is the catalog's to say.
const never = `^$`

// e2e runs the specs that a focus matches. The output goes to the terminal and a file.
func (s sandbox) e2e(ctx context.Context, logFile, focus string, procs int, timeout time.Duration) error {
	log, err := os.Create(logFile)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // a log
	cmd := exec.CommandContext(ctx, s.program, "e2e", "--procs", strconv.Itoa(procs), "--timeout", timeout.String(), focus, never)
	out := io.MultiWriter(os.Stdout, log)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) } // it removes what the tests made
	cmd.WaitDelay = 2 * time.Minute
	return cmd.Run()
}

// grow adds nodes until there are enough, and returns their names.
func (s sandbox) grow(ctx context.Context, nodes int) ([]string, error) {
	st, err := s.status(ctx)
	if err != nil {
		return nil, err
	}
	var added []string
	for i := 1; len(st.Nodes)+len(added) < nodes; i++ {
		name := fmt.Sprintf("node%d", i)
		if slices.ContainsFunc(st.Nodes, func(n struct {
			Name string `json:"name"`
		}) bool {
			return n.Name == name
		}) {
			continue
		}
		fmt.Println("adding", name)
		if _, err := s.out(ctx, "node", "add", name); err != nil {
			return added, err
		}
		added = append(added, name)
	}
	if len(added) > 0 {
		_, err = s.out(ctx, "kubectl", "wait", "--for=condition=Ready", "nodes", "--all", "--timeout=3m")
	}
	return added, err
}

func (s sandbox) shrink(ctx context.Context, names []string) error {
	var errs []error
	for _, name := range slices.Backward(names) {
		_, err := s.out(ctx, "node", "remove", name)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

var versionNumber = regexp.MustCompile(`\d+\.\d+\.\d+`)

// facts are what a report says about what was tested.
func (s sandbox) facts(ctx context.Context, st status) ([]report.Fact, error) {
	facts := []report.Fact{}
	add := func(name, value string) { facts = append(facts, report.Fact{Name: name, Value: value}) }
	var kubernetes struct {
		ServerVersion struct {
			GitVersion string `json:"gitVersion"`
		} `json:"serverVersion"`
	}
	out, err := s.out(ctx, "kubectl", "version", "-o", "json")
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(out), &kubernetes); err != nil {
		return nil, fmt.Errorf("version of Kubernetes: %w", err)
	}
	add("Kubernetes", kubernetes.ServerVersion.GitVersion)
	commit, err := gitCommit(ctx)
	if err != nil {
		return nil, err
	}
	add("ovnkctl", commit)
	for _, p := range []struct{ name, set, container, program string }{
		{"OVN", "ovnkube-node", "ovn-controller", "ovn-controller"},
		{"Open vSwitch", "ovs-node", "ovs-daemons", "ovs-vswitchd"},
	} {
		out, err := s.out(ctx, "kubectl", "-n", "ovn-kubernetes", "exec", "ds/"+p.set, "-c", p.container, "--", p.program, "--version")
		if err != nil {
			return nil, err
		}
		first, _, _ := strings.Cut(out, "\n")
		add(p.name, versionNumber.FindString(first))
	}
	add("datapath", "netdev (userspace)")
	add("IP families", families(st.Family))
	add("gateway mode", st.GatewayMode)
	add("nodes", strconv.Itoa(len(st.Nodes)))
	return facts, nil
}

func families(family string) string {
	switch family {
	case "dual":
		return "IPv4 and IPv6"
	case "ipv4":
		return "IPv4"
	}
	return "IPv6"
}

// gitCommit names the tree that the sandbox's image was built from, as far as the checkout
// knows.
func gitCommit(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*").Output()
	if err != nil {
		return "", fmt.Errorf("commit of the checkout: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
