package proxy

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

var byValue = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmpopts.EquateEmpty(),
}

// at is an end point written "address[@node] flag...": ready unless it says otherwise;
// "node=n" and "zone=z" are hints.
func at(text string) world.Endpoint {
	words := strings.Fields(text)
	a, node, _ := strings.Cut(words[0], "@")
	e := world.Endpoint{Addrs: addrs(a), Node: node, Ready: true, Serving: true}
	for _, w := range words[1:] {
		name, value, _ := strings.Cut(w, "=")
		switch name {
		case "unready":
			e.Ready, e.Serving = false, false
		case "ending": // and serves
			e.Ready, e.Terminating = false, true
		case "ended":
			e.Ready, e.Serving, e.Terminating = false, false, true
		case "published": // ending, of a service with publishNotReadyAddresses
			e.Terminating = true
		case "node":
			e.ForNodes = strings.Split(value, ",")
		case "zone":
			e.ForZones = strings.Split(value, ",")
		default:
			panic(w)
		}
	}
	return e
}

func TestResolveBackends(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name           string
		slices         [][]string
		cluster, local string
		ready          [3]int // LocalReady, of IPv4, of IPv6
	}{
		{name: "none"},
		{name: "ready ones, in order, once each", slices: [][]string{{"10.244.2.5@b", "10.244.1.5@a", "10.244.1.5@a"}, {"10.244.1.4@a"}},
			cluster: "10.244.1.4 10.244.1.5 10.244.2.5", local: "10.244.1.4 10.244.1.5", ready: [3]int{2, 2, 0}},
		{name: "unready ones do not count", slices: [][]string{{"10.244.1.5@a unready", "10.244.2.5@b"}}, cluster: "10.244.2.5"},
		{name: "unready ones are no last resort", slices: [][]string{{"10.244.1.5@a unready", "10.244.2.5@b ended"}}},
		{name: "ending ones wait behind ready ones", slices: [][]string{{"10.244.1.5@a ending", "10.244.2.5@b"}},
			cluster: "10.244.2.5", local: "10.244.1.5"},
		{name: "ending ones serve when nothing is ready", slices: [][]string{{"10.244.1.5@a ending", "10.244.2.5@b ending", "10.244.2.6@b ended", "10.244.2.7@b unready"}},
			cluster: "10.244.1.5 10.244.2.5", local: "10.244.1.5"},
		{name: "local ready ones before local ending ones", slices: [][]string{{"10.244.1.5@a ending", "10.244.1.6@a"}},
			cluster: "10.244.1.6", local: "10.244.1.6", ready: [3]int{1, 1, 0}},
		{name: "published ones are ready though they end", slices: [][]string{{"10.244.1.5@a published"}},
			cluster: "10.244.1.5", local: "10.244.1.5", ready: [3]int{1, 1, 0}},
		{name: "of an unknown node", slices: [][]string{{"10.244.1.5"}}, cluster: "10.244.1.5"},
		{name: "two families", slices: [][]string{{"10.244.1.5@a", "10.244.2.5@b"}, {"fd00::1:5@a", "fd00::2:5@b"}},
			cluster: "10.244.1.5 10.244.2.5 fd00::1:5 fd00::2:5", local: "10.244.1.5 fd00::1:5", ready: [3]int{1, 1, 1}},
		{name: "one family falls back alone", slices: [][]string{{"10.244.2.5@b"}, {"fd00::1:5@a ending"}},
			cluster: "10.244.2.5 fd00::1:5", local: "fd00::1:5"},
		{name: "the hints of one family hold without the other's", slices: [][]string{{"10.244.1.5@a zone=z1", "10.244.2.5@b zone=z2"}, {"fd00::1:5@a", "fd00::2:5@b"}},
			cluster: "10.244.1.5 fd00::1:5 fd00::2:5", local: "10.244.1.5 fd00::1:5", ready: [3]int{1, 1, 1}},
		{name: "hints for zones", slices: [][]string{{"10.244.1.5@a zone=z2", "10.244.2.5@b zone=z1", "10.244.2.6@b zone=z1,z2"}},
			cluster: "10.244.2.5 10.244.2.6", local: "10.244.1.5", ready: [3]int{1, 1, 0}},
		{name: "hints for zones, not all have one", slices: [][]string{{"10.244.1.5@a", "10.244.2.5@b zone=z1"}},
			cluster: "10.244.1.5 10.244.2.5", local: "10.244.1.5", ready: [3]int{1, 1, 0}},
		{name: "one without a hint that is not ready", slices: [][]string{{"10.244.1.5@a unready", "10.244.2.5@b zone=z1", "10.244.2.6@b zone=z2"}}, cluster: "10.244.2.5"},
		{name: "hints for other zones", slices: [][]string{{"10.244.2.5@b zone=z2"}}, cluster: "10.244.2.5"},
		{name: "a hint of one that is not ready", slices: [][]string{{"10.244.1.5@a unready zone=z1", "10.244.2.5@b zone=z2"}}, cluster: "10.244.2.5"},
		{name: "hints for nodes before those for zones", slices: [][]string{{"10.244.1.5@a node=b zone=z1", "10.244.2.5@b node=a zone=z2"}},
			cluster: "10.244.2.5", local: "10.244.1.5", ready: [3]int{1, 1, 0}},
		{name: "hints for other nodes leave those for zones", slices: [][]string{{"10.244.2.5@b node=b zone=z1", "10.244.2.6@b node=b zone=z2"}}, cluster: "10.244.2.5"},
		{name: "some hints for nodes leave those for zones", slices: [][]string{{"10.244.2.5@b zone=z1", "10.244.2.6@b node=a zone=z2"}}, cluster: "10.244.2.5"},
		{name: "ending ones are used whatever their hints", slices: [][]string{{"10.244.2.5@b ending zone=z2"}}, cluster: "10.244.2.5"},
		{name: "of two accounts the one that does not end", slices: [][]string{{"10.244.1.5@a ending"}, {"10.244.1.5@b unready"}}},
		{name: "of two accounts the one that is ready", slices: [][]string{{"10.244.1.5@a unready"}, {"10.244.1.5@a"}},
			cluster: "10.244.1.5", local: "10.244.1.5", ready: [3]int{1, 1, 0}},
		{name: "of two ready accounts the one that does not end", slices: [][]string{{"10.244.1.5@b published"}, {"10.244.1.5@a"}},
			cluster: "10.244.1.5", local: "10.244.1.5", ready: [3]int{1, 1, 0}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := network()
			store := world.New(world.Config{LocalNode: "a", Networks: []world.Network{n}})
			store.SetNode(&world.Node{Name: "a", Labels: map[string]string{zoneLabel: "z1"}})
			s := &world.Service{Namespace: "ns", Name: "web", ClusterIPs: addrs("10.96.0.9"), Ports: []world.ServicePort{
				{Name: "http", Protocol: world.TCP, Port: 80}, {Name: "https", Protocol: world.TCP, Port: 443}, {Name: "http", Protocol: world.UDP, Port: 80},
			}}
			store.SetService(s)
			for i, texts := range c.slices {
				slice := &world.EndpointSlice{Namespace: "ns", Name: string(rune('a' + i)), Service: "web", Ports: []world.EndpointPort{
					{Name: "http", Protocol: world.TCP, Port: 8080}, {Name: "https", Protocol: world.TCP, Port: 8443}, {Name: "of no service", Protocol: world.TCP, Port: 1},
				}}
				for _, text := range texts {
					slice.Endpoints = append(slice.Endpoints, at(text))
				}
				store.SetSlice(slice)
			}
			store.Read(func(v world.View) {
				got, refusals := Resolve(v, &n, s)
				if len(refusals) != 0 {
					t.Errorf("refusals %v", refusals)
				}
				want := func(texts string, port uint16) (out []netip.AddrPort) {
					for _, a := range addrs(strings.Fields(texts)...) {
						out = append(out, netip.AddrPortFrom(a, port))
					}
					return out
				}
				for i, port := range []uint16{8080, 8443} {
					if diff := cmp.Diff(want(c.cluster, port), got.Ports[i].Cluster, byValue); diff != "" {
						t.Errorf("port %d, policy Cluster (-want +got):\n%s", port, diff)
					}
					if diff := cmp.Diff(want(c.local, port), got.Ports[i].Local, byValue); diff != "" {
						t.Errorf("port %d, policy Local (-want +got):\n%s", port, diff)
					}
				}
				if p := got.Ports[2]; len(p.Cluster)+len(p.Local) != 0 {
					t.Errorf("a port that no slice has leads to %v, %v", p.Cluster, p.Local)
				}
				if ready := [3]int{got.LocalReady, got.LocalReady4, got.LocalReady6}; ready != c.ready {
					t.Errorf("ready on the node %v, want %v", ready, c.ready)
				}
			})
		})
	}
}

// TestResolveNamedPorts: pods whose named target port has another number are in slices of
// their own.
func TestResolveNamedPorts(t *testing.T) {
	t.Parallel()
	n := network()
	store := world.New(world.Config{LocalNode: "a", Networks: []world.Network{n}})
	s := &world.Service{Namespace: "ns", Name: "web", ClusterIPs: addrs("10.96.0.9"), Ports: []world.ServicePort{{Protocol: world.TCP, Port: 80}}}
	store.SetService(s)
	for name, port := range map[string]uint16{"web-1": 8080, "web-2": 8081} {
		store.SetSlice(&world.EndpointSlice{Namespace: "ns", Name: name, Service: "web", Ports: []world.EndpointPort{{Protocol: world.TCP, Port: port}}, Endpoints: []world.Endpoint{at("10.244.1.5@a")}})
	}
	store.SetSlice(&world.EndpointSlice{Namespace: "other", Name: "web-3", Service: "web", Ports: []world.EndpointPort{{Protocol: world.TCP, Port: 1}}, Endpoints: []world.Endpoint{at("10.244.1.6@a")}})
	store.Read(func(v world.View) {
		got, _ := Resolve(v, &n, s)
		want := []netip.AddrPort{netip.MustParseAddrPort("10.244.1.5:8080"), netip.MustParseAddrPort("10.244.1.5:8081")}
		if diff := cmp.Diff(want, got.Ports[0].Cluster, byValue); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if got.LocalReady != 1 {
			t.Errorf("%d ready on the node, want 1: it is one pod", got.LocalReady)
		}
	})
}

func TestResolveExternal(t *testing.T) {
	t.Parallel()
	// The service under test is ns/web, port 80/tcp unless said otherwise.
	cases := []struct {
		name    string
		change  func(*world.Service)
		others  []*world.Service
		want    string // external addresses, with "+" those of the load balancer
		refused []string
	}{
		{name: "none"},
		{name: "load balancer's first, once each", change: func(s *world.Service) {
			s.Ingress, s.ExternalIPs = addrs("192.0.2.1", "2001:db8::1"), addrs("192.0.2.9", "192.0.2.1")
		}, want: "+192.0.2.1 +2001:db8::1 192.0.2.9"},
		{name: "not served at all without cluster IPs", change: func(s *world.Service) { s.ClusterIPs, s.ExternalIPs = nil, addrs("192.0.2.1") }, want: "unserved"},
		{name: "addresses of the cluster itself", change: func(s *world.Service) {
			s.ExternalIPs = addrs("10.96.7.7", "10.97.7.7", "10.244.9.9", "100.64.0.5", "100.88.0.5", "169.254.0.2", "127.0.0.1", "fe80::1", "224.0.0.5", "0.0.0.0")
		}, refused: slices.Repeat([]string{ExternalAddressRefused}, 10)},
		{name: "an address is refused once, not at each port", change: func(s *world.Service) {
			s.ExternalIPs, s.Ports = addrs("10.96.7.7"), append(s.Ports, world.ServicePort{Name: "b", Protocol: world.UDP, Port: 80})
		}, refused: []string{ExternalAddressRefused}},
		{name: "an older service has it", change: func(s *world.Service) { s.ExternalIPs = addrs("192.0.2.1", "192.0.2.2") },
			others: []*world.Service{other(world.TCP, 80, 0, "192.0.2.1")}, want: "192.0.2.2", refused: []string{ExternalPortTaken}},
		{name: "a younger one has not", change: func(s *world.Service) { s.ExternalIPs, s.Created = addrs("192.0.2.1"), 1 },
			others: []*world.Service{other(world.TCP, 80, 0, "192.0.2.1")}, want: "192.0.2.1"},
		{name: "nor at another port or protocol", change: func(s *world.Service) { s.ExternalIPs = addrs("192.0.2.1") },
			others: []*world.Service{other(world.UDP, 80, 0, "192.0.2.1"), other(world.TCP, 81, 0, "192.0.2.1")}, want: "192.0.2.1"},
		{name: "a node's address", change: func(s *world.Service) { s.Ingress = addrs("172.18.0.3") }, want: "+172.18.0.3", refused: []string{ExternalAddressOfNode}},
		{name: "a node's address at the node port of another", change: func(s *world.Service) { s.Ingress = addrs("172.18.0.3", "192.0.2.1") },
			others: []*world.Service{other(world.TCP, 9, 80)}, want: "+192.0.2.1", refused: []string{ExternalPortTaken}},
		{name: "a node's address at its own node port", change: func(s *world.Service) { s.Ingress, s.Ports[0].NodePort = addrs("172.18.0.3"), 80 }},
		{name: "a node's address at the kubelet's port", change: func(s *world.Service) { s.ExternalIPs, s.Ports[0].Port = addrs("172.18.0.3"), 10250 }, refused: []string{ExternalPortTaken}},
		{name: "that port elsewhere", change: func(s *world.Service) { s.ExternalIPs, s.Ports[0].Port = addrs("192.0.2.1"), 10250 }, want: "192.0.2.1"},
		{name: "a node's address at the API server's port", change: func(s *world.Service) { s.ExternalIPs, s.Ports[0].Port = addrs("172.18.0.2", "172.18.0.3"), 6443 },
			want: "172.18.0.3", refused: []string{ExternalPortTaken, ExternalAddressOfNode}},
		{name: "a node's address at the tunnels' port", change: func(s *world.Service) {
			s.ExternalIPs, s.Ports[0] = addrs("172.18.0.3"), world.ServicePort{Protocol: world.UDP, Port: 6081}
		}, refused: []string{ExternalPortTaken}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := network()
			store := world.New(world.Config{LocalNode: "a", Networks: []world.Network{n}})
			store.SetNode(&world.Node{Name: "a", HostAddrs: prefixes("172.18.0.2/16")})
			store.SetNode(&world.Node{Name: "b", HostAddrs: prefixes("172.18.0.3/16")})
			store.SetServiceCIDR(&world.ServiceCIDR{Name: "more", Prefixes: prefixes("10.97.0.0/16")})
			store.SetSlice(&world.EndpointSlice{Namespace: "default", Name: "kubernetes", Service: "kubernetes", Ports: []world.EndpointPort{{Name: "https", Protocol: world.TCP, Port: 6443}}, Endpoints: []world.Endpoint{at("172.18.0.2")}})
			s := &world.Service{Namespace: "ns", Name: "web", Created: 9, ClusterIPs: addrs("10.96.0.9"), Ports: []world.ServicePort{{Protocol: world.TCP, Port: 80}}}
			if c.change != nil {
				c.change(s)
			}
			store.SetService(s)
			for _, o := range c.others {
				store.SetService(o)
			}
			store.Read(func(v world.View) {
				got, refusals := Resolve(v, &n, s)
				var texts, codes []string
				if len(got.Ports) == 0 {
					texts = append(texts, "unserved")
				} else {
					for _, e := range got.Ports[0].External {
						texts = append(texts, map[bool]string{true: "+"}[e.LoadBalancer]+e.Addr.String())
					}
				}
				if got := strings.Join(texts, " "); got != c.want {
					t.Errorf("served at %q, want %q", got, c.want)
				}
				for _, r := range refusals {
					codes = append(codes, r.Code)
					if !slices.Contains(Codes, r.Code) || r.Message == "" || r.Remedy == "" || r.Object != s.Ref() {
						t.Errorf("refusal %+v", r)
					}
				}
				if diff := cmp.Diff(c.refused, codes, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("refusals (-want +got):\n%s\n%v", diff, refusals)
				}
			})
		})
	}
}

func other(protocol world.Protocol, port, nodePort uint16, external ...string) *world.Service {
	return &world.Service{
		Namespace: "other", Name: string(protocol) + string(rune('a'+port%26)), Created: 5, ClusterIPs: addrs("10.96.0.10"), ExternalIPs: addrs(external...),
		Ports: []world.ServicePort{{Protocol: protocol, Port: port, NodePort: nodePort}},
	}
}

func TestServiceRanges(t *testing.T) {
	t.Parallel()
	n := network()
	n.ClusterSubnets = n.ClusterSubnets[:1] // IPv4 alone
	store := world.New(world.Config{Networks: []world.Network{n}})
	store.SetServiceCIDR(&world.ServiceCIDR{Name: "kubernetes", Prefixes: prefixes("10.96.0.0/16", "fd00:10:96::/112")})
	store.SetServiceCIDR(&world.ServiceCIDR{Name: "part", Prefixes: prefixes("10.96.4.0/24")})
	store.SetServiceCIDR(&world.ServiceCIDR{Name: "more", Prefixes: prefixes("10.97.0.0/16")})
	store.Read(func(v world.View) {
		if got, want := ServiceRanges(v, &n), prefixes("10.96.0.0/16", "10.97.0.0/16"); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestNodeAddrs(t *testing.T) {
	t.Parallel()
	n := network()
	store := world.New(world.Config{LocalNode: "a", Networks: []world.Network{n}})
	node := &world.Node{
		Name: "a", Subnets: map[string][]netip.Prefix{world.DefaultNetwork: prefixes("10.244.1.0/24")},
		Gateway:   &world.Gateway{Addresses: prefixes("172.18.0.2/16", "fc00::2/64")},
		HostAddrs: prefixes("127.0.0.1/8", "10.244.1.2/24", "192.0.2.7/24", "172.18.0.2/16", "fe80::1/64", "169.254.0.2/17"),
	}
	store.SetNode(node)
	store.Read(func(v world.View) {
		if got, want := NodeAddrs(v, &n, node), addrs("172.18.0.2", "fc00::2", "192.0.2.7"); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestOfFamily(t *testing.T) {
	t.Parallel()
	backends := []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("[fd00::1]:1"), netip.MustParseAddrPort("10.0.0.2:1")}
	v4 := OfFamily(backends, netip.MustParseAddr("192.0.2.1"))
	if want := []netip.AddrPort{backends[0], backends[2]}; !slices.Equal(v4, want) {
		t.Errorf("IPv4: %v", v4)
	}
	if v6 := OfFamily(backends[:1], netip.MustParseAddr("fd00::9")); v6 != nil {
		t.Errorf("IPv6: %v", v6)
	}
}
