//go:build linux

package box

import (
	"context"
	"encoding/json"
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/hostports"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/services"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// outside follows the world for what the zone's host does for services.
type outside struct {
	mu      sync.Mutex
	set     *host.ServiceSet
	pending bool
}

// follow has the host's part hear of services from the zone's world.
func (z *Zone) follow() {
	o := &outside{set: host.NewServiceSet(&z.box.Network)}
	z.outside = o
	z.World.Subscribe(func(v world.View, c world.Change) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.pending = o.set.Touch(v, c) || o.pending
	})
}

// tellAgent sends the host's part what it does for services, if that may have changed, and
// waits until it is so.
func (z *Zone) tellAgent() {
	z.box.t.Helper()
	if z.outside == nil {
		return
	}
	var s host.Services
	changed := false
	z.World.Read(func(v world.View) {
		z.outside.mu.Lock()
		defer z.outside.mu.Unlock()
		if changed = z.outside.pending; changed {
			s, z.outside.pending = z.outside.set.Update(v), false
		}
	})
	if !changed {
		return
	}
	if err := json.NewEncoder(z.agent.stdin).Encode(s); err != nil {
		z.box.t.Fatalf("tell the agent of %s its services: %v", z.Name, err)
	}
	z.await("the host's part in services", func(ctx context.Context) {
		select {
		case <-z.agent.services:
		case <-ctx.Done():
		}
	})
}

// SetService creates or changes a service in every zone's world. Sync waits for what
// follows.
func (b *Box) SetService(s *corev1.Service) {
	b.t.Helper()
	for _, z := range b.Zones {
		z.World.SetService(world.FromService(s))
		z.Wait(services.Name, feature.Key{Namespace: s.Namespace, Name: s.Name})
	}
}

// SetSlice creates or changes end points.
func (b *Box) SetSlice(s *discoveryv1.EndpointSlice) {
	b.t.Helper()
	for _, z := range b.Zones {
		z.World.SetSlice(world.FromEndpointSlice(s))
		z.Wait(services.Name, feature.Key{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]})
	}
}

// DeleteService removes a service; its end points stay.
func (b *Box) DeleteService(namespace, name string) {
	b.t.Helper()
	for _, z := range b.Zones {
		z.World.DeleteService(world.ServiceKey{Namespace: namespace, Name: name})
		z.Wait(services.Name, feature.Key{Namespace: namespace, Name: name})
	}
}

// SetHostPorts gives a pod host ports.
func (p *Pod) SetHostPorts(ports ...world.HostPort) {
	z := p.Zone
	z.box.t.Helper()
	var changed world.Pod
	z.World.Read(func(v world.View) {
		if old, ok := v.Pod(p.Key); ok {
			changed = *old
		}
	})
	changed.HostPorts = ports
	z.World.SetPod(&changed)
	z.Wait(hostports.Name, feature.Key{Namespace: p.Key.Namespace, Name: p.Key.Name})
}

// RouteFabric has the router between the nodes lead an address to a node.
func (b *Box) RouteFabric(to netip.Prefix, via netip.Addr) {
	b.t.Helper()
	b.ip(b.fabric, "route replace "+to.String()+" via "+via.String())
}

// Sync waits until all zones have done all that their worlds ask for.
func (b *Box) Sync() {
	b.t.Helper()
	for _, z := range b.Zones {
		z.Sync()
	}
}
