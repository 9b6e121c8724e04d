package host

import (
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/kernel"
)

// sysctl is a kernel setting that should have one of a few values.
type sysctl struct {
	key   string
	value string   // to set
	also  []string // as good
	// lasting settings outlive our devices: what they were is remembered before they are
	// set, and put back by Cleanup.
	lasting bool
}

func (s sysctl) ok(have string) bool { return have == s.value || slices.Contains(s.also, have) }

// Values of the sysctls below (Documentation/networking/ip-sysctl.rst).
const (
	rpFilterLoose    = "2" // the source is reachable by any device
	acceptRARouter   = "2" // accept router advertisements although forwarding is on
	arpIgnoreForeign = "1" // answer only for addresses of the device asked
	arpIgnoreAll     = "8" // do not answer
)

func conf(version, dev, name string) string { return "net/" + version + "/conf/" + dev + "/" + name }

// desiredSysctls are in order: IPv6 forwarding throws away the default routes that were
// learnt from routers, except on devices that say that they want them nevertheless.
func desiredSysctls(in input) []sysctl {
	bridge := in.bridge()
	out := []sysctl{
		{key: conf("ipv4", bridge, "forwarding"), value: "1"},
		// While addresses are on both devices, replies come in by the bridge whose route
		// is by the NIC.
		{key: conf("ipv4", bridge, "rp_filter"), value: rpFilterLoose},
		{key: conf("ipv4", ManagementPort, "forwarding"), value: "1"},
		{key: conf("ipv4", ManagementPort, "rp_filter"), value: rpFilterLoose},
	}
	if in.services != nil {
		out = append(out, sysctl{key: conf("ipv4", ManagementPort, "route_localnet"), value: in.routeLocalnet()})
	}
	pods := slices.Contains(in.families(), ipv6)
	// The host may have IPv6 though its pods do not.
	own := slices.ContainsFunc(in.uplink.addrs, func(a kernel.Addr) bool { return a.Prefix.Addr().Is6() })
	if pods || own || in.acceptRA {
		acceptRA := "0"
		if in.acceptRA {
			acceptRA = acceptRARouter
		}
		out = append(out,
			sysctl{key: conf("ipv6", bridge, "disable_ipv6"), value: "0"},
			sysctl{key: conf("ipv6", bridge, "keep_addr_on_down"), value: "1"},
			sysctl{key: conf("ipv6", bridge, "accept_ra"), value: acceptRA})
	}
	if pods {
		out = append(out,
			sysctl{key: conf("ipv6", ManagementPort, "disable_ipv6"), value: "0"},
			sysctl{key: conf("ipv6", ManagementPort, "keep_addr_on_down"), value: "1"},
			sysctl{key: conf("ipv6", "all", "forwarding"), value: "1", lasting: true})
	}
	if in.netdev() {
		// The stack sees frames that the switch forwards: it must not answer for the
		// management port's address from the host's end of a pod's veth.
		out = append(out, sysctl{
			key: conf("ipv4", "all", "arp_ignore"), value: arpIgnoreForeign, also: []string{"2", arpIgnoreAll}, lasting: true,
		})
	}
	return out
}

// routeLocalnet lets packets of the loopback addresses pass the management port while a
// host port is open there: connections with it leave by that port and are translated
// only then. See loopbackGuard.
func (in input) routeLocalnet() string {
	if slices.ContainsFunc(in.outside(ipv4), (*Outside).loopback) {
		return "1"
	}
	return "0"
}

// acceptsRA tells whether the NIC was configured by router advertisements: then the
// bridge must be. Forwarding is looked at as it was before we switched it on.
func acceptsRA(u uplink, k *kernel.State, read func(key string) string) bool {
	for _, r := range k.Routes {
		if r.Protocol == kernel.ProtocolRA && r.Dst.Addr().Is6() && (r.Uses(u.link.Name) || r.Uses(u.bridge)) {
			return true
		}
	}
	forwarding := conf("ipv6", "all", "forwarding")
	before, ok := u.memory.Sysctls[forwarding]
	if !ok {
		before = read(forwarding)
	}
	switch read(conf("ipv6", u.link.Name, "accept_ra")) {
	case acceptRARouter:
		return true
	case "1":
		return before != "1"
	}
	return false
}

// guestSysctls keep what other devices, and the NIC before the move, learnt from routers
// when forwarding is switched on; they are set before that.
func guestSysctls(in input, k *kernel.State) []sysctl {
	if !slices.Contains(in.families(), ipv6) {
		return nil
	}
	var out []sysctl
	for _, l := range k.Links {
		learnt := slices.ContainsFunc(k.Routes, func(r kernel.Route) bool {
			return r.Protocol == kernel.ProtocolRA && r.Dst.Addr().Is6() && r.Uses(l.Name)
		})
		if learnt && l.Name != in.bridge() {
			out = append(out, sysctl{key: conf("ipv6", l.Name, "accept_ra"), value: acceptRARouter, also: []string{"0"}, lasting: true})
		}
	}
	return out
}

// nicSysctls silence the NIC's own stack once the bridge has taken its place.
func nicSysctls(in input) []sysctl {
	nic := in.uplink.link.Name
	out := []sysctl{{key: conf("ipv6", nic, "disable_ipv6"), value: "1", lasting: true}}
	if in.netdev() {
		out = append(out, sysctl{key: conf("ipv4", nic, "arp_ignore"), value: arpIgnoreAll, lasting: true})
	}
	return out
}
