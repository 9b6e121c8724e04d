package world

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// index finds the objects that lay claim to one and the same thing, without a scan:
// ids, chassis and addresses that two nodes must not share, addresses of pods.
type index struct {
	nodesByID      multimap[int, string]
	nodesByChassis multimap[string, string]
	nodesByTransit multimap[netip.Prefix, string]
	nodesByEncap   multimap[netip.Addr, string]
	nodesBySubnet  multimap[subnetKey, string]
	// subnetLengths counts the node subnets of each length. With one length per family,
	// the rule, subnets overlap only when they are equal.
	subnetLengths map[lengthKey]int
	nodesByHost   multimap[netip.Addr, string]
	podsByAddress multimap[addressKey, PodKey]
	podsByPort    multimap[portKey, PodKey] // of the node
	// servicesByAddress has all addresses of services, those of load balancers included.
	servicesByAddress  multimap[netip.Addr, ServiceKey]
	servicesByNodePort multimap[portKey, ServiceKey]
	servicesByExternal multimap[externalKey, ServiceKey]
	slicesByService    multimap[ServiceKey, string]
}

// portKey is a port of the nodes.
type portKey struct {
	protocol Protocol
	port     uint16
}

// externalKey is a port at an external address of a service.
type externalKey struct {
	protocol Protocol
	at       netip.AddrPort
}

type subnetKey struct {
	network string
	prefix  netip.Prefix
}

type lengthKey struct {
	network string
	is4     bool
	bits    int
}

type addressKey struct {
	network string
	addr    netip.Addr
}

func newIndex() index {
	return index{
		nodesByID:      multimap[int, string]{},
		nodesByChassis: multimap[string, string]{},
		nodesByTransit: multimap[netip.Prefix, string]{},
		nodesByEncap:   multimap[netip.Addr, string]{},
		nodesBySubnet:  multimap[subnetKey, string]{},
		subnetLengths:  map[lengthKey]int{},
		nodesByHost:    multimap[netip.Addr, string]{},
		podsByAddress:  multimap[addressKey, PodKey]{},
		podsByPort:     multimap[portKey, PodKey]{},

		servicesByAddress:  multimap[netip.Addr, ServiceKey]{},
		servicesByNodePort: multimap[portKey, ServiceKey]{},
		servicesByExternal: multimap[externalKey, ServiceKey]{},
		slicesByService:    multimap[ServiceKey, string]{},
	}
}

// replaceNode takes the claims of old out and puts those of n in; either may be nil.
func (x *index) replaceNode(old, n *Node) {
	if old != nil {
		x.eachNodeClaim(old, remove, -1)
	}
	if n != nil {
		x.eachNodeClaim(n, add, 1)
	}
}

type change bool

const (
	add    change = true
	remove change = false
)

func (x *index) eachNodeClaim(n *Node, c change, count int) {
	if n.ID != 0 {
		x.nodesByID.change(c, n.ID, n.Name)
	}
	if n.ChassisID != "" {
		x.nodesByChassis.change(c, n.ChassisID, n.Name)
	}
	for _, p := range n.Transit {
		x.nodesByTransit.change(c, p, n.Name)
	}
	for _, a := range n.EncapIPs {
		x.nodesByEncap.change(c, a, n.Name)
	}
	for _, p := range n.HostAddrs {
		x.nodesByHost.change(c, p.Addr(), n.Name)
	}
	for network, subnets := range n.Subnets {
		for _, p := range subnets {
			x.nodesBySubnet.change(c, subnetKey{network, p}, n.Name)
			l := lengthKey{network, p.Addr().Is4(), p.Bits()}
			if x.subnetLengths[l] += count; x.subnetLengths[l] == 0 {
				delete(x.subnetLengths, l)
			}
		}
	}
}

// replacePod takes the addresses of old out and puts those of p in; either may be nil.
func (x *index) replacePod(old, p *Pod) {
	if old != nil {
		x.eachPodClaim(old, remove)
	}
	if p != nil {
		x.eachPodClaim(p, add)
	}
}

func (x *index) eachPodClaim(p *Pod, c change) {
	if !p.Networked() {
		return
	}
	for network, n := range p.Networks {
		for _, a := range n.Addresses {
			x.podsByAddress.change(c, addressKey{network, a.Addr()}, PodKey{p.Namespace, p.Name})
		}
	}
	for _, h := range p.HostPorts {
		x.podsByPort.change(c, portKey{h.Protocol, h.Port}, PodKey{p.Namespace, p.Name})
	}
}

// replaceService takes the claims of old out and puts those of s in; either may be nil.
func (x *index) replaceService(old, s *Service) {
	if old != nil {
		x.eachServiceClaim(old, remove)
	}
	if s != nil {
		x.eachServiceClaim(s, add)
	}
}

func (x *index) eachServiceClaim(s *Service, c change) {
	for _, list := range [][]netip.Addr{s.ClusterIPs, s.ExternalIPs, s.Ingress} {
		for _, a := range list {
			x.servicesByAddress.change(c, a, s.Key())
		}
	}
	for _, p := range s.Ports {
		if p.NodePort != 0 {
			x.servicesByNodePort.change(c, portKey{p.Protocol, p.NodePort}, s.Key())
		}
		for _, list := range [][]netip.Addr{s.ExternalIPs, s.Ingress} {
			for _, a := range list {
				x.servicesByExternal.change(c, externalKey{p.Protocol, netip.AddrPortFrom(a, p.Port)}, s.Key())
			}
		}
	}
}

// replaceSlice does so for a slice. One without a service is nobody's.
func (x *index) replaceSlice(old, s *EndpointSlice) {
	if old != nil && old.Service != "" {
		x.slicesByService.change(remove, old.ServiceKey(), old.Name)
	}
	if s != nil && s.Service != "" {
		x.slicesByService.change(add, s.ServiceKey(), s.Name)
	}
}

// NodesWithID yields the nodes that have a node id: one, unless something is wrong.
func (v View) NodesWithID(id int) []*Node { return v.named(v.s.index.nodesByID[id]) }

// NodesWithChassis yields the nodes that have a chassis id.
func (v View) NodesWithChassis(id string) []*Node { return v.named(v.s.index.nodesByChassis[id]) }

// NodesWithTransit yields the nodes that have an address on the transit switch.
func (v View) NodesWithTransit(a netip.Prefix) []*Node { return v.named(v.s.index.nodesByTransit[a]) }

// NodesWithEncap yields the nodes that have an address as tunnel end point.
func (v View) NodesWithEncap(a netip.Addr) []*Node { return v.named(v.s.index.nodesByEncap[a]) }

// NodesWithAddress yields the nodes whose host has an address.
func (v View) NodesWithAddress(a netip.Addr) []*Node { return v.named(v.s.index.nodesByHost[a]) }

// NodesOverlapping yields the nodes that have a subnet of the network that overlaps p.
func (v View) NodesOverlapping(network string, p netip.Prefix) []*Node {
	same := lengthKey{network, p.Addr().Is4(), p.Bits()}
	for l := range v.s.index.subnetLengths {
		if l.network == network && l.is4 == same.is4 && l.bits != same.bits {
			return v.scanOverlapping(network, p)
		}
	}
	return v.named(v.s.index.nodesBySubnet[subnetKey{network, p}])
}

// scanOverlapping is for plans with several lengths of node subnets.
func (v View) scanOverlapping(network string, p netip.Prefix) []*Node {
	var names []string
	for _, n := range v.s.nodes {
		if slices.ContainsFunc(n.Subnets[network], p.Overlaps) {
			names = append(names, n.Name)
		}
	}
	slices.Sort(names)
	return v.named(names)
}

func (v View) named(names []string) []*Node {
	if len(names) == 0 {
		return nil
	}
	out := make([]*Node, 0, len(names))
	for _, n := range names {
		out = append(out, v.s.nodes[n])
	}
	return out
}

// PodsWithAddress yields the networked pods that have an address of the network: one,
// unless something is wrong.
func (v View) PodsWithAddress(network string, a netip.Addr) []*Pod {
	keys := v.s.index.podsByAddress[addressKey{network, a}]
	out := make([]*Pod, 0, len(keys))
	for _, k := range keys {
		out = append(out, v.s.pods[k])
	}
	return out
}

// PodsWithHostPort yields the pods that want a port of their node, on any address.
func (v View) PodsWithHostPort(protocol Protocol, port uint16) []*Pod {
	keys := v.s.index.podsByPort[portKey{protocol, port}]
	out := make([]*Pod, 0, len(keys))
	for _, k := range keys {
		out = append(out, v.s.pods[k])
	}
	return out
}

// PodsWithHostPorts yields all networked pods that want ports of their nodes, in no
// particular order.
func (v View) PodsWithHostPorts() []*Pod {
	var out []*Pod
	seen := map[PodKey]bool{}
	for _, keys := range v.s.index.podsByPort {
		for _, k := range keys {
			if !seen[k] {
				seen[k] = true
				out = append(out, v.s.pods[k])
			}
		}
	}
	return out
}

// ServicesWithAddress yields the services that have an address, of whatever kind.
func (v View) ServicesWithAddress(a netip.Addr) []*Service {
	return v.servicesOf(v.s.index.servicesByAddress[a])
}

// ServicesWithNodePort yields the services that have a node port: one, unless something
// is wrong.
func (v View) ServicesWithNodePort(protocol Protocol, port uint16) []*Service {
	return v.servicesOf(v.s.index.servicesByNodePort[portKey{protocol, port}])
}

// ServicesAt yields the services that have a port at an external address.
func (v View) ServicesAt(protocol Protocol, at netip.AddrPort) []*Service {
	return v.servicesOf(v.s.index.servicesByExternal[externalKey{protocol, at}])
}

// ServicesAtNodes yields the services whose external addresses are nodes' and that have a
// port there, in no particular order.
func (v View) ServicesAtNodes(protocol Protocol, port uint16) []*Service {
	if len(v.s.index.servicesByExternal) == 0 {
		return nil
	}
	var out []*Service
	for a := range v.s.index.nodesByHost {
		out = append(out, v.ServicesAt(protocol, netip.AddrPortFrom(a, port))...)
	}
	return out
}

// servicesOf are the services of those names, the oldest first: who has what several claim
// must not depend on the order in which a program learned of them.
func (v View) servicesOf(keys []ServiceKey) []*Service {
	if len(keys) == 0 {
		return nil
	}
	out := make([]*Service, 0, len(keys))
	for _, k := range keys {
		out = append(out, v.s.services[k])
	}
	slices.SortFunc(out, compareServices)
	return out
}

// OldestService is the service that has what several claim, by the same rule as for nodes.
func OldestService(services []*Service) *Service {
	var oldest *Service
	for _, s := range services {
		if oldest == nil || compareServices(s, oldest) < 0 {
			oldest = s
		}
	}
	return oldest
}

func compareServices(a, b *Service) int {
	return cmp.Or(cmp.Compare(a.Created, b.Created), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}

// OldestNode is the node that has what several claim: the oldest, of equally old ones the
// first by name, so that all zones decide alike. It is nil for no nodes.
func OldestNode(nodes []*Node) *Node {
	var oldest *Node
	for _, n := range nodes {
		if oldest == nil || cmp.Or(cmp.Compare(n.Created, oldest.Created), strings.Compare(n.Name, oldest.Name)) < 0 {
			oldest = n
		}
	}
	return oldest
}

// OldestPod is the pod that has what several claim, by the same rule.
func OldestPod(pods []*Pod) *Pod {
	var oldest *Pod
	for _, p := range pods {
		if oldest == nil || comparePods(p, oldest) < 0 {
			oldest = p
		}
	}
	return oldest
}

func comparePods(a, b *Pod) int {
	return cmp.Or(cmp.Compare(a.Created, b.Created), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}

// multimap holds small sets, in the order of arrival.
type multimap[K, V comparable] map[K][]V

func (m multimap[K, V]) change(c change, k K, v V) {
	i := slices.Index(m[k], v)
	switch {
	case c == add && i < 0:
		m[k] = append(m[k], v)
	case c == remove && i >= 0 && len(m[k]) == 1:
		delete(m, k)
	case c == remove && i >= 0:
		m[k] = slices.Delete(m[k], i, i+1)
	}
}
