package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/ovnkctl/ovnkctl/internal/diagnose"
	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/output"
	"github.com/ovnkctl/ovnkctl/internal/runtime/node"
)

// diagnoseFlags are those of `ovnkctl diagnose`.
type diagnoseFlags struct {
	sourceFlags
	streams genericiooptions.IOStreams
	output  output.Flags
	failOn  string
	list    bool

	watch    bool
	interval time.Duration

	repair, yes bool
}

// NewDiagnoseCommand is `ovnkctl diagnose`.
func NewDiagnoseCommand(streams genericiooptions.IOStreams, kube *genericclioptions.ConfigFlags) *cobra.Command {
	f := &diagnoseFlags{streams: streams, sourceFlags: sourceFlags{kube: kube}}
	cmd := &cobra.Command{
		Use:   "diagnose [AREA|CODE]... | pod/NAME",
		Short: "Look for what is wrong with the network, and say what to do",
		Long: `Look for what is wrong with the network: components, databases, bridges, tunnels, pods,
services, policies, and rows that are not what the cluster's objects ask for. Nothing is
changed, but with --repair. What one fault brings about is told with it, so that one root cause is one
finding. Each finding has a code, which 'ovnkctl help CODE' explains.

What is found in a live cluster counts if a second look, some seconds later, finds it, too.
With --watch it is looked again and again, and what is new or gone is printed (-o json: one
document after the other) until Ctrl-C; the exit code is that of what was there last.

'diagnose drift' compares what should be with what is: rows of the databases, flows of the
external bridge, nftables, addresses and routes of the host, and flows of br-int, which are
looked at only if they are asked for. With --repair the programs of the nodes look again at
what has drifted, and put it right; they are not restarted, and what they do not keep
themselves (flows of br-int, rows that nobody owns) is left alone.

With the name of a pod it tells how that pod got its network, stage by stage, and if it did
not, what it waits for: 'pod/NAME' with --namespace, 'pod NAMESPACE/NAME' or NAMESPACE/NAME.
'pod' alone selects the checks of pods.`,
		Example: `  # Everything, on all nodes
  ovnkctl diagnose

  # Pods and tunnels alone, or one check
  ovnkctl diagnose pod tun
  ovnkctl diagnose OVNK-DRIFT-001

  # What somebody changed behind the network's back; have it put right
  ovnkctl diagnose drift
  ovnkctl diagnose drift --repair

  # Why is this pod slow to start, or does not start?
  ovnkctl diagnose pod shop/cart
  ovnkctl diagnose pod/cart -n shop -o wide

  # Follow a repair, or a roll-out: what appears, and what goes
  ovnkctl diagnose --watch
  ovnkctl diagnose tun --watch --interval 5s -o json | jq -c '[.time, .new[].message]'

  # A recorded cluster; for a pipeline
  ovnkctl diagnose --from bundle.tar.gz
  ovnkctl diagnose -o junit --fail-on error > diagnose.xml`,
		ValidArgs: diagnose.Areas(),
		RunE:      f.run,
	}
	fs := cmd.Flags()
	fs.StringVar(&f.failOn, "fail-on", string(diagnose.Warning), "exit with code 3 on findings of this `severity` or a worse one: info, warning, error or never")
	fs.BoolVar(&f.list, "list", false, "list the checks, and look at nothing")
	f.addWatch(fs)
	f.addRepair(fs)
	f.addNetworkNamespace(fs)
	f.output.Add(fs, diagnose.Forms()...)
	f.addFrom(fs)
	f.addTimeout(fs)
	addKubeFlags(cmd, f.kube)
	fs.Lookup("namespace").Usage = "`namespace` of the pod, if its name is given without; otherwise that of the network"
	return cmd
}

func (f *diagnoseFlags) run(cmd *cobra.Command, args []string) error {
	if err := f.output.Validate(); err != nil {
		return usageError{cmd.CommandPath(), err}
	}
	failOn, err := diagnose.ParseSeverity(f.failOn)
	if err != nil {
		return usageError{cmd.CommandPath(), fmt.Errorf("--fail-on=%s: %w", f.failOn, err)}
	}
	p, ok := podOf(args)
	if err := f.checkWatch(cmd.Flags(), ok); err != nil {
		return usageError{cmd.CommandPath(), err}
	}
	if err := f.checkRepair(ok); err != nil {
		return usageError{cmd.CommandPath(), err}
	}
	if ok {
		return f.timeline(cmd, p, failOn)
	}
	if f.list {
		l, err := diagnose.List(args)
		if err != nil {
			return err
		}
		return output.Print(f.streams, l, &f.output)
	}
	o := diagnose.Options{
		Open:     func(context.Context) (*inspect.Snapshot, error) { return f.open() },
		Features: node.Features, Select: args, FailOn: failOn, Again: diagnose.SecondLook, Now: time.Now,
	}
	switch {
	case f.watch:
		return f.watchFindings(cmd.Context(), o)
	case f.repair:
		return f.repairFindings(cmd.Context(), o)
	}
	r, err := diagnose.Look(cmd.Context(), o)
	if err != nil {
		return err
	}
	return output.Print(f.streams, r, &f.output)
}

// explainsCodes makes the help command explain the codes of findings, too.
func explainsCodes(root *cobra.Command, streams genericiooptions.IOStreams) {
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		if c.Name() != "help" {
			continue
		}
		usual := c.Run
		c.Use, c.Short = "help [COMMAND|CODE]", "Help about any command, or about the code of a finding"
		c.Run = nil
		c.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || !strings.HasPrefix(strings.ToUpper(args[0]), diagnose.CodePrefix) {
				of, rest, err := cmd.Root().Find(args)
				if err == nil {
					err = knownCommand(of, rest)
				}
				if err != nil {
					return usageError{cmd.CommandPath(), err}
				}
				usual(cmd, args)
				return nil
			}
			checks, err := diagnose.Select(args)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(streams.Out, checks[0].Help())
			return err
		}
	}
}
