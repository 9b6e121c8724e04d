//go:build ovn && linux

package ovn

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha1"

	policies "github.com/ovnkctl/ovnkctl/internal/runtime/feature/policy"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/test/ovn/box"
)

// TestPolicyOpenConnections: what is open follows policies: all datagrams of a flow that is
// allowed are answered, and none of one that is denied.
func TestPolicyOpenConnections(t *testing.T) {
	t.Parallel()
	b := box.New(t, box.Options{Zones: 2, Family: box.Dual, Mode: world.GatewayShared})
	b.Program(append(slices.Clone(features), policies.Feature{})...)
	l := &serviceLab{box: b, n1: b.Zones[0], n2: b.Zones[1]}
	l.client, l.near, l.far = l.n1.AddPod("client"), l.n1.AddPod("near"), l.n2.AddPod("far")
	k := l.client.Key
	l.n2.World.SetPod(&world.Pod{Namespace: k.Namespace, Name: k.Name, UID: "remote", Node: l.n1.Name, IPs: l.client.Addrs})
	var flows []*openFlow
	for _, server := range []*box.Pod{l.near, l.far} {
		serveNamed(t, server.NS, server.Key.Name, port)
		for _, a := range server.Addrs {
			c, err := dial(t.Context(), l.client.NS, "udp", netip.AddrPortFrom(a, port))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() }) //nolint:errcheck // the end of a test
			flows = append(flows, &openFlow{c, server.Key.Name + " " + a.String()})
		}
	}
	b.Sync()
	allow, deny := openPolicy(t, "NetworkPolicy", "all"), openPolicy(t, "NetworkPolicy", "nobody")
	for _, phase := range []struct {
		name string
		set  func()
		open bool
	}{
		{"no policy", func() {}, true},
		{"a policy that allows", func() { l.setPolicy(allow) }, true},
		{"it denies", func() { l.setPolicy(deny) }, false},
		{"it allows again", func() { l.setPolicy(allow) }, true},
		{"it denies again", func() { l.setPolicy(deny) }, false},
		{"it is gone", func() { l.deletePolicy(deny.Key()) }, true},
		{"an administrator denies", func() { l.setPolicy(openPolicy(t, "AdminNetworkPolicy", "Deny")) }, false},
		{"and leaves it to others", func() { l.setPolicy(openPolicy(t, "AdminNetworkPolicy", "Pass")) }, true},
		{"the baseline denies", func() { l.setPolicy(openPolicy(t, "BaselineAdminNetworkPolicy", "Deny")) }, false},
		{"others allow", func() { l.setPolicy(allow) }, true},
		{"no longer", func() { l.deletePolicy(allow.Key()) }, false},
	} {
		phase.set()
		for _, f := range flows {
			const datagrams = 40
			if got, want := f.answers(t, datagrams, phase.open), map[bool]int{true: datagrams}[phase.open]; got != want {
				t.Errorf("%s: %s answered %d of %d datagrams, want %d", phase.name, f.to, got, datagrams, want)
			}
		}
	}
}

// openPolicy is a policy of a kind for all pods, about what comes from all pods: an action of an
// administrator, or whom a user allows.
func openPolicy(t *testing.T, kind, what string) *world.Policy {
	t.Helper()
	meta := metav1.ObjectMeta{Name: "default"}
	all := v1alpha1.AdminNetworkPolicySubject{Namespaces: &metav1.LabelSelector{}}
	from := []v1alpha1.AdminNetworkPolicyIngressPeer{{Namespaces: all.Namespaces}}
	switch kind {
	case "AdminNetworkPolicy":
		return world.FromAdminNetworkPolicy(&v1alpha1.AdminNetworkPolicy{ObjectMeta: meta, Spec: v1alpha1.AdminNetworkPolicySpec{
			Subject: all, Ingress: []v1alpha1.AdminNetworkPolicyIngressRule{{Action: v1alpha1.AdminNetworkPolicyRuleAction(what), From: from}},
		}})
	case "BaselineAdminNetworkPolicy":
		return world.FromBaselineAdminNetworkPolicy(&v1alpha1.BaselineAdminNetworkPolicy{ObjectMeta: meta, Spec: v1alpha1.BaselineAdminNetworkPolicySpec{
			Subject: all, Ingress: []v1alpha1.BaselineAdminNetworkPolicyIngressRule{{Action: v1alpha1.BaselineAdminNetworkPolicyRuleAction(what), From: from}},
		}})
	}
	peer := networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{}}
	if what == "nobody" {
		peer.PodSelector.MatchLabels = map[string]string{"no": "body"}
	}
	meta.Namespace = "default"
	return world.FromNetworkPolicy(&networkingv1.NetworkPolicy{ObjectMeta: meta, Spec: networkingv1.NetworkPolicySpec{
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
		Ingress:     []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{peer}}},
	}})
}

type openFlow struct {
	net.Conn
	to string
}

// answers sends datagrams one by one and counts the answers.
func (f *openFlow) answers(t *testing.T, n int, open bool) int {
	t.Helper()
	got, buffer := 0, make([]byte, 200)
	patience := pause
	if open { // an answer that is late on a busy machine is one, and must not be another phase's
		patience = 10 * time.Second
	}
	for range n {
		f.Write([]byte("hello\n"))                  //nolint:errcheck // then there is no answer
		f.SetReadDeadline(time.Now().Add(patience)) //nolint:errcheck // the read fails then, too
		if _, err := f.Read(buffer); err == nil {
			got++
		}
	}
	return got
}
