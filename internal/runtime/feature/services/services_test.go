package services

import (
	"fmt"
	"net/netip"
	"strconv"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/featuretest"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

func TestGolden(t *testing.T) {
	t.Parallel()
	given := featuretest.Golden(t, Feature{})
	for _, code := range Codes {
		if !given[code] {
			t.Errorf("no golden case gives the reason %s", code)
		}
		delete(given, code)
	}
	for code := range given {
		t.Errorf("reason %s is not in Codes", code)
	}
}

var (
	podRange     = netip.MustParsePrefix("10.128.0.0/14")
	serviceRange = netip.MustParsePrefix("10.96.0.0/12")
)

// cluster is a store with two nodes and n services of some end points each, every other one
// on the local node.
func cluster(n, endpoints int) *world.Store {
	s := world.New(world.Config{LocalNode: "n1", Networks: []world.Network{{
		Name: world.DefaultNetwork, ClusterSubnets: []world.ClusterSubnet{{Prefix: podRange, HostLength: 16}},
		ServiceSubnets: []netip.Prefix{serviceRange}, Masquerade: []netip.Prefix{netip.MustParsePrefix("169.254.0.0/17")},
	}}})
	s.SetNode(node(1))
	s.SetNode(node(2))
	for i := range n {
		s.SetService(service(i))
		s.SetSlice(slice(i, endpoints))
	}
	return s
}

func node(i int) *world.Node {
	a := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 30, 0, byte(10 + i)}), 24)
	return &world.Node{
		Name: fmt.Sprint("n", i), ID: i + 1, ChassisID: fmt.Sprint("chassis-", i), HostAddrs: []netip.Prefix{a},
		Subnets: map[string][]netip.Prefix{world.DefaultNetwork: {netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(128 + i), 0, 0}), 16)}},
		Gateway: &world.Gateway{Mode: world.GatewayShared, Addresses: []netip.Prefix{a}, NodePort: true},
	}
}

func service(i int) *world.Service {
	a, _ := plan.Nth(serviceRange, uint64(i+1))
	return &world.Service{
		Namespace: "ns", Name: fmt.Sprint("svc-", i), UID: fmt.Sprint(i), Created: int64(i), ClusterIPs: []netip.Addr{a},
		Ports: []world.ServicePort{{Name: "http", Protocol: world.TCP, Port: 80, NodePort: uint16(1024 + i)}},
	}
}

func slice(i, endpoints int) *world.EndpointSlice {
	s := &world.EndpointSlice{
		Namespace: "ns", Name: fmt.Sprintf("svc-%d-a", i), Service: fmt.Sprint("svc-", i),
		Ports: []world.EndpointPort{{Name: "http", Protocol: world.TCP, Port: 8080}},
	}
	for j := range endpoints {
		a, _ := plan.Nth(netip.MustParsePrefix(fmt.Sprintf("10.%d.0.0/16", 129+j%2)), uint64(10+j))
		s.Endpoints = append(s.Endpoints, world.Endpoint{
			Addrs: []netip.Addr{a}, Node: fmt.Sprint("n", 1+j%2), Ready: true, Serving: true,
		})
	}
	return s
}

// TestKeysAreFew counts the keys that changes touch: nearly always the service alone.
func TestKeysAreFew(t *testing.T) {
	t.Parallel()
	const services = 50
	s := cluster(services, 2)
	touched := 0
	s.Subscribe(func(v world.View, c world.Change) { touched += len(Feature{}.Keys(v, c)) })
	count := func(what string, want int, f func()) {
		t.Helper()
		touched = 0
		f()
		if touched != want {
			t.Errorf("%s touches %d keys, want %d", what, touched, want)
		}
	}
	count("an end point more", 1, func() { s.SetSlice(slice(7, 3)) })
	count("a service's policy", 1, func() {
		n := service(7)
		n.ExternalLocal = true
		s.SetService(n)
	})
	count("a label of the node", 0, func() {
		n := node(1)
		n.Labels = map[string]string{"a": "b"}
		s.SetNode(n)
	})
	count("another node", 0, func() { s.SetNode(node(3)) })
	count("a pod", 0, func() { s.SetPod(&world.Pod{Namespace: "ns", Name: "p", Node: "n1"}) })
	count("a new address of the node", services, func() {
		n := node(1)
		n.HostAddrs = append(n.HostAddrs, netip.MustParsePrefix("192.168.9.1/24"))
		s.SetNode(n)
	})
}

// TestWaking: a service that woke up is not refused before its grace ends.
func TestWaking(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ idled, waking, wanted, event bool }{
		{true, false, true, true}, {false, true, true, true}, {false, false, true, false},
		{true, false, false, false}, {false, true, false, false},
	} {
		s := cluster(1, 0)
		s.Read(func(v world.View) {
			network, _ := v.Network("")
			network.EmptyLoadBalancerEvents = c.wanted
		})
		n := service(0)
		n.Idled, n.Waking = c.idled, c.waking
		s.SetService(n)
		s.Read(func(v world.View) {
			out, _ := Feature{}.Desired(v, key(0))
			for _, r := range out.NB.Rows {
				lb := r.Model.(*nb.LoadBalancer)
				if lb.Options["event"] != strconv.FormatBool(c.event) || lb.Options["reject"] != strconv.FormatBool(!c.event) {
					t.Errorf("%+v: options %v", c, lb.Options)
				}
			}
			if len(out.NB.Rows) != 1 {
				t.Errorf("%+v: %d rows", c, len(out.NB.Rows))
			}
		})
	}
}

func key(i int) feature.Key { return feature.Key{Namespace: "ns", Name: fmt.Sprint("svc-", i)} }

// BenchmarkDesired computes one service: the time must grow with its own end points, and
// not with the number of services.
func BenchmarkDesired(b *testing.B) {
	for _, size := range []struct{ services, endpoints int }{{10, 2}, {1_000, 2}, {10_000, 2}, {10, 1_000}} {
		s := cluster(size.services, size.endpoints)
		b.Run(fmt.Sprintf("services=%d/endpoints=%d", size.services, size.endpoints), func(b *testing.B) {
			b.ReportAllocs()
			s.Read(func(v world.View) {
				for b.Loop() {
					if out, _ := (Feature{}).Desired(v, key(5)); len(out.NB.Rows) != 1 {
						b.Fatalf("%d rows", len(out.NB.Rows))
					}
				}
			})
		})
	}
}

// BenchmarkKeys asks which services a changed slice touches.
func BenchmarkKeys(b *testing.B) {
	s := cluster(10_000, 2)
	n := slice(5, 2)
	s.Read(func(v world.View) {
		b.ReportAllocs()
		for b.Loop() {
			(Feature{}).Keys(v, world.Change{Ref: n.Ref(), OldSlice: n, NewSlice: n})
		}
	})
}
