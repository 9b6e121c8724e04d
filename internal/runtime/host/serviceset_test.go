package host

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/nft"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/nft/nfttest"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// cluster is a world with node n1, which is ours, and n2.
type cluster struct {
	store   *world.Store
	network *world.Network
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	cfg := config.Default()
	cfg.Network.ClusterSubnets = "10.244.0.0/16/24,fd00:10:244::/48/64"
	cfg.Network.ServiceSubnets = "10.96.0.0/16,fd00:10:96::/112"
	network, err := cfg.DefaultNetwork()
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{network: &network, store: world.New(world.Config{LocalNode: "n1", Networks: []world.Network{network}})}
	for i, name := range []string{"n1", "n2"} {
		addrs := parse(fmt.Sprintf("172.30.0.1%d/24", i+1), fmt.Sprintf("fd30::1%d/64", i+1))
		c.store.SetNode(&world.Node{
			Name: name, Created: 1, HostAddrs: addrs, InternalIPs: []netip.Addr{addrs[0].Addr(), addrs[1].Addr()},
			Subnets: map[string][]netip.Prefix{"default": parse(fmt.Sprintf("10.244.%d.0/24", i+1), fmt.Sprintf("fd00:10:244:%d::/64", i+1))},
			Gateway: &world.Gateway{Mode: world.GatewayShared, Addresses: addrs, NodePort: true},
		})
	}
	return c
}

func (c *cluster) services() (s Services) {
	c.store.Read(func(v world.View) { s = ServicesOf(v, c.network) })
	return s
}

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// web is a service with everything that is served outside, and three end points: a pod and
// the host itself on our node, and a pod elsewhere.
func (c *cluster) web(change ...func(*world.Service)) {
	s := &world.Service{
		Namespace: "web", Name: "shop", Created: 5, ClusterIPs: addrs("10.96.0.80", "fd00:10:96::80"),
		ExternalIPs: addrs("192.0.2.80"), Ingress: addrs("192.0.2.90", "2001:db8::90"),
		Ports: []world.ServicePort{{Name: "http", Protocol: world.TCP, Port: 80, NodePort: 30080}},
	}
	for _, f := range change {
		f(s)
	}
	c.store.SetService(s)
}

func (c *cluster) endpoints(on map[string]string) {
	s := &world.EndpointSlice{
		Namespace: "web", Name: "shop-1", Service: "shop", Ports: []world.EndpointPort{{Name: "http", Protocol: world.TCP, Port: 8080}},
	}
	for a, node := range on {
		s.Endpoints = append(s.Endpoints, world.Endpoint{Addrs: addrs(a), Node: node, Ready: true, Serving: true})
	}
	slices.SortFunc(s.Endpoints, func(a, b world.Endpoint) int { return a.Addrs[0].Compare(b.Addrs[0]) })
	c.store.SetSlice(s)
}

func (s Services) lines() []string {
	var out []string
	for _, o := range s.Outside {
		line := fmt.Sprintf("%s %s/%d %s", o.Owner, o.Protocol, o.Port, o.Addr)
		if o.Local {
			line += fmt.Sprintf(" local %v", o.ToLocal)
		}
		if o.ByHost {
			line += " by host"
		}
		if o.Restricted {
			line += fmt.Sprintf(" from %v", o.Sources)
		}
		if o.Sticky {
			line += " sticky"
		}
		out = append(out, line+fmt.Sprintf(" to %v", o.To))
	}
	return out
}

func TestServicesOf(t *testing.T) {
	t.Parallel()
	const pod, other, host = "10.244.1.5", "10.244.2.5", "172.30.0.11"
	all := map[string]string{pod: "n1", other: "n2"}
	for name, test := range map[string]struct {
		change    func(*world.Service)
		endpoints map[string]string
		want      []string
	}{
		"policy Cluster": {func(*world.Service) {}, all, []string{
			"web/shop tcp/30080 0.0.0.0 to [10.96.0.80:80]",
			"web/shop tcp/80 192.0.2.90 to [10.96.0.80:80]",
			"web/shop tcp/80 192.0.2.80 to [10.96.0.80:80]",
			"web/shop tcp/30080 :: to [[fd00:10:96::80]:80]",
			"web/shop tcp/80 2001:db8::90 to [[fd00:10:96::80]:80]",
		}},
		"source ranges protect the load balancer's addresses alone": {func(s *world.Service) {
			s.ClusterIPs, s.Ingress = s.ClusterIPs[:1], s.Ingress[:1]
			s.SourceRanges = parse("198.51.100.0/24", "198.51.100.7/32", "2001:db8::/32")
		}, all, []string{
			"web/shop tcp/30080 0.0.0.0 to [10.96.0.80:80]",
			"web/shop tcp/80 192.0.2.90 from [198.51.100.0/24] to [10.96.0.80:80]",
			"web/shop tcp/80 192.0.2.80 to [10.96.0.80:80]",
		}},
		"source ranges of one family shut the other one out; everybody is no restriction": {func(s *world.Service) {
			s.ExternalIPs, s.Ports[0].NodePort = nil, 0
			s.SourceRanges = parse("0.0.0.0/0", "10.0.0.0/8")
		}, all, []string{
			"web/shop tcp/80 192.0.2.90 to [10.96.0.80:80]",
			"web/shop tcp/80 2001:db8::90 from [] to [[fd00:10:96::80]:80]",
		}},
		"external policy Local": {func(s *world.Service) {
			s.ExternalLocal, s.Ingress, s.ExternalIPs, s.ClusterIPs = true, nil, nil, s.ClusterIPs[:1]
		}, all, []string{"web/shop tcp/30080 0.0.0.0 local [10.244.1.5:8080] to [10.96.0.80:80]"}},
		"external policy Local with affinity, and the host itself": {func(s *world.Service) {
			s.ExternalLocal, s.AffinitySeconds, s.Ingress, s.ExternalIPs, s.ClusterIPs = true, 10800, nil, nil, s.ClusterIPs[:1]
		}, map[string]string{pod: "n1", host: "n1", other: "n2"}, []string{
			"web/shop tcp/30080 0.0.0.0 local [10.244.1.5:8080 172.30.0.11:8080] by host sticky to [10.96.0.80:80]"}},
		"external policy Local without local end points": {func(s *world.Service) {
			s.ExternalLocal, s.Ingress, s.ExternalIPs, s.ClusterIPs = true, nil, nil, s.ClusterIPs[:1]
		}, map[string]string{other: "n2"}, []string{"web/shop tcp/30080 0.0.0.0 local [] to [10.96.0.80:80]"}},
		"internal policy Local": {func(s *world.Service) {
			s.InternalLocal, s.Ingress, s.ExternalIPs, s.ClusterIPs = true, nil, nil, s.ClusterIPs[:1]
		}, all, []string{"web/shop tcp/30080 0.0.0.0 to [10.244.1.5:8080 10.244.2.5:8080]"}},
		"internal policy Local without end points": {func(s *world.Service) {
			s.InternalLocal, s.Ingress, s.ExternalIPs, s.ClusterIPs = true, nil, nil, s.ClusterIPs[:1]
		}, nil, []string{"web/shop tcp/30080 0.0.0.0 to [10.96.0.80:80]"}},
		"nothing outside": {func(s *world.Service) {
			s.Ingress, s.ExternalIPs, s.Ports[0].NodePort = nil, nil, 0
		}, all, nil},
		"not ours": {func(s *world.Service) { s.ClusterIPs = nil }, all, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			c.web(test.change)
			c.endpoints(test.endpoints)
			if d := cmp.Diff(test.want, c.services().lines(), cmpopts.EquateEmpty()); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

func TestHostPortsOf(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.store.SetPod(&world.Pod{
		Namespace: "pods", Name: "a", Node: "n1",
		Networks: map[string]world.PodNetwork{"default": {Addresses: parse("10.244.1.7/24", "fd00:10:244:1::7/64")}},
		HostPorts: []world.HostPort{
			{Protocol: world.TCP, Port: 8000, PodPort: 80},
			{Protocol: world.UDP, Port: 8000, PodPort: 80, HostIP: netip.MustParseAddr("127.0.0.1")},
			{Protocol: world.UDP, Port: 8000, PodPort: 80, HostIP: netip.MustParseAddr("::1")},
			{Protocol: world.UDP, Port: 8001, PodPort: 81, HostIP: netip.MustParseAddr("172.30.0.11")},
		},
	})
	want := []string{
		"pods/a tcp/8000 0.0.0.0 to [10.244.1.7:80]",
		"pods/a tcp/8000 127.0.0.1 to [10.244.1.7:80]",
		"pods/a tcp/8000 :: to [[fd00:10:244:1::7]:80]",
		"pods/a udp/8000 127.0.0.1 to [10.244.1.7:80]",
		"pods/a udp/8001 172.30.0.11 to [10.244.1.7:81]",
	}
	if d := cmp.Diff(want, c.services().lines()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// End points of a service that OVN balances are no business of the host.
func TestEndpointsOfOrdinaryServices(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.web()
	c.endpoints(map[string]string{"10.244.1.5": "n1"})
	before := c.services()
	c.endpoints(map[string]string{"10.244.1.6": "n1", "10.244.2.6": "n2"})
	if after := c.services(); !before.equal(&after) {
		t.Errorf("changed (-before +after)\n%s", cmp.Diff(before.lines(), after.lines()))
	}
}

func TestRangesOfTheCluster(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	set := NewServiceSet(c.network)
	touched := false
	c.store.Subscribe(func(v world.View, ch world.Change) { touched = set.Touch(v, ch) })
	c.store.SetServiceCIDR(&world.ServiceCIDR{Name: "more", Prefixes: parse("10.97.0.0/16")})
	if !touched {
		t.Error("a new range touches nothing")
	}
	want := parse("10.96.0.0/16", "fd00:10:96::/112", "10.97.0.0/16")
	c.store.Read(func(v world.View) {
		if got := set.Update(v).Ranges; !slices.Equal(got, want) {
			t.Errorf("ranges %v, want %v", got, want)
		}
	})
}

// drawChange does something to the world.
func drawChange(rt *rapid.T, c *cluster) {
	number := func(what string, n int) int { return rapid.IntRange(0, n-1).Draw(rt, what) }
	flag := func(what string) bool { return rapid.Bool().Draw(rt, what) }
	name := fmt.Sprintf("s%d", number("name", 4))
	switch number("kind", 6) {
	case 0, 1:
		s := &world.Service{
			Namespace: "ns", Name: name, Created: int64(number("age", 3)),
			ClusterIPs:    addrs(fmt.Sprintf("10.96.0.%d", 1+number("address", 9)), "fd00:10:96::1")[:1+number("families", 2)],
			ExternalLocal: flag("external local"), InternalLocal: flag("internal local"), AffinitySeconds: number("affinity", 2),
			Ports: []world.ServicePort{{Name: "p", Protocol: rapid.SampledFrom([]world.Protocol{world.TCP, world.UDP}).Draw(rt, "protocol"), Port: uint16(80 + number("port", 2))}},
		}
		if flag("node port") {
			s.Ports[0].NodePort = uint16(30080 + number("node port", 3))
		}
		if flag("external") {
			s.ExternalIPs = addrs(fmt.Sprintf("192.0.2.%d", 1+number("external address", 3)), "172.30.0.11")[:1+number("external addresses", 2)]
		}
		if flag("ingress") {
			s.Ingress, s.SourceRanges = addrs("192.0.2.9", "2001:db8::9"), parse("10.0.0.0/8", "10.1.0.0/16")[:number("ranges", 3)]
		}
		c.store.SetService(s)
	case 2:
		c.store.DeleteService(world.ServiceKey{Namespace: "ns", Name: name})
	case 3:
		s := &world.EndpointSlice{Namespace: "ns", Name: name + "-x", Service: name, Ports: []world.EndpointPort{{Name: "p", Protocol: world.TCP, Port: 8080}}}
		for _, a := range []string{"10.244.1.5", "10.244.2.5", "172.30.0.11", "fd00:10:244:1::5"} {
			if flag("has " + a) {
				s.Endpoints = append(s.Endpoints, world.Endpoint{Addrs: addrs(a), Node: rapid.SampledFrom([]string{"n1", "n2"}).Draw(rt, "node"), Ready: flag("ready"), Serving: true})
			}
		}
		c.store.SetSlice(s)
	case 4:
		p := &world.Pod{
			Namespace: "ns", Name: name, Node: "n1", Created: int64(number("age", 3)),
			Networks: map[string]world.PodNetwork{"default": {Addresses: parse(fmt.Sprintf("10.244.1.%d/24", 10+number("pod", 5)))}},
		}
		for i := range number("ports", 3) {
			h := world.HostPort{Protocol: world.TCP, Port: uint16(30080 + number("host port", 3)), PodPort: uint16(80 + i)}
			if flag("one address") {
				h.HostIP = rapid.SampledFrom(addrs("127.0.0.1", "172.30.0.11", "::1")).Draw(rt, "host address")
			}
			p.HostPorts = append(p.HostPorts, h)
		}
		c.store.SetPod(p)
	default:
		c.store.DeletePod(world.PodKey{Namespace: "ns", Name: name})
	}
}

// Whatever happens, what was computed change by change is what would be computed anew;
// no two ports have one place; and the table follows by its differences.
func TestServiceSetFollows(t *testing.T) {
	t.Parallel()
	in := goldenInput(t)
	rapid.Check(t, func(rt *rapid.T) {
		c := newCluster(t)
		set := NewServiceSet(c.network)
		c.store.Subscribe(func(v world.View, ch world.Change) { set.Touch(v, ch) })
		fake := nfttest.New()
		for range rapid.IntRange(1, 5).Draw(rt, "rounds") {
			for range rapid.IntRange(1, 6).Draw(rt, "changes") {
				drawChange(rt, c)
			}
			var got Services
			c.store.Read(func(v world.View) { got = set.Update(v) })
			want := c.services()
			if !got.equal(&want) {
				rt.Fatalf("other than computed anew (-want +got)\n%s", cmp.Diff(want.lines(), got.lines()))
			}
			places := map[place]bool{}
			for _, o := range got.Outside {
				if places[o.at()] {
					rt.Fatalf("two have %v: %q", o.at(), got.lines())
				}
				places[o.at()] = true
			}
			in := in
			in.services = &got
			table := desiredTable(in)
			have, err := fake.List(t.Context(), table.Family, table.Name)
			if err != nil {
				rt.Fatal(err)
			}
			if err := fake.Apply(t.Context(), nft.Diff(have, table)); err != nil {
				rt.Fatal(err)
			}
			if have, err = fake.List(t.Context(), table.Family, table.Name); err != nil || len(nft.Diff(have, table)) > 0 {
				rt.Fatalf("still differs: %v %v", nft.Diff(have, table), err)
			}
		}
	})
}
