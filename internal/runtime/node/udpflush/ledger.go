package udpflush

import (
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/vswitchd"
)

// maxNoted is how many backends that went are remembered while nothing can be done about
// them; beyond that only the addresses are, and are swept.
const maxNoted = 1000

// ledger knows which backends went. Addresses and backends are texts as in the rows.
type ledger struct {
	wake chan struct{} // when there is something to do

	mu      sync.Mutex
	served  map[string]map[string]string // address → row → its backends
	pending batch
}

// batch is what is to be done in one round.
type batch struct {
	all  bool // every address there is is to be swept
	many bool // not all that went is noted: addresses are to be swept
	// gone are, by address, the backends that went; the address itself if its connections
	// were not translated until now.
	gone  map[string]map[string]bool
	noted int // backends in gone
}

func newLedger() *ledger {
	return &ledger{wake: make(chan struct{}, 1), served: map[string]map[string]string{}}
}

// note is told what a row was and is: addresses with their backends.
func (l *ledger) note(row string, was, is map[string]string) {
	if len(was) == 0 && len(is) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for vip, before := range was {
		now, still := is[vip]
		if still && now == before {
			continue
		}
		l.drop(vip, before, now)
		if !still {
			delete(l.served[vip], row)
			if len(l.served[vip]) == 0 {
				delete(l.served, vip)
			}
		}
	}
	for vip, now := range is {
		if l.served[vip] == nil {
			l.served[vip] = map[string]string{}
			// Who sent to it already has a connection that leads to the address itself.
			l.pending.add(vip, vip)
		}
		l.served[vip][row] = now
	}
	l.poke()
}

// drop notes which backends are not there any more.
func (l *ledger) drop(vip, before, now string) {
	left := map[string]bool{}
	for b := range strings.SplitSeq(now, ",") {
		left[b] = true
	}
	for b := range strings.SplitSeq(before, ",") {
		if b != "" && !left[b] {
			l.pending.add(vip, b)
		}
	}
}

func (b *batch) add(vip, backend string) {
	if b.gone == nil {
		b.gone = map[string]map[string]bool{}
	}
	if b.gone[vip] == nil {
		b.gone[vip] = map[string]bool{}
	}
	switch {
	case b.gone[vip][backend]:
	case b.noted < maxNoted || backend == vip:
		b.gone[vip][backend] = true
		b.noted++
	default:
		b.many = true
	}
}

// poke wakes who works if there is something to do. It is called with mu held.
func (l *ledger) poke() {
	if !l.pending.all && len(l.pending.gone) == 0 {
		return
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// wantAll has all addresses swept.
func (l *ledger) wantAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending.all = true
	l.poke()
}

// take hands out what there is to do.
func (l *ledger) take() batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.pending
	l.pending = batch{}
	return b
}

// putBack is for what could not be done.
func (l *ledger) putBack(b batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending.all = l.pending.all || b.all
	l.pending.many = l.pending.many || b.many
	for vip, backends := range b.gone {
		for backend := range backends {
			l.pending.add(vip, backend)
		}
	}
	l.poke()
}

// nothing tells whether a batch is of no address at all.
func (l *ledger) nothing(b batch) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(b.gone) == 0 && (!b.all || len(l.served) == 0)
}

// pairs are the pairs of a batch that no row has now.
func (l *ledger) pairs(b batch) []vswitchd.Pair {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []vswitchd.Pair
	for vip, backends := range b.gone {
		to, err := netip.ParseAddrPort(vip)
		if err != nil {
			continue // no address: OVN does not understand it either
		}
		serving := l.backendsOf(vip)
		for text := range backends {
			if backend, err := netip.ParseAddrPort(text); err == nil && !slices.Contains(serving, backend) {
				out = append(out, vswitchd.Pair{To: to, Backend: backend})
			}
		}
	}
	return out
}

// backends are, of each address of a batch, those that connections may lead to. To the
// address itself lead those of the host on their way to OVN, which is nobody's fault.
func (l *ledger) backends(b batch) map[netip.AddrPort][]netip.AddrPort {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[netip.AddrPort][]netip.AddrPort{}
	add := func(vip string) {
		to, err := netip.ParseAddrPort(vip)
		if err != nil {
			return
		}
		out[to] = l.backendsOf(vip)
		if !b.gone[vip][vip] {
			out[to] = append(out[to], to)
		}
	}
	for vip := range b.gone {
		add(vip)
	}
	if b.all {
		for vip := range l.served {
			add(vip)
		}
	}
	return out
}

// backendsOf are the backends of an address, of all rows: which switch or router a
// connection passes is not to be seen. It is called with mu held.
func (l *ledger) backendsOf(vip string) []netip.AddrPort {
	var out []netip.AddrPort
	for _, backends := range l.served[vip] {
		for text := range strings.SplitSeq(backends, ",") {
			if b, err := netip.ParseAddrPort(text); err == nil {
				out = append(out, b)
			}
		}
	}
	return out
}
