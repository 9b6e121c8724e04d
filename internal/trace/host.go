package trace

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/inspect/iproute"
)

// hostZone is a Zone that can show what the node's host knows, too.
type hostZone interface {
	// HostText is a text of the host, by the names of package inspect.
	HostText(ctx context.Context, name string) (string, error)
}

// HostText implements hostZone.
func (z *snapshotZone) HostText(ctx context.Context, name string) (string, error) {
	return z.node.Text(ctx, name)
}

// hostTables are the routing tables that hold without a rule of somebody's own.
var hostTables = []string{"", "main", "local"}

// routeTo is the route that a host takes: the longest prefix, and of these the lowest metric.
func routeTo(routes []iproute.Route, to netip.Addr) (best iproute.Route, ok bool) {
	bits := -1
	for _, r := range routes {
		p, of := r.Prefix(to.Is4())
		if !of || !p.Contains(to) || !slices.Contains(hostTables, r.Table) || r.Type == "multicast" || r.Type == "throw" {
			continue
		}
		if p.Bits() > bits || p.Bits() == bits && r.Metric < best.Metric {
			best, bits = r, p.Bits()
		}
	}
	return best, bits >= 0
}

// routed decides what becomes of a packet that the host sends by its own routes: OVN has no part
// in it, so what the host has heard of its neighbours is all that there is to know.
func (t *tracer) routed(ctx context.Context, node string, path *Path) error {
	z, err := t.zone(ctx, node)
	if err != nil {
		return err
	}
	says := func(v Verdict, format string, args ...any) error {
		path.Verdict, path.Decision = v, Decision{Text: fmt.Sprintf(format, args...), Node: node}
		return nil
	}
	h, ok := z.(hostZone)
	if !ok {
		return says(Unknown, "the routes of node %s decide, which are not known", node)
	}
	to, name := path.Packet.Dst, inspect.TextRoutes
	if to.Is6() {
		name = inspect.TextRoutes6
	}
	routes, err := readHost(ctx, h, name, iproute.Routes)
	if err != nil {
		return says(Unknown, "the routes of node %s decide, and cannot be read: %v", node, err)
	}
	neighbours, err := readHost(ctx, h, inspect.TextNeighbours, iproute.Neighbours)
	if err != nil {
		return says(Unknown, "the neighbours of node %s decide, and cannot be read: %v", node, err)
	}
	route, ok := routeTo(routes, to)
	if !ok {
		return says(Unreachable, "node %s has no route to %s", node, to)
	}
	path.Hops = append(path.Hops, Hop{Node: node, Kind: HopHost, Text: "route " + route.String()})
	switch route.Type {
	case "local", "anycast":
		path.Arrives = "the host of node " + node
		return says(Allowed, "no part of OVN is on the way")
	case "unreachable", "blackhole", "prohibit":
		return says(Unreachable, "a route of node %s gives it up: %s", node, route)
	}
	path.nextHop(node, route, neighbours)
	return nil
}

// nextHop decides by what a host has heard of the neighbour that a route leads to.
func (path *Path) nextHop(node string, route iproute.Route, neighbours []iproute.Neighbour) {
	to := path.Packet.Dst
	neighbour, dev := route.Next(to)
	i := slices.IndexFunc(neighbours, func(n iproute.Neighbour) bool { return n.Dst == neighbour && n.Dev == dev })
	silent := i >= 0 && (slices.Contains(neighbours[i].State, "FAILED") || slices.Contains(neighbours[i].State, "INCOMPLETE"))
	d := Decision{Node: node}
	switch far := neighbour != to.String(); {
	case silent:
		path.Verdict = Unreachable
		d.Text = fmt.Sprintf("nobody at %s answers node %s on %s (%s)", neighbour, node, dev, strings.Join(neighbours[i].State, ", "))
	case far:
		path.Verdict, path.Arrives = Allowed, fmt.Sprintf("%s, outside, by the router %s", to, neighbour)
		d.Text = "no part of OVN is on the way, and nobody knows here what is beyond " + neighbour
	case i < 0:
		path.Verdict = Unknown
		d.Text = fmt.Sprintf("%s would be beside node %s on %s, which has not asked for it lately: whether anybody has the address is not known. Ping it from the node, then trace again", to, node, dev)
	default:
		path.Verdict, path.Arrives = Allowed, fmt.Sprintf("%s, beside node %s on %s", to, node, dev)
		d.Text = "no part of OVN is on the way"
	}
	path.Decision = d
}

func readHost[T any](ctx context.Context, h hostZone, name string, parse func(string) ([]T, error)) ([]T, error) {
	text, err := h.HostText(ctx, name)
	if err != nil {
		return nil, err
	}
	out, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s of the node: %w", name, err)
	}
	return out, nil
}
