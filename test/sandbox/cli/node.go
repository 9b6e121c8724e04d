package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ovnkctl/ovnkctl/test/sandbox/cluster"
)

func newNode() *cobra.Command {
	cmd := &cobra.Command{Use: "node", Short: "Change the cluster's machines"}
	for _, c := range []struct {
		verb, short string
		run         func(*cluster.Sandbox, context.Context, string) error
	}{
		{"add", "Add a machine to the cluster", (*cluster.Sandbox).AddNode},
		{"remove", "Take a machine out, with its Node object and its disk", (*cluster.Sandbox).RemoveNode},
		{"kill", "Pull a machine's plug and leave it off", (*cluster.Sandbox).KillNode},
		{"reboot", "Pull a machine's plug (if it is on) and start it again", (*cluster.Sandbox).RebootNode},
	} {
		cmd.AddCommand(&cobra.Command{
			Use: c.verb + " NAME", Short: c.short, Args: args(cobra.ExactArgs(1)),
			RunE: func(cmd *cobra.Command, list []string) error {
				s, unlock, err := openLocked()
				if err != nil {
					return err
				}
				defer unlock()
				return c.run(s, cmd.Context(), list[0])
			},
		})
	}
	return cmd
}

func newExec() *cobra.Command {
	cmd := &cobra.Command{
		Use: "exec NODE -- COMMAND [ARG...]", Short: "Run a command in all namespaces of a node", Args: args(cobra.MinimumNArgs(2)),
		RunE: func(_ *cobra.Command, list []string) error {
			s, err := open()
			if err != nil {
				return err
			}
			return s.Exec(list[0], list[1:])
		},
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}

func newOutside() *cobra.Command {
	cmd := &cobra.Command{Use: "outside", Short: "The host beyond the nodes' gateway"}
	exec := &cobra.Command{
		Use: "exec -- COMMAND [ARG...]", Short: "Run a command on the outside host", Args: args(cobra.MinimumNArgs(1)),
		RunE: func(_ *cobra.Command, list []string) error {
			s, err := open()
			if err != nil {
				return err
			}
			return s.OutsideExec(list)
		},
	}
	exec.Flags().SetInterspersed(false)
	cmd.AddCommand(exec)
	return cmd
}

func newKubectl() *cobra.Command {
	return &cobra.Command{
		Use: "kubectl [ARG...]", Short: "kubectl of the cluster's version, logged in as its administrator", DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, list []string) error {
			s, err := open()
			if err != nil {
				return err
			}
			return s.Kubectl(cmd.Context(), list)
		},
	}
}
