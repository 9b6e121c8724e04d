package cli

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/ovnkctl/ovnkctl/test/sandbox/cluster"
)

func newE2E() *cobra.Command {
	run := cluster.E2E{Out: os.Stdout}
	var list bool
	cmd := &cobra.Command{
		Use: "e2e FOCUS [SKIP]", Short: "Run Kubernetes' end-to-end tests whose names match, without retries",
		Example: "  sandbox e2e 'Networking Granular Checks: Pods'\n  sandbox e2e '\\[sig-network\\].*\\[Conformance\\]' --procs 2",
		Args: func(cmd *cobra.Command, words []string) error {
			if list {
				return args(cobra.NoArgs)(cmd, words)
			}
			return args(cobra.RangeArgs(1, 2))(cmd, words)
		},
		RunE: func(cmd *cobra.Command, words []string) error {
			s, err := open()
			if err != nil {
				return err
			}
			if list {
				names, err := s.ListE2E(cmd.Context())
				for _, n := range names {
					fmt.Fprintln(cmd.OutOrStdout(), n) //nolint:errcheck // as with all output
				}
				return err
			}
			run.Focus = words[0]
			if len(words) > 1 {
				run.Skip = words[1]
			}
			return s.RunE2E(cmd.Context(), run)
		},
	}
	cmd.Flags().BoolVar(&list, "list", false, "print the names of all tests instead of running any")
	cmd.Flags().IntVar(&run.Procs, "procs", 1, "parallel test processes")
	cmd.Flags().DurationVar(&run.Timeout, "timeout", time.Hour, "of the whole run")
	return cmd
}
