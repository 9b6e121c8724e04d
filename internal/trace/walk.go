package trace

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/explain"
	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/trace/ovntrace"
)

// walker follows one packet.
type walker struct {
	*tracer
	path                *Path
	source, destination End
	first               Packet // as it entered OVN
	backend             netip.Addr
	ct                  string
	// now is the packet as the last zone left it, outward as it left its own node for another
	// one's service address, if it did.
	now     Packet
	outward *Packet
}

// ovn-trace up to 25.03 at least aborts where a router answers neighbour discovery: it takes
// the action nd_na_router for nd_na, with this assertion.
const crashedOnAnswer = "OVNACT_ND_NA failed"

var errAnswered = errors.New("a router answers the neighbour discovery")

// walk goes from zone to zone.
func (w *walker) walk(ctx context.Context, s start) error {
	for range 2 * maxZones { // a zone with a gateway router that balances is traced in two parts
		r, err := w.run(ctx, s)
		if errors.Is(err, errAnswered) {
			w.path.Verdict, w.path.Arrives = Allowed, "OVN, which answers"
			w.path.Decision = Decision{Text: fmt.Sprintf("a router of OVN answers for %s; ovn-trace gives up there and shows no hops", w.first.Dst), Node: s.node}
			return nil
		}
		if err != nil {
			return err
		}
		z, err := w.zone(ctx, s.node)
		if err != nil {
			return err
		}
		rows, err := z.Rows(ctx)
		if err != nil {
			return fmt.Errorf("rows of node %s: %w", s.node, err)
		}
		w.now = r.last
		base := len(w.path.Hops)
		again, cut, forced, err := w.forced(r, s)
		if err != nil {
			return err
		}
		if forced {
			r.steps = r.steps[:cut]
		}
		hairpin := w.hairpin(r, s)
		if hairpin >= 0 {
			r.steps = r.steps[:hairpin+1]
		}
		w.path.Hops = append(w.path.Hops, hopsOf(s.node, r)...)
		if err := w.join(ctx, s.node, z, rows, w.path.Hops[base:]); err != nil {
			return err
		}
		if hairpin >= 0 {
			w.returned(s)
			return nil
		}
		w.path.Problems = append(w.path.Problems, r.problems...)
		if w.options.Physical {
			if err := w.physical(ctx, z, rows, s, base); err != nil {
				return err
			}
		}
		if forced {
			w.path.Hops = append(w.path.Hops, again.translated(w.path.Hops[len(w.path.Hops)-1]))
			s = again
			continue
		}
		next, done, err := w.onward(rows, s, r, base)
		if done || err != nil {
			return err
		}
		s = next
	}
	w.path.Verdict, w.path.Decision = Dropped, Decision{Text: fmt.Sprintf("the packet is in a loop: it went through %d zones", maxZones)}
	return nil
}

// onward is where the packet goes from a zone, or that its way is over.
func (w *walker) onward(rows *explain.Index, s start, r run, base int) (next start, done bool, err error) {
	if stopped(r) && w.ct == "new" {
		return w.resume(rows, s)
	}
	next, done = w.leave(s, r, base)
	return next, done, nil
}

// run traces in one zone, twice where a load balancer chooses among several backends.
func (w *walker) run(ctx context.Context, s start) (run, error) {
	z, err := w.zone(ctx, s.node)
	if err != nil {
		return run{}, err
	}
	req := Request{Datapath: s.datapath, Microflow: s.packet.microflow(s.inport), CT: w.ct}
	once := func() (run, error) {
		text, err := z.OVNTrace(ctx, req)
		if err != nil && strings.Contains(err.Error(), crashedOnAnswer) {
			return run{}, errAnswered
		}
		if errors.As(err, new(*inspect.Problem)) {
			return run{}, err // it says itself what, and on which node
		}
		if err != nil {
			return run{}, fmt.Errorf("ovn-trace on node %s: %w", s.node, err)
		}
		t := ovntrace.Parse(text)
		if t.Failure != "" {
			return run{}, fmt.Errorf("ovn-trace on node %s: %s", s.node, t.Failure)
		}
		if t.Detailed == nil {
			return run{}, fmt.Errorf("ovn-trace on node %s printed no trace: %q", s.node, text[:min(len(text), 200)])
		}
		return newRun(t, s.packet, req.Backend).behind(s), nil
	}
	r, err := once()
	if err != nil {
		return r, err
	}
	at, backends := r.balanced(s.packet.Dst.Is4())
	if at < 0 || len(backends) == 0 || w.ct != "new" {
		return r, nil
	}
	chosen, err := w.choose(backends)
	if err != nil {
		return r, err
	}
	if len(backends) == 1 {
		return r, nil
	}
	req.Backend = chosen
	told, err := once()
	if err != nil {
		return r, err
	}
	return r.follow(at, told), nil
}

// hairpin is the step at which a load balancer of the sender's switch chooses the sender
// itself; -1 if none does. OVN sends such a packet back before ACLs look at where it goes
// (ls_in_hairpin comes before ls_in_acl_after_lb_eval, ovn-northd(8)). ovn-trace does not know
// which connections chk_lb_hairpin() finds, and goes on.
func (w *walker) hairpin(r run, s start) int {
	at, backends := r.balanced(s.packet.Dst.Is4())
	if at < 0 || len(backends) == 0 || w.ct != "new" || w.path.Backend.Addr() != s.packet.Src {
		return -1
	}
	return at
}

// returned is a packet that the switch has sent back to its sender.
func (w *walker) returned(s start) {
	w.path.Hops = append(w.path.Hops, Hop{
		Node: s.node, Kind: HopLogical, Datapath: s.datapath, Pipeline: "ingress", Inport: s.inport, Outport: s.inport,
		Text: "the switch sends it back to the pod", Flow: &Flow{Stage: "ls_in_hairpin"},
	})
	w.path.Packet = s.packet
	w.path.Packet.Dst, w.path.Packet.DstPort = w.path.Backend.Addr(), w.path.Backend.Port()
	w.path.Verdict, w.path.Arrives = Allowed, w.source.String()
	w.path.Decision = Decision{Text: "it is the service's own end point, and policies do not come between a pod and itself", Node: s.node}
}

// hopsOf are the steps of a zone as hops. Answers are left out: they are not the packet.
func hopsOf(node string, r run) []Hop {
	var out []Hop
	for _, s := range r.steps {
		if s.side {
			continue
		}
		h := Hop{Node: node, Kind: HopLogical, Datapath: s.ports.Datapath, Pipeline: "egress", Inport: s.ports.Inport, Outport: s.ports.Outport}
		if s.ports.Ingress {
			h.Pipeline = "ingress"
		}
		h.Flow = &Flow{
			Table: s.flow.Table, Stage: s.flow.Stage, Priority: s.flow.Priority, Match: s.flow.Match,
			Actions: append(s.actions[:len(s.actions):len(s.actions)], s.errors...), Cookie: s.flow.UUID,
		}
		out = append(out, h)
	}
	return out
}

// join finds the rows behind the hops: flow → stage-hint → row → object.
func (w *walker) join(ctx context.Context, node string, z Zone, rows *explain.Index, hops []Hop) error {
	var starts []string
	for _, h := range hops {
		if h.Flow.Cookie != "" && !slices.Contains(starts, h.Flow.Cookie) {
			starts = append(starts, h.Flow.Cookie)
		}
	}
	flows, err := z.LogicalFlows(ctx, starts)
	if err != nil {
		return fmt.Errorf("logical flows of node %s: %w", node, err)
	}
	hints := map[string]string{}
	for _, f := range flows {
		hints[f.UUID[:len("01234567")]] = f.ExternalIDs["stage-hint"]
	}
	for _, h := range hops {
		if e, ok := rows.OfFlow(explain.FlowKey{Hint: hints[h.Flow.Cookie], Stage: h.Flow.Stage, Priority: h.Flow.Priority, Match: h.Flow.Match}); ok {
			row := e.RowRef
			h.Flow.Row = &row
		}
	}
	return nil
}
