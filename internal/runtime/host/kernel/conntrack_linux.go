package kernel

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/kernel/conntrack"
)

// ForgetUDP removes, of the host's own connections with the given destinations, those that
// lead elsewhere than to the destination's backends, and returns how many those were.
// Connections in the zones of Open vSwitch are left alone.
func (n *Netlink) ForgetUDP(ctx context.Context, backends map[netip.AddrPort][]netip.AddrPort) (int, error) {
	count, err := conntrack.ForgetUDP(ctx, conntrack.Own, backends)
	if err != nil {
		return count, fmt.Errorf("connection tracking: %w", err)
	}
	return count, nil
}
