package dns

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

const (
	// The program asks for a name again when its time to live ends, but not more or less
	// often than this. Names below wildcards can be many; what is known of them lasts for
	// the grace anyway.
	soonest     = 5 * time.Second
	soonestWild = 2 * time.Minute
	latest      = 5 * time.Minute
	// latestRetry bounds how long it leaves a name alone that has no addresses.
	latestRetry = 2 * time.Minute
	// current is how long a name below a wildcard is kept current after a pod asked for it.
	current = time.Hour
	// tick is how often what is due is looked for.
	tick = time.Second
	// askers is how many names are asked for at once.
	askers = 8
)

// target is a name that the program asks for by itself.
type target struct {
	at       time.Time
	soonest  time.Duration
	failures int
	busy     bool
}

// targets are all of them.
type targets struct {
	mu    sync.Mutex
	names map[string]*target
}

// refresh keeps the names in use current, and forgets what has expired, until ctx ends.
func (p *Proxy) refresh(ctx context.Context) {
	t := targets{names: map[string]*target{}}
	slots := make(chan struct{}, askers)
	var under sync.WaitGroup
	defer under.Wait()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		now := time.Now()
		p.book.sweep(now)
		t.set(p.wanted(now), now)
		for _, name := range t.due(now, cap(slots)-len(slots)) {
			slots <- struct{}{}
			under.Go(func() {
				defer func() { <-slots }()
				ttl, ok := p.refreshName(ctx, name)
				t.done(name, ttl, ok, time.Now())
			})
		}
		select {
		case <-ticker.C:
		case <-p.wake:
		case <-ctx.Done():
			return
		}
	}
}

// wanted are the names to keep current, and how often at most: those that policies speak of,
// and those below their wildcards that pods asked for lately.
func (p *Proxy) wanted(now time.Time) map[string]time.Duration {
	var domains []world.DomainName
	p.cfg.Store.Read(func(v world.View) { domains = v.DomainNames() })
	out := map[string]time.Duration{}
	wild := false
	for _, d := range domains {
		if wild = wild || d.Wild(); !d.Wild() {
			out[d.Name] = soonest
		}
	}
	if !wild {
		return out
	}
	for _, name := range p.book.since(now.Add(-current)) {
		if out[name] == 0 && slices.ContainsFunc(domains, func(d world.DomainName) bool { return d.Wild() && d.Matches(name) }) {
			out[name] = soonestWild
		}
	}
	return out
}

// set makes the targets those names. One below a wildcard is there because a pod has just
// asked for it.
func (t *targets) set(wanted map[string]time.Duration, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name := range t.names {
		if wanted[name] == 0 {
			delete(t.names, name)
		}
	}
	for name, often := range wanted {
		o := t.names[name]
		if o == nil {
			o = &target{at: now}
			if often == soonestWild {
				o.at = now.Add(often)
			}
			t.names[name] = o
		}
		if often < o.soonest {
			o.at = now // a policy has just begun to speak of it
		}
		o.soonest = often
	}
}

// due takes the names whose time has come, at most some.
func (t *targets) due(now time.Time, most int) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []string
	for name, o := range t.names {
		if len(out) < most && !o.busy && !o.at.After(now) {
			o.busy = true
			out = append(out, name)
		}
	}
	return out
}

// done plans when to ask for a name again.
func (t *targets) done(name string, ttl time.Duration, ok bool, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	o := t.names[name]
	if o == nil {
		return
	}
	o.busy = false
	if ok {
		o.failures = 0
		o.at = now.Add(min(max(ttl, o.soonest), latest))
		return
	}
	wait := min(soonest<<min(o.failures, 5), latestRetry)
	o.failures++
	// Not all nodes at the same moment.
	o.at = now.Add(wait + rand.N(wait/4))
}

// refreshName asks for the addresses of a name; ok is false when there are none.
func (p *Proxy) refreshName(ctx context.Context, name string) (ttl time.Duration, ok bool) {
	var list []found
	answered := false
	for _, kind := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA} {
		query, err := ask(name, kind, uint16(rand.Uint32()))
		if err != nil {
			p.log.Warn("a name in a policy cannot be asked for", "name", name, "error", err)
			return 0, false
		}
		response, err := p.upstream.exchange(ctx, world.UDP, query)
		if err == nil && truncated(response) {
			response, err = p.upstream.exchange(ctx, world.TCP, query)
		}
		if err != nil {
			continue
		}
		answered = true
		more, err := addresses(response, name)
		if err != nil {
			p.log.Warn("a DNS answer is not understood; policies do not know its addresses", "name", name, "error", err)
			continue
		}
		list = append(list, more...)
	}
	if ctx.Err() != nil {
		return 0, false
	}
	if !answered {
		p.metrics.failed.Inc()
	}
	if len(list) == 0 {
		return 0, false
	}
	ttl = latest
	for _, f := range list {
		ttl = min(ttl, f.ttl)
	}
	if domains := p.book.domainsOf(name); len(domains) > 0 {
		p.book.learn(name, domains, list, false, time.Now())
	}
	return ttl, true
}
