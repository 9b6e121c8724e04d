package cli

import (
	"encoding/json"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/nodecheck"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host"
)

// newCheckCommand is `ovnkctl run check`: the tools start it in a pod of a node.
func newCheckCommand(streams genericiooptions.IOStreams, flags *config.Flags) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Try this node out: its daemons, its tunnels and kernel settings",
		Long: `Ask the daemons of this node whether they live, ask the routers of other nodes for an
echo through the tunnels, with a small packet and with the largest one that a pod may
send, and read kernel settings. The answer is JSON; 'ovnkctl diagnose' reads it.`,
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r := nodecheck.Look(cmd.Context(), nodecheck.Config{
				Config: probeConfig(streams, flags), Device: host.ManagementPort, Proc: nodecheck.Proc(),
			})
			return json.NewEncoder(streams.Out).Encode(r)
		},
	}
}
