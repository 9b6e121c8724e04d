package host

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/kernel"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/ovs"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

// changes are the differences between what should be and what is, in the order in which
// they are made. The host can reach the network after each single one:
//
//  1. prepare: the bridge, without the NIC, gets the NIC's MAC, addresses and routes. The
//     kernel still prefers the NIC's own, which are older.
//  2. attach: the NIC becomes a port of the bridge. What arrives by it is now handed to
//     the bridge's device, which takes packets for any address of the host.
//  3. release: routes and then addresses go from the NIC; the bridge's take over at once.
//  4. silence: the NIC's own stack is switched off.
//
// Each stage waits until the one before is seen to be done, so it does not matter which
// process did it, or when that was killed.
type changes struct {
	settings []ovs.Change // one transaction
	build    []kernel.Change
	attach   []ovs.Change
	memory   []ovs.Change
	release  []kernel.Change
	silence  []kernel.Change
	// guard tells whether the NIC's guard table should be there; nil leaves it as it is.
	guard   *bool
	reasons []*Reason
}

func (c *changes) wait(r *Reason) { c.reasons = append(c.reasons, r) }

// differ is one comparison.
type differ struct {
	in   input
	want network
	have *have
	read func(key string) string // a sysctl, "" where there is none
	// flows tells that the bridge's flows are in place.
	flows bool

	out    changes
	memory memory // as it should be stored
}

func diff(in input, h *have, read func(string) string, flows bool) changes {
	d := &differ{in: in, want: desiredNetwork(in), have: h, read: read, flows: flows, memory: in.uplink.memory}
	d.out.settings = desiredSwitch(in, h.ovs)
	d.sysctls(&d.out.build, guestSysctls(in, h.kernel))
	d.sysctls(&d.out.build, d.want.sysctls)
	d.links()
	d.addresses()
	d.connected()
	d.routes()
	d.neighbors()
	attached := d.attachNIC()
	released := attached && len(in.uplink.nicAddrs) == 0 && len(in.uplink.nicRoutes) == 0
	if released {
		d.sysctls(&d.out.silence, nicSysctls(in))
	}
	d.guard(attached, released)
	stored := d.store()
	if attached && !released {
		d.release(stored)
	}
	return d.out
}

// sysctls are set once what they were before is stored, if that matters.
func (d *differ) sysctls(to *[]kernel.Change, want []sysctl) {
	stored := parseMemory(d.have.stored).Sysctls
	for _, s := range want {
		have := d.read(s.key)
		if have == "" || s.ok(have) {
			continue
		}
		if s.lasting {
			if _, ok := d.memory.Sysctls[s.key]; !ok {
				d.memory.Sysctls = maps.Clone(d.memory.Sysctls)
				if d.memory.Sysctls == nil {
					d.memory.Sysctls = map[string]string{}
				}
				d.memory.Sysctls[s.key] = have
			}
			if _, ok := stored[s.key]; !ok {
				continue
			}
		}
		*to = append(*to, kernel.SetSysctl{Key: s.key, Value: s.value})
	}
}

func (d *differ) links() {
	for _, w := range d.want.links {
		l, ok := d.have.kernel.Link(w.name)
		if !ok {
			code := CodeBridge
			if w.name == ManagementPort {
				code = CodeManagement
			}
			d.out.wait(reason(code, "see that ovs-vswitchd runs (container ovs-daemons of pod ovs-node) and what it logs",
				"ovs-vswitchd has not made device %s yet%s", w.name, d.portError(w.name)))
			continue
		}
		if w.mtu > 0 && l.MTU != w.mtu {
			d.out.build = append(d.out.build, kernel.SetMTU{Dev: w.name, MTU: w.mtu})
		}
		if !l.Up {
			d.out.build = append(d.out.build, kernel.SetUp{Dev: w.name})
		}
	}
}

// portError is what vswitchd says of a port, to be appended to a message.
func (d *differ) portError(name string) string {
	if bridge, ok := d.have.ovs.BridgeOf(name); ok {
		if p, _ := d.have.ovs.Port(bridge, name); p.Error != "" {
			return ": " + p.Error
		}
	}
	return ""
}

func (d *differ) exists(dev string) bool {
	_, ok := d.have.kernel.Link(dev)
	return ok
}

// managed tells whether it is known what the management port should have. While it is not
// (at a start, or with a broken annotation), what it has stays.
func (d *differ) managed() bool { return len(d.in.subnets()) > 0 }

func (d *differ) addresses() {
	own := d.in.ownAddrs()
	placed := d.firstAddresses()
	for _, w := range d.want.addrs {
		if slices.ContainsFunc(placed, w.Is) {
			continue
		}
		last := w.Prefix.Addr().Is4() && slices.ContainsFunc(own, w.Is)
		if last && d.outOfOrder(w) || d.routed(w) {
			d.out.build = append(d.out.build, kernel.DeleteAddr{Addr: w}, kernel.PutAddr{Addr: w})
		} else if d.exists(w.Dev) && !d.hasAddr(w) {
			d.out.build = append(d.out.build, kernel.PutAddr{Addr: w})
		}
	}
	for _, a := range d.have.kernel.Addrs {
		wanted := slices.ContainsFunc(d.want.addrs, a.Is)
		foreign := a.Dev == ManagementPort && a.Global() && d.managed()
		old := a.Dev == d.in.bridge() && slices.Contains(d.memory.Own, a.Prefix)
		if !wanted && (foreign || old) {
			d.out.build = append(d.out.build, kernel.DeleteAddr{Addr: a})
		}
	}
	d.memory.Own = nil
	for _, a := range own {
		d.memory.Own = append(d.memory.Own, a.Prefix)
	}
}

// firstAddresses makes the node's first IPv4 address of a subnet the first of the bridge again
// if another has its place: the kernel takes the first as the source of what goes there. The
// order of addresses cannot be changed, so all of the subnet are deleted, the last first,
// for with the first the kernel may delete the others; and put back, those of others, too.
func (d *differ) firstAddresses() (placed []kernel.Addr) {
	var seen []netip.Prefix
	for _, first := range d.in.uplink.addrs {
		subnet := first.Connected()
		if !subnet.Addr().Is4() || slices.Contains(seen, subnet) {
			continue
		}
		seen = append(seen, subnet)
		other := func(a kernel.Addr) bool { return a.Connected() != subnet }
		on := slices.DeleteFunc(d.have.kernel.AddrsOf(first.Dev), other)
		if len(on) == 0 || on[0].Is(first) {
			continue
		}
		wanted := slices.DeleteFunc(slices.Clone(d.in.uplink.addrs), other)
		foreign := slices.DeleteFunc(slices.Clone(on), func(a kernel.Addr) bool { return slices.ContainsFunc(wanted, a.Is) })
		for _, a := range slices.Backward(on) {
			d.out.build = append(d.out.build, kernel.DeleteAddr{Addr: a})
		}
		for _, a := range slices.Concat(wanted, foreign) {
			d.out.build = append(d.out.build, kernel.PutAddr{Addr: a})
		}
		placed = append(placed, wanted...)
	}
	return placed
}

// outOfOrder tells whether our IPv4 address is there and is, or is about to be, before all
// of the node's: the kernel takes the first as the source of what has no route with one,
// multicast above all.
func (d *differ) outOfOrder(own kernel.Addr) bool {
	on := d.have.kernel.AddrsOf(own.Dev)
	i := slices.IndexFunc(on, own.Is)
	node := func(a kernel.Addr) bool { return a.Global() && a.Prefix.Addr().Is4() }
	return i >= 0 && !slices.ContainsFunc(on[:i], node) &&
		(slices.ContainsFunc(on[i:], node) || slices.ContainsFunc(d.in.uplink.addrs, node))
}

// routed tells whether the management port has an address with a connected route that it
// should be without: the kernel takes no flag away from an address that is there.
func (d *differ) routed(w kernel.Addr) bool {
	i := slices.IndexFunc(d.have.kernel.Addrs, w.Is)
	return i >= 0 && w.Dev == ManagementPort && w.NoPrefixRoute && !d.have.kernel.Addrs[i].NoPrefixRoute
}

// hasAddr tells whether an address is there as it should be. Lifetimes are compared when
// they are given anew, by the NIC, and for our own.
func (d *differ) hasAddr(w kernel.Addr) bool {
	i := slices.IndexFunc(d.have.kernel.Addrs, w.Is)
	if i < 0 {
		return false
	}
	have := d.have.kernel.Addrs[i]
	if !w.Leased() && w.Preferred == 0 {
		return have.Preferred == 0
	}
	given := slices.ContainsFunc(d.in.uplink.nicAddrs, func(a kernel.Addr) bool { return a.Prefix == w.Prefix && a.Peer == w.Peer })
	return !given || have.Leased() == w.Leased() && (!w.Leased() || near(int64(have.Valid), int64(w.Valid)))
}

// connected puts back the routes that the kernel made for addresses and somebody flushed:
// next hops are reached by them.
func (d *differ) connected() {
	routes := slices.Clone(d.have.kernel.Routes)
	for _, a := range d.want.addrs {
		r, ok := a.ConnectedRoute()
		l, _ := d.have.kernel.Link(a.Dev)
		there := slices.ContainsFunc(routes, func(o kernel.Route) bool {
			return o.Dst == r.Dst && o.Protocol == kernel.ProtocolKernel && o.Uses(a.Dev) // one for all of a subnet
		})
		if ok && l.Up && d.have.kernel.HasAddr(a) && !there {
			d.out.build = append(d.out.build, kernel.AppendRoute{Route: r})
			routes = append(routes, r)
		}
	}
}

func (d *differ) routes() {
	for _, w := range d.want.routes {
		if !d.have.kernel.HasRoute(w) && !slices.ContainsFunc(w.Hops, func(h kernel.Hop) bool { return !d.exists(h.Dev) }) {
			d.out.build = append(d.out.build, kernel.AppendRoute{Route: w})
		}
	}
	for _, r := range d.have.kernel.Routes {
		if slices.ContainsFunc(d.want.routes, r.Is) {
			continue
		}
		ours := r.Protocol == protocol && (r.Uses(d.in.bridge()) && !d.undecided(r) || r.Uses(ManagementPort) && d.managed())
		if ours || d.superseded(r) {
			d.out.build = append(d.out.build, kernel.DeleteRoute{Route: r})
		}
	}
}

// undecided tells whether a route leads to a range of service addresses while it is not
// known which ranges there are.
func (d *differ) undecided(r kernel.Route) bool {
	hop, _, ok := d.in.masquerade(family(r.Dst.Addr().Is6()), plan.MasqueradeNextHop)
	return ok && d.in.services == nil && slices.ContainsFunc(r.Hops, func(h kernel.Hop) bool { return h.Via == hop })
}

// superseded tells whether an IPv4 route of the bridge has the place of one that was
// given to the NIC, for instance because the gateway changed.
func (d *differ) superseded(r kernel.Route) bool {
	if !r.Uses(d.in.bridge()) || r.Dst.Addr().Is6() || r.Protocol == kernel.ProtocolKernel {
		return false
	}
	return slices.ContainsFunc(d.in.uplink.routes, func(w kernel.Route) bool {
		return w.Key() == r.Key() && w.Protocol != kernel.ProtocolKernel
	})
}

func (d *differ) neighbors() {
	for _, w := range d.want.neighbors {
		if d.exists(w.Dev) && !d.have.kernel.HasNeighbor(w) {
			d.out.build = append(d.out.build, kernel.PutNeighbor{Neighbor: w})
		}
	}
	for _, n := range d.have.kernel.Neighbors {
		wanted := slices.ContainsFunc(d.want.neighbors, func(w kernel.Neighbor) bool { return w.Dev == n.Dev && w.Addr == n.Addr })
		ours := false
		for _, p := range d.in.Network.Masquerade {
			ours = ours || p.Contains(n.Addr)
		}
		if n.Dev == d.in.bridge() && ours && !wanted {
			d.out.build = append(d.out.build, kernel.DeleteNeighbor{Neighbor: n})
		}
	}
}

// attachNIC makes the NIC a port of the bridge as soon as the bridge can stand in for it,
// and tells whether it is one.
func (d *differ) attachNIC() bool {
	nic := d.in.uplink.link.Name
	if p, ok := d.have.ovs.Port(d.in.bridge(), nic); ok {
		if p.OFPort <= 0 {
			d.out.wait(reason(CodeBridge, "see that ovs-vswitchd runs (container ovs-daemons of pod ovs-node) and what it logs",
				"ovs-vswitchd has not taken %s into %s yet%s", nic, d.in.bridge(), d.portError(nic)))
		}
		return p.OFPort > 0
	}
	l, ok := d.have.kernel.Link(d.in.bridge())
	if ok && l.Up && l.MAC == d.in.facts.MAC && d.flows && d.carries(false) {
		d.out.attach = []ovs.Change{ovs.PutPort{Bridge: d.in.bridge(), Name: nic}}
	}
	d.out.wait(reason(CodeMove, "", "%s is not a port of %s yet", nic, d.in.bridge()))
	return false
}

// carries tells whether the bridge has all addresses, and routes, of the NIC.
func (d *differ) carries(routes bool) bool {
	for _, a := range d.in.uplink.addrs {
		if !d.have.kernel.HasAddr(a) {
			return false
		}
	}
	for _, r := range d.in.uplink.routes {
		if routes && !d.have.kernel.HasRoute(r) {
			return false
		}
	}
	return true
}

// guard is there while the bridge stands for the NIC, and must not be while the NIC
// stands for itself.
func (d *differ) guard(attached, released bool) {
	on := d.in.netdev() && released
	if on || !attached && len(d.in.uplink.nicAddrs) > 0 {
		d.out.guard = &on
	}
}

// store writes down what was taken from the NIC before it is taken, and tells whether
// that was done before.
func (d *differ) store() bool {
	text := d.memory.text()
	if d.have.stored == text {
		return true
	}
	d.out.memory = []ovs.Change{ovs.SetRoot{ExternalIDs: map[string]string{keyMemory: text}}}
	return false
}

func (d *differ) release(stored bool) {
	nic := d.in.uplink.link.Name
	d.out.wait(reason(CodeMove, "", "%s still has addresses or routes that belong on %s", nic, d.in.bridge()))
	if !stored || !d.flows || !d.carries(true) {
		return
	}
	for _, r := range d.in.uplink.nicRoutes {
		d.out.release = append(d.out.release, kernel.DeleteRoute{Route: r})
	}
	for _, a := range d.in.uplink.nicAddrs {
		d.out.release = append(d.out.release, kernel.DeleteAddr{Addr: a})
	}
}

// portsOf finds the OpenFlow numbers on the bridge.
func portsOf(c Config, nic string, s *ovs.State) ports {
	var out ports
	if p, ok := s.Port(c.bridge(), nic); ok {
		out.nic = p.OFPort
	}
	if p, ok := s.Port(c.bridge(), names.PatchToIntegration(localnetPort(c.bridge(), c.Node))); ok {
		out.patch = p.OFPort
	}
	return out
}
