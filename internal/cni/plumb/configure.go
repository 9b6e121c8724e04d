//go:build linux

package plumb

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Configure gives the pod's end its MAC, MTU, addresses and routes, and takes away
// addresses that it should not have.
func (n *Netns) Configure(i Interface) error {
	link, err := n.handle.LinkByName(i.Name)
	if err != nil {
		return fmt.Errorf("find %s in the pod: %w", i.Name, err)
	}
	mac, err := parseMAC(i.Network.MAC)
	if err != nil {
		return err
	}
	if !slices.Equal(link.Attrs().HardwareAddr, mac) {
		if err := n.handle.LinkSetHardwareAddr(link, mac); err != nil {
			return fmt.Errorf("set MAC %s of %s: %w", mac, i.Name, err)
		}
	}
	if link.Attrs().MTU != i.MTU {
		if err := n.handle.LinkSetMTU(link, i.MTU); err != nil {
			return fmt.Errorf("set MTU %d of %s: %w", i.MTU, i.Name, err)
		}
	}
	// The link-local address is set by hand below, because that of the kernel would
	// be tentative (duplicate address detection) for a second or more.
	if err := noAutomaticAddress(n.handle, link); err != nil {
		return err
	}
	if err := n.handle.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", i.Name, err)
	}
	if err := n.setAddresses(link, withLinkLocal(i.Network.Addresses, mac)); err != nil {
		return err
	}
	for _, r := range Routes(i.Network) {
		if err := n.handle.RouteReplace(route(r).netlink(link)); err != nil {
			return fmt.Errorf("add route %s: %w", route(r), err)
		}
	}
	return nil
}

func (n *Netns) setAddresses(link netlink.Link, want []netip.Prefix) error {
	name := link.Attrs().Name
	have, err := n.addresses(link)
	if err != nil {
		return err
	}
	for _, a := range have {
		if !slices.Contains(want, a) {
			if err := n.handle.AddrDel(link, &netlink.Addr{IPNet: ipNet(a)}); err != nil {
				return fmt.Errorf("delete address %s of %s: %w", a, name, err)
			}
		}
	}
	for _, a := range want {
		if slices.Contains(have, a) {
			continue
		}
		addr := &netlink.Addr{IPNet: ipNet(a)}
		if a.Addr().Is6() {
			// OVN gives out each address once and lets a port use its own alone:
			// detection could find nothing and would delay the pod by a second.
			addr.Flags = unix.IFA_F_NODAD
		}
		if a.Addr().IsLinkLocalUnicast() {
			addr.Scope = unix.RT_SCOPE_LINK
		}
		err := n.handle.AddrAdd(link, addr)
		if a.Addr().Is6() && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)) {
			err = n.enableIPv6(name)
			if err == nil {
				err = n.handle.AddrAdd(link, addr)
			}
		}
		if err != nil {
			return fmt.Errorf("add address %s to %s: %w", a, name, err)
		}
	}
	return nil
}

// enableIPv6 undoes a container runtime's or host's net.ipv6.conf.default.disable_ipv6.
func (n *Netns) enableIPv6(name string) error {
	sysctl := "/proc/sys/net/ipv6/conf/" + name + "/disable_ipv6"
	err := n.do(func() error { return os.WriteFile(sysctl, []byte("0"), 0) })
	if err != nil {
		return fmt.Errorf("IPv6 is switched off in the pod's network namespace and could not be switched on (set net.ipv6.conf.default.disable_ipv6=0 on the node): %w", err)
	}
	return nil
}

func (n *Netns) addresses(link netlink.Link) ([]netip.Prefix, error) {
	list, err := n.handle.AddrList(link, netlink.FAMILY_ALL)
	for errors.Is(err, netlink.ErrDumpInterrupted) {
		list, err = n.handle.AddrList(link, netlink.FAMILY_ALL)
	}
	if err != nil {
		return nil, fmt.Errorf("addresses of %s: %w", link.Attrs().Name, err)
	}
	var prefixes []netip.Prefix
	for _, a := range list {
		if p, ok := prefixOf(a.IPNet); ok {
			prefixes = append(prefixes, p)
		}
	}
	return prefixes, nil
}

// withLinkLocal adds the link-local address that belongs to the MAC (RFC 4291,
// appendix A) if there is any IPv6 address; OVN's port security lets it pass.
func withLinkLocal(addresses []netip.Prefix, mac net.HardwareAddr) []netip.Prefix {
	if !slices.ContainsFunc(addresses, func(a netip.Prefix) bool { return a.Addr().Is6() }) {
		return addresses
	}
	ll := netip.AddrFrom16([16]byte{0xfe, 0x80, 8: mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
	return append(slices.Clip(addresses), netip.PrefixFrom(ll, 64))
}

// route is one route of a pod as the kernel has it.
type route world.Route

// Routes are all routes of a pod, those of its gateways first.
func Routes(n world.PodNetwork) []world.Route {
	var list []world.Route
	for _, gw := range n.Gateways {
		everything := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if gw.Is6() {
			everything = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		list = append(list, world.Route{Dest: everything, NextHop: gw})
	}
	return append(list, n.Routes...)
}

func (r route) netlink(link netlink.Link) *netlink.Route {
	k := &netlink.Route{
		LinkIndex: link.Attrs().Index,
		Dst:       ipNet(r.Dest.Masked()),
		Gw:        r.NextHop.AsSlice(),
	}
	if !r.NextHop.IsValid() && r.Dest.Addr().Is4() {
		k.Scope = netlink.SCOPE_LINK
	}
	return k
}

// String is the route as `ip route` writes it.
func (r route) String() string {
	if !r.NextHop.IsValid() {
		return r.Dest.String()
	}
	return r.Dest.String() + " via " + r.NextHop.String()
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), bits), ok
}

func parseMAC(s string) (net.HardwareAddr, error) {
	mac, err := net.ParseMAC(s)
	if err != nil || len(mac) != 6 {
		return nil, fmt.Errorf("MAC %q of the pod: want six bytes such as 0a:58:0a:f4:01:05", s)
	}
	return mac, nil
}
