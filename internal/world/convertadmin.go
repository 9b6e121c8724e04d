package world

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha2"
)

// adminPeer is a peer of any of the administrator's kinds; ingress has the first two only.
type adminPeer struct {
	namespaces *metav1.LabelSelector
	pods       *v1alpha2.NamespacedPod
	nodes      *metav1.LabelSelector
	networks   []string
	domains    []string
}

// adminRule is a rule of any of them.
type adminRule struct {
	name, action string
	peers        []adminPeer
	ports        func(*ruleReader) // reads them
}

// actions of each kind.
var (
	adminActions    = map[string]RuleAction{"Allow": Allow, "Deny": Deny, "Pass": Pass}
	baselineActions = map[string]RuleAction{"Allow": Allow, "Deny": Deny}
	clusterActions  = map[string]RuleAction{"Accept": Allow, "Deny": Deny, "Pass": Pass}
)

// FromAdminNetworkPolicy takes what features need out of an AdminNetworkPolicy.
func FromAdminNetworkPolicy(o *v1alpha1.AdminNetworkPolicy) *Policy {
	p := policyOf(KindAdminNetworkPolicy, TierAdmin, &o.ObjectMeta)
	p.Priority, p.Logging = o.Spec.Priority, o.Annotations[aclLogging]
	if !p.adminSubject(adminPeer{namespaces: o.Spec.Subject.Namespaces, pods: (*v1alpha2.NamespacedPod)(o.Spec.Subject.Pods)}) {
		return p
	}
	for i, r := range o.Spec.Ingress {
		p.adminRule(Ingress, i, adminActions, adminRule{r.Name, string(r.Action), ingressPeers(r.From), oldPorts(r.Ports)})
	}
	for i, r := range o.Spec.Egress {
		peers := make([]adminPeer, 0, len(r.To))
		for _, t := range r.To {
			peers = append(peers, adminPeer{t.Namespaces, (*v1alpha2.NamespacedPod)(t.Pods), t.Nodes, texts(t.Networks), texts(t.DomainNames)})
		}
		p.adminRule(Egress, i, adminActions, adminRule{r.Name, string(r.Action), peers, oldPorts(r.Ports)})
	}
	return p
}

// FromBaselineAdminNetworkPolicy does so for a BaselineAdminNetworkPolicy.
func FromBaselineAdminNetworkPolicy(o *v1alpha1.BaselineAdminNetworkPolicy) *Policy {
	p := policyOf(KindBaselineAdminNetworkPolicy, TierBaseline, &o.ObjectMeta)
	p.Logging = o.Annotations[aclLogging]
	if !p.adminSubject(adminPeer{namespaces: o.Spec.Subject.Namespaces, pods: (*v1alpha2.NamespacedPod)(o.Spec.Subject.Pods)}) {
		return p
	}
	for i, r := range o.Spec.Ingress {
		p.adminRule(Ingress, i, baselineActions, adminRule{r.Name, string(r.Action), ingressPeers(r.From), oldPorts(r.Ports)})
	}
	for i, r := range o.Spec.Egress {
		peers := make([]adminPeer, 0, len(r.To))
		for _, t := range r.To {
			peers = append(peers, adminPeer{t.Namespaces, (*v1alpha2.NamespacedPod)(t.Pods), t.Nodes, texts(t.Networks), nil})
		}
		p.adminRule(Egress, i, baselineActions, adminRule{r.Name, string(r.Action), peers, oldPorts(r.Ports)})
	}
	return p
}

// FromClusterNetworkPolicy does so for a ClusterNetworkPolicy.
func FromClusterNetworkPolicy(o *v1alpha2.ClusterNetworkPolicy) *Policy {
	p := policyOf(KindClusterNetworkPolicy, TierAdmin, &o.ObjectMeta)
	p.Priority, p.Logging = o.Spec.Priority, o.Annotations[aclLogging]
	switch o.Spec.Tier {
	case v1alpha2.AdminTier:
	case v1alpha2.BaselineTier:
		p.Tier = TierBaseline
	default:
		p.problem("spec.tier", fmt.Errorf("%q is neither Admin nor Baseline", o.Spec.Tier), "the policy selects no pod")
		return p
	}
	if !p.adminSubject(adminPeer{namespaces: o.Spec.Subject.Namespaces, pods: o.Spec.Subject.Pods}) {
		return p
	}
	for i, r := range o.Spec.Ingress {
		peers := make([]adminPeer, 0, len(r.From))
		for _, f := range r.From {
			peers = append(peers, adminPeer{namespaces: f.Namespaces, pods: f.Pods})
		}
		p.adminRule(Ingress, i, clusterActions, adminRule{r.Name, string(r.Action), peers, newPorts(r.Protocols)})
	}
	for i, r := range o.Spec.Egress {
		peers := make([]adminPeer, 0, len(r.To))
		for _, t := range r.To {
			peers = append(peers, adminPeer{t.Namespaces, t.Pods, t.Nodes, texts(t.Networks), texts(t.DomainNames)})
		}
		p.adminRule(Egress, i, clusterActions, adminRule{r.Name, string(r.Action), peers, newPorts(r.Protocols)})
	}
	return p
}

func ingressPeers(from []v1alpha1.AdminNetworkPolicyIngressPeer) []adminPeer {
	out := make([]adminPeer, 0, len(from))
	for _, f := range from {
		out = append(out, adminPeer{namespaces: f.Namespaces, pods: (*v1alpha2.NamespacedPod)(f.Pods)})
	}
	return out
}

func texts[S ~string](list []S) []string {
	out := make([]string, 0, len(list))
	for _, s := range list {
		out = append(out, string(s))
	}
	return out
}

// adminSubject reads the subject. One that is not understood selects nothing: there is
// nobody that rules could be closed for.
func (p *Policy) adminSubject(o adminPeer) bool {
	r := &ruleReader{field: "spec.subject"}
	r.adminPeer("", &o)
	if r.err != nil {
		p.problem(r.at, r.err, "the policy selects no pod")
		return false
	}
	p.Subject = r.rule.Peers[0].Pods
	return true
}

func (p *Policy) adminRule(d Direction, index int, actions map[string]RuleAction, o adminRule) {
	r := &ruleReader{field: fieldOf(d, index), rule: PolicyRule{Direction: d, Index: index, Name: o.name}}
	action, ok := actions[o.action]
	if !ok {
		action = Deny // until somebody says what it should have been
		r.fault(".action", fmt.Errorf("%q is no action of this kind", o.action))
	}
	r.rule.Action = action
	if len(o.peers) == 0 {
		r.fault("."+peersOf(d), errors.New("there is no peer"))
	}
	for i := range o.peers {
		r.adminPeer(fmt.Sprintf(".%s[%d]", peersOf(d), i), &o.peers[i])
	}
	o.ports(r)
	r.noNamesAtAddresses()
	p.addRule(r)
}

// noNamesAtAddresses: a port's name is looked up in pods, so it does not go with peers that
// are addresses.
func (r *ruleReader) noNamesAtAddresses() {
	named, byAddress := false, false
	for _, o := range r.rule.Ports {
		named = named || o.Name != ""
	}
	for _, o := range r.rule.Peers {
		byAddress = byAddress || o.Pods == nil
	}
	if named && byAddress {
		r.fault("", errors.New("the name of a port does not go with networks, nodes or domainNames"))
	}
}

func (r *ruleReader) adminPeer(field string, o *adminPeer) {
	if bit(o.namespaces != nil)+bit(o.pods != nil)+bit(o.nodes != nil)+bit(len(o.networks) > 0)+bit(len(o.domains) > 0) != 1 {
		r.fault(field, errNotOne)
		return
	}
	add := func(p Peer) { r.rule.Peers = append(r.rule.Peers, p) }
	switch {
	case o.namespaces != nil:
		add(Peer{Pods: PodsOf(r.labels(field+".namespaces", o.namespaces), AllPods().Pods)})
	case o.pods != nil:
		add(Peer{Pods: PodsOf(
			r.labels(field+".pods.namespaceSelector", &o.pods.NamespaceSelector), r.labels(field+".pods.podSelector", &o.pods.PodSelector))})
	case o.nodes != nil:
		add(Peer{Nodes: NodesOf(r.labels(field+".nodes", o.nodes), false)})
	}
	for i, n := range o.networks {
		add(Peer{Block: r.prefix(fmt.Sprintf("%s.networks[%d]", field, i), n)})
	}
	for i, n := range o.domains {
		if r.rule.Action != Allow {
			r.fault(field+".domainNames", errors.New("domain names can be allowed only"))
		}
		r.domain(fmt.Sprintf("%s.domainNames[%d]", field, i), n, true)
	}
}

// anyProtocol is what a name without a protocol is looked up for.
var anyProtocol = []Protocol{TCP, UDP, SCTP}

// oldPorts reads the ports of v1alpha1. A list that is there and empty is not "all".
func oldPorts(list *[]v1alpha1.AdminNetworkPolicyPort) func(*ruleReader) {
	return func(r *ruleReader) {
		if list == nil {
			return
		}
		if len(*list) == 0 {
			r.fault(".ports", errors.New("the list is empty"))
		}
		for i, o := range *list {
			r.oldPort(fmt.Sprintf(".ports[%d]", i), o)
		}
	}
}

func (r *ruleReader) oldPort(field string, o v1alpha1.AdminNetworkPolicyPort) {
	if bit(o.NamedPort != nil)+bit(o.PortNumber != nil)+bit(o.PortRange != nil) != 1 {
		r.fault(field, errNotOne)
		return
	}
	number := func(field string, name corev1.Protocol, first, last int32) {
		protocol, ok := protocolOf(&name)
		if !ok {
			r.fault(field+".protocol", errNotProtocol)
		}
		r.ports(field, protocol, first, last)
	}
	switch {
	case o.NamedPort != nil:
		r.portName(field+".namedPort", *o.NamedPort, anyProtocol...)
	case o.PortNumber != nil:
		number(field+".portNumber", o.PortNumber.Protocol, o.PortNumber.Port, o.PortNumber.Port)
	default:
		number(field+".portRange", o.PortRange.Protocol, o.PortRange.Start, o.PortRange.End)
	}
}

// newPorts reads those of v1alpha2. An entry without a known field was written for a newer
// API with more to match on.
func newPorts(list []v1alpha2.ClusterNetworkPolicyProtocol) func(*ruleReader) {
	return func(r *ruleReader) {
		for i := range list {
			r.newPort(fmt.Sprintf(".protocols[%d]", i), &list[i])
		}
	}
}

func (r *ruleReader) newPort(field string, o *v1alpha2.ClusterNetworkPolicyProtocol) {
	if bit(o.TCP != nil)+bit(o.UDP != nil)+bit(o.SCTP != nil)+bit(o.DestinationNamedPort != "") != 1 {
		r.fault(field, errNotOne)
		return
	}
	switch {
	case o.TCP != nil:
		r.destination(field+".tcp", TCP, o.TCP.DestinationPort)
	case o.UDP != nil:
		r.destination(field+".udp", UDP, o.UDP.DestinationPort)
	case o.SCTP != nil:
		r.destination(field+".sctp", SCTP, o.SCTP.DestinationPort)
	default:
		r.portName(field+".destinationNamedPort", o.DestinationNamedPort, anyProtocol...)
	}
}

func (r *ruleReader) destination(field string, protocol Protocol, o *v1alpha2.Port) {
	switch field += ".destinationPort"; {
	case o == nil || (o.Number != 0) == (o.Range != nil):
		r.fault(field, errors.New("exactly one of number and range must be set"))
	case o.Range != nil:
		r.ports(field+".range", protocol, o.Range.Start, o.Range.End)
	default:
		r.ports(field+".number", protocol, o.Number, o.Number)
	}
}
