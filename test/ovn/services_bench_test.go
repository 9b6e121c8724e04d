//go:build ovn && linux

package ovn

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/services"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
	"github.com/ovnkctl/ovnkctl/test/ovn/box"
)

// BenchmarkServices changes one end point of one service among many, from the world to the
// flows of the bridge. The metrics say how long it takes to make all of them: s/nb until they
// are in the Northbound database, s/load until the bridge has their flows.
func BenchmarkServices(b *testing.B) {
	for _, count := range []int{10, 1_000, 5_000} {
		b.Run(fmt.Sprintf("services=%d", count), func(b *testing.B) {
			bx := box.New(b, box.Options{Zones: 1, Family: box.IPv4, Mode: world.GatewayShared})
			bx.Program(features...)
			z := bx.Zones[0]
			start := time.Now()
			for i := range count {
				z.World.SetService(manyService(bx, i))
				z.World.SetSlice(manySlice(i, 10))
			}
			for i := range count {
				z.Wait(services.Name, feature.Key{Namespace: "many", Name: fmt.Sprint("svc-", i)})
			}
			programmed := time.Since(start)
			z.Sync()
			loaded := time.Since(start)
			n := 10
			for b.Loop() {
				n = 21 - n // 10 and 11 end points in turns
				z.World.SetSlice(manySlice(7, n))
				z.Wait(services.Name, feature.Key{Namespace: "many", Name: "svc-7"})
				z.Sync()
			}
			b.ReportMetric(programmed.Seconds(), "s/nb")
			b.ReportMetric(loaded.Seconds(), "s/load")
		})
	}
}

func manyService(b *box.Box, i int) *world.Service {
	a, _ := plan.Nth(b.Network.ServiceSubnets[0], uint64(100+i))
	return &world.Service{
		Namespace: "many", Name: fmt.Sprint("svc-", i), UID: fmt.Sprint(i), ClusterIPs: []netip.Addr{a},
		Ports: []world.ServicePort{{Protocol: world.TCP, Port: servicePort}},
	}
}

func manySlice(i, endpoints int) *world.EndpointSlice {
	s := &world.EndpointSlice{
		Namespace: "many", Name: fmt.Sprint("svc-", i), Service: fmt.Sprint("svc-", i),
		Ports: []world.EndpointPort{{Protocol: world.TCP, Port: port}},
	}
	for j := range endpoints {
		a := netip.AddrFrom4([4]byte{10, 244, byte(1 + j%2), byte(10 + (i+j)%200)})
		s.Endpoints = append(s.Endpoints, world.Endpoint{Addrs: []netip.Addr{a}, Node: fmt.Sprint("n", 1+j%2), Ready: true, Serving: true})
	}
	return s
}
