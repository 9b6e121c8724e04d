package services

import (
	"net/netip"
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/ovn/balance"
	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/netdev"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// through lets the second packets of sticky connections pass that the userspace conntrack
// has translated already: the backends of each protocol, but for those that are VIPs.
func (b *builder) through() {
	n := names.Of(b.here.network.Name)
	for _, protocol := range []world.Protocol{world.TCP, world.UDP, world.SCTP} {
		backends := b.onTheSwitch(protocol)
		if len(backends) == 0 {
			continue
		}
		row := netdev.PassThrough(string(protocol), balance.Hairpin(b.here.network), backends)
		row.Name = n.Service(b.service.Namespace, b.service.Name, string(protocol), names.ScopeSwitch(b.here.name)+"_through")
		row.ExternalIDs = b.externalIDs()
		b.out.AddTo(rows.Target{Table: nb.LoadBalancerGroupTable, Name: n.SwitchGroup()}, "load_balancer", string(protocol)+"/through", row)
	}
}

// onTheSwitch are the backends that the switch balances to.
func (b *builder) onTheSwitch(protocol world.Protocol) []netip.AddrPort {
	var backends []netip.AddrPort
	vips := map[netip.AddrPort]bool{}
	for _, l := range b.balancers {
		if l.protocol != protocol || l.scope != both && l.scope != onSwitch {
			continue
		}
		for _, v := range l.vips {
			vips[v.at] = true
			backends = append(backends, v.backends...)
		}
	}
	return slices.DeleteFunc(backends, func(a netip.AddrPort) bool { return vips[a] })
}
