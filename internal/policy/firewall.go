package policy

import (
	"fmt"
	"net/netip"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	egressfirewallv1 "github.com/ovnkctl/ovnkctl/api/egressfirewall/v1"
)

// egressFirewall reads an EgressFirewall: ordered rules for all pods of its namespace.
func (e *Evaluator) egressFirewall(f *egressfirewallv1.EgressFirewall) {
	p := policy{
		object:  Object{"EgressFirewall", f.Namespace, f.Name},
		tier:    TierFirewall,
		order:   order{name: f.Namespace + "/" + f.Name},
		subject: podPeer{namespace: f.Namespace, pods: labels.Everything()},
		rules:   map[Direction][]rule{},
	}
	if f.Name != egressfirewallv1.Name {
		e.report(p.object, "the firewall is not used", field.ErrorList{
			field.Invalid(field.NewPath("metadata", "name"), f.Name, "must be "+egressfirewallv1.Name),
		})
		return
	}
	for i := range f.Spec.Egress {
		p.rules[Egress] = append(p.rules[Egress], e.firewallRule(&p, i, &f.Spec.Egress[i]))
	}
	e.policies = append(e.policies, p)
}

func (e *Evaluator) firewallRule(p *policy, i int, r *egressfirewallv1.EgressFirewallRule) rule {
	path := field.NewPath("spec", "egress").Index(i)
	id := Rule{Object: p.object, Tier: p.tier, Direction: Egress, Index: i}
	var errs field.ErrorList
	switch r.Type {
	case egressfirewallv1.EgressFirewallRuleAllow:
		id.Action = Allow
	case egressfirewallv1.EgressFirewallRuleDeny:
		id.Action = Deny
	default:
		errs = append(errs, field.Invalid(path.Child("type"), r.Type, "must be Allow or Deny"))
	}
	var ports []port
	for j, o := range r.Ports {
		portPath := path.Child("ports").Index(j)
		checkProtocol(portPath.Child("protocol"), o.Protocol, &errs)
		checkPorts(portPath.Child("port"), o.Port, o.Port, &errs)
		ports = append(ports, port{protocol: o.Protocol, first: o.Port, last: o.Port})
	}
	peers := e.destination(path.Child("to"), &r.To, &errs)
	return e.newRule(id, peers, ports, errs)
}

func (e *Evaluator) destination(path *field.Path, d *egressfirewallv1.EgressFirewallDestination, errs *field.ErrorList) []peer {
	var out []peer
	if d.CIDRSelector != "" {
		out = append(out, block{cidr: cidr(path.Child("cidrSelector"), d.CIDRSelector, errs)})
	}
	if d.DNSName != "" {
		out = append(out, e.resolve(d.DNSName, false))
	}
	if d.NodeSelector != nil {
		hostIPs := func(n *Node) []netip.Addr { return n.HostIPs }
		out = append(out, e.nodes(path.Child("nodeSelector"), d.NodeSelector, hostIPs, errs))
	}
	if len(out) != 1 {
		*errs = append(*errs, field.Forbidden(path, fmt.Sprintf("must have exactly one destination, has %d", len(out))))
	}
	return out
}
