// Package cli holds the commands, one file each: flags become options, options go to a
// package that does the work, and its result is printed. There is no logic here, and
// nothing imports this package but main.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // credential plugins of kubeconfigs
)

// The exit codes of every command.
const (
	ExitOK          = 0
	ExitFailed      = 1
	ExitUsage       = 2
	ExitFindings    = 3
	ExitPartial     = 4
	ExitTimeout     = 5
	ExitInterrupted = 130
)

// Command groups of the help text.
const (
	groupOperate = "operate"
	groupRuntime = "runtime"
)

// Main runs one command line and returns the exit code.
func Main(args []string, in io.Reader, out, errOut io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	streams := genericiooptions.IOStreams{In: in, Out: out, ErrOut: errOut}
	root := NewRoot(filepath.Base(args[0]), streams)
	root.SetArgs(args[1:])
	err := root.ExecuteContext(ctx)
	if err != nil && !errors.Is(err, errSilent) {
		printError(errOut, root.CommandPath(), err)
	}
	return exitCode(ctx, err)
}

// NewRoot builds the command tree for the name that the program was started under.
func NewRoot(program string, streams genericiooptions.IOStreams) *cobra.Command {
	plugin := strings.HasPrefix(program, "kubectl-")
	root := &cobra.Command{
		Use:   "ovnkctl",
		Short: "The OVN network of a Kubernetes cluster, and the tools to operate it",
		Long: `ovnkctl is the OVN-Kubernetes-style network of a cluster and the toolkit that
operates it: the same program runs in the cluster's pods, where it turns Kubernetes
objects into OVN and Open vSwitch, and on your machine, where it installs and
explains that network.`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		Args:              cobra.NoArgs,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	if plugin {
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl ovnk"}
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageError{cmd.CommandPath(), err} })
	root.AddGroup(&cobra.Group{ID: groupOperate, Title: "Operate a cluster:"})

	flags := genericclioptions.NewConfigFlags(true)
	operate := []*cobra.Command{
		NewInstallCommand(streams, flags),
		NewUpgradeCommand(streams, flags),
		NewUninstallCommand(streams, flags),
		NewVersionCommand(streams),
	}
	for _, c := range operate {
		c.GroupID = groupOperate
		root.AddCommand(c)
	}
	if plugin {
		return root
	}
	root.AddGroup(&cobra.Group{ID: groupRuntime, Title: "Run in the cluster's pods:"})
	for _, c := range []*cobra.Command{
		NewControllerCommand(streams),
		NewNodeCommand(streams),
		NewCNICommand(streams),
		NewRunCommand(streams),
	} {
		c.GroupID = groupRuntime
		root.AddCommand(c)
	}
	return root
}

// errSilent ends the program with ExitFailed; what is to be said was said.
var errSilent = errors.New("silent")

// usageError is a command line that does not make sense.
type usageError struct {
	command string
	err     error
}

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }
func (e usageError) ExitCode() int { return ExitUsage }
func (e usageError) Hint() string  { return fmt.Sprintf("run '%s --help'", e.command) }

// printError writes what failed and why on one line, and what to do next on another
// where the error knows it.
func printError(w io.Writer, program string, err error) {
	fmt.Fprintf(w, "%s: %v\n", program, err)
	var hint interface{ Hint() string }
	if errors.As(err, &hint) && hint.Hint() != "" {
		fmt.Fprintf(w, "  → %s\n", hint.Hint())
	}
}

func exitCode(ctx context.Context, err error) int {
	var coded interface{ ExitCode() int }
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &coded):
		return coded.ExitCode()
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return ExitInterrupted
	case errors.Is(err, context.DeadlineExceeded):
		return ExitTimeout
	case strings.HasPrefix(err.Error(), "unknown command"), strings.Contains(err.Error(), "arg(s)"):
		return ExitUsage // cobra has no type for these
	}
	return ExitFailed
}
