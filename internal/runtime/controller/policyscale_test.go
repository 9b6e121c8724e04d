package controller

import (
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/network-policy-api/apis/v1alpha1"

	egressfirewallv1 "github.com/ovnkctl/ovnkctl/api/egressfirewall/v1"
)

// A big cluster's policies: NetworkPolicies in each of the namespaces, with an EgressFirewall
// of some rules, and administrators' policies of all priorities from 0 on.
const (
	policyNamespaces     = 250
	policiesPerNamespace = 20
	firewallRules        = 50
	adminPolicies        = 500
)

func putPolicies(c *cluster) {
	all := &metav1.LabelSelector{}
	for i := range policyNamespaces {
		ns := fmt.Sprintf("team-%03d", i)
		c.Put(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns, Labels: map[string]string{"team": ns}}})
		for j := range policiesPerNamespace {
			p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: fmt.Sprintf("policy-%d", j)}}
			p.Spec.PodSelector.MatchLabels = map[string]string{"app": fmt.Sprintf("app-%d", j)}
			for k := range 5 {
				port := intstr.FromInt32(int32(8000 + k))
				p.Spec.Ingress = append(p.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{
					From: []networkingv1.NetworkPolicyPeer{
						{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": fmt.Sprintf("peer-%d-%d", j, k)}}},
						{IPBlock: &networkingv1.IPBlock{CIDR: fmt.Sprintf("192.0.%d.0/24", k), Except: []string{fmt.Sprintf("192.0.%d.7/32", k)}}},
					},
					Ports: []networkingv1.NetworkPolicyPort{{Port: &port}},
				})
			}
			c.Put(p)
		}
		f := &egressfirewallv1.EgressFirewall{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: egressfirewallv1.Name}}
		for k := range firewallRules {
			f.Spec.Egress = append(f.Spec.Egress, egressfirewallv1.EgressFirewallRule{
				Type: egressfirewallv1.EgressFirewallRuleDeny, To: egressfirewallv1.EgressFirewallDestination{CIDRSelector: fmt.Sprintf("198.51.%d.0/24", k)},
			})
		}
		c.Put(f)
	}
	for i := range adminPolicies {
		p := &v1alpha1.AdminNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("admin-%d", i)}}
		p.Spec.Priority, p.Spec.Subject.Namespaces = int32(i), all
		for k := range 10 {
			p.Spec.Ingress = append(p.Spec.Ingress, v1alpha1.AdminNetworkPolicyIngressRule{
				Name: fmt.Sprintf("rule-%d", k), Action: v1alpha1.AdminNetworkPolicyRuleActionDeny,
				From: []v1alpha1.AdminNetworkPolicyIngressPeer{{Namespaces: all}},
			})
		}
		c.Put(p)
	}
}

// BenchmarkManyPolicies measures a process of its own against an API server on loopback: how
// long until every policy has its status, CPU, and anonymous memory, with the nodes of
// BenchmarkManyNodes beside.
func BenchmarkManyPolicies(b *testing.B) {
	for b.Loop() {
		c := newCluster(manySubnets)
		for i := range manyNodes {
			c.Put(bigNode(i))
		}
		putPolicies(c)
		statuses := func() int { return c.Requests("PATCH /apis/") }
		server := httptest.NewServer(c)
		started := time.Now()
		stop, pid := startChild(b, server.Listener.Addr())
		c.Await(b, "saying something of all policies", func() bool { return statuses() == policyNamespaces+adminPolicies && c.writes() == manyNodes })
		b.ReportMetric(time.Since(started).Seconds(), "s-to-say")
		b.ReportMetric(anonymousMiB(b, pid), "MiB-anonymous")
		b.ReportMetric(stop().Seconds()*1000, "cpu-ms")
		server.CloseClientConnections()
		server.Close()
	}
}
