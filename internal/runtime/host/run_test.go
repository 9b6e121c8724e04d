package host

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/kernel"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/ovs"
)

// While it runs, harm is seen by what the host tells of it, without waiting for the next
// full look; and a host that nobody touches is not written to.
func TestRunHealsByEvents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		r := m.reconciler(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- r.Run(ctx) }()
		synctest.Wait()
		if ok, reasons := r.Ready(); !ok {
			t.Fatalf("not ready: %v", reasons)
		}
		if err := r.WaitReady(ctx); err != nil {
			t.Error(err)
		}
		want, start := m.network(), time.Now()
		for name, harm := range map[string]func(){
			"flows":   func() { m.flows.Delete("br-ex") },
			"tables":  func() { m.nft.Flush() },
			"address": func() { m.do(t, kernel.DeleteAddr{Addr: addr4("172.30.0.11/24", "br-ex")}) },
			"port":    func() { m.ovs.Change(func(s *ovs.State) { delete(s.Bridges["br-ex"].Ports, "eth0") }) },
		} {
			harm()
			synctest.Wait()
			if d := cmp.Diff(want, m.network(), sameNetwork); d != "" || len(m.flows.Flows("br-ex")) < 20 || len(m.nft.Tables()) < 2 {
				t.Errorf("%s: not mended by the event: %s", name, d)
			}
			if ok, reasons := r.Ready(); !ok {
				t.Errorf("%s: %v", name, reasons)
			}
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("it took %s of waiting", took)
		}
		m.writes()
		time.Sleep(10 * fullPass)
		synctest.Wait()
		if w := m.writes(); w != (writes{}) {
			t.Errorf("writes to a host that nobody touched: %+v", w)
		}
		m.ovs.SetDown(true)
		synctest.Wait()
		if ok, _ := r.Ready(); ok {
			t.Error("ready without the database")
		}
		ended2, cancel2 := context.WithTimeout(ctx, time.Minute)
		defer cancel2()
		if err := r.WaitReady(ended2); err == nil || !strings.Contains(err.Error(), CodeNoSwitch) {
			t.Errorf("waited for ready: %v", err)
		}
		m.ovs.SetDown(false)
		if err := r.WaitReady(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// Who asks for a look hears what came of it, though nothing told that there was something to
// look at.
func TestLook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		r := m.reconciler(t)
		ctx, cancel := context.WithCancel(t.Context())
		early, stop := context.WithTimeout(ctx, time.Second)
		defer stop()
		if err := r.Look(early); err == nil || !strings.Contains(err.Error(), "not been looked at") {
			t.Errorf("before it runs: %v", err)
		}
		ended := make(chan error)
		go func() { ended <- r.Run(ctx) }()
		synctest.Wait()
		start := time.Now()
		if err := r.Look(ctx); err != nil {
			t.Error(err)
		}
		m.ovs.SetDown(true)
		if err := r.Look(ctx); err == nil || !strings.Contains(err.Error(), CodeNoSwitch) {
			t.Errorf("without the database: %v", err)
		}
		m.ovs.SetDown(false)
		if took := time.Since(start); took != 0 {
			t.Errorf("it took %s of waiting", took)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// Somebody who undoes every change does not make it spin.
func TestRunSlowsDownInAFight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		r := m.reconciler(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- r.Run(ctx) }()
		synctest.Wait()
		m.writes()
		wake := make(chan struct{}, 1)
		go func() {
			_ = m.kernel.Watch(ctx, nil, func() {
				select {
				case wake <- struct{}{}:
				default:
				}
			})
		}()
		go func() {
			for range wake {
				if m.kernel.Snapshot().HasAddr(addr4("169.254.0.2/17", "br-ex")) {
					_ = m.kernel.Do(kernel.DeleteAddr{Addr: addr4("169.254.0.2/17", "br-ex")})
				}
			}
		}()
		const fight = 5 * time.Minute
		time.Sleep(fight)
		if w := m.writes(); w.kernel == 0 || w.kernel > int(fight/retryPass)*maxRounds*3 {
			t.Errorf("%d writes in %s", w.kernel, fight)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		close(wake)
	})
}
