package cli

import (
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
	return &cobra.Command{
		Use: "down", Short: "End the cluster and leave nothing behind", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, unlock, err := openForDown()
			if err != nil {
				return err
			}
			defer unlock()
			return s.Down(cmd.Context())
		},
	}
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
		Use: "build", Short: "Only fill the caches: Kubernetes and the images (slow the first time)", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := open()
			if err != nil {
				return err
			}
			if err := s.Build(cmd.Context()); err != nil {
				return err
			}
			return s.BuildTests(cmd.Context())
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
			Use: "save FILE", Short: "Build the image and write it as an OCI archive", Args: args(cobra.ExactArgs(1)),
			RunE: func(cmd *cobra.Command, list []string) error {
				s, err := open()
				if err != nil {
					return err
				}
				return s.WriteImage(cmd.Context(), list[0])
			},
		},
	)
	return cmd
}
