package cli

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/ovnkctl/ovnkctl/internal/logs"
	"github.com/ovnkctl/ovnkctl/internal/output"
)

// logsFlags are those of `ovnkctl logs`.
type logsFlags struct {
	sourceFlags
	streams  genericiooptions.IOStreams
	output   output.Flags
	since    time.Duration
	tail     int
	level    string
	grep     string
	follow   bool
	previous bool
}

// usualTail is how many lines are shown where nobody says: a few screens.
const usualTail = 200

// NewLogsCommand is `ovnkctl logs`.
func NewLogsCommand(streams genericiooptions.IOStreams, kube *genericclioptions.ConfigFlags) *cobra.Command {
	f := &logsFlags{streams: streams, sourceFlags: sourceFlags{kube: kube}}
	cmd := &cobra.Command{
		Use:   "logs [NODE|CONTAINER]...",
		Short: "Print what the network's programs say on all nodes, in the order of time",
		Long: `Print the logs of the network's containers on all nodes, or on some, as one, in the order
of time. The formats of ovnkctl, OVN and Open vSwitch are understood: --level leaves out
what is less bad, and lines that say no level, such as the end of a program that crashes,
are never left out.`,
		Example: `  ovnkctl logs
  ovnkctl logs worker-1 --since 10m
  ovnkctl logs ovn-controller ovs-daemons --level warn
  ovnkctl logs -f --grep 'shop[/_]cart-0'
  ovnkctl logs worker-1 ovnkube-controller --previous --tail -1
  ovnkctl logs --from bundle.tar.gz -o ndjson`,
		RunE: f.run,
	}
	fs := cmd.Flags()
	fs.DurationVar(&f.since, "since", 0, "only lines of the last `long`, such as 10m; of a record, before it was taken")
	fs.IntVar(&f.tail, "tail", usualTail, "at most this `many` lines, the last ones; -1 for all")
	fs.StringVar(&f.level, "level", "", "only lines of this `level` or a worse one: debug, info, warn or error")
	fs.StringVar(&f.grep, "grep", "", "only lines that match this regular `expression`")
	fs.BoolVarP(&f.follow, "follow", "f", false, "go on with the lines that come")
	fs.BoolVar(&f.previous, "previous", false, "also what containers said before they were started again")
	f.output.Add(fs, logs.Forms()...)
	f.addFrom(fs)
	f.addTimeout(fs)
	addKubeFlags(cmd, f.kube)
	return cmd
}

// options checks flags.
func (f *logsFlags) options(args []string) (*logs.Options, error) {
	o := &logs.Options{Select: args, Tail: f.tail, Level: logs.Level(f.level), Previous: f.previous}
	if err := f.output.Validate(); err != nil {
		return nil, err
	}
	if f.level != "" && !slices.Contains(logs.Levels, o.Level) {
		return nil, fmt.Errorf("--level=%s: it is debug, info, warn or error", f.level)
	}
	if f.since < 0 {
		return nil, fmt.Errorf("--since=%s: it must not be less than nothing", f.since)
	}
	if f.follow && len(f.from) > 0 {
		return nil, errors.New("--follow: a record does not change; leave out --follow or --from")
	}
	if f.follow && f.output.Machine() && !slices.Contains(logs.Forms(), f.output.Output) {
		return nil, fmt.Errorf("--follow: -o %s is one document, which never ends; use -o %s", f.output.Output, logs.NDJSON)
	}
	if f.grep != "" {
		var err error
		if o.Match, err = regexp.Compile(f.grep); err != nil {
			return nil, fmt.Errorf("--grep: %w", err)
		}
	}
	return o, nil
}

func (f *logsFlags) run(cmd *cobra.Command, args []string) error {
	o, err := f.options(args)
	if err != nil {
		return usageError{cmd.CommandPath(), err}
	}
	if f.follow {
		return f.goOn(cmd.Context(), o)
	}
	s, err := f.open()
	if err != nil {
		return err
	}
	defer s.Close() //nolint:errcheck // only read
	if f.since > 0 {
		now := time.Now()
		if at := s.Origin().Time; !at.IsZero() {
			now = at // a record is of when it was taken
		}
		o.Since = now.Add(-f.since)
	}
	lines, err := logs.Read(cmd.Context(), logs.Snapshot{Snapshot: s}, o)
	if err != nil {
		return because(err, s)
	}
	return output.Print(f.streams, logs.NewDocument(s.Origin(), lines, s.Problems()), &f.output)
}

// goOn follows the logs until somebody interrupts, which is no failure.
func (f *logsFlags) goOn(ctx context.Context, o *logs.Options) error {
	if f.since > 0 {
		o.Since = time.Now().Add(-f.since)
	}
	p := logs.Printer{W: f.streams.Out, Form: f.output.Output, Style: f.output.Style(f.streams.Out), Wide: f.output.Output == "wide"}
	said := map[string]bool{}
	lost := func(node, container string, err error) {
		line := fmt.Sprintf("warning: %v", err)
		if node != "" {
			line = fmt.Sprintf("warning: %s/%s: %v", node, container, err)
		}
		if !said[line] {
			said[line] = true
			fmt.Fprintln(f.streams.ErrOut, line)
		}
	}
	err := logs.Follow(ctx, o, &logs.Following{
		Open: func(context.Context) (logs.Source, func(), error) {
			s, err := f.open()
			if err != nil {
				return nil, nil, err
			}
			return logs.Snapshot{Snapshot: s}, func() { s.Close() }, nil
		},
		Again: logs.Patience, Say: func(l logs.Line) error { return p.Print(&l) }, Lost: lost,
	})
	if ctx.Err() != nil {
		return nil //nolint:nilerr // Ctrl-C is how it ends
	}
	return err
}
