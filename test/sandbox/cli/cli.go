// Package cli is the sandbox's command line: flags in, calls to the cluster
// package, printing.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ovnkctl/ovnkctl/test/sandbox/cluster"
	"github.com/ovnkctl/ovnkctl/test/sandbox/progress"
)

// Exit codes, as ovnkctl itself has them.
const (
	exitFine        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitFindings    = 3
	exitInterrupted = 130
)

// Main runs one command and returns its exit code.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var usage *usageError
	switch {
	case err == nil:
		return exitFine
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "interrupted: `bin/sandbox up` repairs what was half done, `bin/sandbox down` removes it")
		return exitInterrupted
	case errors.As(err, &usage):
		fmt.Fprintln(os.Stderr, "error:", err)
		return exitUsage
	case errors.Is(err, errNotUp):
		return exitFindings
	}
	fmt.Fprintln(os.Stderr, "error:", err)
	progress.Explain(os.Stderr, err)
	return exitFailed
}

// usageError is a wrong command line.
type usageError struct{ error }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use: "sandbox", Short: "A real Kubernetes cluster on this machine, with ovnkctl as its network",
		SilenceUsage: true, SilenceErrors: true,
		// Flags behind the first argument belong to the command that is executed in a node.
		TraverseChildren: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(
		newUp(), newDown(), newStatus(), newExec(), newNode(), newOutside(), newLogs(), newE2E(), newBuild(), newImage(), newKubectl(),
	)
	return root
}

// args checks the number of arguments and makes a mistake a usage error.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, list []string) error {
		if err := check(cmd, list); err != nil {
			return &usageError{fmt.Errorf("%w; usage: %s", err, cmd.UseLine())}
		}
		return nil
	}
}

// open finds the sandbox of the checkout that this program or the working
// folder belongs to.
func open() (*cluster.Sandbox, error) {
	checkout, err := findCheckout()
	if err != nil {
		return nil, err
	}
	return cluster.Open(checkout, progress.New(os.Stderr, isTerminal(os.Stderr), time.Now))
}

// openLocked is open for commands that change the sandbox.
func openLocked() (*cluster.Sandbox, func(), error) {
	s, err := open()
	if err != nil {
		return nil, nil, err
	}
	unlock, err := s.Lock()
	return s, unlock, err
}

func findCheckout() (string, error) {
	var starts []string
	if wd, err := os.Getwd(); err == nil {
		starts = append(starts, wd)
	}
	if exe, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(exe))
	}
	for _, dir := range starts {
		for ; ; dir = filepath.Dir(dir) {
			mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
			if err == nil && strings.HasPrefix(string(mod), "module github.com/ovnkctl/ovnkctl\n") {
				return dir, nil
			}
			if dir == "/" {
				break
			}
		}
	}
	return "", errors.New("not in a checkout of ovnkctl: the sandbox builds from its sources")
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil && os.Getenv("TERM") != "dumb"
}
