// Package dns learns from the DNS answers that pods get what the domain names in policies
// stand for, so that a pod and the rules for it never see different answers.
//
//	pod ──> cluster's DNS service ──> router, host (feature dns, Redirect) ──> Proxy
//	                                                                            │ forwards the query as it is
//	                          DNS servers of the cluster <──────────────────────┤ to a ready server, or the next
//	pod <── answer as it is <── once rows and flows are installed, 1 s at most <┤
//	          world.Store.SetDomain <── the addresses, if a policy has the name ┘
//
// Messages are never made anew: sizes, flags, the case of letters and types that this program
// does not know stay as they are. The addresses of a name belong to it as long as answers
// give them, then for their time to live and a grace; a journal keeps them over a restart.
//
// Names in policies are asked for by the program, too, whenever their time to live ends: for
// pods that asked before the policy was there. So are names below wildcards, while pods ask
// for them.
package dns

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/proxy"
)

// holdLimit is how long an answer is held at most. A client asks again after seconds; an
// answer that is late is better than none.
const holdLimit = time.Second

// Config is what a Proxy needs.
type Config struct {
	Store *world.Store
	// Servers are the ready servers of the cluster's DNS service.
	Servers func() []proxy.DNSServer
	// Dial connects to a server; nil for the host's own way.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Installed returns nil when the addresses that the world now shows for domain names are
	// in force on this node.
	Installed func(context.Context, []world.DomainName) error
	// Learnable tells addresses that a domain name may stand for.
	Learnable func(netip.Addr) bool
	// Journal is the file that keeps addresses over a restart; empty for none.
	Journal string
	// Trouble tells the operator that no server answers (err), or that one does again (nil).
	// It must not block.
	Trouble func(err error)
	Logger  *slog.Logger          // nil for none
	Metrics prometheus.Registerer // nil for none
}

// Proxy answers the queries of pods.
type Proxy struct {
	cfg      Config
	log      *slog.Logger
	metrics  *metrics
	holds    *holds
	book     *book
	upstream *upstream
	wake     chan struct{} // other domain names are in use
	trouble  trouble
}

// New makes a proxy, and has the world know what the journal remembers. Call it before
// rows are made of the world.
func New(c Config) (*Proxy, error) {
	p := &Proxy{cfg: c, log: c.Logger, holds: newHolds(), upstream: newUpstream(c), wake: make(chan struct{}, 1)}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	p.trouble.tell = c.Trouble
	p.book = newBook(c.Store, p.holds, c.Learnable, p.log)
	var err error
	if p.metrics, err = newMetrics(c.Metrics, p.book); err != nil {
		return nil, err
	}
	if c.Journal != "" {
		j, facts, err := openJournal(c.Journal)
		if err != nil {
			p.log.Warn("addresses of domain names are not remembered over a restart", "error", err)
		} else {
			p.book.recover(j, facts, time.Now())
		}
	}
	c.Store.Subscribe(func(_ world.View, c world.Change) {
		if len(c.Policy.Domains) > 0 && c.Ref.Kind != world.KindDomain {
			p.poke()
		}
	})
	return p, nil
}

func (p *Proxy) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Run keeps the addresses current until ctx ends. Serve needs it.
func (p *Proxy) Run(ctx context.Context) error {
	var parts sync.WaitGroup
	parts.Go(func() { p.holds.run(ctx, p.cfg.Installed, p.log) })
	parts.Go(func() { p.refresh(ctx) })
	parts.Wait()
	p.book.mu.Lock()
	defer p.book.mu.Unlock()
	return p.book.journal.close()
}

// pass handles one query of a pod: it returns the answer once what it says is in force.
func (p *Proxy) pass(ctx context.Context, protocol world.Protocol, query []byte) []byte {
	response, err := p.upstream.exchange(ctx, protocol, query)
	if ctx.Err() != nil {
		return nil
	}
	p.trouble.seen(err)
	if err != nil {
		p.metrics.query(string(protocol), outcomeFailed)
		p.log.Debug("DNS query not answered", "error", err)
		return failure(query)
	}
	p.metrics.query(string(protocol), outcomeAnswered)
	if q, ok := questionOf(query); ok {
		p.learn(ctx, q.name, response)
	}
	return response
}

// learn puts what an answer says about a name in force, if policies speak of it.
func (p *Proxy) learn(ctx context.Context, name string, response []byte) {
	domains := p.book.domainsOf(name)
	if len(domains) == 0 {
		return
	}
	list, err := addresses(response, name)
	if err != nil {
		p.log.Warn("a DNS answer is not understood; policies do not know its addresses", "name", name, "error", err)
		return
	}
	seq := p.book.learn(name, domains, list, true, time.Now())
	if seq == 0 {
		return
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, holdLimit)
	defer cancel()
	inForce := p.holds.wait(ctx, seq)
	p.metrics.hold(time.Since(start), inForce)
	if !inForce {
		p.log.Warn("a DNS answer was sent before policies know its addresses everywhere", "name", name, "after", holdLimit)
	}
}

// trouble tells when it begins that no server answers, and when it is over.
type trouble struct {
	tell func(error)

	mu    sync.Mutex
	since time.Time // of the first failure without an answer after it
	told  bool
}

// patience is how long no server answers before that is told: longer than a server takes to
// be replaced in the service's end points.
const patience = 15 * time.Second

func (t *trouble) seen(err error) {
	if t.tell == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err == nil:
		if t.told {
			t.tell(nil)
		}
		t.since, t.told = time.Time{}, false
	case t.since.IsZero():
		t.since = time.Now()
	case !t.told && time.Since(t.since) > patience:
		t.told = true
		t.tell(err)
	}
}
