package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/ovnkctl/ovnkctl/test/sandbox/cluster"
)

// errNotUp ends `status` with its own exit code when something does not run.
var errNotUp = errors.New("the sandbox is not up")

func newStatus() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "status", Short: "Show what runs", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := open()
			if err != nil {
				return err
			}
			st, err := s.Status(cmd.Context())
			if err != nil {
				return err
			}
			switch format {
			case "table":
				err = printStatus(cmd.OutOrStdout(), st)
			case "json":
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				err = enc.Encode(st)
			default:
				return &usageError{fmt.Errorf("output format %q: use table or json", format)}
			}
			if err == nil && !st.Up {
				return errNotUp
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "table", "table or json")
	return cmd
}

func printStatus(w io.Writer, st cluster.Status) error {
	if len(st.Nodes) == 0 {
		text := "no sandbox: `bin/sandbox up` starts one\n"
		switch st.Owner {
		case "":
		case st.Checkout:
			text = "the state of this checkout's sandbox is gone, but it runs: `bin/sandbox down` removes it\n"
		default:
			text = "no sandbox in this checkout; this machine runs the one of " + st.Owner + "\n"
		}
		_, err := io.WriteString(w, text)
		return err
	}
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	row := func(cells ...string) { fmt.Fprintln(tw, strings.Join(cells, "\t")) } //nolint:errcheck // Flush reports it
	row("NODE", "MACHINE", "KUBERNETES", "PID", "ADDRESSES")
	for _, n := range st.Nodes {
		row(n.Name, onOff(n.Running), n.Condition, pid(n.PID), strings.Join(n.Addresses, " "))
	}
	row()
	row("PROCESS", "STATE", "MEMORY", "PID", "LOG")
	for _, p := range st.Processes {
		row(p.Name, onOff(p.Running), p.Memory, pid(p.PID), p.Log)
	}
	row()
	row("API server", st.APIServer)
	row("Kubeconfig", st.Kubeconfig)
	row("Families", string(st.Family))
	row("Network", st.CNI)
	row("Gateway mode", st.GatewayMode)
	for _, g := range st.Machine {
		row("Machine cannot", g.What+" ("+g.Why+")")
	}
	return tw.Flush()
}

func onOff(on bool) string {
	if on {
		return "running"
	}
	return "OFF"
}

func pid(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}
