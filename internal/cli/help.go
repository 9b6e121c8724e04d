package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
)

// ofConnection marks the flags that say how to reach the API server: kubectl's, of which few are
// ever needed. Help has them at the end.
const ofConnection = "ovnkctl.io/connection"

// marksConnection marks them in all commands. Those that people use daily stay with the others.
func marksConnection(root *cobra.Command) {
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	genericclioptions.NewConfigFlags(true).AddFlags(all)
	daily := []string{"namespace", "context", "kubeconfig"}
	for _, cmd := range root.Commands() {
		all.VisitAll(func(f *pflag.Flag) {
			if flag := cmd.Flags().Lookup(f.Name); flag != nil && flag.Usage == f.Usage && !slices.Contains(daily, f.Name) {
				_ = cmd.Flags().SetAnnotation(f.Name, ofConnection, nil) // it is there
			}
		})
		marksConnection(cmd)
	}
}

// flagsOf sorts a command's flags: its own, and those of the connection.
func flagsOf(cmd *cobra.Command) (own, connection *pflag.FlagSet) {
	own, connection = pflag.NewFlagSet("", pflag.ContinueOnError), pflag.NewFlagSet("", pflag.ContinueOnError)
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if _, ok := f.Annotations[ofConnection]; ok {
			connection.AddFlag(f)
		} else {
			own.AddFlag(f)
		}
	})
	return own, connection
}

// writeUsage is what help has behind the description of a command.
func writeUsage(w io.Writer, cmd *cobra.Command) error {
	var b strings.Builder
	section := func(title, text string) {
		if text = strings.TrimRight(text, "\n"); text != "" {
			fmt.Fprintf(&b, "\n%s:\n%s\n", title, text)
		}
	}
	usage := ""
	if cmd.Runnable() {
		usage = "  " + cmd.UseLine() + "\n"
	}
	if cmd.HasAvailableSubCommands() {
		usage += "  " + cmd.CommandPath() + " [command]\n"
	}
	section("Usage", usage)
	section("Examples", cmd.Example)
	for _, g := range cmd.Groups() {
		section(strings.TrimSuffix(g.Title, ":"), commandLines(cmd, g.ID))
	}
	title := "Available Commands"
	if len(cmd.Groups()) > 0 {
		title = "Additional Commands"
	}
	section(title, commandLines(cmd, ""))
	own, connection := flagsOf(cmd)
	section("Flags", own.FlagUsages())
	section("Flags of the connection, as kubectl has them", connection.FlagUsages())
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\nUse \"%s [command] --help\" for more information about a command.\n", cmd.CommandPath())
	}
	_, err := io.WriteString(w, strings.TrimPrefix(b.String(), "\n"))
	return err
}

func commandLines(cmd *cobra.Command, group string) string {
	var b strings.Builder
	for _, c := range cmd.Commands() {
		if c.GroupID == group && (c.IsAvailableCommand() || c.Name() == "help") {
			fmt.Fprintf(&b, "  %-*s %s\n", c.NamePadding(), c.Name(), c.Short)
		}
	}
	return b.String()
}
