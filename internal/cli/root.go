// Package cli holds the commands, one file each: flags become options, options go to a
// package that does the work, and its result is printed. There is no logic here, and
// nothing imports this package but main.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // credential plugins of kubeconfigs
	"k8s.io/klog/v2"

	"github.com/ovnkctl/ovnkctl/internal/output"
)

// The exit codes of every command.
const (
	ExitOK          = output.OK
	ExitFailed      = output.Failed
	ExitUsage       = output.Usage
	ExitFindings    = output.Findings
	ExitPartial     = output.Partial
	ExitTimeout     = output.Timeout
	ExitInterrupted = output.Interrupted
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
	// What client-go says beside its errors is nothing for operators; daemons have it in
	// their logs, which they set up themselves.
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	streams := genericiooptions.IOStreams{In: in, Out: out, ErrOut: errOut}
	root := NewRoot(filepath.Base(args[0]), streams)
	root.SetArgs(args[1:])
	cmd, err := root.ExecuteContextC(ctx)
	code := exitCode(ctx, err)
	if err := unsaid(err); err != nil {
		output.WriteError(errOut, root.CommandPath(), err, code, wantsDocument(cmd))
	}
	return code
}

// unsaid is what is left to say of an error.
func unsaid(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // its parts are what is wanted
		var left []error
		for _, e := range joined.Unwrap() {
			left = append(left, unsaid(e))
		}
		return errors.Join(left...)
	}
	if _, said := err.(output.ExitError); said || errors.Is(err, errSilent) { //nolint:errorlint // not one that is wrapped
		return nil
	}
	return err
}

// wantsDocument tells whether the command was asked for a document: then an error is one, too.
func wantsDocument(cmd *cobra.Command) bool {
	f := cmd.Flags().Lookup("output")
	return f != nil && (f.Value.String() == "json" || f.Value.String() == "yaml")
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
		SilenceErrors: true,
		SilenceUsage:  true,
		// Two letters that are wrong are a slip.
		SuggestionsMinimumDistance: 2,
		DisableAutoGenTag:          true,
		Args:                       knownCommand,
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
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
		NewStatusCommand(streams, flags),
		NewTraceCommand(streams, flags, look(flags)),
		NewReachCommand(streams, flags, look(flags)),
		NewExplainCommand(streams, flags, look(flags)),
		NewDiagnoseCommand(streams, flags),
		NewLogsCommand(streams, flags),
		NewCollectCommand(streams, flags),
		NewSchemaCommand(streams),
		NewVersionCommand(streams, flags),
	}
	for _, c := range operate {
		c.GroupID = groupOperate
		root.AddCommand(c)
	}
	explainsCodes(root, streams)
	completes(root, flags)
	marksConnection(root)
	root.SetUsageFunc(func(cmd *cobra.Command) error { return writeUsage(cmd.OutOrStderr(), cmd) })
	defer checksArgs(root)
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

// knownCommand refuses words that are no command of the one before, with those that are like them.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	said := fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		said += "; do you mean " + strings.Join(near, " or ") + "?"
	}
	return errors.New(said)
}

// checksArgs makes what commands say of their arguments errors of usage.
func checksArgs(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError{cmd.CommandPath(), err}
			}
			return nil
		}
	}
	for _, c := range cmd.Commands() {
		checksArgs(c)
	}
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

func exitCode(ctx context.Context, err error) int {
	var coded interface{ ExitCode() int }
	switch {
	case err == nil:
		return ExitOK
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return ExitInterrupted // whatever the partial result's would be
	case errors.As(err, &coded):
		return coded.ExitCode()
	case errors.Is(err, context.DeadlineExceeded):
		return ExitTimeout
	case strings.HasPrefix(err.Error(), "unknown command"), strings.Contains(err.Error(), "arg(s)"):
		return ExitUsage // cobra has no type for these
	}
	return ExitFailed
}
