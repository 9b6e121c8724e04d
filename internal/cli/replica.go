package cli

import (
	"context"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/inspect/replica"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/version"
)

// newReplicaCommand is `ovnkctl run replica`: the tools start it by pods/exec.
func newReplicaCommand(streams genericiooptions.IOStreams, flags *config.Flags) *cobra.Command {
	return &cobra.Command{
		Use:   "replica",
		Short: "Copy this node's OVN, to try things on through standard input and output",
		Long: `Copy this node's OVN databases, run an ovn-northd of their own on the copy, and let it
be reached through standard input and output, until that ends. The node's databases are
read once, and not changed. 'ovnkctl trace --with' starts it in a pod of the node.`,
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := probeConfig(streams, flags)
			sockets := map[*ovn.Database]string{ovn.Northbound(): c.OVN.NB, ovn.Southbound(): c.OVN.SB}
			return replica.Serve(cmd.Context(), streams.In, streams.Out, replica.Config{
				Read: func(ctx context.Context, d *ovn.Database) ([]byte, error) {
					return replica.FromServer(ctx, strings.TrimPrefix(sockets[d], "unix:"), d)
				},
				Find: exec.LookPath, Env: os.Environ(), Version: version.Version,
			})
		},
	}
}
