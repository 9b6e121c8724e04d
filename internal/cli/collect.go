package cli

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/ovnkctl/ovnkctl/internal/collect"
	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/output"
	"github.com/ovnkctl/ovnkctl/internal/version"
)

// collectFlags are those of `ovnkctl collect`.
type collectFlags struct {
	sourceFlags
	streams genericiooptions.IOStreams
	output  output.Flags
	file    string
	nodes   []string
	logs    bool
	dryRun  bool
	quiet   bool
	verbose bool
}

// NewCollectCommand is `ovnkctl collect`.
func NewCollectCommand(streams genericiooptions.IOStreams, kube *genericclioptions.ConfigFlags) *cobra.Command {
	f := &collectFlags{streams: streams, sourceFlags: sourceFlags{kube: kube}}
	cmd := &cobra.Command{
		Use:   "collect",
		Short: "Write the state of the network into one file that all commands can read",
		Long: `Write the state of the network into one file: the databases, flows, datapath flows,
tracked connections, nftables, routes, links and logs of the nodes, and the Kubernetes
objects that they follow from. Every reading command opens it with --from, on any
machine, without the cluster.

How large it will be is said before anything is collected. Secrets are never read;
tokens, certificates, environments and command lines of containers, and annotations of
others are left out. What could not be collected is listed, in the bundle too, and the
exit code is 4.`,
		Example: `  # Collect from all nodes
  ovnkctl collect

  # From two nodes, without logs, into a file of that name
  ovnkctl collect --nodes worker-1,worker-2 --logs=false --file case-4711.tar.gz

  # How large would it be?
  ovnkctl collect --dry-run

  # Look at it, here or elsewhere
  ovnkctl collect --file bundle.tar.gz && ovnkctl status --from bundle.tar.gz`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fs := cmd.Flags()
	fs.StringVarP(&f.file, "file", "f", "", "`path` of the bundle, - for standard output; ovnkctl-TIME.tar.gz when empty, or in the folder that it is")
	fs.StringSliceVar(&f.nodes, "nodes", nil, "collect from these `nodes` alone")
	fs.BoolVar(&f.logs, "logs", true, "collect logs, too")
	fs.BoolVar(&f.dryRun, "dry-run", false, "say how large the bundle will be, and collect nothing")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "no progress")
	fs.BoolVar(&f.verbose, "verbose", false, "write the log of the collection, which the bundle has, to standard error as well")
	f.output.Add(fs)
	f.addTimeout(fs)
	addKubeFlags(cmd, f.kube)
	return cmd
}

func (f *collectFlags) run(cmd *cobra.Command) error {
	if err := f.output.Validate(); err != nil {
		return usageError{cmd.CommandPath(), err}
	}
	s, err := f.open()
	if err != nil {
		return err
	}
	defer s.Close()
	if err := f.checkNodes(cmd, s); err != nil {
		return err
	}
	estimate, err := collect.NewEstimate(cmd.Context(), s, f.nodes, f.logs)
	if err != nil {
		return err
	}
	if f.dryRun {
		return output.Print(f.streams, estimate, &f.output)
	}
	f.say("%s", estimate)
	return f.collect(cmd, s)
}

func (f *collectFlags) checkNodes(cmd *cobra.Command, s *inspect.Snapshot) error {
	all, err := s.Nodes(cmd.Context())
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, n := range all {
		known[n] = true
	}
	for _, n := range f.nodes {
		if !known[n] {
			return usageError{cmd.CommandPath(), fmt.Errorf("--nodes: no node %q runs the network; these do: %s", n, strings.Join(all, ", "))}
		}
	}
	return nil
}

func (f *collectFlags) collect(cmd *cobra.Command, s *inspect.Snapshot) error {
	now := time.Now()
	name := "ovnkctl-" + now.UTC().Format("20060102-150405")
	out, err := f.create(name)
	if err != nil {
		return err
	}
	o := collect.Options{
		Snapshot: s, Namespace: f.namespace(), Version: version.Version, Nodes: f.nodes, Logs: f.logs, Out: out, Name: name,
		Progress: func(node string, done, all int) { f.say("%d of %d nodes: %s", done, all, node) },
	}
	if f.verbose {
		o.Log = slog.NewTextHandler(f.streams.ErrOut, &slog.HandlerOptions{Level: slog.LevelDebug})
	}
	c, err := collect.Run(cmd.Context(), o)
	c.File = f.file
	if f.file == "-" {
		// Standard output has the bundle.
		f.streams.Out, c.File = f.streams.ErrOut, ""
	}
	if errors.As(err, new(*collect.WriteError)) {
		return errors.Join(err, out.discard())
	}
	if kept := out.keep(); kept != nil {
		return errors.Join(err, kept)
	}
	return errors.Join(err, output.Print(f.streams, c, &f.output))
}

// say is progress, for people.
func (f *collectFlags) say(format string, args ...any) {
	if !f.quiet && !f.verbose {
		fmt.Fprintf(f.streams.ErrOut, format+"\n", args...)
	}
}

// bundleFile gets its name when it is whole.
type bundleFile struct {
	io.Writer
	file *os.File
	name string
}

func (f *collectFlags) create(name string) (*bundleFile, error) {
	if f.file == "-" {
		if file, ok := f.streams.Out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
			return nil, errors.New("--file=-: standard output is a terminal, which is no place for a bundle")
		}
		return &bundleFile{Writer: f.streams.Out}, nil
	}
	if stat, err := os.Stat(f.file); f.file == "" || err == nil && stat.IsDir() {
		f.file = filepath.Join(f.file, name+".tar.gz")
	}
	file, err := os.CreateTemp(filepath.Dir(f.file), "."+filepath.Base(f.file)+"-*") // readable by the owner alone
	if err != nil {
		return nil, noPlace{fmt.Errorf("bundle: %w", err)}
	}
	return &bundleFile{Writer: file, file: file, name: f.file}, nil
}

// noPlace is a folder that no bundle can be written into.
type noPlace struct{ error }

func (noPlace) Hint() string {
	return "name a file in a folder that is there, and that you may write into, with --file; - is standard output"
}
func (e noPlace) Unwrap() error { return e.error }

// keep gives the file its name, or leaves nothing.
func (b *bundleFile) keep() error {
	if b.file == nil {
		return nil
	}
	if err := errors.Join(b.file.Sync(), b.file.Close()); err != nil {
		return errors.Join(&collect.WriteError{Err: err}, b.discard())
	}
	if err := os.Rename(b.file.Name(), b.name); err != nil {
		return errors.Join(&collect.WriteError{Err: err}, b.discard())
	}
	return nil
}

// discard leaves nothing of a file that is no bundle.
func (b *bundleFile) discard() error {
	if b.file == nil {
		return nil
	}
	_ = b.file.Close() // that it could not be written is told already
	return os.Remove(b.file.Name())
}
