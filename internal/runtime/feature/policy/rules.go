package policy

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Tiers and priorities; see the comment of the package.
const (
	tierZone     = 0
	tierAdmin    = 1
	tierPolicy   = 2
	tierBaseline = 3

	allowPriority    = 1001
	denyPriority     = 1000
	firewallPriority = 10000
)

// acl adds an ACL of one direction to a switch or port group.
func (c *compiler) acl(parent rows.Target, id string, a *nb.ACL, d world.Direction) {
	a.Direction = nb.ACLDirectionToLport
	if d == world.Egress {
		a.Direction, a.Options = nb.ACLDirectionFromLport, map[string]string{"apply-after-lb": "true"}
	}
	c.out.AddTo(parent, "acls", id, a)
}

// port is the expression for packets of the ports of a group.
func port(d world.Direction, group string) string {
	if d == world.Ingress {
		return "outport == @" + group
	}
	return "inport == @" + group
}

// namespace makes the groups of a namespace's isolated pods.
func (c *compiler) namespace(name string) {
	isolated := c.view.Isolated(name)
	if isolated == ([2]bool{}) {
		return
	}
	logs := c.namespaceLogging(name, true)
	ids := ownedBy(world.KindNamespace, name)
	for _, d := range world.Directions {
		if !isolated[d] {
			continue
		}
		group := c.names.Isolated(name, d)
		c.out.Add(strings.ToLower(d.String()), &nb.PortGroup{Name: group, ExternalIDs: ids})
		add := func(id string, priority int, action nb.ACLAction, match string) {
			aclName := names.IsolationACL(name, d)
			a := &nb.ACL{Name: &aclName, Action: action, Tier: tierPolicy, Priority: priority, Match: match, ExternalIDs: ids}
			if id != "arp" { // nobody means ARP
				logs.apply(a)
			}
			c.acl(rows.Target{Table: nb.PortGroupTable, Name: group}, strings.ToLower(d.String())+"/"+id, a, d)
		}
		add("deny", denyPriority, nb.ACLActionDrop, port(d, group))
		add("arp", allowPriority, nb.ACLActionAllowRelated, port(d, group)+" && (arp || nd)")
		if c.AllowICMP {
			add("icmp", allowPriority, nb.ACLActionAllowRelated, port(d, group)+" && (icmp4 || icmp6)")
		}
	}
}

func ownedBy(kind world.Kind, owner string) map[string]string {
	return map[string]string{names.KeyKind: string(kind), names.KeyOwner: owner}
}

// policy makes the ACLs of a policy, if it is for a pod of this node, and reports what is
// wrong with it in any case.
func (c *compiler) policy(key world.PolicyKey) {
	p, ok := c.view.Policy(key)
	if !ok {
		return
	}
	for _, o := range p.Problems {
		c.reasons = append(c.reasons, feature.Reason{Code: InvalidPolicy, Object: p.Ref(), Message: o.Field + ": " + o.Message, Remedy: o.Remedy})
	}
	r := ruleCompiler{compiler: c, policy: p}
	r.owner = p.Name
	if p.Namespace != "" {
		r.owner = p.Namespace + "/" + p.Name
	}
	switch p.Tier {
	case world.TierNetworkPolicy:
		r.tier = tierPolicy
		r.logs = c.namespaceLogging(p.Namespace, false)
	case world.TierEgressFirewall:
		r.tier = tierPolicy
		r.logs = c.namespaceLogging(p.Namespace, c.view.InUse(p)) // nobody may be isolated
	default:
		r.tier = tierAdmin
		if p.Tier == world.TierBaseline {
			r.tier = tierBaseline
		}
		l := c.place(p)
		if l.none {
			return
		}
		r.first = l.first
		var err error
		if r.logs, err = readLogging(p.Logging); err != nil {
			c.badLogging(p.Ref(), err)
		}
	}
	if !c.view.InUse(p) {
		return
	}
	for i := range p.Rules {
		r.checkDomains(&p.Rules[i])
		if p.Tier == world.TierEgressFirewall {
			r.firewallRule(&p.Rules[i])
		} else {
			r.rule(&p.Rules[i])
		}
	}
}

// checkDomains reports names without addresses: whatever the rule does, it does not do it to
// them.
func (r *ruleCompiler) checkDomains(u *world.PolicyRule) {
	for _, o := range u.Peers {
		if o.Domain != nil && len(r.view.DomainAddrs(*o.Domain)) == 0 {
			code := UnknownDomain
			if strings.HasPrefix(o.Domain.Name, "*.") {
				code = DomainNotAskedFor
			}
			r.reasons = append(r.reasons, feature.Reason{
				Code: code, Object: r.policy.Ref(),
				Message: fmt.Sprintf("rule %d for %s: no address of %s is known: the rule matches nothing", u.Index, strings.ToLower(u.Direction.String()), o.Domain.Name),
				Remedy:  "see whether the name exists and a pod of this node has asked for it",
			})
		}
	}
}

// ruleCompiler makes the ACLs of one policy.
type ruleCompiler struct {
	*compiler
	policy *world.Policy
	owner  string // "namespace/name"
	tier   int
	first  int // priority of the first rule of an administrator's policy
	logs   logging
}

var actions = map[world.RuleAction]nb.ACLAction{
	world.Allow: nb.ACLActionAllowRelated, world.Deny: nb.ACLActionDrop, world.Pass: nb.ACLActionPass,
}

// rule makes the ACLs of a rule: one for each protocol, or one for all, and for named ports
// one for each number; of those one for each family of the other end.
func (r *ruleCompiler) rule(u *world.PolicyRule) {
	if len(u.Ports) == 0 {
		r.toPeers(u, "any", r.names.Pods(r.policy.Subject.ID), "")
		return
	}
	for _, protocol := range []world.Protocol{world.TCP, world.UDP, world.SCTP} {
		r.numbered(u, protocol)
		for _, n := range namedPorts(u, protocol) {
			r.named(u, n)
		}
	}
}

// numbered is for the ports of a protocol that have numbers.
func (r *ruleCompiler) numbered(u *world.PolicyRule, protocol world.Protocol) {
	var spans []span
	all := false
	for _, o := range u.Ports {
		if o.Protocol == protocol && o.Name == "" {
			all = all || o.Last == 0
			spans = append(spans, span{o.First, o.Last})
		}
	}
	if len(spans) == 0 {
		return
	}
	l4 := string(protocol)
	if !all {
		l4 = portMatch(protocol, spans)
	}
	r.toPeers(u, l4Name(protocol), r.names.Pods(r.policy.Subject.ID), l4)
}

// toPeers adds the ACLs for the pods of a group and the rule's peers.
func (r *ruleCompiler) toPeers(u *world.PolicyRule, id, group, l4 string) {
	if len(u.Peers) > 0 {
		r.toEnds(u, id, group, r.peers(u), l4)
		return
	}
	match := port(u.Direction, group) + " && ip"
	if l4 != "" {
		match = port(u.Direction, group) + " && " + l4
	}
	r.add(u, id, match)
}

func (r *ruleCompiler) toEnds(u *world.PolicyRule, id, group string, to ends, l4 string) {
	to.each(func(family, match string) {
		match = port(u.Direction, group) + " && " + match
		if l4 != "" {
			match += " && " + l4
		}
		r.add(u, id+"/"+family, match)
	})
}

func l4Name(p world.Protocol) string { return string(p) }

func namedPorts(u *world.PolicyRule, protocol world.Protocol) []world.NamedPort {
	var out []world.NamedPort
	for _, o := range u.Ports {
		if n, ok := o.Named(); ok && n.Protocol == protocol && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// named is for a port with a name: for each number that pods of the destination have for it,
// those pods.
func (r *ruleCompiler) named(u *world.PolicyRule, n world.NamedPort) {
	id := func(number uint16) string { return fmt.Sprintf("%s/%s/%d", n.Protocol, n.Name, number) }
	if u.Direction == world.Ingress {
		for _, number := range r.view.Numbers(r.policy.Subject, world.SetKey{Subject: true, Port: n}) {
			r.toPeers(u, id(number), r.names.NamedPort(r.policy.Subject.ID, n, number), fmt.Sprintf("%s.dst == %d", n.Protocol, number))
		}
		return
	}
	destinations := map[uint16]*ends{}
	for _, s := range u.NamedIn() {
		for _, number := range r.view.Numbers(s, world.SetKey{Port: n}) {
			to := r.sets(u.Direction, r.names.NamedPort(s.ID, n, number))
			if s.ID == world.AllPods().ID {
				to = r.within(u, to)
			}
			if destinations[number] == nil {
				destinations[number] = &ends{}
			}
			destinations[number].join(to)
		}
	}
	for _, number := range slices.Sorted(maps.Keys(destinations)) {
		r.toEnds(u, id(number), r.names.Pods(r.policy.Subject.ID), *destinations[number], fmt.Sprintf("%s.dst == %d", n.Protocol, number))
	}
}

// within restricts all pods to those that the rule's peers which are no selectors of pods
// allow. Where all pods are themselves a peer, or there are no peers, nothing is restricted.
func (r *ruleCompiler) within(u *world.PolicyRule, all ends) ends {
	var others ends
	for _, p := range u.Peers {
		switch {
		case p.Pods != nil && p.Pods.ID == world.AllPods().ID:
			return all
		case p.Pods == nil:
			others.join(r.peer(u.Direction, p))
		}
	}
	if len(u.Peers) == 0 {
		return all
	}
	return all.and(others)
}

// peers are the other ends that a rule names; none when nobody can be it.
func (r *ruleCompiler) peers(u *world.PolicyRule) ends {
	var out ends
	var ranges []netip.Prefix
	for _, p := range u.Peers {
		if p.Block.IsValid() {
			ranges = append(ranges, without(p.Block, p.Except)...)
			continue
		}
		out.join(r.peer(u.Direction, p))
	}
	out.join(blocks(u.Direction, ranges))
	return out
}

// peer are the other ends that one peer is.
func (r *ruleCompiler) peer(d world.Direction, p world.Peer) ends {
	switch {
	case p.Pods != nil:
		return r.sets(d, r.names.Pods(p.Pods.ID))
	case p.Nodes != nil:
		return r.sets(d, r.names.Nodes(p.Nodes.ID))
	case p.Domain != nil:
		return r.sets(d, r.names.Domain(*p.Domain))
	}
	return blocks(d, without(p.Block, p.Except))
}

// sets are the address sets of a group.
func (r *ruleCompiler) sets(d world.Direction, group string) ends {
	var out ends
	for _, is4 := range r.families() {
		out.add(is4, fmt.Sprintf("%s.%s == $%s", family(is4), side(d), names.AddressSet(group, is4)))
	}
	return out
}

// add adds one ACL of a rule.
func (r *ruleCompiler) add(u *world.PolicyRule, id, match string) {
	name := names.ACL(r.policy.Key(), u.Direction, u.Index)
	a := &nb.ACL{
		Name: &name, Action: actions[u.Action], Tier: r.tier, Priority: allowPriority, Match: match,
		ExternalIDs: ownedBy(r.policy.Kind, r.owner),
	}
	if r.policy.Tier != world.TierNetworkPolicy {
		a.Priority = r.first - u.Index
	}
	if r.policy.Stateless && a.Action == nb.ACLActionAllowRelated {
		a.Action = nb.ACLActionAllowStateless
	}
	r.logs.apply(a)
	parent := rows.Target{Table: nb.PortGroupTable, Name: r.names.Pods(r.policy.Subject.ID)}
	r.acl(parent, fmt.Sprintf("%s/%d/%s", strings.ToLower(u.Direction.String()), u.Index, id), a, u.Direction)
}
