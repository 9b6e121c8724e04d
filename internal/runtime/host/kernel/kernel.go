// Package kernel is the host's network stack as values: links, addresses, routes,
// neighbours and sysctls, the changes that can be made to them, and how to be told when
// somebody else makes one. Netlink is the real one, Fake a table that behaves like it.
package kernel

import (
	"math"
	"net/netip"
	"slices"
)

// Forever is the lifetime in seconds of an address that nobody leased.
const Forever = math.MaxUint32

// Scopes of addresses and routes, as in include/uapi/linux/rtnetlink.h.
const (
	ScopeGlobal = 0
	ScopeLink   = 253
	ScopeHost   = 254
)

// Protocols of routes: who made them.
const (
	ProtocolKernel = 2 // follows from an address
	ProtocolRA     = 9 // follows from a router advertisement
)

// TableMain is the routing table that lookups end in, TableLocal the kernel's own.
const (
	TableMain  = 254
	TableLocal = 255
)

// TypeUnicast is the type of a route that leads to a next hop.
const TypeUnicast = 1

// The metrics that a route gets when none is given.
const (
	DefaultMetric4 = 0
	DefaultMetric6 = 1024
	// ConnectedMetric6 is the metric of the route that follows from an IPv6 address.
	ConnectedMetric6 = 256
)

// State is what the network stack reports.
type State struct {
	Links     []Link
	Addrs     []Addr  // of every link, in the kernel's order
	Routes    []Route // those asked for and every default route, without the local table's
	Neighbors []Neighbor
}

// Link is a network device.
type Link struct {
	Index    int
	Name     string
	MAC      string
	MTU      int    // bytes
	Up       bool   // administratively
	Kind     string // "veth", "bond", "bridge", "tun", "openvswitch"; empty for hardware
	Master   string // the device it is a port of
	Loopback bool
}

// Addr is an address of a link.
type Addr struct {
	Dev       string       `json:"dev,omitempty"`
	Prefix    netip.Prefix `json:"prefix"`         // the address and its prefix length, not masked
	Peer      netip.Prefix `json:"peer,omitzero"`  // of a point-to-point address
	Broadcast netip.Addr   `json:"brd,omitzero"`   // IPv4
	Label     string       `json:"label,omitzero"` // IPv4
	Scope     uint8        `json:"scope,omitzero"`
	// NoPrefixRoute is set when no connected route follows from the address.
	NoPrefixRoute bool `json:"noPrefixRoute,omitzero"`
	// NoDAD is set when the kernel does not look for duplicates of an IPv6 address.
	NoDAD bool `json:"noDAD,omitzero"`
	// Temporary is set for privacy addresses (RFC 8981), NotUsable while an address is
	// tentative or found to be a duplicate.
	Temporary bool `json:"temporary,omitzero"`
	NotUsable bool `json:"-"`
	// Valid and Preferred are seconds left, or Forever.
	Valid     uint32 `json:"valid,omitzero"`
	Preferred uint32 `json:"preferred,omitzero"`
}

// Leased tells whether the address ends unless somebody renews it.
func (a Addr) Leased() bool { return a.Valid != Forever }

// Global tells whether the address means the same beyond its link.
func (a Addr) Global() bool {
	ip := a.Prefix.Addr()
	return a.Scope < ScopeLink && !ip.IsLoopback() && !ip.IsLinkLocalUnicast()
}

// Is tells whether b is the same address of the same link; flags and lifetimes may differ.
func (a Addr) Is(b Addr) bool {
	return a.Dev == b.Dev && a.Prefix == b.Prefix && a.Peer == b.Peer
}

// Connected is the destination of the route that follows from the address.
func (a Addr) Connected() netip.Prefix {
	if a.Peer.IsValid() {
		return a.Peer.Masked()
	}
	return a.Prefix.Masked()
}

// ConnectedRoute is the route that the kernel makes for the address; ok is false when it
// makes none.
func (a Addr) ConnectedRoute() (r Route, ok bool) {
	dst := a.Connected()
	r = Route{Table: TableMain, Dst: dst, Type: TypeUnicast, Protocol: ProtocolKernel, Hops: []Hop{{Dev: a.Dev}}}
	if dst.Addr().Is4() {
		r.Scope, r.Src = ScopeLink, a.Prefix.Addr()
	} else {
		r.Metric = ConnectedMetric6
	}
	return r, !a.NoPrefixRoute && !dst.IsSingleIP()
}

// Route is an entry of a routing table.
type Route struct {
	Table    int          `json:"table"`
	Dst      netip.Prefix `json:"dst"`
	Type     uint8        `json:"type"`
	TOS      uint8        `json:"tos,omitzero"`
	Metric   int          `json:"metric"`
	Protocol uint8        `json:"protocol"`
	Scope    uint8        `json:"scope,omitzero"`
	Src      netip.Addr   `json:"src,omitzero"`
	Hops     []Hop        `json:"hops,omitempty"`
	Metrics  Metrics      `json:"metrics,omitzero"`
	Expires  int          `json:"-"` // seconds left, 0 for ever
}

// Hop is one way that a route leads.
type Hop struct {
	Dev    string     `json:"dev,omitempty"`
	Via    netip.Addr `json:"via,omitzero"`
	Weight int        `json:"weight,omitzero"` // 1 less than `ip route` shows
	Onlink bool       `json:"onlink,omitzero"`
}

// Metrics are what a route says of the path; 0 leaves it to the kernel.
type Metrics struct {
	MTU        int    `json:"mtu,omitzero"`
	MTULock    bool   `json:"mtuLock,omitzero"`
	AdvMSS     int    `json:"advmss,omitzero"`
	Window     int    `json:"window,omitzero"`
	InitCwnd   int    `json:"initcwnd,omitzero"`
	InitRwnd   int    `json:"initrwnd,omitzero"`
	HopLimit   int    `json:"hoplimit,omitzero"`
	QuickACK   int    `json:"quickack,omitzero"`
	Congestion string `json:"congctl,omitzero"`
}

// RouteKey is what makes the kernel look at two routes as alternatives.
type RouteKey struct {
	Table  int
	Dst    netip.Prefix
	TOS    uint8
	Metric int
}

// Key identifies the route among those of the kernel.
func (r Route) Key() RouteKey { return RouteKey{r.Table, r.Dst, r.TOS, r.Metric} }

// Is tells whether b is the same route; its remaining lifetime may differ.
func (r Route) Is(b Route) bool {
	return r.Key() == b.Key() && r.Type == b.Type && r.Protocol == b.Protocol && r.Scope == b.Scope &&
		r.Src == b.Src && r.Metrics == b.Metrics && slices.Equal(r.Hops, b.Hops)
}

// Uses tells whether one of the route's hops is by that device.
func (r Route) Uses(dev string) bool {
	return slices.ContainsFunc(r.Hops, func(h Hop) bool { return h.Dev == dev })
}

// Default tells whether the route leads everywhere.
func (r Route) Default() bool { return r.Dst.Bits() == 0 }

// Moved is the route with every hop by one device now by another, and its source kept.
func (r Route) Moved(from, to string) Route {
	r.Hops = slices.Clone(r.Hops)
	for i := range r.Hops {
		if r.Hops[i].Dev == from {
			r.Hops[i].Dev = to
		}
	}
	return r
}

// Neighbor is a permanent entry of the neighbour table.
type Neighbor struct {
	Dev  string
	Addr netip.Addr
	MAC  string
}

// Link returns the link of that name.
func (s *State) Link(name string) (Link, bool) {
	for _, l := range s.Links {
		if l.Name == name {
			return l, true
		}
	}
	return Link{}, false
}

// AddrsOf returns the addresses of a link in the kernel's order.
func (s *State) AddrsOf(dev string) []Addr {
	var out []Addr
	for _, a := range s.Addrs {
		if a.Dev == dev {
			out = append(out, a)
		}
	}
	return out
}

// RoutesOf returns the routes by a device.
func (s *State) RoutesOf(dev string) []Route {
	var out []Route
	for _, r := range s.Routes {
		if r.Uses(dev) {
			out = append(out, r)
		}
	}
	return out
}

// HasAddr tells whether the address is there.
func (s *State) HasAddr(a Addr) bool { return slices.ContainsFunc(s.Addrs, a.Is) }

// HasRoute tells whether the route is there.
func (s *State) HasRoute(r Route) bool { return slices.ContainsFunc(s.Routes, r.Is) }

// HasNeighbor tells whether the entry is there.
func (s *State) HasNeighbor(n Neighbor) bool { return slices.Contains(s.Neighbors, n) }
