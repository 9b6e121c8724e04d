package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/output"
	"github.com/ovnkctl/ovnkctl/internal/trace"
)

// usualInterval is the pause of --watch: longer than a change takes from the API server to the
// flows of a node.
const usualInterval = 2 * time.Second

// watchFlags are those of `ovnkctl trace --watch`.
type watchFlags struct {
	watch    bool
	interval time.Duration
	atMost   time.Duration
}

func (f *watchFlags) addWatch(fs *pflag.FlagSet) {
	fs.BoolVarP(&f.watch, "watch", "w", false, "trace again and again, and print what changes; with --expect until it is as expected")
	fs.DurationVar(&f.interval, "interval", usualInterval, "`pause` between two traces of --watch")
	fs.DurationVar(&f.atMost, "for", 0, "end --watch after this `long` (default: never)")
}

// checkWatch says what makes no sense together.
func (f *traceFlags) checkWatch(flags *pflag.FlagSet) error {
	from := flags.Lookup("from")
	switch {
	case !f.watch && (flags.Changed("interval") || flags.Changed("for")):
		return errors.New("--interval and --for are about --watch")
	case !f.watch:
		return nil
	case f.interval <= 0 || f.atMost < 0:
		return fmt.Errorf("--interval=%s --for=%s: they must be longer than nothing", f.interval, f.atMost)
	case f.asked():
		return errors.New("--watch is about the cluster as it is: leave --with and --without out")
	case from != nil && from.Changed:
		return errors.New("--watch is about a cluster, and a record of one (--from) does not change")
	}
	return nil
}

// TraceChange is a document of `ovnkctl trace --watch`.
type TraceChange struct {
	output.Meta
	trace.Change
}

// Text implements output.Textual: a line, and below it which row did it and which rule would
// have allowed the packet.
func (c TraceChange) Text(w io.Writer, _ output.Style, wide bool) error {
	_, err := fmt.Fprintf(w, "%s  %-11s  %s\n", c.Time.Format(time.TimeOnly), strings.ToUpper(string(c.Verdict)), c.Why)
	if c.Trace == nil || err != nil {
		return err
	}
	if wide {
		return c.Trace.Text(w, true)
	}
	for _, p := range c.Trace.Paths {
		if p.Verdict != c.Verdict || err != nil {
			continue
		}
		if row := p.Decision.Row; row != nil {
			_, err = fmt.Fprintf(w, "%*srow      %s on node %s\n", changeIndent, "", row, row.Node)
		}
		if near := p.Decision.Nearest; len(near) > 0 && err == nil {
			_, err = fmt.Fprintf(w, "%*snearest  %s would have allowed it\n", changeIndent, "", near[0].Rule)
		}
		break
	}
	return err
}

// changeIndent is where the verdict's reason begins: time and verdict before it.
const changeIndent = len("15:04:05  UNREACHABLE  ")

// Names implements output.Named: the verdict, for scripts.
func (c TraceChange) Names() []string { return []string{strings.ToLower(string(c.Verdict))} }

// watchTrace prints changes until the answer is as expected, the time is over, or Ctrl-C. Each
// look is a snapshot of its own.
func (f *traceFlags) watchTrace(ctx context.Context, streams genericiooptions.IOStreams, open func(context.Context) (*inspect.Snapshot, error)) error {
	watching := ctx
	if f.atMost > 0 {
		limited, cancel := context.WithTimeout(ctx, f.atMost)
		defer cancel()
		watching = limited
	}
	last := trace.Change{}
	w := trace.Watching{
		Every: f.interval,
		Look: func(ctx context.Context) (*trace.Result, error) {
			s, err := open(ctx)
			if err != nil {
				return nil, err
			}
			defer s.Close() //nolint:errcheck // only read
			r, err := trace.Run(ctx, trace.FromSnapshot(s), f.Options)
			if err != nil {
				return nil, because(err, s)
			}
			return r, nil
		},
		Tell: func(c trace.Change) error {
			if last = c; f.output.Output == "yaml" {
				if _, err := io.WriteString(streams.Out, "---\n"); err != nil {
					return err
				}
			}
			return output.Print(streams, TraceChange{Meta: output.Kind("TraceChange"), Change: c}, &f.output)
		},
	}
	if f.expect != "" {
		w.Until = func(r *trace.Result) bool { return f.exit(r, false) == ExitOK }
	}
	err := trace.Watch(watching, w)
	if ctx.Err() != nil {
		return output.ExitError{Code: ExitInterrupted} // the usual end of a watch needs no words
	}
	if !errors.Is(err, context.DeadlineExceeded) || watching.Err() == nil {
		return err
	}
	if f.expect != "" {
		return notYet{f.atMost, f.expect, last}
	}
	if last.Trace == nil {
		return output.ExitError{Code: ExitPartial}
	}
	if code := f.exit(last.Trace, false); code != ExitOK {
		return output.ExitError{Code: code}
	}
	return nil
}

// notYet is an expectation that did not come true in time.
type notYet struct {
	after  time.Duration
	expect string
	last   trace.Change
}

func (e notYet) Error() string {
	if e.last.Verdict == "" {
		return fmt.Sprintf("not %s within %s: there was no answer", e.expect, e.after)
	}
	return fmt.Sprintf("not %s within %s: %s (%s)", e.expect, e.after, strings.ToLower(string(e.last.Verdict)), e.last.Why)
}

func (notYet) ExitCode() int { return ExitTimeout }
func (notYet) Hint() string  { return "look at the whole trace, without --watch" }
