package policytest

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha2"
)

// adminPeer is a peer of either version.
type adminPeer struct {
	namespaces, nodes              *metav1.LabelSelector
	namespaceSelector, podSelector metav1.LabelSelector // if none of the others is set
	networks, domainNames          []string
	empty                          bool
}

// byAddress is true for peers that do not go with named ports.
func (p adminPeer) byAddress() bool { return p.nodes != nil || len(p.networks)+len(p.domainNames) > 0 }

// meta draws a name with an age that may tie with others'.
func (d drawer) meta(name string) metav1.ObjectMeta {
	created := time.Unix(1_700_000_000+int64(d.count(0, 2, "created")), 0)
	return metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(created)}
}

// priority draws few values, so that they tie, and the ends of the range.
func (d drawer) priority() int32 { return pick(d, "priority", []int32{0, 5, 5, 6, 100, 1000}) }

// adminPeers draws peers; egress has kinds of its own.
func (d drawer) adminPeers(egress, names bool) []adminPeer {
	var out []adminPeer
	for range d.count(1, 3, "peers") {
		var p adminPeer
		namespaces, nodes := d.selector(namespaceLabels), d.selector(nodeLabels)
		p.namespaceSelector, p.podSelector = d.selector(namespaceLabels), d.selector(podLabels)
		kinds := 2
		if egress {
			kinds = 4
		}
		if names {
			kinds = 5
		}
		switch d.count(1, kinds, "peer") {
		case 1:
			p.namespaces = &namespaces
		case 3:
			p.nodes = &nodes
		case 4:
			for range d.count(1, 2, "networks") {
				p.networks = append(p.networks, d.cidr())
			}
		case 5:
			for range d.count(1, 2, "domain names") {
				p.domainNames = append(p.domainNames, pick(d, "domain name", domainNames))
			}
		}
		if d.spoil() {
			p = adminPeer{empty: true}
		}
		out = append(out, p)
	}
	return out
}

// adminPort is a port of either version: a name, or a protocol with a range, whose last
// port is 0 for a single one.
type adminPort struct {
	name        string
	protocol    corev1.Protocol
	first, last int32
}

func (d drawer) adminPorts(named bool) []adminPort {
	var out []adminPort
	for range d.count(0, 3, "ports") {
		p := adminPort{protocol: pick(d, "protocol", protocols)}
		switch {
		case named && d.chance(30, "named port"):
			p = adminPort{name: pick(d, "port name", portNames)}
		case d.chance(40, "port range"):
			p.first, p.last = d.span()
		default:
			p.first = pick(d, "port", portNumbers)
		}
		out = append(out, p)
	}
	return out
}

func (d drawer) clusterNetworkPolicy(name string) v1alpha2.ClusterNetworkPolicy {
	cnp := v1alpha2.ClusterNetworkPolicy{ObjectMeta: d.meta(name)}
	cnp.Spec.Tier = pick(d, "tier", []v1alpha2.Tier{v1alpha2.AdminTier, v1alpha2.BaselineTier})
	cnp.Spec.Priority = d.priority()
	namespaces, pods := d.selector(namespaceLabels), d.namespacedPod()
	switch {
	case d.spoil():
	case d.chance(50, "subject of pods"):
		cnp.Spec.Subject.Pods = &pods
	default:
		cnp.Spec.Subject.Namespaces = &namespaces
	}
	for range d.count(0, 3, "ingress rules") {
		r := v1alpha2.ClusterNetworkPolicyIngressRule{Action: d.clusterAction()}
		for _, p := range d.adminPeers(false, false) {
			e := clusterPeer(p)
			r.From = append(r.From, v1alpha2.ClusterNetworkPolicyIngressPeer{Namespaces: e.Namespaces, Pods: e.Pods})
		}
		r.Protocols = d.clusterPorts(true)
		cnp.Spec.Ingress = append(cnp.Spec.Ingress, r)
	}
	for range d.count(0, 3, "egress rules") {
		r := v1alpha2.ClusterNetworkPolicyEgressRule{Action: d.clusterAction()}
		named := true
		for _, p := range d.adminPeers(true, r.Action == v1alpha2.ClusterNetworkPolicyRuleActionAccept || d.spoil()) {
			named = named && !p.byAddress()
			r.To = append(r.To, clusterPeer(p))
		}
		r.Protocols = d.clusterPorts(named || d.spoil())
		cnp.Spec.Egress = append(cnp.Spec.Egress, r)
	}
	return cnp
}

func (d drawer) clusterAction() v1alpha2.ClusterNetworkPolicyRuleAction {
	if d.spoil() {
		return "Log"
	}
	return pick(d, "action", []v1alpha2.ClusterNetworkPolicyRuleAction{
		v1alpha2.ClusterNetworkPolicyRuleActionAccept, v1alpha2.ClusterNetworkPolicyRuleActionDeny,
		v1alpha2.ClusterNetworkPolicyRuleActionPass,
	})
}

func (d drawer) namespacedPod() v1alpha2.NamespacedPod {
	return v1alpha2.NamespacedPod{NamespaceSelector: d.selector(namespaceLabels), PodSelector: d.selector(podLabels)}
}

func clusterPeer(p adminPeer) v1alpha2.ClusterNetworkPolicyEgressPeer {
	out := v1alpha2.ClusterNetworkPolicyEgressPeer{Namespaces: p.namespaces, Nodes: p.nodes}
	for _, n := range p.networks {
		out.Networks = append(out.Networks, v1alpha2.CIDR(n))
	}
	for _, n := range p.domainNames {
		out.DomainNames = append(out.DomainNames, v1alpha2.DomainName(n))
	}
	if !p.empty && p.namespaces == nil && !p.byAddress() {
		out.Pods = &v1alpha2.NamespacedPod{NamespaceSelector: p.namespaceSelector, PodSelector: p.podSelector}
	}
	return out
}

func (d drawer) clusterPorts(named bool) []v1alpha2.ClusterNetworkPolicyProtocol {
	var out []v1alpha2.ClusterNetworkPolicyProtocol
	for _, p := range d.adminPorts(named) {
		number := &v1alpha2.Port{Number: p.first}
		if p.last != 0 {
			number = &v1alpha2.Port{Range: &v1alpha2.PortRange{Start: p.first, End: p.last}}
		}
		if d.spoil() {
			number = nil
		}
		o := v1alpha2.ClusterNetworkPolicyProtocol{DestinationNamedPort: p.name}
		switch p.protocol {
		case corev1.ProtocolTCP:
			o.TCP = &v1alpha2.ClusterNetworkPolicyProtocolTCP{DestinationPort: number}
		case corev1.ProtocolUDP:
			o.UDP = &v1alpha2.ClusterNetworkPolicyProtocolUDP{DestinationPort: number}
		case corev1.ProtocolSCTP:
			o.SCTP = &v1alpha2.ClusterNetworkPolicyProtocolSCTP{DestinationPort: number}
		}
		out = append(out, o)
	}
	return out
}

// subject draws the subject of the kinds of v1alpha1.
func (d drawer) subject() v1alpha1.AdminNetworkPolicySubject {
	namespaces, pods := d.selector(namespaceLabels), v1alpha1.NamespacedPod(d.namespacedPod())
	switch {
	case d.spoil():
		return v1alpha1.AdminNetworkPolicySubject{}
	case d.chance(50, "subject of pods"):
		return v1alpha1.AdminNetworkPolicySubject{Pods: &pods}
	default:
		return v1alpha1.AdminNetworkPolicySubject{Namespaces: &namespaces}
	}
}
