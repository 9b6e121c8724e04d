package nodecheck

import (
	"context"
	"net"
	"net/netip"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
)

// Hop is a router that the node's gateway sends to what is for the outside.
type Hop struct {
	Address netip.Addr `json:"address"`
	// Answers tells whether the host knows the router's MAC address, after it asked for it if
	// it did not. What it was told lately it does not ask for again.
	Answers bool `json:"answers"`
	// State is what the kernel knows of the router, as `ip neighbour` names it.
	State string `json:"state"`
}

// hops asks for neighbours on the external bridge.
func hops(ctx context.Context, c Config, targets []netip.Addr) ([]Hop, error) {
	if len(targets) == 0 {
		return nil, nil
	}
	bridge, err := net.InterfaceByName(c.Config.Gateway.Bridge)
	if err != nil {
		return nil, err
	}
	return resolve(ctx, bridge.Index, targets)
}

// gatewayHops are where the gateway router of the node sends to what is for anywhere.
func gatewayHops(routes []*nb.LogicalRouterStaticRoute) []netip.Addr {
	var out []netip.Addr
	for _, r := range routes {
		to, err := netip.ParsePrefix(r.IPPrefix)
		if err != nil || to.Bits() != 0 || r.OutputPort == nil || !strings.HasPrefix(*r.OutputPort, names.RouterToExternal("")) {
			continue
		}
		if a, err := netip.ParseAddr(r.Nexthop); err == nil {
			out = append(out, a)
		}
	}
	return unique(out)
}
