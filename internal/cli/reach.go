package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/output"
	"github.com/ovnkctl/ovnkctl/internal/reach"
	"github.com/ovnkctl/ovnkctl/internal/trace"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// reachFlags are the flags of `ovnkctl reach`.
type reachFlags struct {
	reach.Options
	whatIfFlags
	streams  genericiooptions.IOStreams
	evaluate bool
	expect   string
	output   output.Flags
}

// between is the word that stands between sources and destinations.
const between = "to"

// NewReachCommand is `ovnkctl reach`.
func NewReachCommand(streams genericiooptions.IOStreams, config *genericclioptions.ConfigFlags, look inspector) *cobra.Command {
	f := &reachFlags{streams: streams}
	cmd := &cobra.Command{
		Use:   "reach [SOURCE...] [to DESTINATION...]",
		Short: "Say who reaches whom: the matrix of sources, destinations and ports",
		Long: `Say who reaches whom: for each source, destination and port whether a packet arrives, and
which object and rule decided. No packet is sent: ovn-trace is asked on each node that the
packets come to; with --evaluate the policies alone, which needs no OVN and is much faster.

Sources and destinations are selectors; without any they are the pods of all namespaces:
  ns/NAMESPACE               the pods of a namespace
  NAMESPACE/LABEL=VALUE,...  its pods with labels, as kubectl's --selector has them
  pod/NAMESPACE/NAME, svc/NAMESPACE/NAME[:PORT], node/NAME, ADDRESS, or '*'
Pods of one namespace that no policy of the cluster can tell apart are one row or column, and
one of them is asked for; --each asks for each pod.

With --expect the matrix is compared with a file of what is expected: what -o csv, yaml or
json wrote, or lines "source,destination,port,verdict" by hand. Without SOURCE and
DESTINATION the file also says what is asked for.

Exit codes: 0 it could be said, and all is as expected; 3 something is not as expected, or OVN
does another thing than the policies say; 4 some cells are not known.`,
		Example: `  ovnkctl reach
  ovnkctl reach ns/shop to ns/db --port tcp/5432
  ovnkctl reach shop/app=cart pod/audit/reader to svc/shop/web 203.0.113.9 -o wide
  ovnkctl reach --evaluate -o html > matrix.html

  # A gate: record what is, and have the pipeline fail when it changes
  ovnkctl reach -o csv > reach.csv
  ovnkctl reach --expect reach.csv

  # Before it is applied: which cells would be different
  ovnkctl reach ns/shop to ns/shop --with deny-all.yaml

  # What has changed between two records
  ovnkctl reach --from before.tar.gz -o csv > before.csv
  ovnkctl reach '*' to '*' --from after.tar.gz --expect before.csv`,
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&f.Ports, "port", nil, "`ports` to ask for: tcp/80, 80, udp/dns, http, icmp (default: those that the destination declares, or else ICMP)")
	flags.IntVar(&f.Family, "family", 0, "IP `version`, 4 or 6 (default: the first that both ends have)")
	flags.BoolVar(&f.Each, "each", false, "ask for each pod, and each backend of services")
	flags.BoolVar(&f.evaluate, "evaluate", false, "ask the policies alone, not OVN")
	flags.StringVar(&f.expect, "expect", "", "compare with what this `file` expects, - for standard input")
	f.addWhatIf(flags)
	f.output.Add(flags, reach.Forms()...)
	config.AddFlags(flags)
	open := look(flags)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.read(config, args); err != nil {
			return usageError{cmd.CommandPath(), err}
		}
		if err := f.readExpected(); err != nil {
			return err
		}
		if err := f.readWhatIf(f.Namespace, streams.In); err != nil {
			return err
		}
		s, err := open(cmd.Context())
		if err != nil {
			return err
		}
		defer s.Close() //nolint:errcheck // only read
		return f.run(cmd.Context(), s)
	}
	return cmd
}

// read makes options of the command line.
func (f *reachFlags) read(config *genericclioptions.ConfigFlags, args []string) error {
	if i := slices.Index(args, between); i >= 0 {
		f.Destinations, args = args[i+1:], args[:i]
		if len(f.Destinations) == 0 {
			return errors.New("no destination behind 'to'; without both, the destinations are the pods of all namespaces")
		}
	}
	if len(args) > 0 {
		f.Sources = args
	}
	if slices.Contains(f.Destinations, between) {
		return errors.New("'to' stands between sources and destinations, once; a pod of that name is pod/NAMESPACE/to")
	}
	for _, text := range slices.Concat(f.Sources, f.Destinations) {
		if err := reach.CheckSelector(text); err != nil {
			return err
		}
	}
	for _, text := range f.Ports {
		if err := reach.CheckPort(text); err != nil {
			return fmt.Errorf("--port: %w", err)
		}
	}
	if f.Family != 0 && f.Family != 4 && f.Family != 6 {
		return fmt.Errorf("--family=%d: it is 4 or 6", f.Family)
	}
	if f.expect != "" && len(f.Ports) > 0 && f.Sources == nil && f.Destinations == nil {
		return errors.New("--port: the file of --expect says which ports are asked for; name sources and destinations to choose others")
	}
	if namespace, _, err := config.ToRawKubeConfigLoader().Namespace(); err == nil {
		f.Namespace = namespace
	}
	f.Oracle = reach.OVN
	if f.evaluate {
		f.Oracle = reach.Policies
	}
	return f.output.Validate()
}

// readExpected reads the file of --expect.
func (f *reachFlags) readExpected() error {
	if f.expect == "" {
		return nil
	}
	name, in := "standard input", f.streams.In
	if f.expect != "-" {
		file, err := os.Open(f.expect)
		if err != nil {
			return fmt.Errorf("expectations: %w", err)
		}
		defer file.Close()
		name, in = f.expect, file
	}
	var err error
	f.Expected, err = reach.ReadExpected(name, in)
	return err
}

func (f *reachFlags) run(ctx context.Context, s *inspect.Snapshot) error {
	done := f.progress()
	d, ended := f.reach(ctx, s)
	done()
	if d == nil {
		return because(ended, s)
	}
	if !f.output.Machine() {
		d.Style = f.output.Style(f.streams.Out)
	}
	d.Meta, d.From = output.Kind("Reachability"), s.Origin()
	d.code = reachCode(d.Result, len(d.Unread) > 0, f.expect != "")
	printed := output.Print(f.streams, *d, &f.output)
	if ended != nil {
		asked := len(d.Cells) - d.Summary[reach.NotAsked]
		return errors.Join(printed, fmt.Errorf("%d of %d cells were asked: %w", asked, len(d.Cells), ended))
	}
	return printed
}

// reach asks the cluster as it is, or as it would be: then the expectation is what it is today,
// unless there is another one.
func (f *reachFlags) reach(ctx context.Context, s *inspect.Snapshot) (*Reached, error) {
	if f.input == nil {
		return f.ask(ctx, s, f.Options)
	}
	w, err := f.whatIf(ctx, s) // what is wrong with the input is told before nodes are asked
	if err != nil {
		return nil, err
	}
	defer w.Close() //nolint:errcheck // nothing is left to lose
	o := f.Options
	if o.Expected == nil {
		today, err := f.ask(ctx, s, o)
		if err != nil {
			return today, err
		}
		o.Expected, o.Sources, o.Destinations, o.Ports = today.AsExpected("today"), nil, nil, nil
	}
	d, err := f.ask(ctx, w.Snapshot(), o)
	if d == nil {
		return nil, fmt.Errorf("%s: %w", f.what(), err)
	}
	for _, c := range d.Cells {
		if c.Decision != nil {
			w.MarkDecision(ctx, c.Decision)
		}
	}
	for i := range d.Differences {
		d.Differences[i].Why = w.Marked(d.Differences[i].Why)
	}
	d.With, d.unread = f.what(), unreadOf(s, w.Snapshot())
	return d, err
}

// ask fills the matrix of one cluster.
func (f *reachFlags) ask(ctx context.Context, s *inspect.Snapshot, o reach.Options) (*Reached, error) {
	objects, err := s.Objects(ctx, inspect.Pods, inspect.EndpointSlices)
	if err != nil {
		return nil, err
	}
	o.Declared = reach.DeclaredPorts(objects.Pods)
	for i := range objects.EndpointSlices {
		o.EndpointSlices = append(o.EndpointSlices, world.FromEndpointSlice(&objects.EndpointSlices[i]))
	}
	r, err := reach.Run(ctx, trace.FromSnapshot(s), o)
	if r == nil {
		return nil, err
	}
	return &Reached{Result: r, unread: unread{s.Problems()}}, err
}

// progress tells people at a terminal how far it is. What it returns ends that.
func (f *reachFlags) progress() (done func()) {
	file, ok := f.streams.ErrOut.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return func() {}
	}
	f.Progress = func(done, all int) { fmt.Fprintf(file, "\r%d of %d cells", done, all) }
	return func() { io.WriteString(file, "\r\x1b[K") } //nolint:errcheck // a terminal
}

// Reached is the document of `ovnkctl reach`.
type Reached struct {
	output.Meta
	From inspect.Origin `json:"from"`
	// With is what would be different, for a cluster as it would be.
	With string `json:"with,omitempty"`
	*reach.Result
	unread
	code int
}

// Table implements output.Tabular.
func (r Reached) Table(wide bool) output.Table {
	t := r.Result.Table(wide)
	if r.From.Kind != inspect.Live {
		t.Before = slices.Insert(t.Before, 1, fmt.Sprintf("as of %s, from %s", r.From.Time.UTC().Format("2006-01-02T15:04:05Z"), r.From.Name))
	}
	if r.With != "" {
		t.Before = slices.Insert(t.Before, 0, "as it would be "+r.With+", which was not applied")
	}
	t.After = append(t.After, output.ProblemLines(inspect.Errors(r.Unread))...)
	return t
}

// ExitCode implements output.Coded.
func (r Reached) ExitCode() int { return r.code }

// reachCode is the exit code of a matrix. That packets are denied is no fault: policies are
// there for that. Nor is what would be different from today, which was asked for.
func reachCode(r *reach.Result, partial, expected bool) int {
	switch {
	case expected && len(r.Differences) > 0 || r.Disagreements > 0:
		return ExitFindings
	case partial || r.Summary[trace.Unknown] > 0:
		return ExitPartial
	}
	return ExitOK
}
