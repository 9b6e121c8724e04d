// Package proxy resolves services for the local node, as a service proxy has to: the
// addresses that the node serves and the backends behind each port. The load balancers in
// OVN and the host's own rules are both made from it, so they cannot disagree.
//
//	Service, EndpointSlices, Node ──Resolve──> Service{Ports: VIPs, Cluster and Local backends}
//
// Which backends, in Kubernetes' order (KEP-1669, KEP-2433, KEP-3015):
//
//	Cluster   ready, and meant for this node or its zone if all ready ones have such hints;
//	          if none is ready, those that serve while they terminate
//	Local     the same of this node's, whatever the hints
//
// each family on its own, as if it were a service by itself.
package proxy

import (
	"net/netip"
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Service is what the local node serves of a service.
type Service struct {
	*world.Service
	Ports []Port
	// LocalReady4 and LocalReady6 are how many ready backends of a family, pods or hosts, are
	// on the local node: what load balancers learn from the health check port when they ask in
	// that family. One at several ports counts once. LocalReady is the greater of the two, so
	// that a pod of both families counts once.
	LocalReady, LocalReady4, LocalReady6 int
}

// Port is one port of a service.
type Port struct {
	world.ServicePort
	// External are the addresses that traffic for the service arrives at from outside, and
	// that it may be served at: Ingress, then ExternalIPs.
	External []External
	// Cluster and Local are the backends under the two traffic policies, in order of
	// address and port, IPv4 first; nil for none. The same port number is not a given. When
	// Cluster has none of a family there is none anywhere, not on the local node either.
	Cluster, Local []netip.AddrPort
}

// External is one external address of a port.
type External struct {
	Addr netip.Addr
	// LoadBalancer is true for addresses that the service's source ranges protect.
	LoadBalancer bool
}

// Refusal is something about a service that is not served as asked for.
type Refusal struct {
	Code    string // CamelCase, stable
	Object  world.ObjectRef
	Message string
	Remedy  string
}

// Resolve resolves one service. A service without cluster IPs is not served: it has no
// ports.
func Resolve(v world.View, network *world.Network, s *world.Service) (Service, []Refusal) {
	out := Service{Service: s}
	r := resolver{view: v, network: network, service: s, slices: v.Slices(s.Key())}
	r.problems()
	if len(s.ClusterIPs) == 0 {
		return out, r.refusals
	}
	here := r.place()
	out.Ports = make([]Port, 0, len(s.Ports))
	for _, p := range s.Ports {
		backends := r.backends(p)
		port := Port{ServicePort: p, External: r.externals(p)}
		port.Cluster, port.Local = choose(backends, here)
		out.Ports = append(out.Ports, port)
		r.countReady(backends, here)
	}
	for _, a := range r.ready {
		if a.Is4() {
			out.LocalReady4++
		} else {
			out.LocalReady6++
		}
	}
	out.LocalReady = max(out.LocalReady4, out.LocalReady6)
	return out, r.refusals
}

// OfFamily are the backends of the family of a.
func OfFamily(backends []netip.AddrPort, a netip.Addr) []netip.AddrPort {
	count := 0
	for _, b := range backends {
		if b.Addr().Is4() == a.Is4() {
			count++
		}
	}
	if count == 0 {
		return nil
	}
	out := make([]netip.AddrPort, 0, count)
	for _, b := range backends {
		if b.Addr().Is4() == a.Is4() {
			out = append(out, b)
		}
	}
	return out
}

// resolver resolves one service.
type resolver struct {
	view     world.View
	network  *world.Network
	service  *world.Service
	slices   []*world.EndpointSlice
	refusals []Refusal
	ranges   []netip.Prefix // ServiceRanges, once somebody asked
	buffer   []backend      // of the port before
	ready    []netip.Addr   // of the local node
}

func (r *resolver) refuse(code string, object world.ObjectRef, message, remedy string) {
	r.refusals = append(r.refusals, Refusal{Code: code, Object: object, Message: message, Remedy: remedy})
}

// refuseOnce is for what is the same at each port.
func (r *resolver) refuseOnce(code string, object world.ObjectRef, message, remedy string) {
	if !slices.Contains(r.refusals, Refusal{Code: code, Object: object, Message: message, Remedy: remedy}) {
		r.refuse(code, object, message, remedy)
	}
}

// problems reports what does not parse, of the service and of its slices.
func (r *resolver) problems() {
	for _, p := range r.service.Problems {
		r.refuse(InvalidService, r.service.Ref(), p.Field+": "+p.Message, p.Remedy)
	}
	for _, s := range r.slices {
		for _, p := range s.Problems {
			r.refuse(InvalidEndpoint, s.Ref(), p.Field+": "+p.Message, p.Remedy)
		}
	}
}

// countReady adds the addresses that are ready on the local node to those of other ports.
func (r *resolver) countReady(backends []backend, here place) {
	for _, b := range backends {
		if b.endpoint.Ready && here.has(b.endpoint) && !slices.Contains(r.ready, b.addr.Addr()) {
			r.ready = append(r.ready, b.addr.Addr())
		}
	}
}
