package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// referenceDir has a page for each command.
const referenceDir = "../../docs/reference"

// reference is the pages by file name, made of the commands themselves.
func reference(root *cobra.Command) map[string][]byte {
	pages := map[string][]byte{}
	index := "# Commands\n\nMade of the program's own help. `kubectl ovnk` is the same program, with the first group of commands.\n"
	for _, g := range root.Groups() {
		index += fmt.Sprintf("\n%s\n\n| command | |\n|---|---|\n", g.Title)
		for _, c := range root.Commands() {
			if c.GroupID == g.ID && c.IsAvailableCommand() {
				index += fmt.Sprintf("| [%s](%s) | %s |\n", c.CommandPath(), pageOf(c), c.Short)
				pages[pageOf(c)] = page(c)
			}
		}
	}
	pages["README.md"] = []byte(index + "\nFlags that all commands with a cluster have are on [a page of their own](connection.md).\n")
	pages["connection.md"] = connectionPage(root)
	return pages
}

func pageOf(c *cobra.Command) string { return c.Name() + ".md" }

func page(c *cobra.Command) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\n\n%s\n\n```\n%s\n```\n\n%s\n", c.CommandPath(), c.Short, c.UseLine(), described(c))
	if c.Example != "" {
		fmt.Fprintf(&b, "\n## Examples\n\n```\n%s\n```\n", unindented(c.Example))
	}
	flagTable(&b, c)
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			fmt.Fprintf(&b, "\n## %s\n\n%s\n\n```\n%s\n```\n", sub.CommandPath(), described(sub), sub.UseLine())
			flagTable(&b, sub)
		}
	}
	return b.Bytes()
}

func described(c *cobra.Command) string {
	if c.Long != "" {
		return c.Long
	}
	return c.Short + "."
}

func unindented(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "  ")
	}
	return strings.Join(lines, "\n")
}

func flagTable(b *bytes.Buffer, c *cobra.Command) {
	own, connection := flagsOf(c)
	if rows := flagRows(own); rows != "" {
		fmt.Fprintf(b, "\n| flag | |\n|---|---|\n%s", rows)
	}
	if connection.HasFlags() {
		fmt.Fprint(b, "\nIt also has the [flags of the connection](connection.md).\n")
	}
}

func flagRows(fs *pflag.FlagSet) string {
	var b strings.Builder
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		if value != "" {
			name += " " + value
		}
		if d := f.DefValue; !slices.Contains([]string{"", "false", "[]", "0", "0s"}, d) && !strings.Contains(d, "/.kube/") {
			usage += "; `" + d + "` when not given"
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", strings.ReplaceAll(name, "|", "\\|"), strings.ReplaceAll(usage, "|", "\\|"))
	})
	return b.String()
}

// connectionPage has the flags of the connection of any command, as they are the same.
func connectionPage(root *cobra.Command) []byte {
	status, _, err := root.Find([]string{"status"})
	if err != nil {
		return nil
	}
	_, connection := flagsOf(status)
	return []byte("# Flags of the connection\n\nAll commands that look at a cluster have them, as kubectl has.\n\n| flag | |\n|---|---|\n" + flagRows(connection))
}

// TestReference: the pages are what the program says of itself now.
func TestReference(t *testing.T) {
	t.Parallel()
	pages := reference(NewRoot("ovnkctl", genericiooptions.IOStreams{}))
	if *update {
		if err := os.RemoveAll(referenceDir); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(referenceDir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range pages {
		file := filepath.Join(referenceDir, name)
		if *update {
			if err := os.WriteFile(file, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatalf("%v; run go test ./internal/cli -run Reference -update", err)
		}
		if d := cmp.Diff(string(got), string(want)); d != "" {
			t.Errorf("%s is not current (-file +program), run go test ./internal/cli -run Reference -update:\n%s", file, d)
		}
	}
	files, err := os.ReadDir(referenceDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if pages[f.Name()] == nil {
			t.Errorf("%s is about no command: remove it", filepath.Join(referenceDir, f.Name()))
		}
	}
}
