package proxy

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// pools are few values of each kind, so that random objects get in each other's way.
var pools = struct {
	services  []world.ServiceKey
	external  []netip.Addr
	ports     []uint16
	nodePorts []uint16
	backends  []netip.Addr
	nodeAddrs []netip.Prefix
	subnets   []netip.Prefix
	ranges    []netip.Prefix
	protocols []world.Protocol
	zones     []string
	nodes     []string
}{
	services:  []world.ServiceKey{{Namespace: "default", Name: "kubernetes"}, {Namespace: "ns", Name: "a"}, {Namespace: "ns", Name: "b"}, {Namespace: "other", Name: "a"}},
	external:  addrs("192.0.2.1", "2001:db8::1", "172.18.0.2", "172.18.0.3", "fc00::2", "10.97.0.1", "10.244.1.9"),
	ports:     []uint16{80, 6443, 10250, 30080},
	nodePorts: []uint16{0, 0, 80, 30080},
	backends:  addrs("10.244.1.5", "10.244.2.5", "fd00:10:244:1::5", "172.18.0.2"),
	nodeAddrs: prefixes("172.18.0.2/16", "172.18.0.3/16", "fc00::2/64", "10.244.1.2/24"),
	subnets:   prefixes("10.244.1.0/24", "10.244.2.0/24", "10.244.0.0/23"),
	ranges:    prefixes("10.97.0.0/16", "192.0.2.0/24", "fd00:10:97::/112"),
	protocols: []world.Protocol{world.TCP, world.UDP},
	zones:     []string{"", "z1", "z2"},
	nodes:     []string{"n1", "n2", "n3"},
}

func addrs(texts ...string) (out []netip.Addr) {
	for _, t := range texts {
		out = append(out, netip.MustParseAddr(t))
	}
	return out
}

func prefixes(texts ...string) (out []netip.Prefix) {
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

func network() world.Network {
	return world.Network{
		Name: world.DefaultNetwork, EncapPort: 6081,
		ClusterSubnets: []world.ClusterSubnet{{Prefix: netip.MustParsePrefix("10.244.0.0/16"), HostLength: 24}, {Prefix: netip.MustParsePrefix("fd00:10:244::/48"), HostLength: 64}},
		ServiceSubnets: prefixes("10.96.0.0/16", "fd00:10:96::/112"),
		JoinSubnets:    prefixes("100.64.0.0/16", "fd98::/64"), TransitSubnets: prefixes("100.88.0.0/16", "fd97::/64"),
		Masquerade: prefixes("169.254.0.0/17", "fd69::/112"),
	}
}

// random makes random objects.
type random struct{ *rapid.T }

func some[T any](r random, what string, pool []T) []T {
	var out []T
	for _, i := range rapid.SliceOfNDistinct(rapid.IntRange(0, len(pool)-1), 0, 2, rapid.ID).Draw(r.T, what) {
		out = append(out, pool[i])
	}
	return out
}

func one[T any](r random, what string, pool []T) T { return rapid.SampledFrom(pool).Draw(r.T, what) }

func (r random) flag(what string) bool    { return rapid.Bool().Draw(r.T, what) }
func (r random) number(what string) int64 { return rapid.Int64Range(0, 2).Draw(r.T, what) }
func (r random) port(what string) uint16  { return one(r, what, pools.ports) }

func (r random) service() *world.Service {
	key := one(r, "service", pools.services)
	s := &world.Service{Namespace: key.Namespace, Name: key.Name, Created: r.number("created")}
	if !r.flag("served") && r.flag("really") {
		return s
	}
	s.ClusterIPs = addrs("10.96.0.9")
	s.ExternalIPs, s.Ingress = some(r, "external IPs", pools.external), some(r, "ingress", pools.external)
	for i := range rapid.IntRange(1, 2).Draw(r.T, "ports") {
		s.Ports = append(s.Ports, world.ServicePort{
			Name: fmt.Sprint("p", i), Protocol: one(r, "protocol", pools.protocols), Port: r.port("port"), NodePort: one(r, "node port", pools.nodePorts),
		})
	}
	return s
}

func (r random) slice() *world.EndpointSlice {
	key := one(r, "service of slice", pools.services)
	s := &world.EndpointSlice{Namespace: key.Namespace, Name: one(r, "slice", []string{"s1", "s2", "s3"}), Service: key.Name}
	if r.flag("problem") {
		s.Problems = []world.Problem{{Field: "endpoints", Message: "bad"}}
	}
	for i := range rapid.IntRange(0, 2).Draw(r.T, "slice's ports") {
		s.Ports = append(s.Ports, world.EndpointPort{Name: fmt.Sprint("p", i), Protocol: one(r, "protocol", pools.protocols), Port: r.port("target")})
	}
	for range rapid.IntRange(0, 2).Draw(r.T, "end points") {
		s.Endpoints = append(s.Endpoints, world.Endpoint{
			Addrs: []netip.Addr{one(r, "backend", pools.backends)}, Node: one(r, "on", pools.nodes),
			Ready: r.flag("ready") || r.flag("really"), Serving: r.flag("serving"), Terminating: r.flag("terminating"),
			ForNodes: some(r, "for nodes", pools.nodes), ForZones: some(r, "for zones", pools.zones[1:]),
		})
	}
	return s
}

func (r random) node() *world.Node {
	n := &world.Node{
		Name: one(r, "node", pools.nodes), Created: r.number("created"), Labels: map[string]string{zoneLabel: one(r, "zone", pools.zones)},
		HostAddrs: some(r, "host addresses", pools.nodeAddrs), Subnets: map[string][]netip.Prefix{world.DefaultNetwork: some(r, "subnets", pools.subnets)},
		ID: int(r.number("id")),
	}
	if r.flag("gateway") {
		n.Gateway = &world.Gateway{Addresses: some(r, "gateway's addresses", pools.nodeAddrs), NodePort: r.flag("node ports")}
	}
	return n
}

func (r random) pod() *world.Pod {
	p := &world.Pod{
		Namespace: "ns", Name: one(r, "pod", []string{"p1", "p2", "p3"}), Created: r.number("created"), Node: one(r, "pod's node", []string{"n1", "n1", "n2", ""}),
		Finished: r.flag("finished") && r.flag("really"), HostNetwork: r.flag("host network") && r.flag("really"),
	}
	if r.flag("problem") {
		p.Problems = []world.Problem{{Field: world.HostPortField, Message: "bad"}}
	}
	if r.flag("addresses") || r.flag("really") {
		p.Networks = map[string]world.PodNetwork{world.DefaultNetwork: {Addresses: some(r, "pod's addresses", prefixes("10.244.1.7/24", "fd00:10:244:1::7/64"))}}
	}
	for range rapid.IntRange(0, 2).Draw(r.T, "host ports") {
		p.HostPorts = append(p.HostPorts, world.HostPort{
			HostIP: one(r, "host IP", append(addrs("0.0.0.0", "::", "172.18.0.2", "127.0.0.1"), netip.Addr{})), Protocol: one(r, "protocol", pools.protocols),
			Port: one(r, "host port", pools.ports[:2]), PodPort: 8080,
		})
	}
	return p
}

// but takes most objects as they are and changes one field: small differences are those that
// are overlooked.
func but[T any](r random, old *T, ok bool, fresh *T) *T {
	if !ok || rapid.IntRange(0, 3).Draw(r.T, "another") == 0 {
		return fresh
	}
	changed := *old
	to, from := reflect.ValueOf(&changed).Elem(), reflect.ValueOf(fresh).Elem()
	var differ []int
	for i := range to.NumField() {
		if !reflect.DeepEqual(to.Field(i).Interface(), from.Field(i).Interface()) {
			differ = append(differ, i)
		}
	}
	if len(differ) > 0 {
		field := one(r, "field", differ)
		to.Field(field).Set(from.Field(field))
	}
	return &changed
}

// gatewayBut does so for the gateway of a node.
func gatewayBut(r random, n, old *world.Node) {
	if n.Gateway != nil && old != nil && old.Gateway != nil && n.Gateway != old.Gateway {
		n.Gateway = but(r, old.Gateway, true, n.Gateway)
	}
}

// fill sets every object once.
func (r random) fill(s *world.Store) {
	for _, name := range pools.nodes {
		n := r.node()
		n.Name = name
		s.SetNode(n)
	}
	for _, k := range pools.services {
		o, slice := r.service(), r.slice()
		o.Namespace, o.Name, slice.Namespace, slice.Service = k.Namespace, k.Name, k.Namespace, k.Name
		s.SetService(o)
		s.SetSlice(slice)
	}
	for range 3 {
		s.SetPod(r.pod())
	}
}

// change changes one object of the store.
func (r random) change(s *world.Store) {
	switch rapid.IntRange(0, 11).Draw(r.T, "change") {
	case 0, 1:
		n := r.service()
		s.Read(func(v world.View) {
			old, ok := v.Service(n.Key())
			n = but(r, old, ok, n)
		})
		s.SetService(n)
	case 2, 3:
		n := r.slice()
		s.Read(func(v world.View) {
			for old := range v.EndpointSlices {
				if old.Namespace == n.Namespace && old.Name == n.Name {
					n = but(r, old, true, n)
				}
			}
		})
		s.SetSlice(n)
	case 4, 5:
		n := r.node()
		s.Read(func(v world.View) {
			old, ok := v.Node(n.Name)
			n = but(r, old, ok, n)
			gatewayBut(r, n, old)
		})
		s.SetNode(n)
	case 6, 7:
		n := r.pod()
		s.Read(func(v world.View) {
			old, ok := v.Pod(world.PodKey{Namespace: n.Namespace, Name: n.Name})
			n = but(r, old, ok, n)
		})
		s.SetPod(n)
	case 8:
		s.SetServiceCIDR(&world.ServiceCIDR{Name: one(r, "range", []string{"c1", "c2"}), Prefixes: some(r, "prefixes", pools.ranges)})
	case 9:
		s.DeleteService(one(r, "service", pools.services))
		s.DeleteServiceCIDR(one(r, "range", []string{"c1", "c2"}))
	case 10:
		s.DeleteSlice("ns", one(r, "slice", []string{"s1", "s2", "s3"}))
		s.DeletePod(world.PodKey{Namespace: "ns", Name: one(r, "pod", []string{"p1", "p2", "p3"})})
	case 11:
		s.DeleteNode(one(r, "node", pools.nodes))
	}
}

// outcome is all that the local node makes of a service or of a pod's host ports.
type outcome struct {
	Object   any
	Out      any
	Refusals []Refusal
	Served   []netip.Addr // with node ports
}

func outcomes(v world.View, n *world.Network) map[any]outcome {
	out := map[any]outcome{}
	var served []netip.Addr
	if local, ok := v.Node(v.LocalNode()); ok {
		served = NodeAddrs(v, n, local)
		if ServesNodePorts(local) {
			served = append(served, netip.Addr{}) // a mark
		}
	}
	for _, k := range pools.services {
		if s, ok := v.Service(k); ok {
			resolved, refusals := Resolve(v, n, s)
			out[k] = outcome{Object: *s, Out: resolved, Refusals: refusals, Served: served}
		}
	}
	for p := range v.Pods {
		ports, refusals := PodHostPorts(v, n, p)
		if len(ports)+len(refusals) > 0 {
			out[world.PodKey{Namespace: p.Namespace, Name: p.Name}] = outcome{Out: ports, Refusals: refusals}
		}
	}
	return out
}

// TestTouchedMissesNothing: whatever changes in a world, each service and each pod that the
// local node serves otherwise than before is among those said to be touched.
func TestTouchedMissesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		r, n := random{rt}, network()
		store := world.New(world.Config{LocalNode: "n1", Networks: []world.Network{n}})
		before := map[any]outcome{}
		store.Subscribe(func(v world.View, c world.Change) {
			touched := map[any]bool{}
			for _, k := range Touched(v, c) {
				if touched[k] {
					rt.Fatalf("%v touches %s twice", c.Ref, k)
				}
				touched[k] = true
			}
			for _, k := range HostPortsTouched(v, c) {
				if touched[k] {
					rt.Fatalf("%v touches the host ports of %s twice", c.Ref, k)
				}
				touched[k] = true
			}
			now := outcomes(v, &n)
			for _, side := range []map[any]outcome{before, now} {
				for k := range side {
					if !touched[k] && !reflect.DeepEqual(before[k], now[k]) {
						rt.Fatalf("%v changed %v and did not touch it:\n%s", c.Ref, k, cmp.Diff(before[k], now[k], cmp.Exporter(func(reflect.Type) bool { return true })))
					}
				}
			}
			before = now
		})
		r.fill(store)
		for range rapid.IntRange(1, 40).Draw(rt, "changes") {
			r.change(store)
		}
	})
}

// TestOrderDoesNotMatter: a node that restarts reads the objects in another order, and must
// come to the same result.
func TestOrderDoesNotMatter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		r, n := random{rt}, network()
		c := world.Config{LocalNode: "n1", Networks: []world.Network{n}}
		first, second := world.New(c), world.New(c)
		r.fill(first)
		for range rapid.IntRange(1, 20).Draw(rt, "changes") {
			r.change(first)
		}
		sets := map[string]func(){}
		first.Read(func(v world.View) {
			for s := range v.Services {
				sets[fmt.Sprint(s.Ref())] = func() { second.SetService(s) }
			}
			for s := range v.EndpointSlices {
				sets[fmt.Sprint(s.Ref())] = func() { second.SetSlice(s) }
			}
			for p := range v.Pods {
				sets[fmt.Sprint(p.Ref())] = func() { second.SetPod(p) }
			}
			for _, n := range v.Nodes() {
				sets[fmt.Sprint(n.Ref())] = func() { second.SetNode(n) }
			}
			for _, c := range v.ServiceCIDRs() {
				sets[fmt.Sprint(c.Ref())] = func() { second.SetServiceCIDR(c) }
			}
		})
		for _, name := range rapid.Permutation(slices.Sorted(maps.Keys(sets))).Draw(rt, "order") {
			sets[name]()
		}
		var one, other map[any]outcome
		first.Read(func(v world.View) { one = outcomes(v, &n) })
		second.Read(func(v world.View) { other = outcomes(v, &n) })
		if !reflect.DeepEqual(one, other) {
			rt.Fatal(cmp.Diff(one, other, cmp.Exporter(func(reflect.Type) bool { return true })))
		}
	})
}
