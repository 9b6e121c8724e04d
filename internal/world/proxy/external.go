package proxy

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Codes of refusals.
const (
	// InvalidService: a field of the service does not parse.
	InvalidService = "InvalidService"
	// InvalidEndpoint: an EndpointSlice has an address or a port that cannot be a backend's.
	InvalidEndpoint = "InvalidEndpoint"
	// ExternalAddressRefused: an external address is one that no service can have.
	ExternalAddressRefused = "ExternalAddressRefused"
	// ExternalPortTaken: another service, or the node itself, has the address and port.
	ExternalPortTaken = "ExternalPortTaken"
	// ExternalAddressOfNode: an external address is a node's; the service has its port there.
	ExternalAddressOfNode = "ExternalAddressOfNode"
)

// Codes lists the codes of all refusals.
var Codes = []string{InvalidService, InvalidEndpoint, ExternalAddressRefused, ExternalPortTaken, ExternalAddressOfNode}

// kubeletPort is where the API server reaches every kubelet: a service that took it would
// cut off logs, exec and the node's health (KubeletConfiguration.port).
const kubeletPort = 10250

// externals are the external addresses that a port is served at.
func (r *resolver) externals(p world.ServicePort) []External {
	var out []External
	add := func(list []netip.Addr, loadBalancer bool) {
		for _, a := range list {
			known := slices.ContainsFunc(out, func(e External) bool { return e.Addr == a })
			if !known && r.allowed(a, p) {
				out = append(out, External{Addr: a, LoadBalancer: loadBalancer})
			}
		}
	}
	add(r.service.Ingress, true)
	add(r.service.ExternalIPs, false)
	return out
}

// allowed tells whether a port may be served at an external address.
func (r *resolver) allowed(a netip.Addr, p world.ServicePort) bool {
	ref := r.service.Ref()
	if why := r.notExternal(a); why != "" {
		r.refuseOnce(ExternalAddressRefused, ref, fmt.Sprintf("external address %s %s; it is not served", a, why), "choose an address outside the cluster's own ranges")
		return false
	}
	if !r.network.HasFamily(a) {
		r.refuseOnce(ExternalAddressRefused, ref, fmt.Sprintf("external address %s is of a family that the cluster does not have; it is not served", a), "remove the address")
		return false
	}
	ofNode := world.OldestNode(r.view.NodesWithAddress(a))
	if ofNode != nil && p.NodePort == p.Port {
		return false // it is served there already
	}
	if holder := r.holder(a, p); holder != "" {
		r.refuseOnce(ExternalPortTaken, ref, fmt.Sprintf("port %d/%s of external address %s belongs to %s", p.Port, p.Protocol, a, holder), "choose another address or port")
		return false
	}
	if ofNode != nil {
		r.refuse(ExternalAddressOfNode, ref, fmt.Sprintf("external address %s is one of node %s: its port %d/%s now leads to the service", a, ofNode.Name, p.Port, p.Protocol),
			"nothing to do if this is meant; otherwise choose an address that no node has")
	}
	return true
}

// notExternal tells why an address cannot be a service's external one.
func (r *resolver) notExternal(a netip.Addr) string {
	if a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() || a.IsLinkLocalUnicast() {
		return "is not one that traffic from outside can have"
	}
	in := func(list []netip.Prefix) bool {
		return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	switch {
	case in(r.serviceRanges()):
		return "is within the cluster's service range"
	case slices.ContainsFunc(r.network.ClusterSubnets, func(c world.ClusterSubnet) bool { return c.Prefix.Contains(a) }):
		return "is within the pods' range"
	case in(r.network.JoinSubnets), in(r.network.TransitSubnets), in(r.network.Masquerade):
		return "is within a range that the pod network keeps for itself"
	}
	return ""
}

func (r *resolver) serviceRanges() []netip.Prefix {
	if r.ranges == nil {
		r.ranges = ServiceRanges(r.view, r.network)
	}
	return r.ranges
}

// holder names who has a port of an external address before this service; empty if nobody.
func (r *resolver) holder(a netip.Addr, p world.ServicePort) string {
	oldest := world.OldestService(r.view.ServicesAt(p.Protocol, netip.AddrPortFrom(a, p.Port)))
	if oldest != nil && oldest.Key() != r.service.Key() {
		return "the older service " + oldest.Key().String()
	}
	if len(r.view.NodesWithAddress(a)) == 0 {
		return ""
	}
	return r.nodesOwn(a, p)
}

// nodesOwn names what a node itself needs a port of its address for.
func (r *resolver) nodesOwn(a netip.Addr, p world.ServicePort) string {
	if s := world.OldestService(r.view.ServicesWithNodePort(p.Protocol, p.Port)); s != nil {
		return "the node port of service " + s.Key().String()
	}
	return r.reserved(a, p)
}

// reserved names what a node cannot work without, if a port of its address is for that.
func (r *resolver) reserved(a netip.Addr, p world.ServicePort) string {
	switch {
	case p.Protocol == world.UDP && int(p.Port) == r.network.EncapPort:
		return "the tunnels between the nodes"
	case p.Protocol == world.TCP && p.Port == kubeletPort:
		return "the kubelet"
	case p.Protocol == world.TCP && r.apiServer(netip.AddrPortFrom(a, p.Port)):
		return "the API server"
	}
	return ""
}

func (r *resolver) apiServer(at netip.AddrPort) bool { return slices.Contains(APIServers(r.view), at) }

// ServiceRanges are the ranges of service addresses: those of the configuration and those
// that the cluster declares besides, of the network's families.
func ServiceRanges(v world.View, network *world.Network) []netip.Prefix {
	out := network.OfFamilies(network.ServiceSubnets)
	for _, c := range v.ServiceCIDRs() {
		for _, p := range network.OfFamilies(c.Prefixes) {
			if !slices.ContainsFunc(out, func(q netip.Prefix) bool { return q.Bits() <= p.Bits() && q.Contains(p.Addr()) }) {
				out = append(out, p)
			}
		}
	}
	return out
}
