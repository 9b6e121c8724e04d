package proxy

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// crowd is a world of services with three end points each, with node ports and addresses of
// load balancers on the same ports, as is usual, on 500 nodes.
func crowd(services, endpoints int) *world.Store {
	store := world.New(world.Config{LocalNode: "node-0", Networks: []world.Network{network()}})
	for i := range 500 {
		store.SetNode(&world.Node{
			Name: fmt.Sprint("node-", i), Labels: map[string]string{zoneLabel: fmt.Sprint("z", i%3)},
			HostAddrs: []netip.Prefix{netip.PrefixFrom(numbered(172, i), 12)}, Subnets: map[string][]netip.Prefix{world.DefaultNetwork: {netip.PrefixFrom(numbered(20, i<<8), 24)}},
		})
	}
	for i := range services {
		store.SetService(&world.Service{
			Namespace: fmt.Sprint("namespace-", i/50), Name: fmt.Sprint("service-", i), ClusterIPs: []netip.Addr{numbered(10, i)}, Ingress: []netip.Addr{numbered(198, i)},
			LoadBalancer: true, Ports: []world.ServicePort{{Name: "http", Protocol: world.TCP, Port: 80, NodePort: uint16(30000 + i%2768)}, {Name: "https", Protocol: world.TCP, Port: 443}},
		})
		for s := 0; s*100 < endpoints; s++ {
			store.SetSlice(crowdSlice(i, s, min(100, endpoints-s*100)))
		}
	}
	return store
}

func crowdSlice(service, slice, count int) *world.EndpointSlice {
	out := &world.EndpointSlice{
		Namespace: fmt.Sprint("namespace-", service/50), Name: fmt.Sprint("service-", service, "-", slice), Service: fmt.Sprint("service-", service),
		Ports: []world.EndpointPort{{Name: "http", Protocol: world.TCP, Port: 8080}, {Name: "https", Protocol: world.TCP, Port: 8443}},
	}
	for i := range count {
		n := slice*100 + i
		// in no order, as slices come
		out.Endpoints = append(out.Endpoints, world.Endpoint{Addrs: []netip.Addr{numbered(20, service*1000+n*7919%1000)}, Node: fmt.Sprint("node-", n%500), Ready: true, Serving: true})
	}
	return out
}

func numbered(first byte, i int) netip.Addr {
	return netip.AddrFrom4([4]byte{first, byte(i >> 16), byte(i >> 8), byte(i)})
}

func BenchmarkResolve(b *testing.B) {
	n := network()
	for _, c := range []struct{ services, endpoints int }{{1, 3}, {5000, 3}, {1, 1000}} {
		b.Run(fmt.Sprintf("services=%d/endpoints=%d", c.services, c.endpoints), func(b *testing.B) {
			b.ReportAllocs()
			crowd(c.services, c.endpoints).Read(func(v world.View) {
				s, ok := v.Service(world.ServiceKey{Namespace: "namespace-0", Name: "service-0"})
				if !ok {
					b.Fatal("no service")
				}
				for b.Loop() {
					if got, _ := Resolve(v, &n, s); len(got.Ports[1].Cluster) != c.endpoints {
						b.Fatalf("%d backends", len(got.Ports[1].Cluster))
					}
				}
			})
		})
	}
}

func BenchmarkTouched(b *testing.B) {
	store := crowd(5000, 3)
	store.Read(func(v world.View) {
		key := world.ServiceKey{Namespace: "namespace-0", Name: "service-0"}
		s, _ := v.Service(key)
		changed := *s
		changed.AffinitySeconds = 7
		slice := v.Slices(key)[0]
		node, _ := v.Node("node-7")
		relabeled, moved := *node, *node
		relabeled.Labels = nil
		moved.HostAddrs = []netip.Prefix{netip.MustParsePrefix("172.16.0.99/12")}
		local, _ := v.Node("node-0")
		other := *local
		other.Labels = nil
		for _, c := range []struct {
			name   string
			change world.Change
			want   int
		}{
			{"slice", world.Change{Ref: slice.Ref(), OldSlice: slice, NewSlice: slice}, 1},
			{"service", world.Change{Ref: s.Ref(), OldService: s, NewService: &changed}, 1},
			{"node's labels", world.Change{Ref: node.Ref(), OldNode: node, NewNode: &relabeled}, 0},
			{"node's address", world.Change{Ref: node.Ref(), OldNode: node, NewNode: &moved}, 0},
			{"local node", world.Change{Ref: local.Ref(), OldNode: local, NewNode: &other}, 5000},
		} {
			b.Run(c.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if got := Touched(v, c.change); len(got) != c.want {
						b.Fatalf("%d touched, want %d", len(got), c.want)
					}
				}
			})
		}
	})
}

// BenchmarkStart sets 5,000 services and their slices and resolves each once.
func BenchmarkStart(b *testing.B) {
	n := network()
	b.ReportAllocs()
	for b.Loop() {
		crowd(5000, 3).Read(func(v world.View) {
			for s := range v.Services {
				Resolve(v, &n, s)
			}
		})
	}
}
