package policy

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

// zone makes what no policy decides about: the own node reaches its pods (the kubelet's
// probes must), and so does a pod that reaches itself through a service: load balancers give
// its packets an address of their own. On their way out such packets meet no ACL, as OVN
// turns them round before it comes to those that apply after load balancing.
func (c *compiler) zone() {
	node, ok := c.view.Node(c.view.LocalNode())
	if !ok {
		return
	}
	c.logMeter()
	subnets := c.view.NodeSubnets(c.network, node)
	if len(subnets) == 0 || names.Reserved(node.Name) {
		return // there is no switch
	}
	var addrs []netip.Prefix
	for _, s := range subnets {
		addrs = append(addrs, netip.PrefixFrom(plan.Management(s), s.Addr().BitLen()))
	}
	for _, m := range c.network.OfFamilies(c.network.Masquerade) {
		if a, ok := plan.MasqueradeAddr(m, plan.MasqueradeHairpin); ok {
			addrs = append(addrs, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	name, nodeSwitch := "own-node", rows.Target{Table: nb.LogicalSwitchTable, Name: c.names.NodeSwitch(node.Name)}
	blocks(world.Ingress, addrs).each(func(family, match string) {
		c.acl(nodeSwitch, "own-node/"+family, &nb.ACL{
			Name: &name, Action: nb.ACLActionAllowRelated, Tier: tierZone, Priority: allowPriority, Match: match,
		}, world.Ingress)
	})
	c.undecided(nodeSwitch)
}

// undecided is for packets that no ACL of a tier is about: the next tier decides, and after the
// last they are allowed. OVN's own rules for them, which these come before, differ in one case:
// they let packets of an open connection that is denied through at the first tier that says
// nothing about them, and take the connection for allowed again. So every second packet of it
// would pass (northd 25.03, "ct.est && ct_mark.blocked == 1" in the stages acl_eval).
func (c *compiler) undecided(nodeSwitch rows.Target) {
	for _, d := range world.Directions {
		for tier := tierZone; tier <= tierBaseline; tier++ {
			action := nb.ACLActionPass
			if tier == tierBaseline {
				action = nb.ACLActionAllowRelated
			}
			name := fmt.Sprintf("%s:%s:%d", names.Undecided, d, tier)
			c.acl(nodeSwitch, fmt.Sprintf("%s/%s/%d", names.Undecided, strings.ToLower(d.String()), tier), &nb.ACL{
				Name: &name, Action: action, Tier: tier, Priority: 0, Match: "ip",
			}, d)
		}
	}
}
