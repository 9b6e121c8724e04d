package services

import (
	"net/netip"
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
	"github.com/ovnkctl/ovnkctl/internal/world/proxy"
)

// fate is what happens to packets for a VIP.
type fate uint8

const (
	served    fate = iota
	answered       // no backends: with a reset or an ICMP error, or by waking the service up
	discarded      // no backends here, but on other nodes
)

// vip is how one address and port is served in one place.
type vip struct {
	at       netip.AddrPort
	backends []netip.AddrPort
	discard  bool // if there are no backends
	keep     bool // the client's address
}

func (a vip) equal(b vip) bool {
	return a.at == b.at && a.discard == b.discard && a.keep == b.keep && slices.Equal(a.backends, b.backends)
}

func (a vip) fate() fate {
	switch {
	case len(a.backends) > 0:
		return served
	case a.discard:
		return discarded
	}
	return answered
}

// scope is which logical datapaths have a load balancer, and how.
type scope uint8

const (
	both scope = iota
	onSwitch
	onRouter
	onRouterKept
)

// portVIPs puts the VIPs of one port where they belong.
func (b *builder) portVIPs(p *proxy.Port) {
	s := b.service
	for _, a := range s.ClusterIPs {
		if !b.here.network.HasFamily(a) {
			continue
		}
		v := b.vip(p, netip.AddrPortFrom(a, p.Port), s.InternalLocal)
		b.add(p.Protocol, v, b.routed(v))
	}
	if p.NodePort != 0 {
		for _, a := range b.here.nodePorts {
			if !slices.ContainsFunc(s.ClusterIPs, func(c netip.Addr) bool { return c.Is4() == a.Is4() }) {
				continue // the service is not of this family
			}
			b.external(p, netip.AddrPortFrom(a, p.NodePort), slices.Contains(b.here.gateway, a))
		}
	}
	for _, e := range p.External {
		b.external(p, netip.AddrPortFrom(e.Addr, p.Port), true)
	}
}

// external adds a VIP for traffic from outside. Pods need not leave the cluster to come
// back: for them the external policy does not count.
func (b *builder) external(p *proxy.Port, at netip.AddrPort, routed bool) {
	inside := b.vip(p, at, false)
	if !routed {
		b.add(p.Protocol, inside, nil)
		return
	}
	if !b.service.ExternalLocal {
		b.add(p.Protocol, inside, b.routed(inside))
		return
	}
	outside := b.vip(p, at, true)
	outside.keep = true
	if slices.ContainsFunc(outside.backends, b.ownHost) {
		// The bridge leaves the VIP to the kernel: by way of OVN a process of the host would
		// answer from its masquerade address.
		b.add(p.Protocol, inside, nil)
		return
	}
	b.add(p.Protocol, inside, &outside)
}

// vip is a VIP with the backends of its family under a policy.
func (b *builder) vip(p *proxy.Port, at netip.AddrPort, local bool) vip {
	v := vip{at: at, backends: proxy.OfFamily(p.Cluster, at.Addr())}
	if local {
		elsewhere := len(v.backends) > 0
		v.backends = proxy.OfFamily(p.Local, at.Addr())
		if elsewhere && len(v.backends) == 0 {
			v.discard = true
		}
	}
	return v
}

// routed is the VIP on the gateway router: there the host's own addresses are the router's,
// and the host is reached by its masquerade address.
func (b *builder) routed(v vip) *vip {
	if !slices.ContainsFunc(v.backends, b.ownHost) {
		return &v
	}
	backends := slices.Clone(v.backends)
	for i, e := range backends {
		if b.ownHost(e) {
			backends[i] = netip.AddrPortFrom(b.masquerade(e.Addr(), plan.MasqueradeHost), e.Port())
		}
	}
	v.backends = backends
	return &v
}

// ownHost tells backends that are processes of this very host.
func (b *builder) ownHost(e netip.AddrPort) bool { return slices.Contains(b.here.own, e.Addr()) }

// masquerade is an address that the host and OVN know each other by, of the family of a. A
// plan without it does not pass the configuration's checks; then a itself stays.
func (b *builder) masquerade(a netip.Addr, use plan.Masquerade) netip.Addr {
	if p, ok := plan.OfFamily(b.here.network.Masquerade, a); ok {
		if m, ok := plan.MasqueradeAddr(p, use); ok {
			return m
		}
	}
	return a
}

// add puts a VIP into the common load balancer when switch and router agree, else into one
// for each; router is nil when the router does not serve it.
func (b *builder) add(protocol world.Protocol, sw vip, router *vip) {
	if router != nil && router.equal(sw) {
		b.put(protocol, both, sw)
		return
	}
	b.put(protocol, onSwitch, sw)
	switch {
	case router == nil:
	case router.keep:
		b.put(protocol, onRouterKept, *router)
	default:
		b.put(protocol, onRouter, *router)
	}
}

func (b *builder) put(protocol world.Protocol, s scope, v vip) {
	k := balancerKey{protocol, s}
	i := slices.IndexFunc(b.balancers, func(have balancer) bool { return have.balancerKey == k })
	if i < 0 {
		i = len(b.balancers)
		b.balancers = append(b.balancers, balancer{balancerKey: k})
	}
	b.balancers[i].vips = append(b.balancers[i].vips, v)
}
