package world

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestServiceIndexAgreesWithScan changes services, slices and pods with host ports at random
// and compares every answer of the index with a scan of the objects.
func TestServiceIndexAgreesWithScan(t *testing.T) {
	t.Parallel()
	addrs := []netip.Addr{addr("192.0.2.1"), addr("2001:db8::1"), addr("172.18.0.2")}
	protocols := []Protocol{TCP, UDP}
	ports := []uint16{80, 443}
	rapid.Check(t, func(rt *rapid.T) {
		some := func(what string) []netip.Addr {
			return rapid.SliceOfN(rapid.SampledFrom(addrs), 0, 3).Draw(rt, what)
		}
		s := New(Config{})
		published := 0
		s.Subscribe(func(View, Change) { published++ })
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			name := fmt.Sprint("o", rapid.IntRange(0, 2).Draw(rt, "object"))
			port, protocol := rapid.SampledFrom(ports).Draw(rt, "port"), rapid.SampledFrom(protocols).Draw(rt, "protocol")
			switch rapid.IntRange(0, 6).Draw(rt, "step") {
			case 0, 1:
				n := &Service{Namespace: "ns", Name: name, Created: rapid.Int64Range(0, 1).Draw(rt, "created"), ClusterIPs: some("cluster"), ExternalIPs: some("external"), Ingress: some("ingress")}
				for range rapid.IntRange(0, 2).Draw(rt, "ports") {
					n.Ports = append(n.Ports, ServicePort{Protocol: protocol, Port: port, NodePort: rapid.SampledFrom([]uint16{0, 80}).Draw(rt, "node port")})
				}
				s.SetService(n)
				clone := *n
				before := published
				if s.SetService(&clone); published != before {
					rt.Fatal("an equal service was published")
				}
			case 2:
				s.DeleteService(ServiceKey{"ns", name})
			case 3:
				s.SetSlice(&EndpointSlice{Namespace: "ns", Name: name, Service: rapid.SampledFrom([]string{"", "o0", "o1"}).Draw(rt, "service")})
			case 4:
				s.DeleteSlice("ns", name)
			case 5:
				s.SetPod(&Pod{Namespace: "ns", Name: name, Node: "n", Finished: rapid.Bool().Draw(rt, "finished"), HostPorts: []HostPort{{Protocol: protocol, Port: port}}})
			case 6:
				s.SetNode(&Node{Name: name, HostAddrs: []netip.Prefix{netip.PrefixFrom(rapid.SampledFrom(addrs).Draw(rt, "node's"), 24)}})
			}
			s.Read(func(v View) { compareServicesWithScan(rt, v, addrs) })
		}
		s.Read(func(v View) {
			for o := range v.Services {
				s.index.replaceService(o, nil)
			}
			for o := range v.EndpointSlices {
				s.index.replaceSlice(o, nil)
			}
			for o := range v.Pods {
				s.index.replacePod(o, nil)
			}
			for _, o := range v.Nodes() {
				s.index.replaceNode(o, nil)
			}
		})
		if diff := cmp.Diff(newIndex(), s.index, cmp.AllowUnexported(index{}, subnetKey{}, lengthKey{}, addressKey{}, portKey{}, externalKey{}), opaque); diff != "" {
			rt.Fatalf("something is left in the index of an empty store: %s", diff)
		}
	})
}

func compareServicesWithScan(t *rapid.T, v View, addrs []netip.Addr) {
	check := func(what string, got []*Service, has func(*Service) bool) {
		t.Helper()
		var want []*Service
		for s := range v.Services {
			if has(s) {
				want = append(want, s)
			}
		}
		slices.SortFunc(want, func(a, b *Service) int {
			if a.Created != b.Created {
				return int(a.Created - b.Created)
			}
			return strings.Compare(a.Name, b.Name)
		})
		if !slices.Equal(got, want) {
			t.Fatalf("%s: got %d services, want %d, the oldest first", what, len(got), len(want))
		}
	}
	external := func(s *Service, a netip.Addr) bool {
		return slices.Contains(s.ExternalIPs, a) || slices.Contains(s.Ingress, a)
	}
	for _, a := range addrs {
		check("address", v.ServicesWithAddress(a), func(s *Service) bool { return external(s, a) || slices.Contains(s.ClusterIPs, a) })
		for _, port := range []uint16{80, 443} {
			for _, protocol := range []Protocol{TCP, UDP} {
				check("external port", v.ServicesAt(protocol, netip.AddrPortFrom(a, port)), func(s *Service) bool {
					return external(s, a) && slices.ContainsFunc(s.Ports, func(p ServicePort) bool { return p.Protocol == protocol && p.Port == port })
				})
			}
		}
	}
	for _, protocol := range []Protocol{TCP, UDP} {
		for _, port := range []uint16{80, 443} {
			check("node port", v.ServicesWithNodePort(protocol, port), func(s *Service) bool {
				return slices.ContainsFunc(s.Ports, func(p ServicePort) bool { return p.Protocol == protocol && p.NodePort == port })
			})
			atNodes := v.ServicesAtNodes(protocol, port)
			for s := range v.Services {
				want := slices.ContainsFunc(addrs, func(a netip.Addr) bool {
					return len(v.NodesWithAddress(a)) > 0 && slices.Contains(v.ServicesAt(protocol, netip.AddrPortFrom(a, port)), s)
				})
				if slices.Contains(atNodes, s) != want {
					t.Fatalf("service %s at nodes, port %d: index says %v", s.Name, port, !want)
				}
			}
			pods := v.PodsWithHostPort(protocol, port)
			for p := range v.Pods {
				want := p.Networked() && p.HostPorts[0].Protocol == protocol && p.HostPorts[0].Port == port
				if slices.Contains(pods, p) != want {
					t.Fatalf("pod %s and host port %d: index says %v", p.Name, port, !want)
				}
			}
		}
	}
	for _, service := range []string{"o0", "o1"} {
		var want []*EndpointSlice
		for s := range v.EndpointSlices {
			if s.Service == service {
				want = append(want, s)
			}
		}
		slices.SortFunc(want, func(a, b *EndpointSlice) int { return strings.Compare(a.Name, b.Name) })
		if got := v.Slices(ServiceKey{"ns", service}); !slices.Equal(got, want) {
			t.Fatalf("service %s: %d slices, want %d in order of names", service, len(got), len(want))
		}
	}
}
