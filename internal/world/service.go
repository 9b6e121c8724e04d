package world

import (
	"net/netip"
)

// Protocol is a transport protocol, named as Kubernetes and OVN's tables name them.
type Protocol string

// The protocols of services.
const (
	TCP  Protocol = "tcp"
	UDP  Protocol = "udp"
	SCTP Protocol = "sctp"
)

// Service is what the features need of a Service object. Services that are not for us
// (headless, ExternalName, of another service proxy) have no ClusterIPs.
type Service struct {
	Namespace, Name, UID string
	// Created is the object's creation time in Unix seconds: of two services that claim
	// the same external address and port the older one has it.
	Created int64
	// ClusterIPs are the service's addresses, at most one per family.
	ClusterIPs []netip.Addr
	// ExternalIPs are addresses whose traffic somebody leads to the nodes.
	ExternalIPs []netip.Addr
	// Ingress are the addresses of its load balancer that nodes serve (ipMode VIP). Those
	// in ipMode Proxy are the load balancer's own business (KEP-1860).
	Ingress []netip.Addr
	// SourceRanges are who may reach Ingress; see RangesFor.
	SourceRanges []netip.Prefix
	Ports        []ServicePort
	// InternalLocal and ExternalLocal are the traffic policies Local: only end points of
	// the node that the traffic arrives at.
	InternalLocal, ExternalLocal bool
	// HealthCheckPort is the node port that tells load balancers whether the node has end
	// points; 0 for none.
	HealthCheckPort uint16
	// AffinitySeconds is how long a client sticks to its end point; 0 for no affinity.
	AffinitySeconds int
	// LoadBalancer is true for type LoadBalancer.
	LoadBalancer bool
	// Idled is true while the service sleeps, and Waking for a while after: its first packets
	// are reported, not refused.
	Idled, Waking bool
	// WokeAt is when it woke up, in Unix seconds, if somebody wrote that down; else 0. Who
	// keeps the Store current sees to Waking.
	WokeAt   int64
	Problems []Problem
}

// ServicePort is one port of a Service.
type ServicePort struct {
	Name     string
	Protocol Protocol
	Port     uint16
	NodePort uint16 // 0 for none
}

// EndpointSlice is what the features need of an EndpointSlice: a part of the end points of
// a service, all of one family.
type EndpointSlice struct {
	Namespace, Name, UID string
	Service              string // name of the Service in the same namespace
	Ports                []EndpointPort
	Endpoints            []Endpoint
	Problems             []Problem
}

// EndpointPort is a port that all end points of a slice have.
type EndpointPort struct {
	Name     string // of the service's port
	Protocol Protocol
	Port     uint16
}

// Endpoint is one backend.
type Endpoint struct {
	// Addrs is its address. It is a list of one: further ones have no meaning in the API.
	Addrs []netip.Addr
	// Node is where it runs; empty if unknown.
	Node string
	// Ready, Serving and Terminating are the conditions, with Kubernetes' defaults for
	// those not given.
	Ready, Serving, Terminating bool
	// ForNodes and ForZones are hints: which nodes and zones should use it (KEP-2433,
	// KEP-3015).
	ForNodes, ForZones []string
}

// ServiceCIDR is one range of service addresses of the cluster (KEP-1880).
type ServiceCIDR struct {
	Name, UID string
	Prefixes  []netip.Prefix
}

// HostPort is a port of the node that leads to a pod.
type HostPort struct {
	// HostIP is the address that it is open on; the unspecified address of a family, or
	// the zero Addr, for all.
	HostIP        netip.Addr
	Protocol      Protocol
	Port, PodPort uint16
}

// ServiceKey names a service.
type ServiceKey struct{ Namespace, Name string }

// String is "namespace/name".
func (k ServiceKey) String() string { return k.Namespace + "/" + k.Name }

// Key names the service.
func (s *Service) Key() ServiceKey { return ServiceKey{s.Namespace, s.Name} }

// RangesFor are who may reach an address of Ingress, if that is restricted. Ranges of the
// other family alone let nobody in: the API restricts access to who is named, while
// kube-proxy, which serves each family as if there were no other, lets everybody in.
func (s *Service) RangesFor(a netip.Addr) (ranges []netip.Prefix, restricted bool) {
	for _, p := range s.SourceRanges {
		if p.Addr().Is4() != a.Is4() {
			continue
		}
		if p.Bits() == 0 {
			return nil, false
		}
		ranges = append(ranges, p)
	}
	return ranges, len(s.SourceRanges) > 0
}

// Ref names the service.
func (s *Service) Ref() ObjectRef {
	return ObjectRef{Kind: KindService, Namespace: s.Namespace, Name: s.Name, UID: s.UID}
}

// ServiceKey names the service that the slice belongs to.
func (s *EndpointSlice) ServiceKey() ServiceKey { return ServiceKey{s.Namespace, s.Service} }

// Ref names the slice.
func (s *EndpointSlice) Ref() ObjectRef {
	return ObjectRef{Kind: KindEndpointSlice, Namespace: s.Namespace, Name: s.Name, UID: s.UID}
}

// Ref names the range.
func (c *ServiceCIDR) Ref() ObjectRef {
	return ObjectRef{Kind: KindServiceCIDR, Name: c.Name, UID: c.UID}
}
