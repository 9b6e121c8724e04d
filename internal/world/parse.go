package world

import (
	"net/netip"
	"unique"

	netutils "k8s.io/utils/net"
)

// parseAddr reads an address as Kubernetes' own components do: old objects may have
// leading zeros, or IPv4 addresses written as IPv6.
func parseAddr(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	if err != nil {
		old, ok := netip.AddrFromSlice(netutils.ParseIPSloppy(text))
		if !ok {
			return netip.Addr{}, err
		}
		a = old
	}
	return a.Unmap().WithZone(""), nil
}

// parsePrefix reads a range likewise.
func parsePrefix(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		_, old, sloppyErr := netutils.ParseCIDRSloppy(text)
		if sloppyErr != nil {
			return netip.Prefix{}, err
		}
		a, _ := netip.AddrFromSlice(old.IP)
		bits, _ := old.Mask.Size()
		p = netip.PrefixFrom(a, bits)
	}
	if a := p.Addr(); a.Is4In6() && p.Bits() >= mappedBits {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-mappedBits)
	}
	return p.Masked(), nil
}

// mappedBits is how much longer the prefix of an IPv4 range is when written as IPv6.
const mappedBits = 96

// interned is one copy of a string that many objects have: each comes with its own.
func interned(s string) string { return unique.Make(s).Value() }
