package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/ovnkctl/ovnkctl/internal/install"
)

// NewUpgradeCommand is `ovnkctl upgrade`.
func NewUpgradeCommand(streams genericiooptions.IOStreams, kube *genericclioptions.ConfigFlags) *cobra.Command {
	f := &installFlags{streams: streams, kube: kube}
	var revision string
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Bring the installed network to this version and to new settings",
		Long: `Bring the installed network to the version of this program and to new settings.
Settings that are not named stay as they are. What changes is shown object by object,
with the difference of its fields, before it is applied.

Established traffic goes on while agents are replaced. Where Open vSwitch itself is
replaced, a node's traffic is interrupted for some seconds, one node after the other;
pin ovs.image.tag to do that at another time.`,
		Example: `  # Change a setting
  ovnkctl upgrade --set log.level=debug --wait

  # See what a new version of ovnkctl would change
  ovnkctl upgrade --diff

  # Take it back if the pods do not get ready in time
  ovnkctl upgrade --wait --rollback-on-failure

  # Go back to the revision before
  ovnkctl upgrade --rollback --wait`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			installer, options, err := f.options(cmd)
			if err != nil {
				return err
			}
			if options.Mode == install.DryClient {
				return usageError{cmd.CommandPath(), errors.New("--dry-run=client: an upgrade needs to see what is installed")}
			}
			if options.RollbackOnFailure && !options.Wait {
				return usageError{cmd.CommandPath(), errors.New("--rollback-on-failure needs --wait to know of a failure")}
			}
			if !cmd.Flags().Changed("rollback") {
				return f.print(installer.Upgrade(cmd.Context(), options))
			}
			n, err := strconv.Atoi(revision)
			if err != nil || n < 0 {
				return usageError{cmd.CommandPath(), fmt.Errorf("--rollback=%s: it is the number of a revision", revision)}
			}
			return f.print(installer.Rollback(cmd.Context(), install.RollbackOptions{
				Revision: n, Mode: options.Mode, Wait: options.Wait, Timeout: options.Timeout,
			}))
		},
	}
	f.add(cmd)
	fs := cmd.Flags()
	fs.BoolVar(&f.OrInstall, "install", false, "install the network if it is not installed")
	fs.BoolVar(&f.ResetValues, "reset-values", false, "forget the stored settings: detect again, and take only those named here")
	fs.BoolVar(&f.RollbackOnFailure, "rollback-on-failure", false, "go back to the installed revision if the new one does not get ready")
	fs.StringVar(&revision, "rollback", "", "apply an earlier `revision` again; without a number the one before")
	fs.Lookup("rollback").NoOptDefVal = "0"
	cmd.MarkFlagsMutuallyExclusive("rollback", "set")
	cmd.MarkFlagsMutuallyExclusive("rollback", "values")
	return cmd
}

func marshalJSON(v any) ([]byte, error) {
	data, err := json.MarshalIndent(v, "", "  ")
	return append(data, '\n'), err
}
