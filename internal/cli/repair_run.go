package cli

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/ovnkctl/ovnkctl/internal/cni/wire"
	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/runtime/repair"
)

// repairPatience is how long the node's program may take: it gives up after ten seconds.
const repairPatience = 13 * time.Second

// newRepairCommand is `ovnkctl run repair`: the tools start it in a pod of a node.
func newRepairCommand(streams genericiooptions.IOStreams, flags *config.Flags) *cobra.Command {
	return &cobra.Command{
		Use:   "repair REQUEST",
		Short: "Have the node's program look again at what is not as it should be",
		Long: `Have the program that keeps this node look again at keys of features, at the host, or at both.
REQUEST and the answer are JSON; 'ovnkctl diagnose --repair' makes and reads them.`,
		Example: `  ovnkctl run repair '{"keys":[{"feature":"pods","key":"shop/cart"}],"host":true}'`,
		Hidden:  true,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var r repair.Request
			if err := json.Unmarshal([]byte(args[0]), &r); err != nil {
				return usageError{cmd.CommandPath(), fmt.Errorf("what to repair: %w", err)}
			}
			answer, err := wire.Ask(cmd.Context(), probeConfig(streams, flags).CNI.Socket, wire.Request{Command: wire.Repair, Config: []byte(args[0])}, repairPatience)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(streams.Out, "%s\n", answer)
			return err
		},
	}
}
