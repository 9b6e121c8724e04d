package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/ovnkctl/ovnkctl/internal/cni/wire"
	"github.com/ovnkctl/ovnkctl/internal/config"
)

// startsPatience is how long the node's program may take to answer from its memory.
const startsPatience = 5 * time.Second

// newStartsCommand is `ovnkctl run starts`: the tools start it in a pod of a node.
func newStartsCommand(streams genericiooptions.IOStreams, flags *config.Flags) *cobra.Command {
	return &cobra.Command{
		Use:   "starts",
		Short: "Print what this node remembers of how its pods got their network",
		Long: `Ask the node's program when it heard of its pods, and for the stages of the last CNI
ADDs. The answer is JSON; 'ovnkctl diagnose pod' reads it.`,
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			answer, err := wire.Ask(cmd.Context(), probeConfig(streams, flags).CNI.Socket, wire.Request{Command: wire.History}, startsPatience)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(streams.Out, "%s\n", answer)
			return err
		},
	}
}
