package world

import (
	"errors"
	"fmt"
	"net/netip"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/ovnkctl/ovnkctl/internal/world/selector"
)

// Annotations of OVN-Kubernetes on policies.
const (
	stateless  = ovnDomain + "acl-stateless"
	aclLogging = ovnDomain + "acl-logging"
)

func policyOf(kind Kind, tier PolicyTier, o *metav1.ObjectMeta) *Policy {
	return &Policy{Kind: kind, Tier: tier, Namespace: interned(o.Namespace), Name: o.Name, UID: string(o.UID), Created: created(o)}
}

// FromNetworkPolicy takes what features need out of a NetworkPolicy.
func FromNetworkPolicy(o *networkingv1.NetworkPolicy) *Policy {
	p := policyOf(KindNetworkPolicy, TierNetworkPolicy, &o.ObjectMeta)
	p.Stateless = o.Annotations[stateless] == "true"
	pods, err := selector.From(&o.Spec.PodSelector)
	if err != nil {
		p.problem("spec.podSelector", err, "the policy selects no pod")
		return p
	}
	p.Subject = PodsIn(p.Namespace, pods)
	p.policyTypes(&o.Spec)
	for i := range o.Spec.Ingress {
		if r := &o.Spec.Ingress[i]; p.Isolates[Ingress] {
			p.networkRule(Ingress, i, r.From, r.Ports)
		}
	}
	for i := range o.Spec.Egress {
		if r := &o.Spec.Egress[i]; p.Isolates[Egress] {
			p.networkRule(Egress, i, r.To, r.Ports)
		}
	}
	return p
}

// policyTypes finds the directions that the policy is about: without types it is about
// ingress, and about egress if it has rules for it. The rules of a direction that it is not
// about mean nothing.
func (p *Policy) policyTypes(s *networkingv1.NetworkPolicySpec) {
	if len(s.PolicyTypes) == 0 {
		p.Isolates = [2]bool{Ingress: true, Egress: len(s.Egress) > 0}
	}
	for i, t := range s.PolicyTypes {
		switch t {
		case networkingv1.PolicyTypeIngress:
			p.Isolates[Ingress] = true
		case networkingv1.PolicyTypeEgress:
			p.Isolates[Egress] = true
		default:
			p.problem(fmt.Sprintf("spec.policyTypes[%d]", i), fmt.Errorf("%q is neither Ingress nor Egress", t), "it is ignored")
		}
	}
}

func (p *Policy) networkRule(d Direction, index int, peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) {
	r := &ruleReader{field: fieldOf(d, index), rule: PolicyRule{Direction: d, Index: index, Action: Allow}}
	for i := range peers {
		r.networkPeer(fmt.Sprintf(".%s[%d]", peersOf(d), i), p.Namespace, &peers[i])
	}
	for i := range ports {
		r.networkPort(fmt.Sprintf(".ports[%d]", i), &ports[i])
	}
	p.addRule(r)
}

func (r *ruleReader) networkPeer(field, namespace string, o *networkingv1.NetworkPolicyPeer) {
	if o.IPBlock != nil {
		if o.PodSelector != nil || o.NamespaceSelector != nil {
			r.fault(field, errors.New("an ipBlock does not go with a selector"))
		}
		r.block(field+".ipBlock", o.IPBlock)
		return
	}
	if o.PodSelector == nil && o.NamespaceSelector == nil {
		r.fault(field, errors.New("neither an ipBlock nor a selector is set"))
		return
	}
	var pods selector.Labels
	if o.PodSelector != nil {
		pods = r.labels(field+".podSelector", o.PodSelector)
	}
	s := PodsIn(namespace, pods)
	if o.NamespaceSelector != nil {
		s = PodsOf(r.labels(field+".namespaceSelector", o.NamespaceSelector), pods)
	}
	r.rule.Peers = append(r.rule.Peers, Peer{Pods: s})
}

func (r *ruleReader) block(field string, o *networkingv1.IPBlock) {
	whole := r.prefix(field+".cidr", o.CIDR)
	var except []netip.Prefix
	for i, text := range o.Except {
		e := r.prefix(fmt.Sprintf("%s.except[%d]", field, i), text)
		if r.err == nil && (!whole.Contains(e.Addr()) || e.Bits() <= whole.Bits()) {
			r.fault(fmt.Sprintf("%s.except[%d]", field, i), fmt.Errorf("%s is not a part of %s", text, o.CIDR))
		}
		except = append(except, e)
	}
	r.rule.Peers = append(r.rule.Peers, Peer{Block: whole, Except: except})
}

func (r *ruleReader) networkPort(field string, o *networkingv1.NetworkPolicyPort) {
	protocol, ok := protocolOf(o.Protocol)
	if !ok {
		r.fault(field+".protocol", errNotProtocol)
	}
	switch {
	case o.Port == nil:
		if o.EndPort != nil {
			r.fault(field+".endPort", errors.New("an endPort needs a port"))
		}
		r.rule.Ports = append(r.rule.Ports, PolicyPort{Protocol: protocol})
	case o.Port.Type == intstr.String:
		if o.EndPort != nil {
			r.fault(field+".endPort", errors.New("an endPort does not go with the name of a port"))
		}
		r.portName(field+".port", o.Port.StrVal, protocol)
	default:
		last := o.Port.IntVal
		if o.EndPort != nil {
			last = *o.EndPort
		}
		r.ports(field+".port", protocol, o.Port.IntVal, last)
	}
}
