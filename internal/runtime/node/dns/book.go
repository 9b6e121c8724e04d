package dns

import (
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

const (
	// shortestTTL and longestTTL bound how long an address is believed by itself: clients
	// round short times up, and nobody keeps an answer for longer than a day.
	shortestTTL = 30 * time.Second
	longestTTL  = 24 * time.Hour
	// grace is how long an address stays after its time, for clients that keep answers for
	// longer, and for connections.
	grace = 5 * time.Minute
	// maxNames and maxAddrs (of one name) bound what a pod can make the node remember by
	// asking for ever new names below a wildcard.
	maxNames = 10_000
	maxAddrs = 2048
)

// book knows the addresses of the names that policies speak of, and tells the world.
//
// An address stays as long as answers give it, then for its time to live and a grace.
type book struct {
	store *world.Store
	holds *holds
	log   *slog.Logger
	// learnable tells addresses that may be learnt.
	learnable func(netip.Addr) bool

	mu      sync.Mutex
	names   map[string]*entry
	count   int // of all addresses
	journal *journal
	broken  bool // the journal; said once
}

// entry is one name.
type entry struct {
	addrs map[netip.Addr]*lease
	// domains are those in use that stand for the name, when it was learnt last.
	domains []world.DomainName
	// asked is when a pod asked for it last.
	asked time.Time
}

// lease is how long an address is believed.
type lease struct {
	until time.Time
	seq   uint64 // of holds: when it is in force
}

func newBook(store *world.Store, h *holds, learnable func(netip.Addr) bool, log *slog.Logger) *book {
	return &book{store: store, holds: h, learnable: learnable, log: log, names: map[string]*entry{}}
}

// recover takes over what the journal remembers, as it was.
func (b *book) recover(j *journal, facts []fact, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.journal = j
	for _, o := range facts {
		if o.until.After(now) && b.learnable(o.addr) {
			b.entry(o.name, now).asked = now
			b.extend(o.name, o.addr, o.until)
		}
	}
	for name := range b.names {
		b.tell(name)
	}
	b.rewrite()
}

// domainsOf are the domain names in use that stand for a name.
func (b *book) domainsOf(name string) []world.DomainName {
	var out []world.DomainName
	b.store.Read(func(v world.View) {
		out = slices.DeleteFunc(v.DomainNames(), func(d world.DomainName) bool { return !d.Matches(name) })
	})
	return out
}

// learn notes what an answer for the name gave, and returns what of holds to wait for until
// it is in force. A pod's answer counts as asking.
func (b *book) learn(name string, domains []world.DomainName, list []found, pod bool, now time.Time) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	list = slices.DeleteFunc(list, func(f found) bool { return !b.learnable(f.addr) })
	if len(list) == 0 {
		return 0
	}
	e := b.entry(name, now)
	if pod {
		e.asked = now
	}
	var facts []fact
	news := !slices.Equal(e.domains, domains) // sets that are new must have them, too
	e.domains = domains
	for _, f := range list {
		until := now.Add(min(max(f.ttl, shortestTTL), longestTTL) + grace)
		fresh, longer := b.extend(name, f.addr, until)
		news = news || fresh
		if longer {
			facts = append(facts, fact{name, f.addr, until})
		}
	}
	if err := b.journal.add(facts); err != nil {
		b.complain(err)
	}
	if news {
		b.tell(name)
		seq := b.holds.add(domains)
		for _, f := range list {
			if l := e.addrs[f.addr]; l != nil {
				l.seq = seq
			}
		}
	}
	if b.journal.bloated(b.count) {
		b.rewrite()
	}
	seq := uint64(0)
	for _, f := range list {
		if l := e.addrs[f.addr]; l != nil {
			seq = max(seq, l.seq)
		}
	}
	return seq
}

// entry finds or makes the entry of a name. When there are too many, the one nobody has
// asked for the longest goes.
func (b *book) entry(name string, now time.Time) *entry {
	if e := b.names[name]; e != nil {
		return e
	}
	if len(b.names) >= maxNames {
		oldest := ""
		for n, e := range b.names {
			if oldest == "" || e.asked.Before(b.names[oldest].asked) {
				oldest = n
			}
		}
		b.drop(oldest)
	}
	e := &entry{addrs: map[netip.Addr]*lease{}, asked: now}
	b.names[name] = e
	return e
}

func (b *book) drop(name string) {
	b.count -= len(b.names[name].addrs)
	delete(b.names, name)
	b.store.SetDomain(name, nil)
}

// extend believes an address for longer.
func (b *book) extend(name string, addr netip.Addr, until time.Time) (fresh, longer bool) {
	e := b.names[name]
	if l := e.addrs[addr]; l != nil {
		// A journal of whole seconds need not hear of less.
		if longer = until.Sub(l.until) >= time.Second; longer {
			l.until = until
		}
		return false, longer
	}
	if len(e.addrs) >= maxAddrs {
		var oldest netip.Addr
		for a, l := range e.addrs {
			if !oldest.IsValid() || l.until.Before(e.addrs[oldest].until) {
				oldest = a
			}
		}
		delete(e.addrs, oldest)
		b.count--
	}
	e.addrs[addr] = &lease{until: until}
	b.count++
	return true, true
}

// tell tells the world the addresses of a name.
func (b *book) tell(name string) {
	b.store.SetDomain(name, slices.Collect(maps.Keys(b.names[name].addrs)))
}

// sweep forgets what has expired.
func (b *book) sweep(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, e := range b.names {
		was := len(e.addrs)
		maps.DeleteFunc(e.addrs, func(_ netip.Addr, l *lease) bool { return !l.until.After(now) })
		if b.count -= was - len(e.addrs); len(e.addrs) == 0 {
			b.drop(name)
		} else if was != len(e.addrs) {
			b.tell(name)
		}
	}
}

// rewrite writes the journal anew.
func (b *book) rewrite() {
	facts := make([]fact, 0, b.count)
	for name, e := range b.names {
		for a, l := range e.addrs {
			facts = append(facts, fact{name, a, l.until})
		}
	}
	if err := b.journal.rewrite(facts); err != nil {
		b.complain(err)
	}
}

// complain says once that a restart would forget: the names are in force all the same.
func (b *book) complain(err error) {
	if !b.broken {
		b.log.Warn("addresses of domain names would be forgotten by a restart of this program", "error", err)
	}
	b.broken = true
}

// since are the names that a pod asked for after a time.
func (b *book) since(t time.Time) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for name, e := range b.names {
		if e.asked.After(t) {
			out = append(out, name)
		}
	}
	return out
}

// size is the number of names and addresses.
func (b *book) size() (names, addrs int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.names), b.count
}
