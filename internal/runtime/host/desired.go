package host

import (
	"net/netip"
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/kernel"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

// protocol marks the routes that are ours, as in OVN-Kubernetes.
const protocol = 85

// input is all that the desired state is computed from.
type input struct {
	Config
	zone Zone
	// services are nil until the cluster has named them.
	services *Services
	uplink   uplink
	facts    Facts
	// chassis is the switch's id, empty until it is known.
	chassis string
	// acceptRA says that the gateway is configured by router advertisements.
	acceptRA bool
}

// network is the desired state of the network stack.
type network struct {
	links     []link
	sysctls   []sysctl
	addrs     []kernel.Addr
	routes    []kernel.Route
	neighbors []kernel.Neighbor
}

// link is a device that should be up.
type link struct {
	name string
	mtu  int
}

// masquerade is the address for one use, of one family.
func (in input) masquerade(f family, use plan.Masquerade) (netip.Addr, netip.Prefix, bool) {
	for _, p := range in.Network.Masquerade {
		if f.of(p.Addr()) {
			a, ok := plan.MasqueradeAddr(p, use)
			return a, p, ok
		}
	}
	return netip.Addr{}, netip.Prefix{}, false
}

// primaryOf is the node's address of a family.
func (in input) primaryOf(f family) (netip.Addr, bool) {
	for _, p := range in.facts.Primary {
		if f.of(p.Addr()) {
			return p.Addr(), true
		}
	}
	return netip.Addr{}, false
}

// subnets are the node's pod subnets of the families that the network has.
func (in input) subnets() []netip.Prefix {
	var out []netip.Prefix
	for _, f := range in.families() {
		out = append(out, inFamily(f, in.zone.Subnets, netip.Prefix.Addr)...)
	}
	return out
}

// desiredNetwork is what the network stack should hold, in an order in which it can be
// made: links, addresses, then routes by them.
func desiredNetwork(in input) network {
	var n network
	n.links = append(n.links, link{in.bridge(), in.uplink.link.MTU})
	n.addrs = append(n.addrs, in.uplink.addrs...)
	n.routes = append(n.routes, in.uplink.routes...)
	n.addrs = append(n.addrs, in.ownAddrs()...)
	for _, f := range in.families() {
		in.serviceRoutes(f, &n)
	}
	if len(in.subnets()) > 0 {
		n.links = append(n.links, link{ManagementPort, in.facts.PodMTU})
		in.management(&n)
	}
	n.sysctls = desiredSysctls(in)
	return n
}

// ownAddrs are our addresses on the bridge: what the host's traffic to services comes
// from. They must not be chosen as the source of anything else: the IPv6 one is
// deprecated, and the IPv4 one must not be the first of the bridge.
func (in input) ownAddrs() []kernel.Addr {
	var out []kernel.Addr
	for _, f := range in.families() {
		a, p, ok := in.masquerade(f, plan.MasqueradeHost)
		if !ok {
			continue
		}
		own := kernel.Addr{
			Dev: in.bridge(), Prefix: plan.With(a, p), Label: in.bridge(), Valid: kernel.Forever, Preferred: kernel.Forever,
		}
		if f == ipv6 {
			own.Label, own.NoDAD, own.Preferred = "", true, 0 // deprecated
		}
		out = append(out, own)
	}
	return out
}

// serviceRoutes lead traffic of the host for services into OVN. The next hop does not exist:
// only its MAC address is needed, and the bridge's flows take the packets to OVN.
func (in input) serviceRoutes(f family, n *network) {
	host, _, okHost := in.masquerade(f, plan.MasqueradeHost)
	ovn, _, okOVN := in.masquerade(f, plan.MasqueradeOVN)
	hop, _, okHop := in.masquerade(f, plan.MasqueradeNextHop)
	node, okNode := in.primaryOf(f)
	if !okHost || !okOVN || !okHop || !okNode {
		return
	}
	for _, s := range in.ranges(f) {
		r := route(s, in.bridge(), hop)
		r.Src, r.Metrics.MTU = host, in.facts.PodMTU
		n.routes = append(n.routes, r)
	}
	r := route(netip.PrefixFrom(ovn, ovn.BitLen()), in.bridge(), netip.Addr{})
	r.Src = node
	n.routes = append(n.routes, r)
	n.neighbors = append(n.neighbors,
		kernel.Neighbor{Dev: in.bridge(), Addr: ovn, MAC: in.facts.MAC},
		kernel.Neighbor{Dev: in.bridge(), Addr: hop, MAC: plan.MAC(hop)})
}

// management leads traffic of the host for pods to the management port. The join subnets
// are where gateway routers speak from.
func (in input) management(n *network) {
	for _, s := range in.subnets() {
		a := kernel.Addr{
			Dev: ManagementPort, Prefix: plan.With(plan.Management(s), s), Valid: kernel.Forever, Preferred: kernel.Forever,
		}
		f := family(s.Addr().Is6())
		if f == ipv4 {
			a.Label = ManagementPort
			a.Broadcast = plan.Last(s)
		} else {
			a.NoDAD = true // the logical switch port answers nobody else
		}
		if node, ok := in.primaryOf(f); ok {
			// A server that listens on all addresses answers a pod's datagram from the
			// address that the route prefers. It must be the one that pods know the host by.
			a.NoPrefixRoute = true
			r := route(s, ManagementPort, netip.Addr{})
			r.Src = node
			n.routes = append(n.routes, r)
		}
		n.addrs = append(n.addrs, a)
		var dsts []netip.Prefix
		for _, c := range in.Network.ClusterSubnets {
			dsts = append(dsts, c.Prefix)
		}
		for _, d := range inFamily(f, append(dsts, in.Network.JoinSubnets...), netip.Prefix.Addr) {
			if d != s {
				n.routes = append(n.routes, route(d, ManagementPort, plan.Gateway(s)))
			}
		}
	}
}

// route is a route of ours in the main table.
func route(dst netip.Prefix, dev string, via netip.Addr) kernel.Route {
	r := kernel.Route{
		Table: kernel.TableMain, Dst: dst.Masked(), Type: kernel.TypeUnicast, Protocol: protocol,
		Hops: []kernel.Hop{{Dev: dev, Via: via}},
	}
	if dst.Addr().Is6() {
		r.Metric = kernel.DefaultMetric6
	} else if !via.IsValid() {
		r.Scope = kernel.ScopeLink
	}
	return r
}

// interest is what of the network stack is worth waking up for.
func (in input) interest() kernel.Interest {
	i := kernel.Interest{Devs: []string{in.bridge(), ManagementPort}}
	if nic := in.uplink.link.Name; nic != "" {
		i.Devs = append(i.Devs, nic)
	}
	if nic := in.Config.Config.Gateway.Interface; nic != "" && !slices.Contains(i.Devs, nic) {
		i.Devs = append(i.Devs, nic)
	}
	for _, f := range in.families() {
		for _, use := range []plan.Masquerade{plan.MasqueradeOVN, plan.MasqueradeNextHop} {
			if a, _, ok := in.masquerade(f, use); ok {
				i.Neighbors = append(i.Neighbors, a)
			}
		}
	}
	return i
}
