package policy

import (
	"math"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha2"
)

// The two kinds of v1alpha1 are translated to the one that replaces them: "AdminNetworkPolicy
// becomes a ClusterNetworkPolicy with tier=Admin and BaselineAdminNetworkPolicy becomes a
// ClusterNetworkPolicy with tier=Baseline."

func (e *Evaluator) adminNetworkPolicy(anp *v1alpha1.AdminNetworkPolicy) {
	s := v1alpha2.ClusterNetworkPolicySpec{
		Tier: v1alpha2.AdminTier, Priority: anp.Spec.Priority, Subject: subject(&anp.Spec.Subject),
	}
	for _, r := range anp.Spec.Ingress {
		s.Ingress = append(s.Ingress, v1alpha2.ClusterNetworkPolicyIngressRule{
			Name: r.Name, Action: action(string(r.Action), "Allow", "Deny", "Pass"),
			From: ingressPeers(r.From), Protocols: protocols(r.Ports),
		})
	}
	for _, r := range anp.Spec.Egress {
		rule := v1alpha2.ClusterNetworkPolicyEgressRule{
			Name: r.Name, Action: action(string(r.Action), "Allow", "Deny", "Pass"), Protocols: protocols(r.Ports),
		}
		for _, p := range r.To {
			rule.To = append(rule.To, v1alpha2.ClusterNetworkPolicyEgressPeer{
				Namespaces: p.Namespaces, Pods: (*v1alpha2.NamespacedPod)(p.Pods), Nodes: p.Nodes,
				Networks: convert[v1alpha2.CIDR](p.Networks), DomainNames: convert[v1alpha2.DomainName](p.DomainNames),
			})
		}
		s.Egress = append(s.Egress, rule)
	}
	e.clusterPolicy(source{
		object:     Object{"AdminNetworkPolicy", "", anp.Name},
		order:      order{anp.Spec.Priority, kindAdmin, anp.CreationTimestamp.Unix(), anp.Name},
		portsField: "ports",
	}, &s)
}

func (e *Evaluator) baselineAdminNetworkPolicy(banp *v1alpha1.BaselineAdminNetworkPolicy) {
	s := v1alpha2.ClusterNetworkPolicySpec{Tier: v1alpha2.BaselineTier, Subject: subject(&banp.Spec.Subject)}
	for _, r := range banp.Spec.Ingress {
		s.Ingress = append(s.Ingress, v1alpha2.ClusterNetworkPolicyIngressRule{
			Name: r.Name, Action: action(string(r.Action), "Allow", "Deny"),
			From: ingressPeers(r.From), Protocols: protocols(r.Ports),
		})
	}
	for _, r := range banp.Spec.Egress {
		rule := v1alpha2.ClusterNetworkPolicyEgressRule{
			Name: r.Name, Action: action(string(r.Action), "Allow", "Deny"), Protocols: protocols(r.Ports),
		}
		for _, p := range r.To {
			rule.To = append(rule.To, v1alpha2.ClusterNetworkPolicyEgressPeer{
				Namespaces: p.Namespaces, Pods: (*v1alpha2.NamespacedPod)(p.Pods), Nodes: p.Nodes,
				Networks: convert[v1alpha2.CIDR](p.Networks),
			})
		}
		s.Egress = append(s.Egress, rule)
	}
	e.clusterPolicy(source{
		object:     Object{"BaselineAdminNetworkPolicy", "", banp.Name},
		order:      order{priority: math.MaxInt32},
		portsField: "ports",
	}, &s)
}

func subject(s *v1alpha1.AdminNetworkPolicySubject) v1alpha2.ClusterNetworkPolicySubject {
	return v1alpha2.ClusterNetworkPolicySubject{Namespaces: s.Namespaces, Pods: (*v1alpha2.NamespacedPod)(s.Pods)}
}

// action translates the actions that a kind has; any other stays unknown.
func action(a string, known ...string) v1alpha2.ClusterNetworkPolicyRuleAction {
	for _, k := range known {
		switch {
		case a != k:
		case a == "Allow":
			return v1alpha2.ClusterNetworkPolicyRuleActionAccept
		default:
			return v1alpha2.ClusterNetworkPolicyRuleAction(a)
		}
	}
	return v1alpha2.ClusterNetworkPolicyRuleAction("unknown action " + a)
}

func ingressPeers(from []v1alpha1.AdminNetworkPolicyIngressPeer) []v1alpha2.ClusterNetworkPolicyIngressPeer {
	var out []v1alpha2.ClusterNetworkPolicyIngressPeer
	for _, p := range from {
		out = append(out, v1alpha2.ClusterNetworkPolicyIngressPeer{
			Namespaces: p.Namespaces, Pods: (*v1alpha2.NamespacedPod)(p.Pods),
		})
	}
	return out
}

// protocols translates ports. "If Ports is not set then the rule does not filter traffic
// via port"; a list that is set and empty is refused by the schema, and becomes an entry
// that cannot be understood.
func protocols(ports *[]v1alpha1.AdminNetworkPolicyPort) []v1alpha2.ClusterNetworkPolicyProtocol {
	if ports == nil {
		return nil
	}
	if len(*ports) == 0 {
		return make([]v1alpha2.ClusterNetworkPolicyProtocol, 1)
	}
	var out []v1alpha2.ClusterNetworkPolicyProtocol
	for _, p := range *ports {
		out = append(out, protocol(p))
	}
	return out
}

func protocol(p v1alpha1.AdminNetworkPolicyPort) v1alpha2.ClusterNetworkPolicyProtocol {
	var out v1alpha2.ClusterNetworkPolicyProtocol
	if p.NamedPort != nil {
		out.DestinationNamedPort = *p.NamedPort
	}
	if p.PortNumber != nil && p.PortRange != nil {
		return v1alpha2.ClusterNetworkPolicyProtocol{} // one entry cannot be both
	}
	number, name := &v1alpha2.Port{}, corev1.Protocol("")
	switch {
	case p.PortNumber != nil:
		number.Number, name = p.PortNumber.Port, p.PortNumber.Protocol
	case p.PortRange != nil:
		number.Range, name = &v1alpha2.PortRange{Start: p.PortRange.Start, End: p.PortRange.End}, p.PortRange.Protocol
	default:
		return out
	}
	switch name {
	case corev1.ProtocolTCP, "": // "If not specified, this field defaults to TCP."
		out.TCP = &v1alpha2.ClusterNetworkPolicyProtocolTCP{DestinationPort: number}
	case corev1.ProtocolUDP:
		out.UDP = &v1alpha2.ClusterNetworkPolicyProtocolUDP{DestinationPort: number}
	case corev1.ProtocolSCTP:
		out.SCTP = &v1alpha2.ClusterNetworkPolicyProtocolSCTP{DestinationPort: number}
	}
	return out
}

func convert[To, From ~string](in []From) []To {
	var out []To
	for _, s := range in {
		out = append(out, To(s))
	}
	return out
}
