package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func newLogs() *cobra.Command {
	var follow bool
	var lines int
	cmd := &cobra.Command{
		Use: "logs [NAME...]", Short: "List the logs, or print those whose name contains one of the given texts",
		Example: "  sandbox logs                 # what there is\n  sandbox logs node2/kubelet   # one\n  sandbox logs -f apiserver node1",
		RunE: func(cmd *cobra.Command, names []string) error {
			s, err := open()
			if err != nil {
				return err
			}
			files, err := s.LogFiles()
			if err != nil {
				return err
			}
			if len(names) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), s.Logs()) //nolint:errcheck // nothing can be done about a closed stdout
				for _, f := range files {
					fmt.Fprintln(cmd.OutOrStdout(), "  "+f) //nolint:errcheck // see above
				}
				return nil
			}
			chosen := slices.DeleteFunc(files, func(f string) bool {
				return !slices.ContainsFunc(names, func(n string) bool { return strings.Contains(f, n) })
			})
			if len(chosen) == 0 {
				return fmt.Errorf("no log is named like %s; `bin/sandbox logs` lists them", strings.Join(names, " or "))
			}
			return tail(cmd, s.Logs(), chosen, tailOptions{lines: lines, follow: follow})
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what is written from now on")
	cmd.Flags().IntVarP(&lines, "lines", "n", 50, "how many lines of each log")
	return cmd
}

type tailOptions struct {
	lines  int
	follow bool
}

// tail lets the program of that name do it: it follows several growing files well.
func tail(cmd *cobra.Command, dir string, files []string, o tailOptions) error {
	argv := []string{"-n", fmt.Sprint(o.lines)}
	if o.follow {
		argv = append(argv, "-F")
	}
	for _, f := range files {
		argv = append(argv, filepath.Join(dir, f))
	}
	run := exec.CommandContext(cmd.Context(), "tail", argv...)
	run.Stdout, run.Stderr = os.Stdout, os.Stderr
	if err := run.Run(); err != nil && cmd.Context().Err() == nil {
		return fmt.Errorf("tail: %w", err)
	}
	return nil
}
