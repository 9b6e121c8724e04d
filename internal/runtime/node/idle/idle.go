// Package idle wakes sleeping services: it hands on what OVN tells of packets for load
// balancers that have no backends, so that whoever put the pods to sleep brings them back.
//
// What the rows must say for OVN to tell (ovn-nb(5)):
//
//   - NB_Global options:controller_event=true, once (feature topology);
//   - of a service that sleeps, each Load_Balancer whose VIPs have no backends:
//     options:event=true and options:reject=false. A load balancer that refuses reports
//     nothing (feature services). Both options are of the whole row, so VIPs with backends
//     may stay in it;
//   - for a while after the service woke up (world.Service.Waking) the same: a connection
//     that was refused would not be tried again, a packet that was dropped is.
//
// The Copp's meter event-elb keeps a flood of them off ovn-controller.
//
// ovn-controller writes at most one row per VIP, protocol and load balancer in ten seconds
// into the Southbound table Controller_Event, and leaves it to us to delete it. Rows are
// deleted as soon as they are read: what became of a report is not for OVN to remember.
package idle

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

const (
	// quiet is how long a service is not reported again: as long as ovn-controller keeps
	// quiet about a VIP, for the services that have many.
	quiet = 10 * time.Second
	// retryInterval is how soon rows are deleted that could not be.
	retryInterval = time.Second
	// maxDeleted bounds a transaction.
	maxDeleted = 500
)

// Keys of Controller_Event's event_info (ovn-sb(5)).
const (
	infoVIP          = "vip"
	infoProtocol     = "protocol"
	infoLoadBalancer = "load_balancer"
)

// Event is one report of OVN.
type Event struct {
	VIP      netip.AddrPort
	Protocol world.Protocol
	// LoadBalancer is the UUID of the row in the Northbound database.
	LoadBalancer string
}

// Config is what a Watcher needs.
type Config struct {
	// SB is a connection to the Southbound database that watches Controller_Event.
	SB *ovn.DB
	// Lookup finds the sleeping service that an event is about; see ByRow. It is called
	// again for each event: nothing is remembered.
	Lookup func(Event) (world.ObjectRef, bool)
	// NeedPods tells whoever can that a service needs its pods, once in a while for each;
	// see Teller. It must not block.
	NeedPods func(service world.ObjectRef)
	Logger   *slog.Logger
	// Now is time.Now unless a test says otherwise.
	Now func() time.Time
}

// Watcher hands on events.
type Watcher struct {
	cfg   Config
	table *ovn.Table
	wake  chan struct{}

	mu    sync.Mutex
	fresh []*sb.ControllerEvent // to be read

	// Of Run:
	read     []string // UUIDs of rows that are to be deleted
	reported map[world.ServiceKey]time.Time
}

// New makes a Watcher, which works once Run runs.
func New(c Config) (*Watcher, error) {
	table, ok := ovn.TableOf(&sb.ControllerEvent{})
	watched := false
	c.SB.Read(func(v ovn.View) { watched = ok && v.Watches(table) })
	if !watched {
		return nil, fmt.Errorf("the connection to the Southbound database does not watch %s: sleeping services would stay asleep; add it to the tables", sb.ControllerEventTable)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Watcher{cfg: c, table: table, wake: make(chan struct{}, 1), reported: map[world.ServiceKey]time.Time{}}, nil
}

// Run hands on events until ctx ends. It is to start when Lookup knows all services: events
// of unknown ones are dropped, and their clients have to try again.
func (w *Watcher) Run(ctx context.Context) error {
	cancel := ovn.Watch(w.cfg.SB, w.onRow)
	defer cancel()
	retry := time.NewTicker(retryInterval)
	defer retry.Stop()
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
		case <-again:
		}
		w.report()
		again = nil
		if err := w.deleteRead(ctx); err != nil && ctx.Err() == nil {
			w.cfg.Logger.Warn("reports of empty load balancers stay in the Southbound database; it is tried again", "err", err)
			again = retry.C
		}
	}
}

// onRow is called by the database's connection and must be quick. A row that is there may
// be written again, with another seq_num.
func (w *Watcher) onRow(_, now *sb.ControllerEvent) {
	if now == nil || now.EventType != sb.ControllerEventEventTypeEmptyLbBackends {
		return
	}
	w.mu.Lock()
	w.fresh = append(w.fresh, now)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// report hands on what is new.
func (w *Watcher) report() {
	w.mu.Lock()
	fresh := w.fresh
	w.fresh = nil
	w.mu.Unlock()
	now := w.cfg.Now()
	for key, at := range w.reported {
		if now.Sub(at) >= quiet {
			delete(w.reported, key)
		}
	}
	for _, row := range fresh {
		w.read = append(w.read, row.UUID)
		e, err := parse(row.EventInfo)
		if err != nil {
			w.cfg.Logger.Warn("a report of an empty load balancer makes no sense", "row", row.UUID, "err", err)
			continue
		}
		service, ok := w.cfg.Lookup(e)
		if !ok {
			w.cfg.Logger.Debug("an empty load balancer of no sleeping service was reported", "vip", e.VIP, "protocol", e.Protocol, "row", e.LoadBalancer)
			continue
		}
		key := world.ServiceKey{Namespace: service.Namespace, Name: service.Name}
		if _, lately := w.reported[key]; lately {
			continue
		}
		w.reported[key] = now
		w.cfg.Logger.Info("a sleeping service is wanted", "key", key.String(), "vip", e.VIP, "protocol", e.Protocol)
		w.cfg.NeedPods(service)
	}
}

// deleteRead deletes the rows that were read; one that is gone already is no error.
func (w *Watcher) deleteRead(ctx context.Context) error {
	for len(w.read) > 0 {
		n := min(len(w.read), maxDeleted)
		ops := make([]ovsdb.Operation, 0, n)
		for _, uuid := range w.read[:n] {
			ops = append(ops, ovn.Delete(w.table, uuid))
		}
		if _, err := w.cfg.SB.Transact(ctx, "idle/read", ops...); err != nil {
			return err
		}
		w.read = w.read[n:]
	}
	w.read = nil
	return nil
}

// parse reads an event_info.
func parse(info map[string]string) (Event, error) {
	vip, err := netip.ParseAddrPort(info[infoVIP])
	if err != nil {
		return Event{}, fmt.Errorf("vip: %w", err)
	}
	e := Event{VIP: vip, Protocol: world.Protocol(info[infoProtocol]), LoadBalancer: info[infoLoadBalancer]}
	switch e.Protocol {
	case world.TCP, world.UDP, world.SCTP:
		return e, nil
	}
	return Event{}, fmt.Errorf("protocol %q is none of services", e.Protocol)
}
