package cli

import (
	"os"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/runtime/controller"
	"github.com/ovnkctl/ovnkctl/internal/runtime/process"
	"github.com/ovnkctl/ovnkctl/internal/world/live"
)

// NewControllerCommand is `ovnkctl controller`.
func NewControllerCommand(streams genericiooptions.IOStreams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "controller",
		Short: "Allocate node ids and pod subnets for the cluster, and report on policies",
		Long: `Run the cluster's allocator: it gives each Node its id, its pod subnets and its
transit addresses, as annotations, and says on each policy whether it is in force. Of
several, one is the leader; none touches OVN.`,
		Args: cobra.NoArgs,
	}
	flags := config.BindFlags(cmd.Flags())
	o := controller.Options{}
	hostname, _ := os.Hostname() // an empty identity is refused below
	cmd.Flags().StringVar(&o.Identity, "identity", envOr("POD_NAME", hostname), "unique `name` in the leader election (default: $POD_NAME, or the host's name)")
	cmd.Flags().StringVar(&o.Namespace, "namespace", envOr("POD_NAMESPACE", controller.DefaultNamespace), "`namespace` of the Lease")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := flags.Load()
		if err != nil {
			return err
		}
		ctx, p, err := process.Start(cmd.Context(), process.Options{
			Config: c, Component: "controller", Metrics: c.Serving.ControllerMetrics, Stderr: streams.ErrOut,
		})
		if err != nil {
			return err
		}
		o.Config, o.Client, o.Logger, o.Registerer = c, p.Client, p.Log, p.Registry
		if o.Policies, err = live.NewPolicyClient(p.Access, p.HTTP); err != nil {
			return err
		}
		program, err := controller.New(o)
		if err != nil {
			return err
		}
		p.Serving.Ready.Add("controller", program.Ready)
		p.Started()
		p.Go(ctx, program.Run)
		return p.Group.Wait()
	}
	return cmd
}

func envOr(key, otherwise string) string {
	if v := os.Getenv(key); v != "" {
		return v
	}
	return otherwise
}
