package kernel

import (
	"fmt"
	"net/netip"
	"strings"
)

// Change is one change of the network stack.
type Change interface {
	fmt.Stringer
	change()
}

type (
	// SetMTU sets a link's MTU in bytes.
	SetMTU struct {
		Dev string
		MTU int
	}
	// SetUp sets a link up.
	SetUp struct{ Dev string }
	// DeleteLink removes a software device.
	DeleteLink struct{ Dev string }
	// PutAddr adds an address, or renews its lifetimes.
	PutAddr struct{ Addr Addr }
	// DeleteAddr removes an address.
	DeleteAddr struct{ Addr Addr }
	// AppendRoute adds a route behind those with the same key, which stay: traffic flows
	// by one or the other at every moment of a move.
	AppendRoute struct{ Route Route }
	// DeleteRoute removes a route.
	DeleteRoute struct{ Route Route }
	// PutNeighbor sets a permanent neighbour.
	PutNeighbor struct{ Neighbor Neighbor }
	// DeleteNeighbor removes a neighbour.
	DeleteNeighbor struct{ Neighbor Neighbor }
	// SetSysctl writes a sysctl.
	SetSysctl struct {
		Key   string // with slashes: "net/ipv4/conf/br-ex/forwarding"
		Value string
	}
)

func (SetMTU) change()         {}
func (SetUp) change()          {}
func (DeleteLink) change()     {}
func (PutAddr) change()        {}
func (DeleteAddr) change()     {}
func (AppendRoute) change()    {}
func (DeleteRoute) change()    {}
func (PutNeighbor) change()    {}
func (DeleteNeighbor) change() {}
func (SetSysctl) change()      {}

// The texts are those of the ip command, which people can repeat.

func (c SetMTU) String() string     { return fmt.Sprintf("link set %s mtu %d", c.Dev, c.MTU) }
func (c SetUp) String() string      { return fmt.Sprintf("link set %s up", c.Dev) }
func (c DeleteLink) String() string { return "link del " + c.Dev }
func (c PutAddr) String() string {
	return fmt.Sprintf("addr replace %s dev %s", c.Addr.Prefix, c.Addr.Dev)
}
func (c DeleteAddr) String() string {
	return fmt.Sprintf("addr del %s dev %s", c.Addr.Prefix, c.Addr.Dev)
}
func (c AppendRoute) String() string { return "route append " + c.Route.String() }
func (c DeleteRoute) String() string { return "route del " + c.Route.String() }

func (c PutNeighbor) String() string {
	return fmt.Sprintf("neigh replace %s lladdr %s dev %s nud permanent", c.Neighbor.Addr, c.Neighbor.MAC, c.Neighbor.Dev)
}

func (c DeleteNeighbor) String() string {
	return fmt.Sprintf("neigh del %s dev %s", c.Neighbor.Addr, c.Neighbor.Dev)
}

func (c SetSysctl) String() string { return fmt.Sprintf("sysctl %s=%s", c.Key, c.Value) }

// String is the route in the form of `ip route`.
func (r Route) String() string {
	var b strings.Builder
	if r.Default() {
		b.WriteString("default")
	} else {
		b.WriteString(r.Dst.String())
	}
	for _, h := range r.Hops {
		if len(r.Hops) > 1 {
			b.WriteString(" nexthop")
		}
		if h.Via.IsValid() {
			fmt.Fprintf(&b, " via %s", h.Via)
		}
		fmt.Fprintf(&b, " dev %s", h.Dev)
	}
	if r.Src.IsValid() {
		fmt.Fprintf(&b, " src %s", r.Src)
	}
	fmt.Fprintf(&b, " proto %d metric %d", r.Protocol, r.Metric)
	if r.Metrics.MTU > 0 {
		fmt.Fprintf(&b, " mtu %d", r.Metrics.MTU)
	}
	if r.Table != TableMain {
		fmt.Fprintf(&b, " table %d", r.Table)
	}
	return b.String()
}

// Interest is what Watch reports changes of; everything else, above all the coming and
// going of pods' veths, is passed over without being parsed.
type Interest struct {
	// Devs are the links whose own state, addresses and routes matter.
	Devs []string
	// Neighbors are the addresses whose permanent entries matter.
	Neighbors []netip.Addr
}
