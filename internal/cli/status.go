package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/ovnkctl/ovnkctl/internal/diagnose"
	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/output"
	"github.com/ovnkctl/ovnkctl/internal/runtime/node"
	"github.com/ovnkctl/ovnkctl/internal/status"
)

// usualWait is --wait without a value: an installation of a large cluster takes minutes.
const usualWait = 5 * time.Minute

// statusFlags are those of `ovnkctl status`.
type statusFlags struct {
	sourceFlags
	streams genericiooptions.IOStreams
	output  output.Flags
	wait    time.Duration
	// findings has what diagnose finds counted.
	findings bool
}

// NewStatusCommand is `ovnkctl status`.
func NewStatusCommand(streams genericiooptions.IOStreams, kube *genericclioptions.ConfigFlags) *cobra.Command {
	f := &statusFlags{streams: streams, sourceFlags: sourceFlags{kube: kube}}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say whether the network is up: components, versions, zones, pods without network",
		Long: `Say whether the network is up: what runs on each node and in which version, how many
changes of its Northbound database are not in force yet (BEHIND), and which pods are
without network, with the step that they wait for. What else is wrong is counted, which
'ovnkctl diagnose' tells.

The exit code is 0 when all is ready, 3 when something is not, 4 when something could not
be read, and 5 when --wait has waited long enough.`,
		Example: `  ovnkctl status
  ovnkctl status --wait=2m
  ovnkctl status --from bundle.tar.gz -o wide
  ovnkctl status -o jsonpath='{.nodes[?(@.ready==false)].name}'
  ovnkctl status -o custom-columns=NODE:.name,OVN:.versions.ovnController,BEHIND:.zone.behind`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fs := cmd.Flags()
	fs.DurationVar(&f.wait, "wait", 0, "wait until all is ready, at most this `long`")
	fs.Lookup("wait").NoOptDefVal = usualWait.String()
	fs.BoolVar(&f.findings, "findings", true, "count what 'ovnkctl diagnose' finds at a first look; not with --wait")
	f.output.Add(fs)
	f.addFrom(fs)
	f.addTimeout(fs)
	addKubeFlags(cmd, f.kube)
	return cmd
}

func (f *statusFlags) run(cmd *cobra.Command) error {
	err := f.output.Validate()
	if err == nil && f.wait < 0 {
		err = fmt.Errorf("--wait=%s: it must not be less than nothing", f.wait)
	}
	if err != nil {
		return usageError{cmd.CommandPath(), err}
	}
	options := status.Options{
		Open:  func(context.Context) (*inspect.Snapshot, error) { return f.open() },
		Again: status.Pause, Wait: f.wait, Now: time.Now,
		Progress: func(s *status.Status) { fmt.Fprintln(f.streams.ErrOut, "waiting: "+s.Summary()) },
	}
	if f.findings {
		options.Findings = countFindings
	}
	s, err := status.Run(cmd.Context(), options)
	if s == nil {
		return err
	}
	printed := output.Print(f.streams, s, &f.output)
	if err != nil && errors.As(printed, new(output.ExitError)) {
		printed = nil // that the wait was too long is the worse news
	}
	return errors.Join(err, printed)
}

// findingsTime bounds how much longer a status takes for findings: nodes in trouble may take
// seconds to try themselves out.
const findingsTime = 2 * time.Second

// countFindings counts what the checks of diagnose find, by one look.
func countFindings(ctx context.Context, s *inspect.Snapshot) *status.Findings {
	before := len(s.Problems())
	ctx, cancel := context.WithTimeout(ctx, findingsTime)
	defer cancel()
	c, err := diagnose.Read(ctx, s, diagnose.ReadOptions{Features: node.Features, Now: time.Now()})
	if ctx.Err() != nil {
		return &status.Findings{Unknown: fmt.Sprintf("to look for them takes more than %s; 'ovnkctl diagnose' has the time", findingsTime)}
	}
	if err != nil {
		return &status.Findings{Unknown: err.Error()}
	}
	out := &status.Findings{}
	for _, f := range diagnose.Run(c, diagnose.All()).Findings {
		switch f.Severity {
		case diagnose.Error:
			out.Errors++
		case diagnose.Warning:
			out.Warnings++
		case diagnose.Info:
			out.Infos++
		}
	}
	if problems := s.Problems(); len(problems) > before || before > 0 {
		out.Unknown = problems[len(problems)-1].Error()
	}
	return out
}
