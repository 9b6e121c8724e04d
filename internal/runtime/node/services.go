//go:build linux

package node

import (
	"context"
	"maps"
	"net/netip"
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host"
	"github.com/ovnkctl/ovnkctl/internal/runtime/kube"
	"github.com/ovnkctl/ovnkctl/internal/runtime/node/healthcheck"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/proxy"
)

// hostServices keeps current what the node does for services outside of OVN: its host's
// flows and rules, health check ports, and where the API servers are. Subscribers of the
// world only note what a change touches; what follows from it is computed outside of the
// world's lock, once for all changes that came meanwhile.
type hostServices struct {
	a      *agent
	set    *host.ServiceSet
	health *healthcheck.Servers
	wake   chan struct{}

	// Of the world's lock:
	checked map[world.ServiceKey]healthcheck.Service // services with a health check port
	touched map[world.ServiceKey]bool                // of these
}

func (a *agent) startServices(ctx context.Context) {
	s := &hostServices{
		a: a, set: host.NewServiceSet(&a.network), wake: make(chan struct{}, 1),
		checked: map[world.ServiceKey]healthcheck.Service{}, touched: map[world.ServiceKey]bool{},
	}
	s.health = healthcheck.New(healthcheck.Config{
		Healthy: func() bool { return a.zoneReady(ctx) == nil },
		Report: func(service world.ObjectRef, code, message, remedy string) {
			a.recorder.Record(kube.Event{Object: service, Warning: true, Reason: code, Action: "Serving", Note: message + "; " + remedy})
		},
		Logger: a.Log,
	})
	a.store.Subscribe(s.onChange)
	a.Go(ctx, s.health.Run)
	a.Go(ctx, s.run)
}

// onChange is called under the world's lock.
func (s *hostServices) onChange(v world.View, c world.Change) {
	changed := s.set.Touch(v, c)
	for _, k := range proxy.Touched(v, c) {
		service, ok := v.Service(k)
		if _, was := s.checked[k]; was || ok && service.HealthCheckPort != 0 {
			s.touched[k], changed = true, true
		}
	}
	if changed || proxy.OfAPIServers(c) {
		s.poke()
	}
}

func (s *hostServices) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run begins when the world is complete: until then the host is left as it is.
func (s *hostServices) run(ctx context.Context) error {
	select {
	case <-s.a.store.SyncedC():
		s.poke()
	case <-ctx.Done():
	}
	for {
		select {
		case <-s.wake:
			s.update()
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *hostServices) update() {
	var services host.Services
	var checked []healthcheck.Service
	var apiServers []netip.AddrPort
	s.a.store.Read(func(v world.View) {
		services = s.set.Update(v)
		s.updateChecked(v)
		checked = slices.Collect(maps.Values(s.checked))
		apiServers = proxy.APIServers(v)
	})
	s.a.host.SetServices(services)
	s.health.Set(checked)
	if err := s.a.Servers.SetEndpoints(apiServers); err != nil {
		s.a.Log.Warn("the API servers' addresses are not remembered for the next boot", "error", err)
	}
}

func (s *hostServices) updateChecked(v world.View) {
	for k := range s.touched {
		service, ok := v.Service(k)
		if !ok || service.HealthCheckPort == 0 {
			delete(s.checked, k)
			continue
		}
		resolved, _ := proxy.Resolve(v, &s.a.network, service)
		s.checked[k] = healthcheck.Service{
			Ref: service.Ref(), Port: service.HealthCheckPort, Ready4: resolved.LocalReady4, Ready6: resolved.LocalReady6,
		}
	}
	clear(s.touched)
}
