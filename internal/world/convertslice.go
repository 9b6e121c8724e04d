package world

import (
	"fmt"
	"net/netip"
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"
)

// FromEndpointSlice takes what features need out of an EndpointSlice.
func FromEndpointSlice(o *discoveryv1.EndpointSlice) *EndpointSlice {
	s := &EndpointSlice{Namespace: interned(o.Namespace), Name: o.Name, UID: string(o.UID), Service: o.Labels[discoveryv1.LabelServiceName]}
	if o.AddressType != discoveryv1.AddressTypeIPv4 && o.AddressType != discoveryv1.AddressTypeIPv6 {
		return s // names are for those who resolve them
	}
	s.Ports = make([]EndpointPort, 0, len(o.Ports))
	for _, p := range o.Ports {
		s.port(p)
	}
	s.Endpoints = make([]Endpoint, 0, len(o.Endpoints))
	addrs := make([]netip.Addr, 0, len(o.Endpoints))
	var shared hints
	for i := range o.Endpoints {
		e := &o.Endpoints[i]
		a, ok := s.addr(e, o.AddressType)
		if !ok {
			continue
		}
		addrs = append(addrs, a) // one array for all
		out := endpoint(e)
		out.Addrs = addrs[len(addrs)-1 : len(addrs) : len(addrs)]
		if e.Hints != nil {
			out.ForNodes = shared.of(len(e.Hints.ForNodes), func(i int) string { return e.Hints.ForNodes[i].Name })
			out.ForZones = shared.of(len(e.Hints.ForZones), func(i int) string { return e.Hints.ForZones[i].Name })
		}
		s.Endpoints = append(s.Endpoints, out)
	}
	return s
}

func (s *EndpointSlice) problem(field, message, remedy string) {
	s.Problems = append(s.Problems, Problem{Field: field, Message: message, Remedy: remedy})
}

func (s *EndpointSlice) port(p discoveryv1.EndpointPort) {
	if p.Port == nil {
		return // of no particular port: not for services
	}
	name := ""
	if p.Name != nil {
		name = *p.Name
	}
	protocol, ok := protocolOf(p.Protocol)
	if !ok || *p.Port < 1 || *p.Port > 65535 {
		s.problem("ports", fmt.Sprintf("port %d of %q is none that a backend can have; it is left out", *p.Port, name),
			"use a port from 1 to 65535 of TCP, UDP or SCTP")
		return
	}
	s.Ports = append(s.Ports, EndpointPort{Name: interned(name), Protocol: protocol, Port: uint16(*p.Port)})
}

// endpoint has the conditions that the API documents for those not given.
func endpoint(e *discoveryv1.Endpoint) Endpoint {
	c := e.Conditions
	out := Endpoint{
		Ready:       c.Ready == nil || *c.Ready,
		Serving:     c.Serving == nil || *c.Serving,
		Terminating: c.Terminating != nil && *c.Terminating,
	}
	if e.NodeName != nil {
		out.Node = interned(*e.NodeName)
	}
	return out
}

// addr is the end point's address: of several the first, as for kube-proxy; the API gives
// the others no meaning.
func (s *EndpointSlice) addr(e *discoveryv1.Endpoint, family discoveryv1.AddressType) (netip.Addr, bool) {
	if len(e.Addresses) == 0 {
		return netip.Addr{}, false
	}
	a, err := parseAddr(e.Addresses[0])
	if why := unusable(a, err, family); why != "" {
		s.problem("endpoints", fmt.Sprintf("address %q %s; it is left out", e.Addresses[0], why), "correct the address, or what writes the EndpointSlice")
		return netip.Addr{}, false
	}
	return a, true
}

// unusable tells why an address cannot be a backend's: every node reaches another one, or
// none, by it.
func unusable(a netip.Addr, err error, family discoveryv1.AddressType) string {
	switch {
	case err != nil:
		return "is not an IP address"
	case a.Is4() != (family == discoveryv1.AddressTypeIPv4):
		return "is not of the slice's family " + string(family)
	case a.IsLoopback():
		return "is a loopback address"
	case a.IsUnspecified(), a.IsMulticast(), a.IsLinkLocalUnicast():
		return "is not one that other nodes can reach"
	}
	return ""
}

// hints are lists of names that many end points of a slice have in common.
type hints struct{ lists [][]string }

// maxHints bounds the lists compared: there are few zones, but node hints of every end
// point may differ.
const maxHints = 8

func (h *hints) of(count int, name func(int) string) []string {
	if count == 0 {
		return nil
	}
	names := make([]string, count)
	for i := range names {
		names[i] = interned(name(i))
	}
	for _, list := range h.lists {
		if slices.Equal(list, names) {
			return list
		}
	}
	if len(h.lists) < maxHints {
		h.lists = append(h.lists, names)
	}
	return names
}
