package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/output"
	"github.com/ovnkctl/ovnkctl/internal/trace"
	"github.com/ovnkctl/ovnkctl/internal/whatif"
)

// inspector adds the flags that say where a reading command looks (--from), and returns
// what opens it.
type inspector func(*pflag.FlagSet) func(context.Context) (*inspect.Snapshot, error)

// traceFlags are the flags of `ovnkctl trace`.
type traceFlags struct {
	trace.Options
	whatIfFlags
	watchFlags
	protocol, backend, expect string
	output                    output.Flags
}

// NewTraceCommand is `ovnkctl trace`.
func NewTraceCommand(streams genericiooptions.IOStreams, config *genericclioptions.ConfigFlags, look inspector) *cobra.Command {
	var f traceFlags
	cmd := &cobra.Command{
		Use:   "trace SOURCE DESTINATION",
		Short: "Say what becomes of a packet, and which object and rule decided",
		Long: `Follow a packet from SOURCE to DESTINATION through all zones, and say whether it arrives
and which object and rule decided. No packet is sent: ovn-trace is asked on each node
that the packet comes to.

SOURCE and DESTINATION are pods, services, nodes or addresses: [KIND/][NAMESPACE/]NAME[:PORT]
or ADDRESS[:PORT]. Ports are numbers or names. With a port the protocol is TCP, or the
service's; without one it is ICMP.

With --with or --without the verdict is that of the cluster as it would be, and the one of
today stands beside it. Nothing is applied: a copy of the OVN of the nodes concerned is
made, with an ovn-northd of its own, and removed.

With --watch it is traced again and again, and what changes is printed: the verdict, with the
time and what decided. That an end is not there yet is an answer, too. With --expect the watch
ends as soon as the answer is as expected, which makes it a 'wait until' for scripts; --for
bounds it. -o json prints a document for each change.

Exit codes: 0 allowed, 3 dropped, rejected or unreachable, 4 not known; with --expect 0 if it
is as expected, else 3; 5 if it was not before the time of --for was over.`,
		Example: `  ovnkctl trace shop/cart svc/shop/web:80
  ovnkctl trace pod/shop/cart svc/shop/web --all-backends --reply
  ovnkctl trace node/worker-1 shop/cart:8080 --protocol udp
  ovnkctl trace shop/cart 203.0.113.9:443 --physical -o wide
  ovnkctl trace 198.51.100.7 192.0.2.10:80 --via worker-1
  ovnkctl trace shop/cart shop/db:5432 --expect dropped

  # Wait until a new policy lets it through, at most half a minute
  ovnkctl trace shop/cart shop/db:5432 --watch --expect allowed --for 30s

  # Before it is applied: what would become of the packet, and what would be different
  ovnkctl trace shop/cart shop/db:5432 --with deny-all.yaml
  ovnkctl trace shop/cart shop/db:5432 --without networkpolicy/shop/deny-all`,
		Args: cobra.ExactArgs(2),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.protocol, "protocol", "", "`protocol`: tcp, udp, sctp, icmp or arp")
	flags.StringVar(&f.Port, "port", "", "destination `port`, a number or a name")
	flags.Uint16Var(&f.SourcePort, "source-port", 0, "source `port` (default 40000)")
	flags.IntVar(&f.Family, "family", 0, "IP `version`, 4 or 6 (default: the first that both ends have)")
	flags.StringVar(&f.backend, "backend", "", "`address` of the backend that load balancers choose")
	flags.BoolVar(&f.AllBackends, "all-backends", false, "trace to each backend of a service")
	flags.BoolVar(&f.Reply, "reply", false, "trace the answer, too")
	flags.BoolVar(&f.Physical, "physical", false, "show what Open vSwitch does beside it")
	flags.StringVar(&f.Via, "via", "", "`node` that a packet from outside comes to")
	flags.StringVar(&f.expect, "expect", "", "fail unless the packet is `allowed|dropped`")
	f.addWhatIf(flags)
	f.addWatch(flags)
	f.output.Add(flags)
	config.AddFlags(flags)
	open := look(flags)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.read(config, args); err != nil {
			return usageError{cmd.CommandPath(), err}
		}
		if err := f.checkWatch(flags); err != nil {
			return usageError{cmd.CommandPath(), err}
		}
		if err := f.readWhatIf(f.Namespace, streams.In); err != nil {
			return err
		}
		if f.watch {
			return f.watchTrace(cmd.Context(), streams, open)
		}
		s, err := open(cmd.Context())
		if err != nil {
			return err
		}
		defer s.Close() //nolint:errcheck // only read
		doc, err := f.trace(cmd.Context(), s)
		if err != nil {
			return because(err, s)
		}
		doc.Meta = output.Kind("Trace")
		doc.code = f.exit(doc.Result, len(doc.Unread) > 0)
		return output.Print(streams, *doc, &f.output)
	}
	return cmd
}

// trace answers the question, for the cluster as it is or as it would be.
func (f *traceFlags) trace(ctx context.Context, s *inspect.Snapshot) (*Traced, error) {
	if f.input == nil {
		r, err := trace.Run(ctx, trace.FromSnapshot(s), f.Options)
		return &Traced{Result: r, unread: unread{s.Problems()}}, err
	}
	w, err := f.whatIf(ctx, s) // what is wrong with the input is told before nodes are asked
	if err != nil {
		return nil, err
	}
	defer w.Close() //nolint:errcheck // nothing is left to lose
	today, err := trace.Run(ctx, trace.FromSnapshot(s), f.Options)
	if ctx.Err() != nil {
		return nil, err
	}
	doc := &Traced{Today: whatif.NewToday(today, err)} // what is asked for may not be there yet
	if doc.Result, err = trace.Run(ctx, trace.FromSnapshot(w.Snapshot()), f.Options); err != nil {
		return nil, fmt.Errorf("%s: %w", f.what(), err)
	}
	w.Mark(ctx, doc.Result)
	if doc.Change, err = w.Change(ctx); err != nil {
		return nil, err
	}
	doc.with = f.what()
	doc.unread = unreadOf(s, w.Snapshot())
	return doc, nil
}

// read makes options of the flags.
func (f *traceFlags) read(config *genericclioptions.ConfigFlags, args []string) error {
	f.Source, f.Destination = args[0], args[1]
	if namespace, _, err := config.ToRawKubeConfigLoader().Namespace(); err == nil {
		f.Namespace = namespace
	}
	f.Protocol = trace.Protocol(strings.ToLower(f.protocol))
	if f.Protocol != "" && !slices.Contains(trace.Protocols, f.Protocol) {
		return fmt.Errorf("--protocol=%s: it is one of %v", f.protocol, trace.Protocols)
	}
	if f.Family != 0 && f.Family != 4 && f.Family != 6 {
		return fmt.Errorf("--family=%d: it is 4 or 6", f.Family)
	}
	if f.backend != "" {
		a, err := netip.ParseAddr(f.backend)
		if err != nil {
			return fmt.Errorf("--backend=%s: not an address", f.backend)
		}
		f.Backend = a
	}
	if f.expect != "" && f.expect != "allowed" && f.expect != "dropped" {
		return fmt.Errorf("--expect=%s: it is allowed or dropped", f.expect)
	}
	if f.Physical && f.asked() {
		return errors.New("--physical shows the flows that Open vSwitch has, and what is asked with --with or --without is not in force")
	}
	return f.output.Validate()
}

// Traced is the document of `ovnkctl trace`.
type Traced struct {
	output.Meta
	*trace.Result
	// Today is the answer without --with and --without, and Change what they would do.
	Today  *whatif.Today  `json:"today,omitempty"`
	Change *whatif.Change `json:"change,omitempty"`
	unread
	code int
	with string
}

// Text implements output.Textual: of what would be, both verdicts first.
func (t Traced) Text(w io.Writer, _ output.Style, wide bool) error {
	if t.Change == nil {
		return errors.Join(t.Result.Text(w, wide), t.unread.text(w))
	}
	_, err := fmt.Fprintf(w, "today: %s → %s: %s\n  today    %s\n\n", t.Today, t.with, strings.ToUpper(string(t.Verdict)), t.Today.Why)
	if err == nil {
		err = t.Result.Text(w, wide)
	}
	if err == nil {
		_, err = fmt.Fprintf(w, "\n%s\n", t.with)
	}
	return errors.Join(err, t.Change.Text(w, wide), t.unread.text(w))
}

// Names implements output.Named: the verdict, for scripts.
func (t Traced) Names() []string { return []string{strings.ToLower(string(t.Verdict))} }

// ExitCode implements output.Coded.
func (t Traced) ExitCode() int { return t.code }

// exit is the exit code of a verdict. Dropped stands for all ways not to arrive.
func (f *traceFlags) exit(r *trace.Result, partial bool) int {
	expected := f.expect != "dropped"
	switch {
	case r.Verdict == trace.Unknown:
		return ExitPartial
	case (r.Verdict == trace.Allowed) != expected:
		return ExitFindings
	case partial:
		return ExitPartial
	}
	return ExitOK
}
