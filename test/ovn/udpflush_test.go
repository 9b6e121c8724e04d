//go:build ovn && linux

package ovn

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/barrier"
	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/vswitchd"
	"github.com/ovnkctl/ovnkctl/internal/runtime/node/udpflush"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

const (
	// busy is how often clients send that never pause.
	busy = 20 * time.Millisecond
	// steady is how many answers in a row say that a client has found its backend.
	steady = 10
	// healthy is how many clients of one load balancer there are whose backends stay.
	healthy = 40
)

// TestUDPClientsFollow has clients that never pause, on the switch and on the gateway router,
// and load balancers that change: with the node's program, all clients follow, and those whose
// backend stays keep it.
func TestUDPClientsFollow(t *testing.T) {
	t.Parallel()
	l := &followLab{flushLab: newFlushLab(t)}
	l.start()
	l.play("seen", flushCases, func(apply func()) { apply() })
	l.play("without ovn-controller", []flushCase{missed}, func(apply func()) {
		l.zone.Kill("ovn-controller")
		apply()
		l.zone.StartController()
	})
	// The program's start finds what happened when it was not there.
	l.play("without the program", []flushCase{missed}, func(apply func()) {
		l.stop()
		l.zone.Kill("ovn-controller")
		apply()
		l.zone.StartController()
		l.zone.Sync()
		l.start()
	})
	l.keep()
	quietLogs(t, l.box)
}

// followLab is a flushLab with the node's program.
type followLab struct {
	*flushLab
	stop func()
}

// start starts the program's part.
func (l *followLab) start() {
	l.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(l.t.Context()))
	db, err := ovn.Open(ctx, ovn.Config{Endpoint: l.zone.Endpoint("db"), Database: ovn.OpenVSwitch(), Columns: map[string][]string{
		vswitch.BridgeTable: {"name", "external_ids"},
	}})
	if err != nil {
		l.t.Fatal(err)
	}
	f := udpflush.New(udpflush.Config{
		NB: l.zone.NB, InForce: barrier.Barrier{NB: l.zone.NB, OVS: db, Bridge: names.IntegrationBridge}.Wait, MaxPairs: 8,
		Switch: vswitchd.Client{RunDir: filepath.Dir(strings.TrimPrefix(l.zone.Endpoint("db"), "unix:")), Bridge: names.IntegrationBridge},
		Logger: slog.New(slog.NewTextHandler(testLog{l.t}, nil)),
	})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f.Run(ctx) //nolint:errcheck // ends with its context
	}()
	l.stop = sync.OnceFunc(func() {
		cancel()
		<-ended
		db.Close()
	})
	l.t.Cleanup(l.stop)
}

type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// play plays cases with clients of every kind. Each change but the first is made by change.
func (l *followLab) play(name string, cases []flushCase, change func(apply func())) {
	l.t.Helper()
	runs := l.clients(cases)
	done := make(chan struct{})
	defer close(done)
	for step := 0; ; step++ {
		var asked []*flushRun
		for _, r := range runs {
			if step < len(r.states) {
				r.state, asked = r.states[step], append(asked, r)
			}
		}
		if len(asked) == 0 {
			return
		}
		if step == 0 {
			l.apply(false)
			for _, r := range runs {
				go sendEvery(r.conn, busy, done)
			}
		} else {
			change(l.write)
		}
		start := time.Now()
		l.zone.Sync()
		inFlows := time.Since(start)
		var wg sync.WaitGroup
		for _, r := range asked {
			wg.Go(func() {
				if err := follows(r.conn, r.state); err != nil {
					l.t.Errorf("%s: %s, %s: %v", name, r, r.state, err)
				}
			})
		}
		wg.Wait()
		l.t.Logf("%s, step %d: flows after %s, %d clients follow after %s", name, step, inFlows, len(asked), time.Since(start))
	}
}

// clients makes load balancers, which are not there yet, and a client of each.
func (l *followLab) clients(cases []flushCase) (runs []*flushRun) {
	l.t.Helper()
	for _, c := range cases {
		for _, s := range l.box.Network.ServiceSubnets {
			for _, r := range []*flushRun{{client: "a pod"}, {client: "outside", router: true}} {
				a, _ := plan.Nth(s, uint64(100+len(l.runs)))
				r.flushCase, r.flush, r.to, r.state = c, true, netip.AddrPortFrom(a, servicePort), lbAbsent
				l.open(r)
				l.runs, runs = append(l.runs, r), append(runs, r)
			}
		}
	}
	return runs
}

// sendEvery sends until it is done, whatever comes back.
func sendEvery(c net.Conn, pause time.Duration, done <-chan struct{}) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		c.Write([]byte("?")) //nolint:errcheck // nothing comes back then
		select {
		case <-tick.C:
		case <-done:
			return
		}
	}
}

// follows returns when the client hears what it should in this state of its load balancer and
// nothing else any more, or says what it hears instead. Of two backends it keeps the first,
// which it had before.
func follows(c net.Conn, state string) error {
	want := []string{strings.Fields(state)[0]}
	switch state {
	case lbRefuses:
		want = []string{fateRefused, fateNobody} // refusals come seldom
	case lbAbsent, lbDiscards:
		want = []string{fateNobody}
	}
	var last []string
	for end := time.Now().Add(patience); time.Now().Before(end); {
		last = append(last, hear(c))
		last = last[max(0, len(last)-steady):]
		if len(last) == steady && slices.Contains(last, want[0]) &&
			!slices.ContainsFunc(last, func(s string) bool { return !slices.Contains(want, s) }) {
			return nil
		}
	}
	return fmt.Errorf("the client hears %q, want %s", last, want[0])
}

// hear is what the client hears next.
func hear(c net.Conn) string {
	c.SetReadDeadline(time.Now().Add(5 * busy)) //nolint:errcheck // the read fails then, too
	name, _, err := readAnswer(bufio.NewReader(c))
	switch {
	case err == nil:
		return name
	case errors.Is(err, syscall.ECONNREFUSED):
		return fateRefused
	}
	return fateNobody
}

// keep takes one of three backends away: clients of the other two keep theirs.
func (l *followLab) keep() {
	l.t.Helper()
	s := l.box.Network.ServiceSubnets[0]
	a, _ := plan.Nth(s, uint64(100+len(l.runs)))
	l.serve("third")
	balancer := &flushRun{client: "a pod", to: netip.AddrPortFrom(a, servicePort), flush: true, state: "near far third"}
	l.runs = append(l.runs, balancer)
	l.apply(false)
	done := make(chan struct{})
	defer close(done)
	clients, before := make([]*flushRun, healthy), map[string][]*flushRun{}
	for i := range clients {
		c := &flushRun{client: "a pod", to: balancer.to}
		l.open(c)
		go sendEvery(c.conn, busy, done)
		if c.state = hear(c.conn); c.state == fateNobody {
			c.state = hear(c.conn) // the first packet takes longer
		}
		clients[i], before[c.state] = c, append(before[c.state], c)
	}
	if len(before) != 3 {
		l.t.Fatalf("%d of 3 backends have clients", len(before))
	}
	balancer.state = "near far"
	l.apply(false)
	after := map[string]int{}
	for _, c := range clients {
		if c.state != "third" {
			if err := follows(c.conn, c.state); err != nil {
				l.t.Errorf("a client of %s, which stays: %v", c.state, err)
			}
			continue
		}
		if near, far := follows(c.conn, "near"), error(nil); near != nil {
			if far = follows(c.conn, "far"); far != nil {
				l.t.Errorf("a client of the backend that went: %v", errors.Join(near, far))
			}
			after["far"]++
		} else {
			after["near"]++
		}
	}
	l.t.Logf("%d clients of near and %d of far stay; those of third go on to %v", len(before["near"]), len(before["far"]), after)
}
