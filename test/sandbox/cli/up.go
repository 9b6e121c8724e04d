package cli

import (
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ovnkctl/ovnkctl/test/sandbox/cluster"
	"github.com/ovnkctl/ovnkctl/test/sandbox/plan"
)

func newUp() *cobra.Command {
	var o cluster.Options
	var family string
	cmd := &cobra.Command{
		Use: "up", Short: "Start the cluster, repair it, or do nothing if all is well", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if family != "" {
				f, err := plan.ParseFamily(family)
				if err != nil {
					return &usageError{err}
				}
				o.Family = f
			}
			s, unlock, err := openLocked()
			if err != nil {
				return err
			}
			defer unlock()
			return s.Up(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Nodes, "nodes", 0, "number of nodes (default 3, or as many as there are)")
	f.StringVar(&family, "ip-family", "", "dual, ipv4 or ipv6 (default dual, or as it is)")
	f.StringVar(&o.GatewayMode, "gateway-mode", "", "shared or local (default shared, or as it is)")
	f.StringVar(&o.CNI, "cni", "", "network to install: ovnkctl or none (default ovnkctl, or as it is)")
	return cmd
}

func newDown() *cobra.Command {
	var keepLogs bool
	cmd := &cobra.Command{
		Use: "down", Short: "End the cluster and leave nothing behind", Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			s, unlock, err := openForDown()
			if err != nil {
				return err
			}
			defer unlock()
			return s.Down(keepLogs)
		},
	}
	cmd.Flags().BoolVar(&keepLogs, "keep-logs", false, "leave .sandbox/logs and .sandbox/e2e for reading")
	return cmd
}

// openForDown works also when the state file is damaged.
func openForDown() (*cluster.Sandbox, func(), error) {
	s, err := open()
	if s == nil {
		return nil, nil, err
	}
	unlock, err := s.Lock()
	return s, unlock, err
}

func newBuild() *cobra.Command {
	return &cobra.Command{
		Use: "build [STEP...]", Short: "Only fill the caches (slow the first time): " + strings.Join(cluster.BuildSteps(), ", ") + "; default all",
		Args: args(func(_ *cobra.Command, steps []string) error { return cluster.UnknownStep(steps) }), ValidArgs: cluster.BuildSteps(),
		RunE: func(cmd *cobra.Command, steps []string) error {
			s, err := open()
			if err != nil {
				return err
			}
			return s.BuildOnly(cmd.Context(), steps...)
		},
	}
}

func newImage() *cobra.Command {
	cmd := &cobra.Command{Use: "image", Short: "The ovnkctl image"}
	cmd.AddCommand(
		&cobra.Command{
			Use: "load", Short: "Build the image from the checkout and give it to all nodes", Args: args(cobra.NoArgs),
			RunE: func(cmd *cobra.Command, _ []string) error {
				s, unlock, err := openLocked()
				if err != nil {
					return err
				}
				defer unlock()
				return s.LoadImage(cmd.Context())
			},
		},
		&cobra.Command{
			Use: "build [FILE]", Short: "Build the image from the checkout as an OCI archive (default dist/ovnkctl-image.tar)", Args: args(cobra.MaximumNArgs(1)),
			RunE: func(cmd *cobra.Command, list []string) error {
				s, err := open()
				if err != nil {
					return err
				}
				path := filepath.Join(s.Checkout, "dist", "ovnkctl-image.tar")
				if len(list) > 0 {
					path = list[0]
				}
				return s.WriteImage(cmd.Context(), path)
			},
		},
	)
	return cmd
}
