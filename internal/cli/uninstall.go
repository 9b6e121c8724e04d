package cli

import (
	"errors"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/ovnkctl/ovnkctl/internal/install"
)

// NewUninstallCommand is `ovnkctl uninstall`.
func NewUninstallCommand(streams genericiooptions.IOStreams, kube *genericclioptions.ConfigFlags) *cobra.Command {
	var o install.UninstallOptions
	var yes, dryRun bool
	var output string
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Take the network off the cluster and its hosts",
		Long: `Take the network off the cluster and its hosts: the agents stop, each host gets its
NIC's addresses and routes back and loses bridges, rules and the CNI configuration, and
then everything else is removed. Pods on the network have none afterwards.

It can be interrupted and run again: it goes on where it stopped.`,
		Example: `  # See what would be removed
  ovnkctl uninstall --dry-run

  # One node is gone for good
  ovnkctl uninstall --yes --skip-unreachable`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(cmd, output); err != nil {
				return err
			}
			if dryRun {
				o.Mode = install.Diff
			} else if !yes {
				sure, err := confirm(streams, "All pods of the cluster lose their network.")
				if err != nil {
					return usageError{cmd.CommandPath(), err}
				}
				if !sure {
					return errors.New("not confirmed; nothing was changed")
				}
			}
			r, err := newInstaller(streams, kube).Uninstall(cmd.Context(), o)
			return errors.Join(err, writeResult(streams, output, false, r))
		},
	}
	fs := cmd.Flags()
	fs.BoolVarP(&yes, "yes", "y", false, "do not ask")
	fs.BoolVar(&dryRun, "dry-run", false, "write what would be removed, and change nothing")
	fs.BoolVar(&o.SkipUnreachable, "skip-unreachable", false, "leave nodes that do not answer as they are, instead of waiting for them")
	fs.BoolVar(&o.KeepNamespace, "keep-namespace", false, "leave the namespace")
	fs.DurationVar(&o.Timeout, "timeout", waitDefault, "how `long` it may take; exit code 5 when it is over")
	addOutputFlag(cmd, &output)
	addKubeFlags(cmd, kube)
	return cmd
}
