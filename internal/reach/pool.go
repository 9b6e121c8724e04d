package reach

import (
	"context"
	"sync"

	"github.com/ovnkctl/ovnkctl/internal/trace"
)

// pool is a source whose zones trace what is asked at the same time in one go.
//
//	cell ─┐
//	cell ─┼─> waiting ── one batch at a time ──> trace.Many
//	cell ─┘
type pool struct {
	trace.Source
	ctx     context.Context
	running sync.WaitGroup

	mu    sync.Mutex
	zones map[string]*pooledZone
}

func newPool(ctx context.Context, s trace.Source) *pool {
	return &pool{Source: s, ctx: ctx, zones: map[string]*pooledZone{}}
}

// close waits for what runs.
func (p *pool) close() { p.running.Wait() }

// Zone implements trace.Source.
func (p *pool) Zone(ctx context.Context, node string) (trace.Zone, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if z := p.zones[node]; z != nil {
		return z, nil
	}
	zone, err := p.Source.Zone(ctx, node)
	if err != nil {
		return nil, err
	}
	z := &pooledZone{Zone: zone, pool: p, alone: make(chan struct{}, tracesAlone)}
	z.many, _ = zone.(trace.Many)
	p.zones[node] = z
	return z, nil
}

// batch is how many packets are traced in one go: the first of them are not to wait long for
// the last, and a trace takes some 5 ms.
const batch = 64

// pooledZone is a zone of a pool.
type pooledZone struct {
	trace.Zone
	pool  *pool
	alone chan struct{} // a place for each trace on its own

	mu      sync.Mutex
	many    trace.Many // nil if packets can only be traced one by one
	busy    bool
	waiting []*traced
}

// traced is a packet that waits for its trace.
type traced struct {
	request trace.Request
	answer  chan trace.Answer
}

// OVNTrace implements trace.Zone.
func (z *pooledZone) OVNTrace(ctx context.Context, r trace.Request) (string, error) {
	z.mu.Lock()
	if z.many == nil || r.Backend.IsValid() { // a daemon cannot be told the backend
		z.mu.Unlock()
		return z.traceAlone(ctx, r)
	}
	t := &traced{r, make(chan trace.Answer, 1)}
	z.waiting = append(z.waiting, t)
	if !z.busy {
		z.busy = true
		z.pool.running.Go(z.drain)
	}
	z.mu.Unlock()
	select {
	case a := <-t.answer:
		return a.Text, a.Err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (z *pooledZone) traceAlone(ctx context.Context, r trace.Request) (string, error) {
	select {
	case z.alone <- struct{}{}:
		defer func() { <-z.alone }()
		return z.Zone.OVNTrace(ctx, r)
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// drain traces what waits, until nothing does.
func (z *pooledZone) drain() {
	for {
		next := z.next()
		if len(next) == 0 {
			return
		}
		var requests []trace.Request
		for _, t := range next {
			requests = append(requests, t.request)
		}
		answers, err := z.many.OVNTraces(z.pool.ctx, requests)
		if err == nil && len(answers) == len(next) {
			for i, t := range next {
				t.answer <- answers[i]
			}
			continue
		}
		z.giveUp(next)
		return
	}
}

// next takes the next batch: packets of connections of one state.
func (z *pooledZone) next() []*traced {
	z.mu.Lock()
	defer z.mu.Unlock()
	var next, rest []*traced
	for _, t := range z.waiting {
		if len(next) < batch && (len(next) == 0 || next[0].request.CT == t.request.CT) {
			next = append(next, t)
		} else {
			rest = append(rest, t)
		}
	}
	z.waiting, z.busy = rest, len(next) > 0
	return next
}

// giveUp traces one by one from here on: the node's program is an older one, or the daemon
// did not start. Whatever is wrong, the traces on their own tell it.
func (z *pooledZone) giveUp(next []*traced) {
	z.mu.Lock()
	z.many = nil
	next = append(next, z.waiting...)
	z.waiting, z.busy = nil, false
	z.mu.Unlock()
	for _, t := range next {
		z.pool.running.Go(func() {
			text, err := z.traceAlone(z.pool.ctx, t.request)
			t.answer <- trace.Answer{Text: text, Err: err}
		})
	}
}
