package world

import (
	"fmt"

	egressfirewallv1 "github.com/ovnkctl/ovnkctl/api/egressfirewall/v1"
)

// maxFirewallRules is how many rules an EgressFirewall can have, as in OVN-Kubernetes.
const maxFirewallRules = 8000

// FromEgressFirewall takes what features need out of an EgressFirewall.
func FromEgressFirewall(o *egressfirewallv1.EgressFirewall) *Policy {
	p := policyOf(KindEgressFirewall, TierEgressFirewall, &o.ObjectMeta)
	if o.Name != egressfirewallv1.Name {
		p.problem("metadata.name", fmt.Errorf("%q is not %q, the only name that an EgressFirewall can have", o.Name, egressfirewallv1.Name), "it is not used")
		return p
	}
	p.Subject = PodsIn(p.Namespace, AllPods().Pods)
	if n := len(o.Spec.Egress); n > maxFirewallRules {
		p.Rules = []PolicyRule{{Direction: Egress, Action: Deny}}
		p.problem("spec.egress", fmt.Errorf("%d rules are more than %d, for which there is room", n, maxFirewallRules), "all that leaves the cluster is denied")
		return p
	}
	for i := range o.Spec.Egress {
		p.firewallRule(i, &o.Spec.Egress[i])
	}
	return p
}

func (p *Policy) firewallRule(index int, o *egressfirewallv1.EgressFirewallRule) {
	r := &ruleReader{field: fieldOf(Egress, index), rule: PolicyRule{Direction: Egress, Index: index}}
	switch o.Type {
	case egressfirewallv1.EgressFirewallRuleAllow:
	case egressfirewallv1.EgressFirewallRuleDeny:
		r.rule.Action = Deny
	default:
		r.rule.Action = Deny
		r.fault(".type", fmt.Errorf("%q is neither Allow nor Deny", o.Type))
	}
	switch to := &o.To; {
	case bit(to.CIDRSelector != "")+bit(to.DNSName != "")+bit(to.NodeSelector != nil) != 1:
		r.fault(".to", errNotOne)
	case to.CIDRSelector != "":
		r.rule.Peers = append(r.rule.Peers, Peer{Block: r.prefix(".to.cidrSelector", to.CIDRSelector)})
	case to.DNSName != "":
		r.domain(".to.dnsName", to.DNSName, false)
	default:
		r.rule.Peers = append(r.rule.Peers, Peer{Nodes: NodesOf(r.labels(".to.nodeSelector", to.NodeSelector), true)})
	}
	for i, o := range o.Ports {
		field := fmt.Sprintf(".ports[%d]", i)
		protocol, ok := protocolOf(&o.Protocol)
		if !ok || o.Protocol == "" {
			r.fault(field+".protocol", errNotProtocol)
		}
		r.ports(field+".port", protocol, o.Port, o.Port)
	}
	p.addRule(r)
}
