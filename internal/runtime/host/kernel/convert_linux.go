package kernel

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func fromLink(l netlink.Link, names map[int]string) Link {
	a := l.Attrs()
	kind := l.Type()
	if kind == "device" {
		kind = ""
	}
	return Link{
		Index: a.Index, Name: a.Name, MAC: a.HardwareAddr.String(), MTU: a.MTU, Kind: kind,
		Up: a.Flags&net.FlagUp != 0, Loopback: a.Flags&net.FlagLoopback != 0, Master: names[a.MasterIndex],
	}
}

func fromAddr(a netlink.Addr, names map[int]string) (Addr, bool) {
	dev, ok := names[a.LinkIndex]
	if !ok {
		return Addr{}, false
	}
	out := Addr{
		Dev: dev, Prefix: prefix(a.IPNet), Label: a.Label, Scope: uint8(a.Scope),
		NoPrefixRoute: a.Flags&unix.IFA_F_NOPREFIXROUTE != 0,
		Valid:         uint32(a.ValidLft), Preferred: uint32(a.PreferedLft),
	}
	if a.Peer != nil {
		out.Peer = prefix(a.Peer)
	}
	if b, ok := netip.AddrFromSlice(a.Broadcast); ok {
		out.Broadcast = b.Unmap()
	}
	if out.Prefix.Addr().Is6() {
		// IPv4 uses the bit of "temporary" for "secondary".
		out.Temporary = a.Flags&unix.IFA_F_TEMPORARY != 0
		out.NoDAD = a.Flags&unix.IFA_F_NODAD != 0
		out.NotUsable = a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0
	}
	return out, out.Prefix.IsValid()
}

func toAddr(a Addr) *netlink.Addr {
	out := &netlink.Addr{IPNet: ipNet(a.Prefix), Scope: int(a.Scope), Label: a.Label, Broadcast: net.IPv4zero}
	if a.Peer.IsValid() {
		out.Peer = ipNet(a.Peer)
	}
	if a.Broadcast.IsValid() {
		out.Broadcast = a.Broadcast.AsSlice()
	}
	if a.NoPrefixRoute {
		out.Flags |= unix.IFA_F_NOPREFIXROUTE
	}
	if a.NoDAD && a.Prefix.Addr().Is6() {
		out.Flags |= unix.IFA_F_NODAD
	}
	if a.Leased() || a.Preferred != Forever {
		out.ValidLft, out.PreferedLft = int(a.Valid), int(a.Preferred)
	}
	return out
}

// fromRoute converts a unicast route outside of the local table, of which a few are left
// out that nothing can be said about in Route: those with an encapsulation. The next hops
// of an IPv6 route are routes of their own to the kernel, which only lists them together.
func fromRoute(r netlink.Route, names map[int]string) []Route {
	if r.Family != netlink.FAMILY_V4 && r.Family != netlink.FAMILY_V6 ||
		r.Table == TableLocal || r.Type != unix.RTN_UNICAST || r.Encap != nil || r.MPLSDst != nil {
		return nil
	}
	out := Route{
		Table: r.Table, Dst: prefix(r.Dst), Type: uint8(r.Type), TOS: uint8(r.Tos), Metric: r.Priority,
		Protocol: uint8(r.Protocol), Scope: uint8(r.Scope), Src: addr(r.Src), Expires: r.Expires,
		Metrics: Metrics{
			MTU: r.MTU, MTULock: r.MTULock, AdvMSS: r.AdvMSS, Window: r.Window, InitCwnd: r.InitCwnd,
			InitRwnd: r.InitRwnd, HopLimit: r.Hoplimit, QuickACK: r.QuickACK, Congestion: r.Congctl,
		},
	}
	if len(r.MultiPath) == 0 {
		out.Hops = []Hop{{Dev: names[r.LinkIndex], Via: via(r.Gw, r.Via), Onlink: r.Flags&unix.RTNH_F_ONLINK != 0}}
		return []Route{out}
	}
	var hops []Hop
	for _, h := range r.MultiPath {
		if h.Encap != nil {
			return nil
		}
		hops = append(hops, Hop{
			Dev: names[h.LinkIndex], Via: via(h.Gw, h.Via), Weight: h.Hops, Onlink: h.Flags&unix.RTNH_F_ONLINK != 0,
		})
	}
	if r.Family == netlink.FAMILY_V4 {
		out.Hops = hops
		return []Route{out}
	}
	routes := make([]Route, 0, len(hops))
	for _, h := range hops {
		one := out
		one.Hops = []Hop{h}
		routes = append(routes, one)
	}
	return routes
}

func (n *Netlink) toRoute(r Route) (*netlink.Route, error) {
	out := &netlink.Route{
		Table: r.Table, Dst: ipNet(r.Dst), Type: int(r.Type), Tos: int(r.TOS), Priority: r.Metric,
		Protocol: netlink.RouteProtocol(r.Protocol), Scope: netlink.Scope(r.Scope), Expires: r.Expires,
		MTU: r.Metrics.MTU, MTULock: r.Metrics.MTULock, AdvMSS: r.Metrics.AdvMSS, Window: r.Metrics.Window,
		InitCwnd: r.Metrics.InitCwnd, InitRwnd: r.Metrics.InitRwnd, Hoplimit: r.Metrics.HopLimit,
		QuickACK: r.Metrics.QuickACK, Congctl: r.Metrics.Congestion,
	}
	if r.Src.IsValid() {
		out.Src = r.Src.AsSlice()
	}
	if len(r.Hops) == 0 {
		return nil, fmt.Errorf("it leads nowhere")
	}
	var hops []*netlink.NexthopInfo
	for _, h := range r.Hops {
		l, err := n.h.LinkByName(h.Dev)
		if err != nil {
			return nil, err
		}
		nh := &netlink.NexthopInfo{LinkIndex: l.Attrs().Index, Hops: h.Weight}
		if h.Onlink {
			nh.Flags = unix.RTNH_F_ONLINK
		}
		switch {
		case !h.Via.IsValid():
		case h.Via.Is4() == r.Dst.Addr().Is4():
			nh.Gw = h.Via.AsSlice()
		default:
			nh.Via = &netlink.Via{AddrFamily: netlink.FAMILY_V6, Addr: h.Via.AsSlice()}
		}
		hops = append(hops, nh)
	}
	if one := hops[0]; len(hops) == 1 && one.Hops == 0 {
		out.LinkIndex, out.Gw, out.Via, out.Flags = one.LinkIndex, one.Gw, one.Via, one.Flags
	} else {
		out.MultiPath = hops
	}
	return out, nil
}

func via(gw net.IP, d netlink.Destination) netip.Addr {
	if v, ok := d.(*netlink.Via); ok && v != nil {
		return addr(v.Addr)
	}
	return addr(gw)
}

func addr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

func prefix(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(addr(n.IP), bits)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
