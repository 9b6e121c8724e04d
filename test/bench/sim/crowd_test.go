//go:build linux

package sim

import (
	"fmt"
	"maps"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/ovnkctl/ovnkctl/internal/annotation"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

// crowd is a cluster with many policies: in each namespace pods and policies, and beside
// them a big namespace that policies of all others may name as a peer.
type crowd struct{ nodes, namespaces, pods, policies, big int }

// crowdSubnets have room for all pods on one node.
const crowdSubnets = "10.128.0.0/9/20,fd00:10:244::/48/64"

// crowdNode is clusterNode with a bigger subnet.
func (c crowd) crowdNode(i int) *corev1.Node {
	n := clusterNode(i)
	annotation.NodeSubnets.Put(n.Annotations, map[string][]netip.Prefix{annotation.DefaultNetwork: c.subnets(i)})
	return n
}

func (crowd) subnets(i int) []netip.Prefix {
	return []netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 128 + byte(i/16), byte(i % 16 * 16), 0}), 20),
		netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0, 0, 0x10, 0x02, 0x44, 0, byte(i)}), 64),
	}
}

// crowdPod is one pod.
type crowdPod struct {
	namespace, name string
	n, node         int // of all pods, and its node
}

func (p crowdPod) uid() string { return fmt.Sprintf("3c6b8f0e-0000-4000-8000-%012d", p.n) }

func crowdNamespace(i int) string { return fmt.Sprintf("team-%d", i) }

// bigNamespace is the one whose labels change.
const bigNamespace = "clients"

// eachPod spreads the pods of every namespace over the nodes.
func (c crowd) eachPod(f func(crowdPod)) {
	n := 0
	one := func(namespace string, i int) {
		f(crowdPod{namespace, fmt.Sprintf("frontend-7d9f8c6b5-%05d", i), n, n % c.nodes})
		n++
	}
	for i := range c.namespaces {
		for j := range c.pods {
			one(crowdNamespace(i), j)
		}
	}
	for i := range c.big {
		one(bigNamespace, i)
	}
}

// addrs are the pod's, in the order of its node's.
func (c crowd) addrs(p crowdPod) []netip.Addr {
	var out []netip.Addr
	for _, s := range c.subnets(p.node) {
		a, _ := plan.Nth(s, uint64(3+p.n/c.nodes))
		out = append(out, a)
	}
	return out
}

// app is one of five that each namespace and each node has.
func (c crowd) app(p crowdPod) string { return fmt.Sprint("app-", (p.n+p.n/c.nodes)%5) }

func (c crowd) pod(p crowdPod) *corev1.Pod {
	var prefixes []netip.Prefix
	var gateways []netip.Addr
	for i, a := range c.addrs(p) {
		s := c.subnets(p.node)[i]
		prefixes, gateways = append(prefixes, netip.PrefixFrom(a, s.Bits())), append(gateways, s.Addr().Next())
	}
	o := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: p.namespace, Name: p.name, UID: types.UID(p.uid()), Annotations: map[string]string{},
		Labels: map[string]string{"app": c.app(p), "app.kubernetes.io/instance": "shop", "pod-template-hash": "7d9f8c6b5"},
	}}
	annotation.PodNetworks.Put(o.Annotations, map[string]annotation.PodNetwork{annotation.DefaultNetwork: {
		Addresses: prefixes, MAC: plan.MAC(prefixes[0].Addr()), Gateways: gateways, Role: annotation.RolePrimary,
		Routes: []annotation.Route{{Dest: netip.MustParsePrefix("10.128.0.0/9"), NextHop: gateways[0]}},
	}})
	o.Spec.NodeName = nodeName(p.node)
	o.Spec.Containers = []corev1.Container{{Name: "app", Image: "registry.example.com/team/application:1.2.3", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: int32(8080 + p.n%2), Protocol: corev1.ProtocolTCP}}}}
	o.Status.Phase = corev1.PodRunning
	for _, a := range prefixes {
		o.Status.PodIPs = append(o.Status.PodIPs, corev1.PodIP{IP: a.Addr().String()})
	}
	o.Status.PodIP = o.Status.PodIPs[0].IP
	return o
}

// base is the cluster without policies.
func (c crowd) base() []runtime.Object {
	var out []runtime.Object
	for i := range c.nodes {
		out = append(out, c.crowdNode(i))
	}
	for i := range c.namespaces {
		out = append(out, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: crowdNamespace(i), Labels: map[string]string{"kubernetes.io/metadata.name": crowdNamespace(i), "tier": fmt.Sprint(i % 10)},
		}})
	}
	out = append(out, c.clients(nil))
	c.eachPod(func(p crowdPod) { out = append(out, c.pod(p)) })
	return out
}

// Labels that make a namespace a peer: of policies in one namespace of 25, and of policies in
// all namespaces.
const (
	accessSome = "access"
	accessAll  = "access-everywhere"
	accessOf   = 25
)

// clients is the big namespace with labels.
func (crowd) clients(labels map[string]string) *corev1.Namespace {
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: bigNamespace, Labels: map[string]string{"kubernetes.io/metadata.name": bigNamespace}}}
	maps.Copy(n.Labels, labels)
	return n
}

// allPolicies are the policies of all namespaces.
func (c crowd) allPolicies() []runtime.Object {
	var out []runtime.Object
	for i := range c.namespaces {
		for j := range c.policies {
			out = append(out, c.policy(i, j, 0))
		}
	}
	return out
}

// policy is the j-th policy of a namespace: ports, ranges, named ports, selectors of pods and
// of namespaces, and CIDRs with exceptions, in turn; half are for the pods of one application
// and half for all of the namespace, and a quarter is for egress as well. version moves a port.
func (crowd) policy(namespace, j, version int) *networkingv1.NetworkPolicy {
	app := func(n int) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"app": fmt.Sprint("app-", n%5)}}
	}
	tcp, udp := corev1.ProtocolTCP, corev1.ProtocolUDP
	port, end, name := intstr.FromInt32(int32(8000+j+1000*version)), int32(8100+j), intstr.FromString("http")
	np := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{
		Namespace: crowdNamespace(namespace), Name: fmt.Sprint("policy-", j), UID: types.UID(fmt.Sprintf("4d6b8f0e-0000-4000-8000-%06d%06d", namespace, j)),
	}}
	np.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
	if j%2 == 0 {
		np.Spec.PodSelector = *app(j)
	}
	rule := networkingv1.NetworkPolicyIngressRule{From: []networkingv1.NetworkPolicyPeer{{PodSelector: app(j + 1)}}}
	switch j % 4 {
	case 0:
		rule.Ports = []networkingv1.NetworkPolicyPort{{Protocol: &tcp, Port: &port}}
		access := map[string]string{accessSome: fmt.Sprint("group-", namespace%accessOf)}
		if j%8 == 4 {
			access = map[string]string{accessAll: "granted"}
		}
		rule.From = append(rule.From, networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{MatchLabels: access}})
	case 1:
		rule.Ports = []networkingv1.NetworkPolicyPort{{Protocol: &tcp, Port: &port, EndPort: &end}, {Protocol: &udp, Port: &port}}
		rule.From = append(rule.From, networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"tier": fmt.Sprint(j % 10)}}, PodSelector: app(j)})
		if version > 0 {
			rule.Ports[0].EndPort = nil
		}
	case 2:
		rule.Ports = []networkingv1.NetworkPolicyPort{{Protocol: &tcp, Port: &name}}
	case 3:
		rule.From = []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "10.0.0.0/8", Except: []string{fmt.Sprintf("10.%d.0.0/16", j), "10.99.0.0/16"}}}}
		np.Spec.PolicyTypes = append(np.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
		np.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{
			To:    []networkingv1.NetworkPolicyPeer{{PodSelector: app(j + 2)}, {IPBlock: &networkingv1.IPBlock{CIDR: "203.0.113.0/24"}}},
			Ports: []networkingv1.NetworkPolicyPort{{Protocol: &udp, Port: &port}},
		}}
	}
	np.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{rule}
	return np
}
