package policytest

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"

	"github.com/ovnkctl/ovnkctl/internal/policy"
)

// NetworkPolicy draws a NetworkPolicy for one of the cluster's namespaces.
func NetworkPolicy(t *rapid.T, c policy.Cluster, cfg Config, name string) networkingv1.NetworkPolicy {
	return drawer{t, cfg, &c}.networkPolicy(name)
}

// NetworkPolicyRule draws a rule, which for ingress has "from" in place of "to".
func NetworkPolicyRule(t *rapid.T, c policy.Cluster, cfg Config) networkingv1.NetworkPolicyEgressRule {
	return drawer{t, cfg, &c}.networkPolicyRule()
}

func (d drawer) networkPolicy(name string) networkingv1.NetworkPolicy {
	np := networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{
		Namespace: pick(d, "namespace", d.c.Namespaces).Name, Name: name,
	}}
	np.Spec.PodSelector = d.selector(podLabels)
	np.Spec.PolicyTypes = pick(d, "policy types", [][]networkingv1.PolicyType{
		nil, {networkingv1.PolicyTypeIngress}, {networkingv1.PolicyTypeEgress},
		{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
	})
	for range d.count(0, 3, "ingress rules") {
		r := d.networkPolicyRule()
		np.Spec.Ingress = append(np.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: r.To, Ports: r.Ports})
	}
	for range d.count(0, 3, "egress rules") {
		np.Spec.Egress = append(np.Spec.Egress, d.networkPolicyRule())
	}
	return np
}

func (d drawer) networkPolicyRule() networkingv1.NetworkPolicyEgressRule {
	var r networkingv1.NetworkPolicyEgressRule
	for range d.count(0, 3, "peers") {
		r.To = append(r.To, d.networkPolicyPeer())
	}
	for range d.count(0, 2, "ports") {
		r.Ports = append(r.Ports, d.networkPolicyPort())
	}
	return r
}

func (d drawer) networkPolicyPeer() networkingv1.NetworkPolicyPeer {
	pods, namespaces := d.selector(podLabels), d.selector(namespaceLabels)
	var p networkingv1.NetworkPolicyPeer
	switch d.count(0, 3, "peer") {
	case 0:
		p.PodSelector = &pods
	case 1:
		p.NamespaceSelector = &namespaces
	case 2:
		p.PodSelector, p.NamespaceSelector = &pods, &namespaces
	default:
		p.IPBlock = d.ipBlock()
	}
	switch {
	case !d.spoil():
	case p.IPBlock != nil:
		p.PodSelector = &pods
	default:
		p = networkingv1.NetworkPolicyPeer{}
	}
	return p
}

func (d drawer) ipBlock() *networkingv1.IPBlock {
	b := &networkingv1.IPBlock{CIDR: d.cidr()}
	if d.spoil() {
		b.Except = []string{"172.31.0.0/16"} // outside of every range but the first
	}
	whole, err := netip.ParsePrefix(b.CIDR)
	if err != nil {
		return b
	}
	var within []string
	for _, s := range ranges {
		if p := netip.MustParsePrefix(s); whole.Contains(p.Addr()) && p.Bits() > whole.Bits() {
			within = append(within, s)
		}
	}
	for range d.count(0, min(2, len(within)), "excepts") {
		b.Except = append(b.Except, pick(d, "except", within))
	}
	return b
}

func (d drawer) networkPolicyPort() networkingv1.NetworkPolicyPort {
	var p networkingv1.NetworkPolicyPort
	if d.chance(70, "with protocol") {
		protocol := pick(d, "protocol", protocols)
		if d.spoil() {
			protocol = corev1.Protocol("GRE")
		}
		p.Protocol = &protocol
	}
	var port intstr.IntOrString
	switch d.count(0, 3, "port") {
	case 0:
		return p
	case 1:
		port = intstr.FromInt32(pick(d, "port number", portNumbers))
	case 2:
		port = intstr.FromString(pick(d, "port name", portNames))
		if d.spoil() {
			p.EndPort = new(int32)
		}
	default:
		first, last := d.span()
		port, p.EndPort = intstr.FromInt32(first), &last
	}
	p.Port = &port
	return p
}
