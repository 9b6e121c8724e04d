package policy

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// networkPolicy reads a NetworkPolicy. Its rules have no order: they only allow.
func (e *Evaluator) networkPolicy(np *networkingv1.NetworkPolicy) {
	p := policy{
		object: Object{"NetworkPolicy", np.Namespace, np.Name},
		tier:   TierNetworkPolicy,
		order:  order{name: np.Namespace + "/" + np.Name},
		rules:  map[Direction][]rule{},
	}
	spec := field.NewPath("spec")
	var errs field.ErrorList
	p.subject = podPeer{namespace: np.Namespace, pods: selector(spec.Child("podSelector"), &np.Spec.PodSelector, &errs)}
	if len(errs) > 0 {
		e.report(p.object, "the policy selects no pod", errs)
		return
	}
	var typeErrs field.ErrorList
	p.isolates, typeErrs = policyTypes(spec.Child("policyTypes"), &np.Spec)
	e.report(p.object, "the policy type is ignored", typeErrs)

	for i, r := range np.Spec.Ingress {
		e.allowRule(&p, Ingress, i, networkingv1.NetworkPolicyEgressRule{To: r.From, Ports: r.Ports})
	}
	for i, r := range np.Spec.Egress {
		e.allowRule(&p, Egress, i, r)
	}
	e.policies = append(e.policies, p)
}

// policyTypes are the directions that the policy is about: "policies that contain an egress
// section are assumed to affect egress, and all policies (whether or not they contain an
// ingress section) are assumed to affect ingress". An empty section is none: the API cannot
// tell the two apart.
func policyTypes(path *field.Path, s *networkingv1.NetworkPolicySpec) ([]Direction, field.ErrorList) {
	types := s.PolicyTypes
	if len(types) == 0 {
		types = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		if len(s.Egress) > 0 {
			types = append(types, networkingv1.PolicyTypeEgress)
		}
	}
	var directions []Direction
	var errs field.ErrorList
	for i, t := range types {
		switch t {
		case networkingv1.PolicyTypeIngress:
			directions = append(directions, Ingress)
		case networkingv1.PolicyTypeEgress:
			directions = append(directions, Egress)
		default:
			errs = append(errs, field.Invalid(path.Index(i), t, "must be Ingress or Egress"))
		}
	}
	return directions, errs
}

// allowRule reads a rule. A section that the policy types leave out has no effect: the
// policy is then not about that direction.
func (e *Evaluator) allowRule(p *policy, d Direction, i int, r networkingv1.NetworkPolicyEgressRule) {
	if !slices.Contains(p.isolates, d) {
		return
	}
	path := field.NewPath("spec", string(d)).Index(i)
	var errs field.ErrorList
	var peers []peer // "empty or missing: this rule matches all"
	for j := range r.To {
		peers = append(peers, networkPolicyPeer(path.Child(peersField(d)).Index(j), p.object.Namespace, &r.To[j], &errs))
	}
	var ports []port
	for j := range r.Ports {
		ports = append(ports, networkPolicyPort(path.Child("ports").Index(j), &r.Ports[j], &errs))
	}
	id := Rule{Object: p.object, Tier: p.tier, Direction: d, Index: i, Action: Allow}
	p.rules[d] = append(p.rules[d], e.newRule(id, peers, ports, errs))
}

// networkPolicyPeer: "If namespaceSelector is also set, then the NetworkPolicyPeer as a
// whole selects the pods matching podSelector in the Namespaces selected by
// NamespaceSelector. Otherwise it selects the pods matching podSelector in the policy's own
// namespace."
func networkPolicyPeer(path *field.Path, namespace string, p *networkingv1.NetworkPolicyPeer, errs *field.ErrorList) peer {
	switch {
	case p.IPBlock != nil && (p.PodSelector != nil || p.NamespaceSelector != nil):
		*errs = append(*errs, field.Forbidden(path, "may not have both an ipBlock and a selector"))
	case p.IPBlock != nil:
		return ipBlock(path.Child("ipBlock"), p.IPBlock, errs)
	case p.PodSelector == nil && p.NamespaceSelector == nil:
		*errs = append(*errs, field.Required(path, "must have a selector or an ipBlock"))
	}
	pods := p.PodSelector
	if pods == nil {
		pods = &metav1.LabelSelector{}
	}
	s := podPeer{namespace: namespace, pods: selector(path.Child("podSelector"), pods, errs)}
	if p.NamespaceSelector != nil {
		s.namespace, s.namespaces = "", selector(path.Child("namespaceSelector"), p.NamespaceSelector, errs)
	}
	return s
}

func ipBlock(path *field.Path, b *networkingv1.IPBlock, errs *field.ErrorList) peer {
	before := len(*errs)
	out := block{cidr: cidr(path.Child("cidr"), b.CIDR, errs)}
	for i, s := range b.Except {
		hole := cidr(path.Child("except").Index(i), s, errs)
		// The API server asks for a strict subset.
		if len(*errs) == before && (!out.cidr.Contains(hole.Addr()) || hole.Bits() <= out.cidr.Bits()) {
			*errs = append(*errs, field.Invalid(path.Child("except").Index(i), s, "must be a strict subset of "+b.CIDR))
		}
		out.except = append(out.except, hole)
	}
	return out
}

func networkPolicyPort(path *field.Path, p *networkingv1.NetworkPolicyPort, errs *field.ErrorList) port {
	out := port{protocol: corev1.ProtocolTCP} // "If not specified, this field defaults to TCP."
	if p.Protocol != nil {
		out.protocol = *p.Protocol
	}
	checkProtocol(path.Child("protocol"), out.protocol, errs)
	switch {
	case p.Port == nil:
		if p.EndPort != nil {
			*errs = append(*errs, field.Forbidden(path.Child("endPort"), "needs a port"))
		}
	case p.Port.Type == intstr.String:
		out.name = p.Port.StrVal
		if p.EndPort != nil {
			*errs = append(*errs, field.Forbidden(path.Child("endPort"), "goes with a numeric port only"))
		}
		checkPortName(path.Child("port"), out.name, errs)
	default:
		out.first, out.last = p.Port.IntVal, p.Port.IntVal
		if p.EndPort != nil {
			out.last = *p.EndPort
		}
		checkPorts(path, out.first, out.last, errs)
	}
	return out
}

func peersField(d Direction) string {
	if d == Ingress {
		return "from"
	}
	return "to"
}
