package host

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/kernel"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/ovs"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Facts are what the cluster has to know of a host: they become the annotations of its
// Node.
type Facts struct {
	ChassisID string
	// Uplink is the gateway NIC, Bridge the bridge that stands for it.
	Uplink, Bridge string
	// MAC is shared by the NIC, the bridge and the gateway router.
	MAC string
	// Addresses are those of the gateway, the primary one of each family first.
	Addresses []netip.Prefix
	// Primary is at most one per family.
	Primary  []netip.Prefix
	NextHops []netip.Addr // at most one per family
	EncapIPs []netip.Addr
	// HostAddrs are all addresses of the host that other hosts could use.
	HostAddrs []netip.Prefix
	// UplinkMTU is the NIC's, PodMTU what is left for pods, in bytes.
	UplinkMTU, PodMTU int
	// NoGatewayMTU is true when the datapath cannot check the length of packets.
	NoGatewayMTU bool
}

// Equal tells whether nothing differs.
func (f Facts) Equal(g Facts) bool {
	return f.ChassisID == g.ChassisID && f.Uplink == g.Uplink && f.Bridge == g.Bridge && f.MAC == g.MAC &&
		f.UplinkMTU == g.UplinkMTU && f.PodMTU == g.PodMTU && f.NoGatewayMTU == g.NoGatewayMTU &&
		slices.Equal(f.Addresses, g.Addresses) && slices.Equal(f.Primary, g.Primary) && slices.Equal(f.NextHops, g.NextHops) &&
		slices.Equal(f.EncapIPs, g.EncapIPs) && slices.Equal(f.HostAddrs, g.HostAddrs)
}

// Gateway is how the node is attached to its external network.
func (f Facts) Gateway(node string, mode world.GatewayMode) *world.Gateway {
	return &world.Gateway{
		Mode: mode, BridgeID: f.Bridge, InterfaceID: localnetPort(f.Bridge, node), MAC: f.MAC,
		Addresses: f.Addresses, NextHops: f.NextHops, NodePort: true,
	}
}

// localnetPort is the name of the logical port that is the external bridge.
func localnetPort(bridge, node string) string { return bridge + "_" + node }

// Bytes that GENEVE with OVN's option adds to a packet: outer IP 20 or 40, UDP 8, GENEVE
// 8+8, inner Ethernet 14.
const (
	overhead4 = 58
	overhead6 = 78
	// minMTU6 is the least MTU of a link that carries IPv6 (RFC 8200).
	minMTU6 = 1280
)

// have is what the host reports.
type have struct {
	kernel *kernel.State
	ovs    *ovs.State
	stored string // the memory as the database has it
	boot   string
	now    time.Time
}

// discover finds the gateway NIC and what follows from it. The error is a *Reason.
func discover(c Config, z Zone, h *have) (uplink, Facts, error) {
	if c.Config.Gateway.VLAN != 0 {
		return uplink{}, Facts{}, reason(CodeVLAN,
			"leave gateway.vlan at 0, make the VLAN device with the host's own configuration and name it in gateway.interface",
			"gateway.vlan is %d, but the host's own traffic cannot be tagged by the bridge", c.Config.Gateway.VLAN)
	}
	nic, err := findNIC(c, h)
	if err != nil {
		return uplink{}, Facts{}, err
	}
	u := merge(h, nic, c.bridge())
	f := Facts{
		Uplink: nic.Name, Bridge: c.bridge(), MAC: nic.MAC, UplinkMTU: nic.MTU, NoGatewayMTU: !c.Network.GatewayMTUCheck || c.netdev(),
	}
	f.NextHops = nextHops(c, h, u)
	if err := addresses(c, z, h, u, &f); err != nil {
		return u, f, err
	}
	if f.EncapIPs, err = encap(c, z, f); err != nil {
		return u, f, err
	}
	return u, f, checkMTU(c, &f)
}

func asError(r *Reason) error {
	if r == nil {
		return nil
	}
	return r
}

// findNIC finds the gateway NIC: the one the bridge already has, the configured one, or
// the one of the default route.
func findNIC(c Config, h *have) (kernel.Link, error) {
	owned, err := ownedNIC(c, h)
	if err != nil {
		return kernel.Link{}, err
	}
	name := c.Config.Gateway.Interface
	switch {
	case name == "" && owned != "":
		name = owned
	case name == "":
		if name, err = defaultRouteNIC(c, h); err != nil {
			return kernel.Link{}, err
		}
	case owned != "" && owned != name:
		return kernel.Link{}, reason(CodeBadInterface,
			"set gateway.interface to "+owned+", or run `ovnkctl node cleanup` on this node to give its addresses back first",
			"gateway.interface is %s, but %s was built on %s", name, c.bridge(), owned)
	}
	l, ok := h.kernel.Link(name)
	if !ok {
		return kernel.Link{}, reason(CodeNoInterface, "set gateway.interface to one of them",
			"gateway interface %s does not exist on node %s; it has %s", name, c.Node, strings.Join(candidates(c, h), ", "))
	}
	return l, asError(usable(c, h, l))
}

// ownedNIC is the NIC that the bridge was built on, empty if none yet.
func ownedNIC(c Config, h *have) (string, error) {
	b, ok := h.ovs.Bridges[c.bridge()]
	if !ok {
		if m := readMemory(h.ovs); m.Boot == h.boot {
			return m.NIC, nil
		}
		return "", nil
	}
	if nic := b.ExternalIDs[keyUplink]; nic != "" {
		return nic, nil
	}
	var nics []string
	for name, p := range b.Ports {
		if p.Bond {
			return "", reason(CodeBadInterface, "make the bond with the host's own configuration and name it in gateway.interface",
				"port %s of bridge %s is a bond made by Open vSwitch", name, c.bridge())
		}
		if p.Type == "" && name != c.bridge() {
			nics = append(nics, name)
		}
	}
	if len(nics) > 1 {
		slices.Sort(nics)
		return "", reason(CodeBadInterface, "set external_ids:"+keyUplink+" of the bridge to the one that leads outside",
			"bridge %s has several NICs: %s", c.bridge(), strings.Join(nics, ", "))
	}
	return strings.Join(nics, ""), nil
}

// defaultRouteNIC is the NIC that all families' default routes leave by.
func defaultRouteNIC(c Config, h *have) (string, error) {
	const remedy = "set gateway.interface to the NIC that other nodes are reached by"
	found := map[family]string{}
	for _, f := range c.families() {
		r, ok := defaultRoute(f, h.kernel.Routes, "")
		if ok && r.Hops[0].Dev == c.bridge() {
			return "", reason(CodeBadInterface, remedy,
				"the %s default route is by %s, which has no NIC that leads outside", f, c.bridge())
		}
		if ok {
			found[f] = r.Hops[0].Dev
		}
	}
	switch {
	case len(found) == 0:
		return "", reason(CodeNoDefaultRoute, "add a default route, or "+remedy, "node %s has no default route", c.Node)
	case len(found) == 2 && found[ipv4] != found[ipv6]:
		return "", reason(CodeBadInterface, remedy,
			"the IPv4 default route is by %s and the IPv6 one by %s: which is the gateway NIC cannot be told", found[ipv4], found[ipv6])
	case found[ipv4] != "":
		return found[ipv4], nil
	}
	return found[ipv6], nil
}

// defaultRoute is the family's default route of the least metric, by one device if given.
func defaultRoute(f family, routes []kernel.Route, dev string) (kernel.Route, bool) {
	var best kernel.Route
	ok := false
	for _, r := range routes {
		if !r.Default() || r.Table != kernel.TableMain || !f.of(r.Dst.Addr()) || len(r.Hops) == 0 || dev != "" && !r.Uses(dev) {
			continue
		}
		if !ok || r.Metric < best.Metric {
			best, ok = r, true
		}
	}
	return best, ok
}

// usable tells why a device cannot be a port of the bridge; nil if it can.
func usable(c Config, h *have, l kernel.Link) *Reason {
	if other, ok := h.ovs.BridgeOf(l.Name); ok && other != c.bridge() {
		return reason(CodeBadInterface, "set gateway.bridge to "+other+", or remove the port",
			"gateway interface %s is on bridge %s", l.Name, other)
	}
	switch {
	case l.Loopback, l.Kind == "bridge", l.Kind == "openvswitch", l.Name == c.bridge(), l.Name == ManagementPort:
		return reason(CodeBadInterface, "name a NIC, a bond or a VLAN device in gateway.interface",
			"gateway interface %s is %s, which cannot be a port of an Open vSwitch bridge", l.Name, kindOf(l))
	case l.Master != "" && l.Master != "ovs-system":
		return reason(CodeBadInterface, "set gateway.interface to "+l.Master,
			"gateway interface %s is a port of %s", l.Name, l.Master)
	case l.MAC == "" || l.MAC == "00:00:00:00:00:00":
		return reason(CodeBadInterface, "name a NIC, a bond or a VLAN device in gateway.interface",
			"gateway interface %s has no MAC address", l.Name)
	}
	return nil
}

func kindOf(l kernel.Link) string {
	switch {
	case l.Loopback:
		return "the loopback device"
	case l.Kind == "bridge":
		return "a bridge of the kernel"
	}
	return "made by Open vSwitch"
}

func candidates(c Config, h *have) []string {
	var out []string
	for _, l := range h.kernel.Links {
		if usable(c, h, l) == nil && l.Master == "" && l.Kind != "tun" && l.Kind != "tuntap" {
			out = append(out, l.Name)
		}
	}
	slices.Sort(out)
	return out
}

// nextHops are the configured ones, and the default routes' where none is configured.
func nextHops(c Config, h *have, u uplink) []netip.Addr {
	routes := append(slices.Clone(u.routes), h.kernel.RoutesOf(u.bridge)...)
	var out []netip.Addr
	for _, f := range c.families() {
		hops := inFamily(f, configuredHops(c), self)
		if r, ok := defaultRoute(f, routes, u.bridge); ok && len(hops) == 0 {
			for _, hop := range r.Hops {
				if hop.Dev == u.bridge && hop.Via.IsValid() {
					hops = append(hops, hop.Via)
				}
			}
		}
		if len(hops) > 0 {
			out = append(out, hops[0])
		}
	}
	return out
}

func configuredHops(c Config) []netip.Addr {
	var out []netip.Addr
	for _, s := range strings.Split(c.Config.Gateway.NextHops, ",") {
		if a, err := netip.ParseAddr(strings.TrimSpace(s)); err == nil {
			out = append(out, a)
		}
	}
	return out
}

// addresses fills in the gateway's, the primary and all other addresses.
func addresses(c Config, z Zone, h *have, u uplink, f *Facts) error {
	gateway := slices.Clone(u.addrs)
	for _, a := range h.kernel.AddrsOf(u.bridge) {
		if a.Global() && !a.NotUsable && !slices.ContainsFunc(gateway, a.Is) {
			gateway = append(gateway, a)
		}
	}
	for _, fam := range c.families() {
		of := usableAddrs(c, fam, gateway)
		if len(of) == 0 {
			return reason(CodeNoAddress, "give it one, or set gateway.interface to the NIC that has it",
				"the pod network has %s, but gateway interface %s has no %s address", fam, f.Uplink, fam)
		}
		i := primary(of, z.InternalIPs, f.NextHops)
		f.Primary = append(f.Primary, of[i])
		f.Addresses = append(f.Addresses, of[i])
		for j, p := range of {
			if j != i && !slices.Contains(f.Addresses, p) {
				f.Addresses = append(f.Addresses, p)
			}
		}
	}
	var all []kernel.Addr
	for _, a := range h.kernel.Addrs {
		if a.Dev != ManagementPort && !a.NotUsable {
			all = append(all, a)
		}
	}
	for _, fam := range []family{ipv4, ipv6} {
		f.HostAddrs = append(f.HostAddrs, usableAddrs(c, fam, append(slices.Clone(all), u.addrs...))...)
	}
	slices.SortFunc(f.HostAddrs, netip.Prefix.Compare)
	f.HostAddrs = slices.Compact(f.HostAddrs)
	return nil
}

// usableAddrs are the global addresses of a family that are not our own.
func usableAddrs(c Config, f family, addrs []kernel.Addr) []netip.Prefix {
	var out []netip.Prefix
	for _, a := range addrs {
		ip := a.Prefix.Addr()
		ours := slices.ContainsFunc(c.Network.Masquerade, func(p netip.Prefix) bool { return p.Contains(ip) })
		if f.of(ip) && a.Global() && !ours && !a.Temporary {
			out = append(out, a.Prefix)
		}
	}
	return out
}

// primary chooses the address that the cluster knows the node by, else the one that is on
// a network with the next hop, else the first.
func primary(of []netip.Prefix, internal, hops []netip.Addr) int {
	for i, p := range of {
		if slices.Contains(internal, p.Addr()) {
			return i
		}
	}
	for i, p := range of {
		if slices.ContainsFunc(hops, p.Masked().Contains) {
			return i
		}
	}
	return 0
}

// encap is the end point of tunnels.
func encap(c Config, z Zone, f Facts) ([]netip.Addr, error) {
	is := func(a netip.Addr) func(netip.Prefix) bool {
		return func(p netip.Prefix) bool { return p.Addr() == a }
	}
	if text := c.Config.Network.EncapIP; text != "" {
		a, err := netip.ParseAddr(text)
		if err != nil || !slices.ContainsFunc(f.HostAddrs, is(a)) {
			return nil, reason(CodeEncap, "leave it empty for the node's primary address", "network.encapIP %s is no address of node %s", text, c.Node)
		}
		if c.netdev() && !slices.ContainsFunc(f.Addresses, is(a)) {
			return nil, reason(CodeEncap, "use one of the gateway's addresses, or datapath: system",
				"network.encapIP %s is not an address of %s: the userspace datapath ends tunnels only there", a, f.Bridge)
		}
		return []netip.Addr{a}, nil
	}
	from := f.HostAddrs
	if c.netdev() {
		from = f.Addresses
	}
	for _, a := range z.InternalIPs {
		if slices.ContainsFunc(from, is(a)) {
			return []netip.Addr{a}, nil
		}
	}
	return []netip.Addr{f.Primary[0].Addr()}, nil
}

// checkMTU settles the pods' MTU: packets must fit the underlay with their outer headers.
func checkMTU(c Config, f *Facts) error {
	overhead, over := overhead4, ipv4
	if f.EncapIPs[0].Is6() {
		overhead, over = overhead6, ipv6
	}
	room := f.UplinkMTU - overhead
	f.PodMTU = c.Network.MTU
	if f.PodMTU == 0 {
		f.PodMTU = room
	}
	if f.PodMTU > room {
		r := reason(CodeMTU, "", "network.mtu %d and %d bytes of GENEVE over %s need %d, but %s has an MTU of %d",
			f.PodMTU, overhead, over, f.PodMTU+overhead, f.Uplink, f.UplinkMTU)
		r.Remedy = "set network.mtu to at most " + itoa(room) + ", or raise the MTU of " + f.Uplink + " and its network to " + itoa(f.PodMTU+overhead)
		return r
	}
	if f.PodMTU < minMTU6 && slices.Contains(c.families(), ipv6) {
		return reason(CodeMTU, "raise the MTU of "+f.Uplink+" and its network to at least "+itoa(minMTU6+overhead),
			"%s with an MTU of %d leaves %d bytes for pods, but IPv6 needs %d", f.Uplink, f.UplinkMTU, f.PodMTU, minMTU6)
	}
	return nil
}
