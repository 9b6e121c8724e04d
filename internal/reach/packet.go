package reach

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/ovnkctl/ovnkctl/internal/policy"
	"github.com/ovnkctl/ovnkctl/internal/trace"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// packet is one for the reference evaluator, of the family of an address.
func packet(src, dst policy.Endpoint, at port, of netip.Addr) policy.Packet {
	p := policy.Packet{
		Source: src, Destination: dst, Port: at.number, Family: policy.IPv4,
		Protocol: corev1.Protocol(strings.ToUpper(string(at.protocol))),
	}
	if of.Is6() {
		p.Family = policy.IPv6
	}
	return p
}

// origin is the source for the reference evaluator.
func (q question) origin() policy.Endpoint {
	return endpoint(q.source, q.from)
}

// destination is the same of the destination; false for a service, whose backends are.
func (q question) destination() (policy.Endpoint, bool) {
	if q.to.service != nil {
		return policy.Endpoint{}, false
	}
	return endpoint(q.to.End, q.at), true
}

func endpoint(e *End, p *world.Pod) policy.Endpoint {
	switch {
	case p != nil:
		return policy.Endpoint{Namespace: p.Namespace, Pod: p.Name}
	case e.node != nil:
		return policy.Endpoint{Node: e.node.Name}
	}
	a, _ := netip.ParseAddr(e.Example)
	return policy.Endpoint{IP: a}
}

// family is an address of the first family that both ends have.
func (a *asker) family(q question) (netip.Addr, bool) {
	from, to := addresses(q.source, q.from), addresses(q.to.End, q.at)
	for _, is4 := range []bool{true, false} {
		if a.options.Family == 4 && !is4 || a.options.Family == 6 && is4 {
			continue
		}
		i := slices.IndexFunc(to, func(a netip.Addr) bool { return a.Is4() == is4 })
		if i >= 0 && slices.ContainsFunc(from, func(a netip.Addr) bool { return a.Is4() == is4 }) {
			return to[i], true
		}
	}
	return netip.Addr{}, false
}

func addresses(e *End, p *world.Pod) []netip.Addr {
	switch {
	case e.Kind == trace.EndExternal:
		a, _ := netip.ParseAddr(e.Example)
		return []netip.Addr{a}
	case e.service != nil:
		return e.service.ClusterIPs
	case e.node != nil:
		return e.node.InternalIPs
	case p != nil:
		return p.Addrs()
	}
	return nil
}
