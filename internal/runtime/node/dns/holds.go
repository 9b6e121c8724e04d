package dns

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

const (
	// installLimit is how long one look may take: longer than a busy node needs, short
	// enough that a database that is away does not pin what was to be looked for.
	installLimit = 10 * time.Second
	// installPause is between a look that failed and the next.
	installPause = time.Second
)

// holds knows up to where what was learnt is in force. Those who learn something while a
// look is under way share the next.
type holds struct {
	mu      sync.Mutex
	asked   uint64 // counts what was learnt
	done    uint64 // what of it is in force
	domains map[world.DomainName]struct{}
	changed chan struct{} // closed when done grows
	wake    chan struct{}
}

func newHolds() *holds {
	return &holds{domains: map[world.DomainName]struct{}{}, changed: make(chan struct{}), wake: make(chan struct{}, 1)}
}

// add notes that domain names have other addresses and returns what to wait for.
func (h *holds) add(domains []world.DomainName) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked++
	for _, d := range domains {
		h.domains[d] = struct{}{}
	}
	select {
	case h.wake <- struct{}{}:
	default:
	}
	return h.asked
}

// wait returns true when what add returned is in force, false when ctx ends before.
func (h *holds) wait(ctx context.Context, asked uint64) bool {
	for {
		h.mu.Lock()
		done, changed := h.done >= asked, h.changed
		h.mu.Unlock()
		if done {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// run has install wait for what was added, all of it at once.
func (h *holds) run(ctx context.Context, install func(context.Context, []world.DomainName) error, log *slog.Logger) {
	for {
		select {
		case <-h.wake:
		case <-ctx.Done():
			return
		}
		h.mu.Lock()
		asked, domains := h.asked, h.domains
		h.domains = map[world.DomainName]struct{}{}
		h.mu.Unlock()
		limited, cancel := context.WithTimeout(ctx, installLimit)
		err := install(limited, slices.Collect(maps.Keys(domains)))
		cancel()
		if err == nil {
			h.mu.Lock()
			h.done = max(h.done, asked)
			close(h.changed)
			h.changed = make(chan struct{})
			h.mu.Unlock()
			continue
		}
		if ctx.Err() != nil {
			return
		}
		log.Warn("addresses of domain names are not in force yet; will look again", "error", err)
		h.mu.Lock()
		maps.Copy(h.domains, domains)
		h.mu.Unlock()
		select {
		case <-time.After(installPause):
		case <-ctx.Done():
			return
		}
		select {
		case h.wake <- struct{}{}:
		default:
		}
	}
}
