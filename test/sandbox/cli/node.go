package cli

import (
	"context"
	"errors"

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
		Use: "exec NODE -- COMMAND [ARG...]", Short: "Run a command in all namespaces of a node", Args: args(nodeAndCommand),
		RunE: func(_ *cobra.Command, list []string) error {
			s, err := open()
			if err != nil {
				return err
			}
			return s.Exec(list[0], withoutDashes(list[1:]))
		},
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}

// nodeAndCommand checks that a command follows the node.
func nodeAndCommand(_ *cobra.Command, list []string) error {
	if len(list) < 2 || len(withoutDashes(list[1:])) == 0 {
		return errors.New("a node and a command are needed")
	}
	return nil
}

// withoutDashes drops the `--` before a command; the flag parser leaves it
// there once it has seen the node.
func withoutDashes(list []string) []string {
	if list[0] == "--" {
		return list[1:]
	}
	return list
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
