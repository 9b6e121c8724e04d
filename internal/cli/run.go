package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/runtime/daemon"
	"github.com/ovnkctl/ovnkctl/internal/serving"
)

// NewRunCommand is `ovnkctl run`.
func NewRunCommand(streams genericiooptions.IOStreams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Become a daemon of Open vSwitch or OVN, after preparing what it needs",
		Long: `Prepare what a daemon of Open vSwitch or OVN needs (run directories for root alone,
a database of the shipped schema, settings that it reads at start) and become it:
the container's process is the daemon, with its log on standard error.

Databases listen on unix sockets only. What follows -- goes to the daemon.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	flags := config.BindFlags(cmd.PersistentFlags())
	for _, d := range daemon.All() {
		cmd.AddCommand(newRunDaemonCommand(streams, flags, d))
	}
	cmd.AddCommand(newProbeCommand(streams, flags), newStopCommand(streams, flags), newRelayCommand(streams, flags), newReplicaCommand(streams, flags),
		newCheckCommand(streams, flags), newStartsCommand(streams, flags), newRepairCommand(streams, flags))
	return cmd
}

func newRunDaemonCommand(streams genericiooptions.IOStreams, flags *config.Flags, d daemon.Daemon) *cobra.Command {
	o := daemon.Options{}
	cmd := &cobra.Command{
		Use:   d.Name + " [-- EXTRA-ARGUMENT...]",
		Short: d.Short,
		Args: func(cmd *cobra.Command, args []string) error {
			if at := cmd.ArgsLenAtDash(); len(args) > 0 && at != 0 {
				return usageError{cmd.CommandPath(), fmt.Errorf("%q is not expected here; arguments for the daemon go behind --", args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := flags.Load()
			if err != nil {
				return err
			}
			log, _, err := serving.NewLogger(streams.ErrOut, c.Log)
			if err != nil {
				return err
			}
			o.Config, o.Log, o.ExtraArgs = c, log.With("daemon", d.Name), args
			return d.Run(cmd.Context(), o)
		},
	}
	fs := cmd.Flags()
	fs.StringSliceVar(&o.BinDirs, "bin-dir", nil, "search programs in these `directories` first")
	if d.IsServer() {
		fs.StringVar(&o.ShareDir, "share-dir", "/usr/share", "`directory` with openvswitch/ and ovn/, where the schemas are")
		fs.BoolVar(&o.SetAsideCorrupt, "set-aside-corrupt", false, "rename a corrupt database and begin with an empty one")
	} else {
		fs.DurationVar(&o.Wait, "wait", time.Minute, "`duration` to wait for the databases that it is a client of")
	}
	return cmd
}

// answerTimeout is for probes and hooks. vswitchd was seen to stand still for 3 s while
// it added many ports at once: that is busy, not dead.
const answerTimeout = 5 * time.Second

func newProbeCommand(streams genericiooptions.IOStreams, flags *config.Flags) *cobra.Command {
	var liveness bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "probe DAEMON",
		Short: "Tell whether a daemon is ready, or with --liveness whether it answers at all",
		Long: `Ask a daemon for its state over its socket, for exec probes of its container: exit
code 0 when it is well, otherwise 1 with the reason. Readiness needs what the daemon
depends on; liveness does not, because a restart would not heal it.`,
		Args:      cobra.ExactArgs(1),
		ValidArgs: daemonNames(),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := daemon.Lookup(args[0])
			if err != nil {
				return usageError{cmd.CommandPath(), err}
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return d.Probe(ctx, probeConfig(streams, flags), liveness)
		},
	}
	cmd.Flags().BoolVar(&liveness, "liveness", false, "ask only whether it answers")
	cmd.Flags().DurationVar(&timeout, "timeout", answerTimeout, "`duration` to wait for the answer")
	return cmd
}

func newStopCommand(streams genericiooptions.IOStreams, flags *config.Flags) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "stop DAEMON",
		Short: "Ask a daemon to exit and leave traffic as it is",
		Long: `Ask a daemon to exit over its control socket, for preStop hooks. The first process of
a container cannot die of SIGTERM's default action, so a daemon that gets the signal
there ends with a segmentation fault after its clean-up; asked this way it exits with
code 0. Flows, the chassis and the data path stay for the next one.`,
		Args:      cobra.ExactArgs(1),
		ValidArgs: daemonNames(),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := daemon.Lookup(args[0])
			if err != nil {
				return usageError{cmd.CommandPath(), err}
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return d.Stop(ctx, probeConfig(streams, flags))
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", answerTimeout, "`duration` to wait for the answer")
	return cmd
}

// probeConfig does without a file that is not valid: a mistake in a new configuration
// must not restart the daemons that run well with the old one.
func probeConfig(streams genericiooptions.IOStreams, flags *config.Flags) *config.Config {
	c, err := flags.Load()
	if err != nil {
		fmt.Fprintf(streams.ErrOut, "using default sockets: %v\n", err)
		return flags.WithoutFile()
	}
	return c
}

func daemonNames() []string {
	var names []string
	for _, d := range daemon.All() {
		names = append(names, d.Name)
	}
	return names
}
