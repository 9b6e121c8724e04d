// Package plan is the plan of addresses: every address, MAC and key that follows from a
// subnet and a number by a fixed rule, so that nobody has to allocate, store or exchange
// it. The rules are those of OVN-Kubernetes, so that nodes of both work together.
//
//	node subnet   .1 gateway (router port)   .2 management port   then pods
//	join subnet   +1 cluster router          +id gateway router of the node
//	transit       +id cluster router of the node
//	masquerade    +1 OVN, +2 host, +3 host for external traffic policy Local,
//	              +4 dummy next hop, +5 hairpin, up to +9 kept free
package plan

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
)

// FirstNodeID is the least node id: 0 is no id, and 1 is the cluster router's address on
// the join subnet.
const FirstNodeID = 2

// MaxNodeID is the greatest node id: the transit port's tunnel key is the id, and OVN's
// keys of logical ports have 15 bits.
const MaxNodeID = 32767

// Offsets in a node's subnet.
const (
	gatewayOffset    = 1
	managementOffset = 2
)

// clusterRouterOffset is the cluster router's place in the join subnet.
const clusterRouterOffset = 1

// Nth is the address n places after the prefix's first address; ok is false when the
// prefix ends before it.
func Nth(p netip.Prefix, n uint64) (a netip.Addr, ok bool) {
	b := p.Masked().Addr().As16()
	low := binary.BigEndian.Uint64(b[8:])
	sum := low + n
	if sum < low { // the carry goes into the upper half
		high := binary.BigEndian.Uint64(b[:8])
		if high == math.MaxUint64 {
			return netip.Addr{}, false
		}
		binary.BigEndian.PutUint64(b[:8], high+1)
	}
	binary.BigEndian.PutUint64(b[8:], sum)
	a = netip.AddrFrom16(b)
	if p.Addr().Is4() {
		if !a.Is4In6() {
			return netip.Addr{}, false
		}
		a = a.Unmap()
	}
	return a, p.Contains(a)
}

// Last is the greatest address of a prefix; for IPv4 the broadcast address.
func Last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 1 << (7 - bit%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// Gateway is the router's address in a node's subnet, .1.
func Gateway(subnet netip.Prefix) netip.Addr { return small(subnet, gatewayOffset) }

// Management is the management port's address in a node's subnet, .2.
func Management(subnet netip.Prefix) netip.Addr { return small(subnet, managementOffset) }

// Reserved are the addresses of a node's subnet that no pod may get: the subnet's own,
// the gateway, the management port and, for IPv4, broadcast.
func Reserved(subnet netip.Prefix) []netip.Addr {
	r := []netip.Addr{subnet.Masked().Addr(), Gateway(subnet), Management(subnet)}
	if subnet.Addr().Is4() {
		r = append(r, Last(subnet))
	}
	return r
}

// MinHostBits is how many bits a node's subnet must leave for hosts: four addresses, of
// which one is left for a pod.
const MinHostBits = 2

// CheckNodeSubnet tells why a prefix cannot be a node's subnet.
func CheckNodeSubnet(p netip.Prefix) error {
	switch {
	case !p.IsValid():
		return errors.New("it is not a prefix")
	case p != p.Masked():
		return fmt.Errorf("%s has host bits set; the subnet is %s", p, p.Masked())
	case p.Addr().BitLen()-p.Bits() < MinHostBits:
		return fmt.Errorf("%s is too small: gateway, management port and one pod need at least a /%d", p, p.Addr().BitLen()-MinHostBits)
	}
	return nil
}

// small is Nth for the small offsets that every prefix has that passes CheckNodeSubnet;
// for others it gives the zero Addr.
func small(p netip.Prefix, n uint64) netip.Addr {
	a, ok := Nth(p, n)
	if !ok {
		return netip.Addr{}
	}
	return a
}

// With puts an address together with the length of the prefix it is from.
func With(a netip.Addr, p netip.Prefix) netip.Prefix { return netip.PrefixFrom(a, p.Bits()) }

// JoinClusterRouter are the cluster router's addresses on the join switch, one for each
// join subnet.
func JoinClusterRouter(join []netip.Prefix) ([]netip.Prefix, error) {
	return offset(join, clusterRouterOffset)
}

// JoinGatewayRouter are the addresses of a node's gateway router on the join switch, one
// for each join subnet.
func JoinGatewayRouter(join []netip.Prefix, nodeID int) ([]netip.Prefix, error) {
	return nodeAddresses(join, nodeID)
}

// Transit are the addresses of a node's cluster router on the transit switch, one for
// each transit subnet.
func Transit(transit []netip.Prefix, nodeID int) ([]netip.Prefix, error) {
	return nodeAddresses(transit, nodeID)
}

func nodeAddresses(subnets []netip.Prefix, nodeID int) ([]netip.Prefix, error) {
	if nodeID < FirstNodeID || nodeID > MaxNodeID {
		return nil, fmt.Errorf("node id %d is not between %d and %d", nodeID, FirstNodeID, MaxNodeID)
	}
	return offset(subnets, uint64(nodeID))
}

func offset(subnets []netip.Prefix, n uint64) ([]netip.Prefix, error) {
	out := make([]netip.Prefix, 0, len(subnets))
	for _, s := range subnets {
		a, ok := Nth(s, n)
		if !ok || s.Addr().Is4() && a == Last(s) {
			return nil, fmt.Errorf("subnet %s has no address for number %d: it has room for numbers up to %d", s, n, Capacity([]netip.Prefix{s}))
		}
		out = append(out, With(a, s))
	}
	return out, nil
}

// Capacity is the greatest node id for which all the subnets (join and transit) have an
// address.
func Capacity(subnets []netip.Prefix) int {
	greatest := MaxNodeID
	for _, s := range subnets {
		hostBits := s.Addr().BitLen() - s.Bits()
		if hostBits > 15 { // 2^15-1 = MaxNodeID
			continue
		}
		n := 1<<hostBits - 1
		if s.Addr().Is4() {
			n-- // broadcast
		}
		greatest = min(greatest, n)
	}
	return greatest
}

// Masquerade is the use of an address in a masquerade subnet; its value is the offset.
type Masquerade uint64

// The uses of masquerade addresses.
const (
	MasqueradeOVN          Masquerade = 1 // source of OVN's traffic to the host
	MasqueradeHost         Masquerade = 2 // source of the host's traffic to services
	MasqueradeHostETPLocal Masquerade = 3 // the same under external traffic policy Local
	MasqueradeNextHop      Masquerade = 4 // dummy next hop: nobody has it
	MasqueradeHairpin      Masquerade = 5 // source of a pod that reaches itself by a service
)

// MasqueradeAddr is an address of the masquerade subnet; ok is false when the subnet is
// too small for it (it needs at least 3 host bits).
func MasqueradeAddr(subnet netip.Prefix, use Masquerade) (netip.Addr, bool) {
	return Nth(subnet, uint64(use))
}

// firstTunnelKey is the key of the transit switch of network 0: the last 65,533 of the
// 24-bit keys, out of the way of northd, which gives out keys from 1 upwards.
const firstTunnelKey = 16711683

// TransitTunnelKey is the datapath tunnel key of a network's transit switch, the same in
// all zones.
func TransitTunnelKey(networkID int) int { return firstTunnelKey + networkID }

// MAC is the MAC address that belongs to an IP address: 0a:58 and the four bytes of an
// IPv4 address, or the first four of the SHA-256 sum of an IPv6 address as text.
func MAC(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		b := a.As4()
		return net.HardwareAddr{0x0a, 0x58, b[0], b[1], b[2], b[3]}.String()
	}
	b := sha256.Sum256([]byte(a.String()))
	return net.HardwareAddr{0x0a, 0x58, b[0], b[1], b[2], b[3]}.String()
}

// MACOf is the MAC address of a port with several addresses: that of the first IPv4
// address, else of the first.
func MACOf(addrs ...netip.Addr) string {
	if len(addrs) == 0 {
		return ""
	}
	if i := slices.IndexFunc(addrs, netip.Addr.Is4); i >= 0 {
		return MAC(addrs[i])
	}
	return MAC(addrs[0])
}

// LinkLocal is the link-local IPv6 address that a port with the MAC gives itself (RFC 4291,
// appendix A); the zero address when it is no MAC.
func LinkLocal(mac string) netip.Addr {
	m, err := net.ParseMAC(mac)
	if err != nil || len(m) != 6 {
		return netip.Addr{}
	}
	const universal = 0x02
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: m[0] ^ universal, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
}

// Addrs are the addresses of prefixes without their lengths.
func Addrs(prefixes []netip.Prefix) []netip.Addr {
	out := make([]netip.Addr, 0, len(prefixes))
	for _, p := range prefixes {
		out = append(out, p.Addr())
	}
	return out
}

// OfFamily is the first of the prefixes that is of the same family as a.
func OfFamily(prefixes []netip.Prefix, a netip.Addr) (netip.Prefix, bool) {
	for _, p := range prefixes {
		if p.Addr().Is4() == a.Is4() {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// AddrOfFamily is the first of the addresses that is of the same family as a.
func AddrOfFamily(addrs []netip.Addr, a netip.Addr) (netip.Addr, bool) {
	for _, b := range addrs {
		if b.Is4() == a.Is4() {
			return b, true
		}
	}
	return netip.Addr{}, false
}
