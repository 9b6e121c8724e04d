// Package trace follows a packet through the cluster and says what becomes of it and why.
//
//	ends ─> packet ─> ovn-trace in the zone of the source ─> port of the transit switch
//	                                                        │  (or the host, or outside)
//	                  ovn-trace in the next zone <──────────┘
//	                      │
//	                      └─> hops ─ stage-hint ─> row ─ external_ids ─> object
//	                      └─> verdict ─ reference evaluator ─> the rule, and the nearest that
//	                                                           would have allowed the packet
//
// ovn-trace is the oracle: what it says happens. The reference evaluator says why, and where
// the two disagree the result says so.
package trace

import (
	"context"
	"fmt"
	"net/netip"
	"sync"

	"github.com/ovnkctl/ovnkctl/internal/policy"
)

// Options are a question.
type Options struct {
	// Source and Destination are "[kind/][namespace/]name[:port]" or "address[:port]".
	Source, Destination string
	// Namespace is that of names without one.
	Namespace string
	// Protocol is TCP where there is a port, the service's, or else ICMP, if empty.
	Protocol Protocol
	// Port is the destination's port, a number or a name, in place of the one in Destination.
	Port       string
	SourcePort uint16
	// Family is 4 or 6; 0 is that of an address given, or else the first that both ends have.
	Family int
	// Backend is the address that a load balancer chooses; AllBackends traces each.
	Backend     netip.Addr
	AllBackends bool
	// Reply traces the answer, too.
	Reply bool
	// Physical joins the OpenFlow flows of the source's node.
	Physical bool
	// Via is the node that a packet from outside comes to.
	Via string
}

// maxZones bounds how often a packet can leave one zone for another: more is a loop.
const maxZones = 8

// tracer answers one question.
type tracer struct {
	source  Source
	options Options
	facts   *facts
	policy  *policy.Evaluator
	zones   map[string]Zone
}

// Tracer answers questions about one source. What they have in common is read once, so many
// questions cost little more than their traces. It is safe for concurrent use.
type Tracer struct {
	source Source
	facts  *facts

	mu       sync.Mutex
	policies map[string]*evaluator // by node
}

// evaluator is the reference evaluator as one node sees it.
type evaluator struct {
	mu sync.Mutex
	*policy.Evaluator
}

// NewTracer reads what all questions need.
func NewTracer(ctx context.Context, s Source) (*Tracer, error) {
	w, err := s.World(ctx)
	if err != nil {
		return nil, fmt.Errorf("objects of the cluster: %w", err)
	}
	f, err := readFacts(w)
	if err != nil {
		return nil, err
	}
	return &Tracer{source: s, facts: f, policies: map[string]*evaluator{}}, nil
}

// Evaluator is the reference evaluator as a node sees it.
func (t *Tracer) Evaluator(ctx context.Context, node string) (*policy.Evaluator, error) {
	t.mu.Lock()
	e := t.policies[node]
	if e == nil {
		e = &evaluator{}
		t.policies[node] = e
	}
	t.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.Evaluator == nil {
		cluster, err := t.source.Policies(ctx, node)
		if err != nil {
			return nil, fmt.Errorf("policies of the cluster: %w", err)
		}
		e.Evaluator = policy.New(cluster)
	}
	return e.Evaluator, nil
}

// Run answers one question.
func Run(ctx context.Context, s Source, o Options) (*Result, error) {
	t, err := NewTracer(ctx, s)
	if err != nil {
		return nil, err
	}
	return t.Run(ctx, o)
}

// Run answers a question.
func (t *Tracer) Run(ctx context.Context, o Options) (*Result, error) {
	if o.Namespace == "" {
		o.Namespace = "default"
	}
	q := &tracer{source: t.source, options: o, facts: t.facts, zones: map[string]Zone{}}
	r := &Result{}
	var err error
	if r.Source, err = t.facts.parseEnd(o.Namespace, o.Source); err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	if r.Destination, err = t.facts.parseEnd(o.Namespace, o.Destination); err != nil {
		return nil, fmt.Errorf("destination: %w", err)
	}
	if r.Protocol, r.Port, err = t.facts.port(r.Destination, o.Protocol, o.Port); err != nil {
		return nil, fmt.Errorf("destination: %w", err)
	}
	if p, ok := t.source.(prefetcher); ok {
		p.prefetch(ctx, r.Source, r.Destination, o.Backend)
	}
	if q.policy, err = t.Evaluator(ctx, r.Source.Node); err != nil {
		return nil, err
	}
	return r, q.paths(ctx, r)
}

// paths follows the packet, by each backend if that was asked for.
func (t *tracer) paths(ctx context.Context, r *Result) error {
	dst, err := t.destination(r)
	if err != nil {
		return err
	}
	p := Packet{Protocol: r.Protocol, Dst: dst, DstPort: r.Port}
	if p.Protocol.ports() {
		p.SrcPort = t.options.SourcePort
		if p.SrcPort == 0 {
			p.SrcPort = sourcePort
		}
	}
	first, err := t.path(ctx, r, p, t.options.Backend)
	if err != nil {
		return err
	}
	r.Paths = []*Path{first}
	if t.options.AllBackends {
		for _, b := range first.Backends {
			if b == first.Backend {
				continue
			}
			further, err := t.path(ctx, r, p, b.Addr())
			if err != nil {
				return err
			}
			r.Paths = append(r.Paths, further)
		}
	}
	r.Verdict = first.Verdict
	for _, path := range r.Paths {
		if path.Verdict != Allowed {
			r.Verdict = path.Verdict
			break
		}
	}
	if t.options.Reply && r.Verdict == Allowed {
		return t.reply(ctx, r)
	}
	return nil
}

// destination chooses among the addresses of the destination.
func (t *tracer) destination(r *Result) (netip.Addr, error) {
	for _, is4 := range []bool{true, false} {
		if t.options.Family == 4 && !is4 || t.options.Family == 6 && is4 {
			continue
		}
		_, from := r.Source.addr(is4)
		if to, ok := r.Destination.addr(is4); ok && from {
			return to, nil
		}
	}
	if len(r.Destination.Addrs) == 0 {
		return netip.Addr{}, &UnknownError{Text: r.Destination.String(), Why: "it has no address yet", Next: "ovnkctl explain " + t.options.Destination}
	}
	return netip.Addr{}, &UnknownError{
		Text: r.Destination.String(), Why: fmt.Sprintf("it has %v and %s has %v: no common family", r.Destination.Addrs, r.Source, r.Source.Addrs),
		Next: "use --family 4 or 6 with ends that have such addresses",
	}
}

func (t *tracer) zone(ctx context.Context, node string) (Zone, error) {
	if z, ok := t.zones[node]; ok {
		return z, nil
	}
	z, err := t.source.Zone(ctx, node)
	if err != nil {
		return nil, fmt.Errorf("OVN of node %s: %w", node, err)
	}
	t.zones[node] = z
	return z, nil
}

// path follows one packet until it arrives or ends.
func (t *tracer) path(ctx context.Context, r *Result, p Packet, backend netip.Addr) (*Path, error) {
	s, err := t.facts.start(t.options, r.Source, p)
	if err != nil {
		return nil, err
	}
	path := &Path{Hops: s.hops, Packet: s.packet}
	if s.routed {
		return path, t.routed(ctx, s.node, path)
	}
	if s.arrived != "" {
		path.Verdict, path.Arrives = Allowed, s.arrived
		path.Decision.Text = "no part of OVN is on the way"
		return path, nil
	}
	w := walker{tracer: t, path: path, source: r.Source, destination: r.Destination, first: s.packet, backend: backend, ct: "new"}
	if err := w.walk(ctx, s); err != nil {
		return nil, err
	}
	return path, nil
}

// reply follows the answers.
func (t *tracer) reply(ctx context.Context, r *Result) error {
	for _, forth := range r.Paths {
		src := t.facts.atAddr(forth.Packet.Dst)
		if src.Object == r.Source.Object {
			continue // a pod and itself
		}
		if src.Kind != EndPod || r.Source.Kind != EndPod || r.Source.pod.HostNetwork {
			forth.Problems = append(forth.Problems, "the answer is not traced: connection tracking undoes what was translated, which ovn-trace does not know")
			continue
		}
		p := Packet{Protocol: r.Protocol, Dst: forth.Packet.Src, SrcPort: forth.Packet.DstPort, DstPort: forth.Packet.SrcPort}
		s, err := t.facts.start(t.options, src, p)
		if err != nil {
			return fmt.Errorf("answer: %w", err)
		}
		back := &Path{Hops: s.hops, Packet: s.packet}
		w := walker{tracer: t, path: back, source: src, destination: t.facts.atAddr(forth.Packet.Src), first: s.packet, ct: "est,rpl"}
		if err := w.walk(ctx, s); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
		forth.Reply = back
		if back.Verdict != Allowed {
			r.Verdict = back.Verdict
		}
	}
	return nil
}
