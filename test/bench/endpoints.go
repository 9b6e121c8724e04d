//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/cni/wire"
)

const (
	// changeService is the service whose end point changes, changeBalancer its load balancer.
	changeService  = "change"
	changeBalancer = "Service_" + namespace + "/" + changeService + "_TCP_cluster"
	// othersQuiet is how long the other nodes are given, which do the same change on the
	// same processors.
	othersQuiet = 80 * time.Millisecond
)

// endpoints measures how long it takes until connections reach a service's new backend.
type endpoints struct {
	b        *bench
	pods     []*pod
	backends [2]*pod
	led      int // the backend that the service leads to now
	clients  []client
	at       netip.AddrPort
	rows     *rowWatch
	close    []func()
	// transactions of the node's program for our changes.
	transactions float64
}

// changer leads the service to another backend and returns when it was told so.
type changer struct {
	name string
	// floor says that it changes the row of the node's program in its place: the same row,
	// and nothing else that could take time. The program is stopped meanwhile, because it
	// would change the row back, and finds it as it was.
	floor bool
	// everywhere says that it does so on all nodes, as the nodes' programs do.
	everywhere bool
	change     func(ctx context.Context, to netip.AddrPort) error
}

// newEndpoints attaches pods, makes the service and leads it to the first backend. What it
// returns has to be ended, with an error, too.
func (b *bench) newEndpoints(ctx context.Context) (*endpoints, error) {
	e := &endpoints{b: b}
	var err error
	if e.pods, err = b.attach(ctx, 3); err != nil {
		return e, err
	}
	for i := range e.backends {
		e.backends[i] = e.pods[i]
		stop, err := e.pods[i].serve()
		if err != nil {
			return e, err
		}
		e.close = append(e.close, stop)
	}
	e.clients = []client{{"pod", e.pods[2].netns}, {"host", ""}}
	if e.at, err = b.rig.service(ctx, changeService, nil); err != nil {
		return e, err
	}
	first := e.backends[0].backend()
	if err := b.rig.slice(ctx, changeService, nil, first.Addr()); err != nil {
		return e, err
	}
	if e.rows, err = watchRows(); err != nil {
		return e, err
	}
	e.close = append(e.close, e.rows.db.close)
	return e, until(ctx, "the service's load balancer", func() (bool, error) {
		return e.rows.has(e.at, first), nil
	})
}

// end detaches the pods.
func (e *endpoints) end() error {
	for _, stop := range e.close {
		stop()
	}
	_, _, failed := callMany(wire.Del, e.pods)
	return errors.Join(failed...)
}

// Names of the changers: through the API, by one JSON-RPC request, and by ovn-nbctl on this
// node or on all.
const changeOurs, changeRaw, changeCommand, changeEverywhere = "ours", "raw", "ovn-nbctl", "everywhere"

// changers take turns in this order.
func (e *endpoints) changers() []changer {
	list := []changer{
		{name: changeOurs, change: func(ctx context.Context, to netip.AddrPort) error {
			return e.b.rig.redirect(ctx, changeService, to.Addr())
		}},
		{name: changeRaw, floor: true, change: func(_ context.Context, to netip.AddrPort) error {
			out, err := e.b.floor.nb.transact(dict{"op": "update", "table": "Load_Balancer", "where": list{list{"name", "==", changeBalancer}},
				"row": dict{"vips": ovsMap(map[string]string{e.at.String(): to.String()})}})
			if err == nil && out[0].Count != 1 {
				err = fmt.Errorf("the Northbound database has %d load balancers %s", out[0].Count, changeBalancer)
			}
			return err
		}},
		{name: changeCommand, floor: true, change: func(ctx context.Context, to netip.AddrPort) error {
			return command(ctx, e.at, to)
		}},
	}
	if len(e.b.peers) == 0 {
		return list
	}
	return append(list, changer{name: changeEverywhere, floor: true, everywhere: true, change: func(ctx context.Context, to netip.AddrPort) error {
		return e.b.peers.change(ctx, e.at, to)
	}})
}

// runIn runs a program in the file system of a daemon's container.
func runIn(ctx context.Context, daemon, program string, args ...string) error {
	_, err := outputIn(ctx, daemon, program, args...)
	return err
}

func outputIn(ctx context.Context, daemon, program string, args ...string) ([]byte, error) {
	pid, err := find(daemon, "")
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.SysProcAttr, cmd.Dir = &syscall.SysProcAttr{Chroot: fmt.Sprintf("/proc/%d/root", pid)}, "/"
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, stderr.String())
	}
	return out, nil
}

// measure changes backends there and back, ours in turn with the floors, so that all meet
// the same load of the machine.
func (e *endpoints) measure(ctx context.Context, rounds, services int) (EndpointChange, error) {
	e.b.log.Info("changes of an end point", "services", services)
	out := EndpointChange{Services: services}
	e.transactions = 0
	all := changeSamples{}
	for range rounds {
		for _, c := range e.clients {
			for _, k := range e.changers() {
				there, back, err := e.thereAndBack(ctx, c, k)
				if err != nil {
					return out, fmt.Errorf("%s, from the %s: %w", k.name, c.name, err)
				}
				all.add(c.name+" "+k.name, there, back)
			}
		}
	}
	out.Transactions = e.transactions / float64(2*rounds*len(e.clients))
	for _, c := range e.clients {
		of := func(changer string) Change { return all.stats(c.name + " " + changer) }
		out.Clients = append(out.Clients, ClientChange{
			Client: c.name, Ours: of(changeOurs), Raw: of(changeRaw), Command: of(changeCommand), Everywhere: of(changeEverywhere),
		})
	}
	return out, nil
}

// changeTimes is one change: until connections reached the new backend, until who made it
// was told that it is made, and until the row was in the Northbound database.
type changeTimes struct {
	total, told, row time.Duration
	asked, lost      int
}

// changeSamples are changes by who connected and who changed.
type changeSamples map[string][]changeTimes

func (s changeSamples) add(kind string, t ...changeTimes) { s[kind] = append(s[kind], t...) }

func (s changeSamples) stats(kind string) Change {
	var out Change
	var total, told, row []time.Duration
	for _, t := range s[kind] {
		total, told, row = append(total, t.total), append(told, t.told), append(row, t.row)
		out.Asked += t.asked
		out.Lost += t.lost
	}
	out.Answered, out.Told, out.Row = stat(total), stat(told), stat(row)
	return out
}

// thereAndBack changes the service's backend twice while a client connects to it.
func (e *endpoints) thereAndBack(ctx context.Context, c client, k changer) (there, back changeTimes, err error) {
	if k.floor {
		if err := syscall.Kill(e.b.agent, syscall.SIGSTOP); err != nil {
			return there, back, fmt.Errorf("stop the node's program: %w", err)
		}
		defer func() { err = errors.Join(err, syscall.Kill(e.b.agent, syscall.SIGCONT)) }()
		if k.everywhere {
			if err := e.b.peers.all(ctx, "stop", nil); err != nil {
				return there, back, err
			}
			defer func() { err = errors.Join(err, e.b.peers.all(context.WithoutCancel(ctx), "continue", nil)) }()
		}
		return e.twice(ctx, c, k)
	}
	// The program looks at what the floor has done to its row, and may write it once more.
	if err := e.quiet(); err != nil {
		return there, back, err
	}
	before, err := scrape()
	if err != nil {
		return there, back, err
	}
	if there, back, err = e.twice(ctx, c, k); err != nil {
		return there, back, err
	}
	after, err := scrape()
	e.transactions += after.transactions("nb") - before.transactions("nb")
	return there, back, err
}

func (e *endpoints) twice(ctx context.Context, c client, k changer) (there, back changeTimes, err error) {
	if there, err = e.one(ctx, c, k); err == nil {
		back, err = e.one(ctx, c, k)
	}
	return there, back, err
}

// quiet leaves all nodes alone for a while.
func (e *endpoints) quiet() error {
	time.Sleep(othersQuiet)
	return e.b.settle()
}

func (e *endpoints) one(ctx context.Context, c client, k changer) (t changeTimes, err error) {
	e.led = 1 - e.led
	to := e.backends[e.led]
	if err := e.quiet(); err != nil {
		return t, err
	}
	seen := e.rows.expect(e.at, to.backend())
	running, done := c.follow(ctx, e.at, to.name, false)
	<-running
	start := time.Now()
	if err := k.change(ctx, to.backend()); err != nil {
		return t, err
	}
	t.told = time.Since(start)
	a := <-done
	if a.err != nil {
		return t, a.err
	}
	t.total, t.asked, t.lost = a.first.Sub(start), a.asked, a.lost
	t.row = (<-seen).Sub(start)
	return t, nil
}

// rowWatch tells when load balancers change.
type rowWatch struct {
	db *rawDB

	mu   sync.Mutex
	vips map[string]json.RawMessage // by UUID
	want []byte
	seen chan time.Time
}

func watchRows() (*rowWatch, error) {
	db, err := dialDB("OVN_Northbound", nbSocket)
	if err != nil {
		return nil, err
	}
	w := &rowWatch{db: db, vips: map[string]json.RawMessage{}}
	return w, db.monitor("Load_Balancer", []string{"vips"}, w.changed)
}

// pair is how a VIP with one backend looks in the database's messages.
func pair(at, to netip.AddrPort) []byte { return fmt.Appendf(nil, `["%s","%s"]`, at, to) }

func (w *rowWatch) changed(id string, row map[string]json.RawMessage) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if row == nil {
		delete(w.vips, id)
		return
	}
	w.vips[id] = row["vips"]
	if w.want != nil && bytes.Contains(row["vips"], w.want) {
		w.seen <- now
		w.want = nil
	}
}

// expect returns a channel that gets the time when a VIP leads to a backend.
func (w *rowWatch) expect(at, to netip.AddrPort) <-chan time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.want, w.seen = pair(at, to), make(chan time.Time, 1)
	return w.seen
}

func (w *rowWatch) has(at, to netip.AddrPort) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, v := range w.vips {
		if bytes.Contains(v, pair(at, to)) {
			return true
		}
	}
	return false
}

func (w *rowWatch) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.vips)
}
