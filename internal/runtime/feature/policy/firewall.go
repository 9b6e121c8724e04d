package policy

import (
	"net/netip"
	"strconv"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// firewallRule makes the ACLs of a rule of an EgressFirewall: one for each protocol, or one
// for all, and of those one for each family. They do not follow connections: answers to
// connections from outside are known by the tier of the connection, not by the rule.
func (r *ruleCompiler) firewallRule(u *world.PolicyRule) {
	r.destinations(u).each(func(family, match string) {
		match += " && inport == @" + r.names.Pods(r.policy.Subject.ID)
		if len(u.Ports) == 0 {
			r.addFirewall(u, "any/"+family, match)
			return
		}
		for _, protocol := range []world.Protocol{world.TCP, world.UDP, world.SCTP} {
			var spans []span
			for _, o := range u.Ports {
				if o.Protocol == protocol {
					spans = append(spans, span{o.First, o.Last})
				}
			}
			if len(spans) > 0 {
				r.addFirewall(u, string(protocol)+"/"+family, match+" && "+portMatch(protocol, spans))
			}
		}
	})
}

// groups are the addresses of multicast.
var groups = []netip.Prefix{netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("ff00::/8")}

// destinations are the addresses of a rule outside of the cluster.
func (r *ruleCompiler) destinations(u *world.PolicyRule) ends {
	var cluster []netip.Prefix
	for _, s := range r.network.ClusterSubnets {
		cluster = append(cluster, s.Prefix)
	}
	if r.network.Multicast { // which does not leave the namespace
		cluster = append(cluster, groups...)
	}
	if len(u.Peers) == 0 {
		all := without(netip.PrefixFrom(netip.IPv4Unspecified(), 0), cluster)
		return blocks(world.Egress, append(all, without(netip.PrefixFrom(netip.IPv6Unspecified(), 0), cluster)...))
	}
	p := u.Peers[0] // a firewall's rule has one
	if p.Block.IsValid() {
		return blocks(world.Egress, without(p.Block, cluster))
	}
	return r.peer(world.Egress, p)
}

func (r *ruleCompiler) addFirewall(u *world.PolicyRule, id, match string) {
	name := names.ACL(r.policy.Key(), u.Direction, u.Index)
	a := &nb.ACL{
		Name: &name, Action: nb.ACLActionAllow, Direction: nb.ACLDirectionToLport, Tier: tierPolicy,
		Priority: firewallPriority - u.Index, Match: match, ExternalIDs: ownedBy(r.policy.Kind, r.owner),
	}
	if u.Action == world.Deny {
		a.Action = nb.ACLActionDrop
	}
	r.logs.apply(a)
	r.out.AddTo(rows.Target{Table: nb.PortGroupTable, Name: r.names.Pods(r.policy.Subject.ID)}, "acls", "rule/"+strconv.Itoa(u.Index)+"/"+id, a)
}
