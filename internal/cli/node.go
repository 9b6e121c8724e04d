package cli

import (
	"errors"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/runtime/node"
)

// NewNodeCommand is `ovnkctl node`.
func NewNodeCommand(streams genericiooptions.IOStreams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Program this node's zone and host, and serve the container runtime",
		Long: `Run the node's part of the network: the rows of its OVN zone, the host's bridges,
routes and flows, pod addresses, and the CNI server.`,
		Example: `  ovnkctl node --config /etc/ovnkctl/config.yaml --node-name worker-1
  ovnkctl node cleanup --config /etc/ovnkctl/config.yaml --node-name worker-1`,
		Args: cobra.NoArgs,
	}
	flags := config.BindFlags(cmd.PersistentFlags())
	name := cmd.PersistentFlags().String("node-name", os.Getenv("NODE_NAME"), "`name` of this node's Node object (default: $NODE_NAME)")
	options := func(cmd *cobra.Command) (node.Options, error) {
		if *name == "" {
			return node.Options{}, usageError{cmd.CommandPath(), errors.New("--node-name is needed: the name of this node's Node object")}
		}
		c, err := flags.Load()
		return node.Options{Config: c, Node: *name, Stderr: streams.ErrOut}, err
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		o, err := options(cmd)
		if err != nil {
			return err
		}
		return node.Run(cmd.Context(), o)
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "cleanup",
		Short: "Give the host back what it had before: addresses, routes, no bridges, no CNI configuration",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := options(cmd)
			if err != nil {
				return err
			}
			return node.Cleanup(cmd.Context(), o)
		},
	})
	return cmd
}
