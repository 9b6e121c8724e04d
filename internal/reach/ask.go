package reach

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/ovnkctl/ovnkctl/internal/policy"
	"github.com/ovnkctl/ovnkctl/internal/trace"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// question is a cell before it is answered.
type question struct {
	source   *End
	to       column
	from, at *world.Pod // who was chosen, where the ends are pods
}

// newCell chooses who is asked for: not the same pod at both ends, and not a pod of the node
// that asks, which a pod's own node always reaches.
func newCell(from *End, to column) *Cell {
	c := &Cell{Source: from.Name, Destination: to.Name, Port: to.at.String(), Verdict: NotAsked, From: from.Example, To: to.Example}
	q := question{source: from, to: to}
	if from.Kind == trace.EndPod {
		q.from = from.members[0]
	}
	if to.Kind == trace.EndPod {
		q.at = to.members[0]
		elsewhere := func(p *world.Pod) bool { return from.node == nil || p.Node != from.node.Name }
		for _, p := range to.members {
			if p != q.from && elsewhere(p) {
				q.at = p
				break
			}
		}
		if q.at == q.from { // its only one
			for _, p := range from.members {
				if p != q.at {
					q.from = p
					break
				}
			}
		}
		if q.at == q.from {
			c.Verdict = Same
		}
		c.To = podName(q.at)
	}
	if q.from != nil {
		c.From = podName(q.from)
	}
	c.ask = q
	return c
}

// asker answers the questions of cells.
type asker struct {
	*cluster
	options  Options
	cells    []*Cell
	progress func(done, all int)
}

const (
	// tracesAtOnce is how many cells are traced at the same time. Traces of one node that
	// come together are run in one go, so it is that much cheaper the more there are.
	tracesAtOnce = 64
	// tracesAlone is the same where each trace is a program of its own: as many as a small
	// node has cores for.
	tracesAlone = 4
)

// trace asks ovn-trace.
func (a *asker) trace(ctx context.Context, s trace.Source) error {
	pooled := newPool(ctx, s)
	defer pooled.close()
	tracer, err := trace.NewTracer(ctx, pooled)
	if err != nil {
		return err
	}
	return a.each(ctx, tracesAtOnce, func(c *Cell) error {
		return a.traceCell(ctx, tracer, c)
	})
}

// each answers the cells that are to be asked.
func (a *asker) each(ctx context.Context, atOnce int, answer func(*Cell) error) error {
	var g errgroup.Group
	g.SetLimit(atOnce)
	var done atomic.Int64
	for _, c := range a.cells {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			var err error
			if c.Verdict == NotAsked {
				err = answer(c)
			}
			if a.progress != nil {
				a.progress(int(done.Add(1)), len(a.cells))
			}
			return err
		})
	}
	return g.Wait()
}

// traceCell asks ovn-trace, and for services by a backend of each group.
func (a *asker) traceCell(ctx context.Context, tracer *trace.Tracer, c *Cell) error {
	q := c.ask
	o := trace.Options{Source: q.endpoint(), Destination: c.To, Protocol: q.to.at.protocol, Family: a.options.Family}
	if q.to.at.number != 0 {
		o.Port = fmt.Sprint(q.to.at.number)
	}
	r, err := tracer.Run(ctx, o)
	if err != nil {
		return c.failed(ctx, err)
	}
	evaluator, err := tracer.Evaluator(ctx, r.Source.Node)
	if err != nil {
		return c.failed(ctx, err)
	}
	path := r.Paths[0]
	c.take(path, evaluator, q)
	if c.Verdict != trace.Allowed {
		return nil
	}
	for _, b := range a.otherBackends(path) {
		o.Backend = b.Addr()
		further, err := tracer.Run(ctx, o)
		if err != nil {
			return c.failed(ctx, err)
		}
		if problems := c.Problems; further.Verdict != trace.Allowed || len(further.Paths[0].Problems) > 0 {
			c.take(further.Paths[0], evaluator, q)
			c.Problems = append(problems, c.Problems...)
		}
		if c.Verdict != trace.Allowed {
			return nil
		}
	}
	return nil
}

// endpoint is the source as traces take it.
func (q question) endpoint() string {
	if q.from != nil {
		return podName(q.from)
	}
	return q.source.Example
}

// otherBackends are the backends that policies may treat differently from the one that was
// traced: one of each group of pods, or all.
func (a *asker) otherBackends(p *trace.Path) []netip.AddrPort {
	seen := map[string]bool{a.class(p.Backend): true}
	var out []netip.AddrPort
	for _, b := range p.Backends {
		class := a.class(b)
		if b == p.Backend || seen[class] && !a.options.Each {
			continue
		}
		seen[class] = true
		out = append(out, b)
	}
	return out
}

// class is the group of a backend: those of other ports are others, for rules have ports.
func (a *asker) class(b netip.AddrPort) string {
	p := a.byAddress[b.Addr().String()]
	if p == nil {
		return b.String()
	}
	return fmt.Sprint(p.Namespace, " ", b.Port(), " ", a.likeness.Of(policyPod(p)))
}

// nearestKept is how many of the nearest rules a cell keeps.
const nearestKept = 3

// take makes a path the answer.
func (c *Cell) take(p *trace.Path, e *policy.Evaluator, q question) {
	d := p.Decision
	d.Nearest = d.Nearest[:min(len(d.Nearest), nearestKept)]
	c.Verdict, c.Decision, c.Problems = p.Verdict, &d, p.Problems
	if p.Backend.IsValid() {
		c.Backend = p.Backend.String()
	}
	v, known := c.policiesOn(p, e, q)
	if !known {
		return
	}
	c.Policies = trace.Dropped
	if v.Allowed {
		c.Policies = trace.Allowed
	}
	byACL := strings.Contains(d.Stage, "_acl")
	switch {
	case c.Verdict == trace.Allowed && !v.Allowed:
		c.Disagreement = "OVN lets the packet pass, and the policies deny it: " + denial(v)
	case c.Verdict != trace.Allowed && byACL && v.Allowed:
		c.Disagreement = "an ACL of OVN drops the packet, and the policies allow it"
	}
}

// policiesOn is what the policies say of the packet of a path.
func (c *Cell) policiesOn(p *trace.Path, e *policy.Evaluator, q question) (policy.Verdict, bool) {
	at := q.to.at
	dst, ok := q.destination()
	if p.Backend.IsValid() {
		dst, ok = policy.Endpoint{IP: p.Backend.Addr()}, true
		if n := p.Backend.Port(); n != 0 {
			at.number = n
		}
	}
	if !ok {
		return policy.Verdict{}, false // a service without a backend
	}
	v, err := e.Evaluate(packet(q.origin(), dst, at, p.Packet.Dst))
	return v, err == nil
}

// failed notes why there is no answer. The error ends all cells.
func (c *Cell) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		c.Verdict = NotAsked
		return ctx.Err()
	}
	var impossible *trace.UnknownError
	var hint interface{ Hint() string }
	c.Verdict, c.Error = trace.Unknown, err.Error()
	switch {
	case errors.As(err, &impossible):
		c.Verdict, c.Error = Impossible, impossible.Why
	case errors.As(err, &hint) && hint.Hint() != "":
		c.Error += "; " + hint.Hint()
	}
	return nil
}

// denial is the stage that denies.
func denial(v policy.Verdict) string {
	for _, s := range policy.Stages {
		if d := v.Stage(s); !d.Allowed {
			return d.String()
		}
	}
	return ""
}

// evaluate asks the policies alone.
func (a *asker) evaluate(ctx context.Context) error {
	return a.each(ctx, tracesAlone, func(c *Cell) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		a.evaluateCell(c)
		return nil
	})
}

func (a *asker) evaluateCell(c *Cell) {
	q := c.ask
	family, ok := a.family(q)
	if !ok {
		c.Verdict, c.Error = Impossible, "source and destination have no address of a common family"
		return
	}
	dst, ok := q.destination()
	if ok {
		a.decide(c, packet(q.origin(), dst, q.to.at, family))
		return
	}
	backends := a.backends(q.to.service, q.to.at, family.Is4())
	if len(backends) == 0 {
		c.Verdict = trace.Rejected
		c.Decision = &trace.Decision{Text: "the service has no end point that is ready on that port"}
		return
	}
	seen := map[string]bool{}
	for _, b := range backends {
		class := a.class(b)
		if seen[class] && !a.options.Each {
			continue
		}
		seen[class] = true
		c.Backend = b.String()
		at := q.to.at
		at.number = b.Port()
		if a.decide(c, packet(q.origin(), policy.Endpoint{IP: b.Addr()}, at, b.Addr())); c.Verdict != trace.Allowed {
			return
		}
	}
}

// decide is the answer of the policies.
func (a *asker) decide(c *Cell, p policy.Packet) {
	v, err := a.evaluator.Evaluate(p)
	if err != nil {
		c.Verdict, c.Error = Impossible, err.Error()
		return
	}
	c.Verdict, c.Decision = trace.Allowed, &trace.Decision{Text: "no policy is about it"}
	for _, stage := range policy.Stages {
		s := v.Stage(stage)
		if s.By != nil || s.Allowed && (s.Reason == policy.ByOwnNode || s.Reason == policy.ByICMP) {
			c.Decision = trace.DecisionOf(s, nil)
		}
		if s.Allowed {
			continue
		}
		near, err := a.evaluator.Nearest(p, stage)
		if err != nil {
			c.Problems = append(c.Problems, fmt.Sprintf("the nearest rule is not known: %v", err))
		}
		c.Verdict, c.Decision = trace.Dropped, trace.DecisionOf(s, near[:min(len(near), nearestKept)])
		return
	}
}

// backends are the end points of a service's port that are ready, or that serve where none
// is (KEP-1669).
func (a *asker) backends(s *world.Service, at port, is4 bool) []netip.AddrPort {
	i := slices.IndexFunc(s.Ports, func(p world.ServicePort) bool {
		return p.Port == at.number && trace.Protocol(p.Protocol) == at.protocol
	})
	if i < 0 {
		return nil
	}
	var ready, serving []netip.AddrPort
	for _, slice := range a.slices[s.Key()] {
		for _, p := range slice.Ports {
			if p.Name != s.Ports[i].Name || p.Protocol != s.Ports[i].Protocol {
				continue
			}
			for _, e := range slice.Endpoints {
				for _, addr := range e.Addrs {
					switch b := netip.AddrPortFrom(addr, p.Port); {
					case addr.Is4() != is4:
					case e.Ready:
						ready = append(ready, b)
					case e.Serving && e.Terminating:
						serving = append(serving, b)
					}
				}
			}
		}
	}
	if len(ready) == 0 {
		return serving
	}
	return ready
}
