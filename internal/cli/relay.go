package cli

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/inspect/relay"
	"github.com/ovnkctl/ovnkctl/internal/version"
)

// newRelayCommand is `ovnkctl run relay`: the tools start it by pods/exec.
func newRelayCommand(streams genericiooptions.IOStreams, flags *config.Flags) *cobra.Command {
	return &cobra.Command{
		Use:   "relay",
		Short: "Reach the databases and programs of this node through standard input and output",
		Long: `Reach the databases and programs of this node through standard input and output.
The reading commands start it in a pod of the node, and speak to it through the stream
that the API server opens.`,
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := probeConfig(streams, flags)
			socket := func(remote string) string { return strings.TrimPrefix(remote, "unix:") }
			return relay.Serve(cmd.Context(), streams.In, streams.Out, relay.Config{
				Sockets:   map[string]string{"nb": socket(c.OVN.NB), "sb": socket(c.OVN.SB), "ovs": socket(c.OVN.OVS)},
				OVSRunDir: filepath.Dir(socket(c.OVN.OVS)), OVNRunDir: c.OVN.RunDir,
				Env: os.Environ(), Version: version.Version,
			})
		},
	}
}
