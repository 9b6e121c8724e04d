// Package udpflush ends UDP connections in OVN that lead to backends which are gone.
//
// OVN asks its load balancers for the first packet of a connection only. ovn-controller
// ends the connections of a backend that goes (option ct_flush), but it does so before the
// flows of the change are in place: the next packet of a client that never pauses makes the
// same connection anew, and keeps it. Nor does it know which backends went while it was not
// there, or that clients sent to an address before there was a load balancer for it. So what
// it does too early is done once more, when packets meet the new flows:
//
//	load balancers in NB change ──> ovn-controller has the flows (package barrier)
//	──> the datapath, too (Switch.Settle) ──> connections to backends that went are ended
//
// Only those connections are: clients of other backends keep theirs. What changes meanwhile
// is done together in the next round, and there is at most one in a second.
package udpflush

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/ovn-kubernetes/libovsdb/model"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/vswitchd"
)

const (
	// interval is how much time is left between rounds, and before one that failed is tried
	// again. A client that never pauses waits that much longer for another backend when end
	// points of services change all the time.
	interval = time.Second
	// patience is how long ovn-controller may take before it is asked anew and somebody is
	// told: longer than it needs after its start, even on a busy node.
	patience = 30 * time.Second
)

// Switch ends connections; they are those in the zones of OVN.
type Switch interface {
	// Settle returns when all packets meet the flows that are in the tables now.
	Settle(context.Context) error
	// ForgetUDP ends the connections of these pairs.
	ForgetUDP(context.Context, []vswitchd.Pair) error
	// SweepUDP ends, of the connections with the given destinations, those that lead
	// elsewhere than to the destination's backends, and tells how many it found.
	SweepUDP(context.Context, map[netip.AddrPort][]netip.AddrPort) (int, error)
}

// Config is what a Flusher needs.
type Config struct {
	// NB watches Load_Balancer.
	NB *ovn.DB
	// InForce returns when what is in NB is in the flows of this node.
	InForce func(context.Context) error
	Switch  Switch
	// MaxPairs is up to how many pairs of an address and a backend are cheaper to end than
	// it is to sweep.
	MaxPairs int
	Logger   *slog.Logger
	// After is time.After unless a test says otherwise.
	After func(time.Duration) <-chan time.Time
}

// Flusher ends connections.
type Flusher struct {
	cfg      Config
	stale    *ledger
	troubled bool // and it was said
}

// New makes a Flusher that knows of all changes from now on: call it before rows are
// changed. It works once Run runs.
func New(c Config) *Flusher {
	if c.After == nil {
		c.After = time.After
	}
	f := &Flusher{cfg: c, stale: newLedger()}
	c.NB.Subscribe(f.onNorth)
	f.stale.take() // what was there before is not new
	return f
}

// onNorth is called by the database's connection and must be quick.
func (f *Flusher) onNorth(changes []ovn.Change) {
	for _, c := range changes {
		f.stale.note(c.UUID, udpVIPs(c.Old), udpVIPs(c.New))
	}
}

// udpVIPs are the addresses and backends of a load balancer for UDP; nil of any other row.
func udpVIPs(m model.Model) map[string]string {
	lb, ok := m.(*nb.LoadBalancer)
	if !ok || lb.Protocol == nil || *lb.Protocol != nb.LoadBalancerProtocolUDP {
		return nil
	}
	return lb.Vips
}

// Run ends connections until ctx ends, first those that nobody ended when the program was
// stopped.
func (f *Flusher) Run(ctx context.Context) error {
	f.stale.wantAll()
	for {
		select {
		case <-f.stale.wake:
		case <-ctx.Done():
			return nil
		}
		f.round(ctx)
		select {
		case <-f.cfg.After(interval):
		case <-ctx.Done():
			return nil
		}
	}
}

// round does what there is to do; what it could not do is there again.
func (f *Flusher) round(ctx context.Context) {
	batch := f.stale.take()
	err := f.end(ctx, batch)
	if err == nil {
		f.troubled = false
		return
	}
	f.stale.putBack(batch)
	if ctx.Err() == nil && !f.troubled {
		f.troubled = true
		f.cfg.Logger.Warn("UDP clients that never pause may go on to backends that are gone; it is tried again", "err", err)
	}
}

func (f *Flusher) inForce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return f.cfg.InForce(ctx)
}

func (f *Flusher) end(ctx context.Context, b batch) error {
	if f.stale.nothing(b) {
		return nil
	}
	if len(b.gone) == 0 {
		// A start that finds nothing to end asks OVN for nothing: it writes into no database.
		if n, err := f.sweep(ctx, b); err != nil || n == 0 {
			return err
		}
	}
	if err := f.inForce(ctx); err != nil {
		return err
	}
	if err := f.cfg.Switch.Settle(ctx); err != nil {
		return fmt.Errorf("wait for the datapath: %w", err)
	}
	pairs := f.stale.pairs(b)
	if b.all || b.many || len(pairs) > f.cfg.MaxPairs {
		_, err := f.sweep(ctx, b)
		return err
	}
	if err := f.cfg.Switch.ForgetUDP(ctx, pairs); err != nil {
		return fmt.Errorf("end connections to %d backends: %w", len(pairs), err)
	}
	return nil
}

// sweep tells how many connections it ended.
func (f *Flusher) sweep(ctx context.Context, b batch) (int, error) {
	n, err := f.cfg.Switch.SweepUDP(ctx, f.stale.backends(b))
	if err != nil {
		return n, fmt.Errorf("end connections to backends that are gone: %w", err)
	}
	if n > 0 {
		f.cfg.Logger.Info("UDP connections ended that led to other backends", "found", n)
	}
	return n, nil
}
