// Command conformance runs Kubernetes' own network specs and the suites of the policy API
// against the sandbox, once and without retries, and writes what came of them. Which specs
// run, and why others do not, is in catalog/specs.yaml; the suites are in policyapi.
//
//	conformance [flags] NAME GROUP...
//
// NAME is that of the report; several groups make one report. A group that needs more
// nodes than there are gets them, and they go again.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

func main() {
	c := config{}
	flag.StringVar(&c.sandbox, "sandbox", "bin/sandbox", "program that controls the sandbox")
	flag.StringVar(&c.out, "out", "docs/conformance", "folder of the report")
	flag.StringVar(&c.logs, "logs", "dist/conformance", "folder of ginkgo's own report and log")
	flag.StringVar(&c.state, "state", ".sandbox/e2e", "folder where the sandbox leaves the results")
	flag.IntVar(&c.procs, "procs", 4, "parallel processes; [Serial] specs run alone all the same")
	flag.DurationVar(&c.timeout, "timeout", 2*time.Hour, "of each run")
	flag.StringVar(&c.kubeconfig, "kubeconfig", ".sandbox/kubeconfig", "of an administrator, for the suites of the policy API")
	only := flag.String("only", "", "regular expression: of these suites, tests with such a name alone")
	flag.BoolVar(&c.plan, "plan", false, "print what would run, and what would not and why, and end")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: conformance [flags] NAME GROUP...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() < 2 {
		flag.Usage()
		os.Exit(2)
	}
	c.name, c.groups = flag.Arg(0), flag.Args()[1:]
	var err error
	if c.only, err = regexp.Compile(*only); err != nil {
		fmt.Fprintln(os.Stderr, "conformance: -only:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := c.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

// config is a run.
type config struct {
	sandbox, out, logs, state string
	procs                     int
	timeout                   time.Duration
	plan                      bool
	name                      string
	groups                    []string
	kubeconfig                string
	only                      *regexp.Regexp
}

// errNotConformant ends a run whose report is complete.
var errNotConformant = errors.New("not all specs passed: see the report")

// file is a path of the report.
func (c config) file(ext string) string { return filepath.Join(c.out, c.name+ext) }
