package host

import (
	"encoding/json"
	"net/netip"
	"slices"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/kernel"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/ovs"
)

const (
	// keyMemory is the external_ids key, on the switch, of what was taken from the gateway
	// NIC. On the switch rather than on the bridge, so that it outlives the bridge.
	keyMemory = "ovnkctl.io/uplink"
	// keyUplink is the external_ids key, on the bridge, of its NIC; OVN-Kubernetes and the
	// scripts of distributions use the same.
	keyUplink = "bridge-uplink"
	// keyCreated marks, on the bridge, that it was made here and may be removed.
	keyCreated = "ovnkctl.io/created"
	// bootID changes with every boot of the machine.
	bootID = "kernel/random/boot_id"
)

// memory is what the gateway NIC had before it became a port of the bridge. It is good
// for one boot: at the next the distribution configures the NIC anew and is right.
type memory struct {
	NIC    string         `json:"nic"`
	Boot   string         `json:"boot"`
	Addrs  []movedAddr    `json:"addrs,omitempty"`
	Routes []kernel.Route `json:"routes,omitempty"` // hops by the NIC have no device
	// Own are our own addresses on the bridge, to find those that a changed configuration
	// no longer wants.
	Own []netip.Prefix `json:"own,omitempty"`
	// Sysctls are values from before, of those that outlive our devices.
	Sysctls map[string]string `json:"sysctls,omitempty"`
}

// movedAddr is an address of the NIC; a leased one ends at a point in time.
type movedAddr struct {
	kernel.Addr
	// ValidUntil and PreferredUntil are seconds since 1970 for leased addresses, else 0.
	ValidUntil     int64 `json:"validUntil,omitzero"`
	PreferredUntil int64 `json:"preferredUntil,omitzero"`
}

// leaseSlack is by how many seconds two readings of a lease's end may differ.
const leaseSlack = 5

func readMemory(s *ovs.State) memory { return parseMemory(s.ExternalIDs[keyMemory]) }

// parseMemory reads what text wrote; what cannot be read is not remembered.
func parseMemory(text string) memory {
	var m memory
	if json.Unmarshal([]byte(text), &m) != nil {
		return memory{}
	}
	return m
}

// text is what is stored.
func (m memory) text() string {
	b, err := json.Marshal(m)
	if err != nil {
		panic("host: memory: " + err.Error()) // only values that marshal
	}
	return string(b)
}

func remember(a kernel.Addr, now time.Time) movedAddr {
	m := movedAddr{Addr: a}
	m.Dev = ""
	if a.Leased() {
		m.ValidUntil = now.Unix() + int64(a.Valid)
		m.PreferredUntil = now.Unix() + int64(min(a.Preferred, a.Valid))
		m.Valid, m.Preferred = 0, 0
	}
	return m
}

// on is the address as it should be on a device; ok is false once its lease is over.
func (m movedAddr) on(dev, was string, now time.Time) (kernel.Addr, bool) {
	a := m.Addr
	a.Dev, a.Label = dev, relabel(m.Label, was, dev)
	if m.ValidUntil == 0 {
		return a, true
	}
	left := m.ValidUntil - now.Unix()
	if left <= 0 {
		return a, false
	}
	a.Valid, a.Preferred = uint32(left), uint32(max(m.PreferredUntil-now.Unix(), 0))
	return a, true
}

// maxLabel is IFNAMSIZ less the final NUL.
const maxLabel = 15

// relabel keeps an alias such as "eth0:1" on another device: the kernel wants labels to
// begin with the device's name.
func relabel(label, from, to string) string {
	if len(label) <= len(from) || label[:len(from)] != from {
		return to
	}
	if alias := to + label[len(from):]; len(alias) <= maxLabel {
		return alias
	}
	return to
}

// uplink is the gateway NIC and what belongs to it, wherever that is at the moment.
type uplink struct {
	link   kernel.Link
	bridge string
	memory memory
	// nicAddrs and nicRoutes are still on the NIC and must go from it.
	nicAddrs  []kernel.Addr
	nicRoutes []kernel.Route
	// addrs and routes are wanted on the bridge.
	addrs  []kernel.Addr
	routes []kernel.Route
}

// merge joins what is remembered with what the NIC has. An address or route that appears
// on the NIC is the distribution's word and replaces what is remembered.
func merge(h *have, nic kernel.Link, bridge string) uplink {
	u := uplink{link: nic, bridge: bridge, memory: readMemory(h.ovs)}
	if u.memory.NIC != nic.Name || u.memory.Boot != h.boot {
		u.memory = memory{NIC: nic.Name, Boot: h.boot}
	}
	u.takeNIC(h)
	u.forgetStale(h)
	for _, a := range u.nicAddrs {
		u.memory.learnAddr(a, h.now)
	}
	for _, r := range u.nicRoutes {
		moved := r.Moved(nic.Name, bridge)
		if r.Protocol == kernel.ProtocolRA || r.Expires > 0 {
			// Leased by the router: once on the bridge, the kernel renews it there.
			u.routes = append(u.routes, moved)
			continue
		}
		u.memory.learnRoute(r.Moved(nic.Name, ""), func(old kernel.Route) bool {
			return r.Dst.Addr().Is6() && h.kernel.HasRoute(old.Moved("", bridge))
		})
	}
	for _, m := range u.memory.Addrs {
		if a, ok := m.on(bridge, nic.Name, h.now); ok {
			a.NoDAD = true // the gateway router answers for the address, too
			u.addrs = append(u.addrs, a)
		}
	}
	for _, r := range u.memory.Routes {
		u.routes = append(u.routes, r.Moved("", bridge))
	}
	// A next hop must be reachable before the route that uses it.
	slices.SortStableFunc(u.routes, func(a, b kernel.Route) int { return boolInt(gatewayed(a)) - boolInt(gatewayed(b)) })
	return u
}

func gatewayed(r kernel.Route) bool {
	return slices.ContainsFunc(r.Hops, func(h kernel.Hop) bool { return h.Via.IsValid() })
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// takeNIC finds what is on the NIC that a move has to carry: all but what the kernel
// makes by itself for a link or for an address.
func (u *uplink) takeNIC(h *have) {
	routes := h.kernel.RoutesOf(u.link.Name)
	implied := map[netip.Prefix]bool{}
	for _, a := range h.kernel.AddrsOf(u.link.Name) {
		a.NoPrefixRoute = a.NoPrefixRoute || customMetric(a, routes)
		if !a.NoPrefixRoute {
			implied[a.Connected()] = true
		}
		if a.Global() && !a.NotUsable {
			u.nicAddrs = append(u.nicAddrs, a)
		}
	}
	for _, r := range routes {
		linkLocal := r.Dst.Addr().Is6() && r.Dst.Addr().IsLinkLocalUnicast() // each link has its own
		if r.Protocol == kernel.ProtocolKernel && implied[r.Dst] || linkLocal {
			continue
		}
		u.nicRoutes = append(u.nicRoutes, r)
	}
}

// customMetric tells whether the route that follows from an address was given a metric
// (`ip address add … metric`), which has to be carried as a route of its own.
func customMetric(a kernel.Addr, routes []kernel.Route) bool {
	usual := kernel.DefaultMetric4
	if a.Prefix.Addr().Is6() {
		usual = kernel.ConnectedMetric6
	}
	other := false
	for _, r := range routes {
		if r.Protocol == kernel.ProtocolKernel && r.Dst == a.Connected() {
			if r.Metric == usual {
				return false
			}
			other = true
		}
	}
	return other
}

// forgetStale drops, family by family, what is remembered when the NIC has addresses and
// the bridge none of those remembered: the NIC was configured anew, as after a reboot.
func (u *uplink) forgetStale(h *have) {
	for _, f := range []family{ipv4, ipv6} {
		onNIC := slices.ContainsFunc(u.nicAddrs, func(a kernel.Addr) bool { return f.of(a.Prefix.Addr()) })
		onBridge := slices.ContainsFunc(u.memory.Addrs, func(m movedAddr) bool {
			a, _ := m.on(u.bridge, u.link.Name, h.now)
			return f.of(a.Prefix.Addr()) && h.kernel.HasAddr(a)
		})
		if !onNIC || onBridge {
			continue
		}
		u.memory.Addrs = slices.DeleteFunc(slices.Clone(u.memory.Addrs), func(m movedAddr) bool { return f.of(m.Prefix.Addr()) })
		u.memory.Routes = slices.DeleteFunc(slices.Clone(u.memory.Routes), func(r kernel.Route) bool { return f.of(r.Dst.Addr()) })
	}
}

func (m *memory) learnAddr(a kernel.Addr, now time.Time) {
	n := remember(a, now)
	i := slices.IndexFunc(m.Addrs, func(o movedAddr) bool { return o.Is(n.Addr) })
	if i < 0 {
		m.Addrs = append(slices.Clip(m.Addrs), n)
		return
	}
	if old := m.Addrs[i]; near(old.ValidUntil, n.ValidUntil) && near(old.PreferredUntil, n.PreferredUntil) {
		return
	}
	m.Addrs = slices.Clone(m.Addrs)
	m.Addrs[i] = n
}

func near(a, b int64) bool { return a == b || a != 0 && b != 0 && max(a-b, b-a) <= leaseSlack }

// learnRoute remembers a route in place of its alternatives, except those to keep.
func (m *memory) learnRoute(r kernel.Route, keep func(kernel.Route) bool) {
	if slices.ContainsFunc(m.Routes, r.Is) {
		return
	}
	m.Routes = slices.DeleteFunc(slices.Clone(m.Routes), func(o kernel.Route) bool { return o.Key() == r.Key() && !keep(o) })
	m.Routes = append(m.Routes, r)
}
