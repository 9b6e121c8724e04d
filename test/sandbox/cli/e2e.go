package cli

import (
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/ovnkctl/ovnkctl/test/sandbox/cluster"
)

func newE2E() *cobra.Command {
	run := cluster.E2E{Out: os.Stdout}
	cmd := &cobra.Command{
		Use: "e2e FOCUS [SKIP]", Short: "Run Kubernetes' end-to-end tests whose names match, without retries",
		Example: "  sandbox e2e 'Networking Granular Checks: Pods'\n  sandbox e2e '\\[sig-network\\].*\\[Conformance\\]' --procs 2",
		Args:    args(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, list []string) error {
			s, err := open()
			if err != nil {
				return err
			}
			run.Focus = list[0]
			if len(list) > 1 {
				run.Skip = list[1]
			}
			return s.RunE2E(cmd.Context(), run)
		},
	}
	cmd.Flags().IntVar(&run.Procs, "procs", 1, "parallel test processes")
	cmd.Flags().DurationVar(&run.Timeout, "timeout", time.Hour, "of the whole run")
	return cmd
}
