package policytest

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	egressfirewallv1 "github.com/ovnkctl/ovnkctl/api/egressfirewall/v1"
)

func (d drawer) egressFirewall(namespace string) egressfirewallv1.EgressFirewall {
	f := egressfirewallv1.EgressFirewall{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: egressfirewallv1.Name}}
	if d.spoil() {
		f.Name = "other"
	}
	for range d.count(0, 5, "rules") {
		f.Spec.Egress = append(f.Spec.Egress, d.firewallRule())
	}
	return f
}

func (d drawer) firewallRule() egressfirewallv1.EgressFirewallRule {
	r := egressfirewallv1.EgressFirewallRule{Type: pick(d, "type", []egressfirewallv1.EgressFirewallRuleType{
		egressfirewallv1.EgressFirewallRuleAllow, egressfirewallv1.EgressFirewallRuleDeny,
	})}
	if d.spoil() {
		r.Type = "Log"
	}
	nodes := d.selector(nodeLabels)
	switch d.count(0, 3, "destination") {
	case 0:
		r.To.DNSName = pick(d, "domain name", domainNames)
	case 1:
		r.To.NodeSelector = &nodes
	default:
		r.To.CIDRSelector = d.cidr()
	}
	for range d.count(0, 2, "ports") {
		p := egressfirewallv1.EgressFirewallPort{Protocol: pick(d, "protocol", protocols), Port: pick(d, "port", portNumbers)}
		if d.spoil() {
			p.Port = 0
		}
		r.Ports = append(r.Ports, p)
	}
	return r
}
