//go:build ovn && linux

package ovn

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/runtime/node/idle"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
	"github.com/ovnkctl/ovnkctl/test/ovn/box"
)

// TestIdle has packets wake a service that sleeps: from a pod, the host and outside. Who
// sent them is answered when the pods are there.
func TestIdle(t *testing.T) {
	t.Parallel()
	b := box.New(t, box.Options{Zones: 1, Family: box.Dual, Mode: world.GatewayShared})
	b.Network.EmptyLoadBalancerEvents = true
	b.Program(features...)
	z := b.Zones[0]
	l := &serviceLab{box: b, n1: z, client: z.AddPod("client"), near: z.AddPod("near"), families: len(z.Addrs)}
	for _, s := range b.Network.ServiceSubnets {
		a, _ := plan.Nth(s, 10)
		l.cluster = append(l.cluster, a)
	}
	serveNamed(t, l.near.NS, "near", port)
	l.web(asleep)
	l.backends()
	w := watchIdle(t, z)

	type request struct {
		from, network string
		to            netip.AddrPort
	}
	requests := map[request]bool{}
	l.each(func(i int) {
		for _, network := range []string{"tcp", "udp"} {
			requests[request{l.client.NS, network, l.clusterAt(i)}] = true
			requests[request{z.NS, network, l.clusterAt(i)}] = true
			requests[request{b.OutsideNS(), network, nodeAt(z, i)}] = true
		}
	})
	vips := map[string]bool{}
	answers := make(chan error, len(requests))
	for r := range requests {
		vips[fmt.Sprint(r.network, " ", r.to)] = true
		go func() {
			a := ask(r.from, r.network, r.to, box.Patience)
			if a.err != nil {
				a.err = fmt.Errorf("%s %s → %s: %w", r.network, r.from, r.to, a.err)
			}
			answers <- a.err
		}()
	}
	for len(vips) > 0 { // an event may come twice
		e := receive(t, fmt.Sprint("events for ", vips), w.events)
		delete(vips, fmt.Sprint(e.Protocol, " ", e.VIP))
	}
	want := world.ObjectRef{Kind: world.KindService, Namespace: "default", Name: "web", UID: "uid-web"}
	if got := receive(t, "NeedPods", w.wanted); got != want {
		t.Errorf("NeedPods for %v, want %v", got, want)
	}

	l.backends(ofPod(l.near))
	for range requests {
		if err := receive(t, "the answers", answers); err != nil {
			t.Error(err)
		}
	}
	for len(ovn.List[sb.ControllerEvent](w.db)) > 0 {
		receive(t, "the deletion of the rows", w.deleted)
	}
	l.web(nil)
	l.backends()
	l.each(func(i int) { expectRefusal(t, l.client.NS, l.clusterAt(i)) })
	quietLogs(t, b)
}

func asleep(s *corev1.Service) {
	s.Annotations = map[string]string{"k8s.ovn.org/idled-at": "2026-01-01T00:00:00Z"}
}

// idleWatch is what a watcher says.
type idleWatch struct {
	events  chan idle.Event
	wanted  chan world.ObjectRef
	deleted chan struct{} // one when a row is deleted
	db      *ovn.DB
}

// watchIdle runs a watcher on a zone until the test's end.
func watchIdle(t *testing.T, z *box.Zone) *idleWatch {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	db, err := ovn.Open(ctx, ovn.Config{Endpoint: z.Endpoint("sb"), Database: ovn.Southbound(), Tables: []string{sb.ControllerEventTable}})
	if err != nil {
		t.Fatal(err)
	}
	w := &idleWatch{events: make(chan idle.Event, 1000), wanted: make(chan world.ObjectRef, 1000), deleted: make(chan struct{}, 1), db: db}
	byRow := idle.ByRow(z.NB, z.World)
	watcher, err := idle.New(idle.Config{
		SB: db, Logger: slog.New(slog.DiscardHandler),
		Lookup: func(e idle.Event) (world.ObjectRef, bool) {
			w.events <- e
			return byRow(e)
		},
		NeedPods: func(r world.ObjectRef) { w.wanted <- r },
	})
	if err != nil {
		t.Fatal(err)
	}
	ovn.Watch(db, func(_, now *sb.ControllerEvent) {
		if now != nil {
			return
		}
		select {
		case w.deleted <- struct{}{}:
		default:
		}
	})
	done := make(chan error, 1)
	go func() { done <- watcher.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		db.Close()
	})
	return w
}

func receive[T any](t *testing.T, what string, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(box.Patience):
		t.Fatalf("waited %s for %s", box.Patience, what)
	}
	return v
}
