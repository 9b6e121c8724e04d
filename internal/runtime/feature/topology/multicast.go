package topology

import (
	"net/netip"

	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

// reportPriority is above those of other policies of the cluster router.
const reportPriority = 1010

// multicast has the node's switch ask its pods what groups they listen to, in the name of
// its router, and send to those only; the cluster router forwards between it and the other
// zones. In IPv6 such questions come from link-local addresses (RFC 3810).
//
// To the transit switch the router forwards all (mcast_flood), and also who listens to what,
// so that each zone gets only what it has listeners for. Not so in IPv6: every pod reports
// two groups or more for neighbour discovery, time and again, and each zone would keep those
// of the whole cluster. IPv6 multicast therefore comes to all zones.
func (z *zone) multicast(nodeSwitch string, router []netip.Addr) {
	if !z.network.Multicast {
		return
	}
	mac := plan.MACOf(router...)
	on := func(key, value string) { z.out.Put(z.switchNamed(nodeSwitch), "other_config", key, value) }
	on("mcast_snoop", "true")
	on("mcast_querier", "true")
	on("mcast_eth_src", mac)
	for _, a := range router {
		if a.Is4() {
			on("mcast_ip4_src", a.String())
		} else {
			on("mcast_ip6_src", plan.LinkLocal(mac).String())
		}
	}
	z.out.Put(z.routerNamed(z.names.ClusterRouter()), "options", "mcast_relay", "true")
	z.out.AddTo(z.routerNamed(z.names.ClusterRouter()), "policies", "multicast/reports", &nb.LogicalRouterPolicy{
		Priority: reportPriority, Action: nb.LogicalRouterPolicyActionDrop, Match: "mldv1 || mldv2",
	})
}
