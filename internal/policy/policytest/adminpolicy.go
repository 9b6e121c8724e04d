package policytest

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha1"
)

func (d drawer) adminNetworkPolicy(name string) v1alpha1.AdminNetworkPolicy {
	anp := v1alpha1.AdminNetworkPolicy{ObjectMeta: d.meta(name)}
	anp.Spec.Priority, anp.Spec.Subject = d.priority(), d.subject()
	for range d.count(0, 3, "ingress rules") {
		anp.Spec.Ingress = append(anp.Spec.Ingress, v1alpha1.AdminNetworkPolicyIngressRule{
			Action: d.adminAction("Allow", "Deny", "Pass"), From: d.adminIngressPeers(), Ports: d.ports(true),
		})
	}
	for range d.count(0, 3, "egress rules") {
		r := v1alpha1.AdminNetworkPolicyEgressRule{Action: d.adminAction("Allow", "Deny", "Pass")}
		named := true
		for _, p := range d.adminPeers(true, r.Action == v1alpha1.AdminNetworkPolicyRuleActionAllow || d.spoil()) {
			named = named && !p.byAddress()
			r.To = append(r.To, adminEgressPeer(p))
		}
		r.Ports = d.ports(named || d.spoil())
		anp.Spec.Egress = append(anp.Spec.Egress, r)
	}
	return anp
}

func (d drawer) baselineAdminNetworkPolicy() v1alpha1.BaselineAdminNetworkPolicy {
	banp := v1alpha1.BaselineAdminNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	banp.Spec.Subject = d.subject()
	for range d.count(0, 3, "ingress rules") {
		banp.Spec.Ingress = append(banp.Spec.Ingress, v1alpha1.BaselineAdminNetworkPolicyIngressRule{
			Action: v1alpha1.BaselineAdminNetworkPolicyRuleAction(d.adminAction("Allow", "Deny")),
			From:   d.adminIngressPeers(), Ports: d.ports(true),
		})
	}
	for range d.count(0, 3, "egress rules") {
		r := v1alpha1.BaselineAdminNetworkPolicyEgressRule{
			Action: v1alpha1.BaselineAdminNetworkPolicyRuleAction(d.adminAction("Allow", "Deny")),
		}
		named := true
		for _, p := range d.adminPeers(true, false) {
			named = named && !p.byAddress()
			e := adminEgressPeer(p)
			r.To = append(r.To, v1alpha1.BaselineAdminNetworkPolicyEgressPeer{
				Namespaces: e.Namespaces, Pods: e.Pods, Nodes: e.Nodes, Networks: e.Networks,
			})
		}
		r.Ports = d.ports(named || d.spoil())
		banp.Spec.Egress = append(banp.Spec.Egress, r)
	}
	return banp
}

func (d drawer) adminAction(of ...v1alpha1.AdminNetworkPolicyRuleAction) v1alpha1.AdminNetworkPolicyRuleAction {
	if d.spoil() {
		return "Log"
	}
	return pick(d, "action", of)
}

func adminEgressPeer(p adminPeer) v1alpha1.AdminNetworkPolicyEgressPeer {
	c := clusterPeer(p)
	out := v1alpha1.AdminNetworkPolicyEgressPeer{
		Namespaces: c.Namespaces, Nodes: c.Nodes, Pods: (*v1alpha1.NamespacedPod)(c.Pods),
	}
	for _, n := range c.Networks {
		out.Networks = append(out.Networks, v1alpha1.CIDR(n))
	}
	for _, n := range c.DomainNames {
		out.DomainNames = append(out.DomainNames, v1alpha1.DomainName(n))
	}
	return out
}

func (d drawer) adminIngressPeers() []v1alpha1.AdminNetworkPolicyIngressPeer {
	var out []v1alpha1.AdminNetworkPolicyIngressPeer
	for _, p := range d.adminPeers(false, false) {
		e := adminEgressPeer(p)
		out = append(out, v1alpha1.AdminNetworkPolicyIngressPeer{Namespaces: e.Namespaces, Pods: e.Pods})
	}
	return out
}

func (d drawer) ports(named bool) *[]v1alpha1.AdminNetworkPolicyPort {
	var out []v1alpha1.AdminNetworkPolicyPort
	for _, p := range d.adminPorts(named) {
		var o v1alpha1.AdminNetworkPolicyPort
		switch {
		case p.name != "":
			o.NamedPort = &p.name
		case p.last != 0:
			o.PortRange = &v1alpha1.PortRange{Protocol: p.protocol, Start: p.first, End: p.last}
		default:
			o.PortNumber = &v1alpha1.Port{Protocol: p.protocol, Port: p.first}
		}
		if d.spoil() {
			o = v1alpha1.AdminNetworkPolicyPort{}
		}
		out = append(out, o)
	}
	if out == nil {
		return nil
	}
	return &out
}
