package host

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/nft"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/proxy"
)

// ServiceSet computes Services from the world and remembers, service by service, what it
// computed: a change costs the services that it touches. Its methods must not be called
// at the same time.
//
//	world ──Change──> Touch ... Touch ──> Update ──Services──> Reconciler.SetServices
type ServiceSet struct {
	network  *world.Network
	services map[world.ServiceKey][]*Outside
	pods     map[world.PodKey][]*Outside
	// order is that of the keys; nil when it has to be found anew.
	order struct {
		services []world.ServiceKey
		pods     []world.PodKey
	}
	// all are the ports of the last Update; nil when they have to be gathered anew.
	all             []*Outside
	touchedServices map[world.ServiceKey]bool
	touchedPods     map[world.PodKey]bool
}

// NewServiceSet makes one for a network that knows of no service yet.
func NewServiceSet(network *world.Network) *ServiceSet {
	return &ServiceSet{
		network: network, services: map[world.ServiceKey][]*Outside{}, pods: map[world.PodKey][]*Outside{},
		touchedServices: map[world.ServiceKey]bool{}, touchedPods: map[world.PodKey]bool{},
	}
}

// ServicesOf is what the local node does for services and host ports.
func ServicesOf(v world.View, network *world.Network) Services {
	s := NewServiceSet(network)
	for service := range v.Services {
		s.touchedServices[service.Key()] = true
	}
	for _, p := range v.PodsWithHostPorts() {
		s.touchedPods[world.PodKey{Namespace: p.Namespace, Name: p.Name}] = true
	}
	return s.Update(v)
}

// Touch notes what a change may alter, and tells whether that is anything. It is quick
// enough for a subscriber of the world.
func (s *ServiceSet) Touch(v world.View, c world.Change) bool {
	services, pods := proxy.Touched(v, c), proxy.HostPortsTouched(v, c)
	for _, k := range services {
		s.touchedServices[k] = true
	}
	for _, k := range pods {
		s.touchedPods[k] = true
	}
	return c.Ref.Kind == world.KindServiceCIDR || len(services)+len(pods) > 0
}

// Update computes anew what was touched since the last time.
func (s *ServiceSet) Update(v world.View) Services {
	own := ownAddrs(v, s.network)
	for k := range s.touchedServices {
		var now []*Outside
		if service, ok := v.Service(k); ok {
			now = outsideOf(v, s.network, service, own)
		}
		if keys, values := replace(s.services, k, now); values {
			s.all = nil
			if keys {
				s.order.services = nil
			}
		}
	}
	for k := range s.touchedPods {
		var now []*Outside
		if pod, ok := v.Pod(k); ok {
			now = hostPortsOf(v, s.network, pod)
		}
		if keys, values := replace(s.pods, k, now); values {
			s.all = nil
			if keys {
				s.order.pods = nil
			}
		}
	}
	clear(s.touchedServices)
	clear(s.touchedPods)
	if s.all == nil {
		s.all = s.outside()
	}
	return Services{Ranges: proxy.ServiceRanges(v, s.network), Outside: s.all}
}

// replace puts what a key has now in the place of what it had, and keeps the old values
// that are still right. It tells whether there are other keys than before, and other values.
func replace[K comparable](all map[K][]*Outside, k K, now []*Outside) (keys, values bool) {
	old, had := all[k]
	if len(now) == 0 {
		delete(all, k)
		return had, had
	}
	for i, o := range now {
		if j := slices.IndexFunc(old, o.equal); j >= 0 {
			now[i] = old[j]
		}
	}
	all[k] = now
	return !had, !slices.Equal(old, now)
}

// outside are all ports in order of their owners. Should two have the same place, which
// package proxy sees to that they have not, services come before pods.
func (s *ServiceSet) outside() []*Outside {
	if s.order.services == nil {
		s.order.services = slices.SortedFunc(maps.Keys(s.services), func(a, b world.ServiceKey) int {
			return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
		})
	}
	if s.order.pods == nil {
		s.order.pods = slices.SortedFunc(maps.Keys(s.pods), func(a, b world.PodKey) int {
			return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
		})
	}
	out := make([]*Outside, 0, len(s.services)+len(s.pods))
	taken := make(map[place]bool, cap(out))
	add := func(list []*Outside) {
		for _, o := range list {
			if !taken[o.at()] {
				taken[o.at()] = true
				out = append(out, o)
			}
		}
	}
	for _, k := range s.order.services {
		add(s.services[k])
	}
	for _, k := range s.order.pods {
		add(s.pods[k])
	}
	return out
}

// ownAddrs are the addresses of the local node's host: those by which OVN knows it as a
// backend, too.
func ownAddrs(v world.View, network *world.Network) map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	n, ok := v.Node(v.LocalNode())
	if !ok {
		return out
	}
	for _, a := range proxy.NodeAddrs(v, network, n) {
		out[a] = true
	}
	return out
}

// outsideOf are the ports of a service that the node serves to others.
func outsideOf(v world.View, network *world.Network, service *world.Service, own map[netip.Addr]bool) []*Outside {
	if !servedOutside(service) {
		return nil
	}
	resolved, _ := proxy.Resolve(v, network, service)
	node, ok := v.Node(v.LocalNode())
	nodePorts := ok && proxy.ServesNodePorts(node)
	var out []*Outside
	for i := range resolved.Ports {
		p := &resolved.Ports[i]
		for _, ip := range service.ClusterIPs {
			if !network.HasFamily(ip) {
				continue
			}
			o := outsidePort(service, p, ip, own)
			if p.NodePort != 0 && nodePorts {
				n := o
				n.Addr, n.Port = unspecified(ip), p.NodePort
				out = append(out, &n)
			}
			for _, e := range p.External {
				if e.Addr.Is4() != ip.Is4() {
					continue
				}
				x := o
				x.Addr, x.Port = e.Addr, p.Port
				if e.LoadBalancer {
					x.restrict(service)
				}
				out = append(out, &x)
			}
		}
	}
	return out
}

func servedOutside(s *world.Service) bool {
	return len(s.ExternalIPs)+len(s.Ingress) > 0 ||
		slices.ContainsFunc(s.Ports, func(p world.ServicePort) bool { return p.NodePort != 0 })
}

// outsidePort is what all places of a port in one family have in common.
func outsidePort(s *world.Service, p *proxy.Port, ip netip.Addr, own map[netip.Addr]bool) Outside {
	o := Outside{
		Owner: s.Key().String(), Protocol: p.Protocol, To: []netip.AddrPort{netip.AddrPortFrom(ip, p.Port)},
		// Without a backend anywhere it is refused, as by kube-proxy, and not dropped.
		Local: s.ExternalLocal && len(proxy.OfFamily(p.Cluster, ip)) > 0,
	}
	if all := proxy.OfFamily(p.Cluster, ip); s.InternalLocal && len(all) > 0 {
		// OVN leads the service's address to this node's backends only. It also is who refuses
		// what has none, or reports it when the service sleeps.
		o.To = all
	}
	if o.Local {
		o.ToLocal = proxy.OfFamily(p.Local, ip)
		o.ByHost = slices.ContainsFunc(o.ToLocal, func(b netip.AddrPort) bool { return own[b.Addr()] })
	}
	o.Sticky = s.AffinitySeconds > 0 && (s.InternalLocal || s.ExternalLocal)
	return o
}

// restrict lets only the service's source ranges in.
func (o *Outside) restrict(s *world.Service) {
	var ranges []netip.Prefix
	if ranges, o.Restricted = s.RangesFor(o.Addr); o.Restricted {
		o.Sources = nft.Disjoint(ranges)
	}
}

// hostPortsOf are the host ports of a pod. One that is open on all addresses is open on
// the loopback address, too; of IPv6's loopback address the kernel can lead nothing away.
func hostPortsOf(v world.View, network *world.Network, pod *world.Pod) []*Outside {
	var out []*Outside
	ports, _ := proxy.PodHostPorts(v, network, pod)
	for _, p := range ports {
		o := Outside{
			Owner: p.Pod.String(), Addr: p.Host.Addr(), Protocol: p.Protocol, Port: p.Host.Port(), To: []netip.AddrPort{p.Backend},
		}
		if !o.loopback() || o.Addr.Is4() {
			out = append(out, &o)
		}
		if o.everywhere() && o.Addr.Is4() {
			l := o
			l.Addr = loopback4
			out = append(out, &l)
		}
	}
	return out
}

// loopback4 is the loopback address that host ports are served at.
var loopback4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})

func (o *Outside) loopback() bool { return o.Addr.IsLoopback() }

func unspecified(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}
