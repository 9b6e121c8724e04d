package cli

import (
	"os"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/ovnkctl/ovnkctl/internal/cni/shim"
	"github.com/ovnkctl/ovnkctl/internal/config"
)

// NewCNICommand is `ovnkctl cni`.
func NewCNICommand(streams genericiooptions.IOStreams) *cobra.Command {
	return &cobra.Command{
		Use:   "cni",
		Short: "Answer one call of a container runtime as the CNI plugin",
		Long: `Act as the CNI plugin: the call is in the environment (CNI_COMMAND and others) and on
standard input, as the CNI specification has it, and goes to the node's CNI server.

Container runtimes start the small program ovn-k8s-cni-overlay, which does the same.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			code := shim.Run(shim.Config{
				Getenv: os.Getenv, Stdin: streams.In, Stdout: streams.Out, Socket: config.Default().CNI.Socket,
			})
			if code != 0 {
				return errSilent
			}
			return nil
		},
	}
}
