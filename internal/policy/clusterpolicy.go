package policy

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/network-policy-api/apis/v1alpha2"
)

// The order of kinds within a tier at equal priority.
const (
	kindCluster = iota
	kindAdmin
)

// source is where a ClusterNetworkPolicy comes from: itself, or an older kind that was
// translated, whose own words problems must use.
type source struct {
	object     Object
	order      order
	portsField string
}

func (e *Evaluator) clusterNetworkPolicy(cnp *v1alpha2.ClusterNetworkPolicy) {
	e.clusterPolicy(source{
		object:     Object{"ClusterNetworkPolicy", "", cnp.Name},
		order:      order{cnp.Spec.Priority, kindCluster, cnp.CreationTimestamp.Unix(), cnp.Name},
		portsField: "protocols",
	}, &cnp.Spec)
}

func (e *Evaluator) clusterPolicy(from source, s *v1alpha2.ClusterNetworkPolicySpec) {
	spec := field.NewPath("spec")
	p := policy{object: from.object, priority: s.Priority, order: from.order, rules: map[Direction][]rule{}}
	var errs field.ErrorList
	switch s.Tier {
	case v1alpha2.AdminTier:
		p.tier = TierAdmin
	case v1alpha2.BaselineTier:
		p.tier = TierBaseline
	default:
		errs = append(errs, field.Invalid(spec.Child("tier"), s.Tier, "must be Admin or Baseline"))
	}
	p.subject = podsOf(spec.Child("subject"), s.Subject.Namespaces, s.Subject.Pods, &errs)
	if len(errs) > 0 {
		e.report(p.object, "the policy selects no pod", errs)
		return
	}
	for i, r := range s.Ingress {
		to := make([]v1alpha2.ClusterNetworkPolicyEgressPeer, len(r.From))
		for j, f := range r.From {
			to[j] = v1alpha2.ClusterNetworkPolicyEgressPeer{Namespaces: f.Namespaces, Pods: f.Pods}
		}
		e.clusterRule(&p, from, ruleAt{Ingress, i}, v1alpha2.ClusterNetworkPolicyEgressRule{
			Name: r.Name, Action: r.Action, To: to, Protocols: r.Protocols,
		})
	}
	for i, r := range s.Egress {
		e.clusterRule(&p, from, ruleAt{Egress, i}, r)
	}
	e.policies = append(e.policies, p)
}

type ruleAt struct {
	direction Direction
	index     int
}

func (e *Evaluator) clusterRule(p *policy, from source, at ruleAt, r v1alpha2.ClusterNetworkPolicyEgressRule) {
	id := Rule{
		Object: p.object, Tier: p.tier, Priority: p.priority,
		Direction: at.direction, Index: at.index, Name: r.Name,
	}
	path := field.NewPath("spec", string(at.direction)).Index(at.index)
	var errs field.ErrorList
	switch r.Action {
	case v1alpha2.ClusterNetworkPolicyRuleActionAccept:
		id.Action = Allow
	case v1alpha2.ClusterNetworkPolicyRuleActionDeny:
		id.Action = Deny
	case v1alpha2.ClusterNetworkPolicyRuleActionPass:
		id.Action = Pass
	default:
		errs = append(errs, field.Invalid(path.Child("action"), r.Action, "is not an action of this kind"))
	}
	peersPath := path.Child(peersField(at.direction))
	if len(r.To) == 0 {
		errs = append(errs, field.Required(peersPath, "must have a peer"))
	}
	var peers []peer
	byAddress := false
	for i := range r.To {
		to := &r.To[i]
		peers = append(peers, e.clusterPeers(peersPath.Index(i), to, id.Action, &errs)...)
		byAddress = byAddress || to.Nodes != nil || len(to.Networks)+len(to.DomainNames) > 0
	}
	var ports []port
	for i := range r.Protocols {
		protocolPath := path.Child(from.portsField).Index(i)
		o := clusterPort(protocolPath, &r.Protocols[i], &errs)
		// The API's rule: "there are no namedPorts for networks/nodes/domainNames".
		if o.name != "" && byAddress {
			errs = append(errs, field.Forbidden(protocolPath, "a named port does not go with networks, nodes or domainNames"))
		}
		ports = append(ports, o)
	}
	p.rules[at.direction] = append(p.rules[at.direction], e.newRule(id, peers, ports, errs))
}

// podsOf reads the two ways to name pods that subjects and peers share.
func podsOf(path *field.Path, namespaces *metav1.LabelSelector, pods *v1alpha2.NamespacedPod, errs *field.ErrorList) podPeer {
	switch {
	case (namespaces != nil) == (pods != nil):
		*errs = append(*errs, field.Forbidden(path, "must have exactly one of namespaces and pods"))
		return podPeer{}
	case namespaces != nil:
		return podPeer{
			namespaces: selector(path.Child("namespaces"), namespaces, errs),
			pods:       labels.Everything(),
		}
	default:
		return podPeer{
			namespaces: selector(path.Child("pods", "namespaceSelector"), &pods.NamespaceSelector, errs),
			pods:       selector(path.Child("pods", "podSelector"), &pods.PodSelector, errs),
		}
	}
}

// clusterPeers reads a peer: "Exactly one of the fields must be set". Networks and domain
// names are lists, so that one may become several peers of ours.
func (e *Evaluator) clusterPeers(path *field.Path, p *v1alpha2.ClusterNetworkPolicyEgressPeer, action Action, errs *field.ErrorList) []peer {
	set := 0
	for _, isSet := range []bool{
		p.Namespaces != nil, p.Pods != nil, p.Nodes != nil, len(p.Networks) > 0, len(p.DomainNames) > 0,
	} {
		if isSet {
			set++
		}
	}
	if set != 1 {
		*errs = append(*errs, field.Forbidden(path, fmt.Sprintf("must have exactly one known kind of peer, has %d", set)))
		return nil
	}
	var out []peer
	switch {
	case p.Nodes != nil:
		// "matching on the IPs present in the node.Status.Addresses field of the node"
		statusIPs := func(n *Node) []netip.Addr { return n.StatusIPs }
		out = append(out, e.nodes(path.Child("nodes"), p.Nodes, statusIPs, errs))
	case len(p.Networks) > 0:
		for i, n := range p.Networks {
			out = append(out, block{cidr: cidr(path.Child("networks").Index(i), string(n), errs)})
		}
	case len(p.DomainNames) > 0:
		// "DomainNames is only supported for Accept rules."
		if action != Allow {
			*errs = append(*errs, field.Forbidden(path.Child("domainNames"), "can be allowed only, not denied or passed"))
		}
		for _, n := range p.DomainNames {
			out = append(out, e.resolve(string(n), true)) // "'*' ... matches one or more entire labels"
		}
	default:
		out = append(out, podsOf(path, p.Namespaces, p.Pods, errs))
	}
	return out
}

// nodes reads a selector of nodes, of which it takes the addresses that the kind asks for.
func (e *Evaluator) nodes(path *field.Path, s *metav1.LabelSelector, addrs func(*Node) []netip.Addr, errs *field.ErrorList) addresses {
	sel := selector(path, s, errs)
	out := addresses{of: "nodes with labels " + metav1.FormatLabelSelector(s)}
	for i := range e.cluster.Nodes {
		if n := &e.cluster.Nodes[i]; sel.Matches(labels.Set(n.Labels)) {
			out.addrs = append(out.addrs, addrs(n)...)
		}
	}
	return out
}

// clusterPort reads protocol and port. A protocol without a known field, which the schema
// refuses, was written for a newer API with more to match on: it cannot be understood.
func clusterPort(path *field.Path, p *v1alpha2.ClusterNetworkPolicyProtocol, errs *field.ErrorList) port {
	var out port
	var number *v1alpha2.Port
	set := 0
	if p.TCP != nil {
		out.protocol, number, set = corev1.ProtocolTCP, p.TCP.DestinationPort, set+1
	}
	if p.UDP != nil {
		out.protocol, number, set = corev1.ProtocolUDP, p.UDP.DestinationPort, set+1
	}
	if p.SCTP != nil {
		out.protocol, number, set = corev1.ProtocolSCTP, p.SCTP.DestinationPort, set+1
	}
	if p.DestinationNamedPort != "" {
		out.name, set = p.DestinationNamedPort, set+1
	}
	switch {
	case set != 1:
		*errs = append(*errs, field.Forbidden(path, fmt.Sprintf("must have exactly one known kind of port, has %d", set)))
	case out.name != "":
		checkPortName(path, out.name, errs)
	case number == nil || (number.Number == 0) == (number.Range == nil):
		*errs = append(*errs, field.Required(path, "must have a port number or a range"))
	case number.Range != nil:
		out.first, out.last = number.Range.Start, number.Range.End
		checkPorts(path, out.first, out.last, errs)
	default:
		out.first, out.last = number.Number, number.Number
		checkPorts(path, out.first, out.last, errs)
	}
	return out
}
