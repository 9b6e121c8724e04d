//go:build ovn && linux

package ovn

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	egressfirewallv1 "github.com/ovnkctl/ovnkctl/api/egressfirewall/v1"
	policies "github.com/ovnkctl/ovnkctl/internal/runtime/feature/policy"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
	"github.com/ovnkctl/ovnkctl/test/ovn/box"
)

// TestPolicyPackets sends packets where ovn-trace cannot look: through load balancers, and
// answers.
func TestPolicyPackets(t *testing.T) {
	t.Parallel()
	b := box.New(t, box.Options{Zones: 2, Family: box.Dual, Mode: world.GatewayShared})
	b.Program(append(slices.Clone(features), policies.Feature{})...)
	l := &serviceLab{box: b, n1: b.Zones[0], n2: b.Zones[1]}
	l.client, l.near, l.far = l.n1.AddPod("client"), l.n1.AddPod("near"), l.n2.AddPod("far")
	for _, p := range []*box.Pod{l.client, l.near, l.far} {
		serveNamed(t, p.NS, p.Key.Name, port)
	}
	box.Serve(t, b.OutsideNS(), port)
	for _, s := range b.Network.ServiceSubnets {
		a, _ := plan.Nth(s, 10)
		l.cluster = append(l.cluster, a)
	}
	l.families = len(l.cluster)
	l.web(nil)
	l.backends(ofPod(l.near))
	t.Run("default deny", l.defaultDeny)
	t.Run("firewall", l.firewall)
	quietLogs(t, b)
}

// setPolicy puts a policy into force in every zone.
func (l *serviceLab) setPolicy(p *world.Policy) {
	for _, z := range l.box.Zones {
		z.World.SetPolicy(p)
	}
	l.settlePolicy(p.Key())
}

func (l *serviceLab) deletePolicy(k world.PolicyKey) {
	for _, z := range l.box.Zones {
		z.World.DeletePolicy(k)
	}
	l.settlePolicy(k)
}

func (l *serviceLab) settlePolicy(k world.PolicyKey) {
	for _, z := range l.box.Zones {
		z.Wait(policies.Name, policies.KeyOf(k))
		for _, p := range []*box.Pod{l.client, l.near, l.far} {
			z.Wait(policies.Name, policies.PodKey(p.Key.Namespace, p.Key.Name))
		}
	}
	l.box.Sync()
}

// defaultDeny: an isolated pod has its own node, and itself through a service, and nobody
// else.
func (l *serviceLab) defaultDeny(t *testing.T) {
	p := world.FromNetworkPolicy(&networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "deny"},
		Spec:       networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{"Ingress", "Egress"}},
	})
	l.setPolicy(p)
	defer l.deletePolicy(p.Key())
	t.Run("hairpin", l.hairpin)
	l.each(func(i int) {
		at := netip.AddrPortFrom(l.near.Addrs[i], port)
		expect(t, l.n1.NS, at, nearOnly, plan.Management(l.n1.Subnets[i]))
		for _, from := range []string{l.client.NS, l.far.NS, l.n2.NS} {
			expectNothing(t, from, at)
		}
		expectNothing(t, l.near.NS, netip.AddrPortFrom(l.box.OutsideAddrs()[i], port))
	})
}

// firewall: nothing leaves the cluster, but what comes from outside is answered.
func (l *serviceLab) firewall(t *testing.T) {
	o := &egressfirewallv1.EgressFirewall{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: egressfirewallv1.Name}}
	for _, all := range []string{"0.0.0.0/0", "::/0"} {
		o.Spec.Egress = append(o.Spec.Egress, egressfirewallv1.EgressFirewallRule{
			Type: egressfirewallv1.EgressFirewallRuleDeny, To: egressfirewallv1.EgressFirewallDestination{CIDRSelector: all},
		})
	}
	p := world.FromEgressFirewall(o)
	outside := func(i int) netip.AddrPort { return netip.AddrPortFrom(l.box.OutsideAddrs()[i], port) }
	l.each(func(i int) {
		box.Request{From: l.near.NS, Network: "tcp", To: outside(i)}.Check(t, l.n1.Addrs[i].Addr())
	})
	l.setPolicy(p)
	defer l.deletePolicy(p.Key())
	l.each(func(i int) {
		t.Run(fmt.Sprint("family ", i), func(t *testing.T) {
			expectNothing(t, l.near.NS, outside(i))
			expect(t, l.client.NS, netip.AddrPortFrom(l.near.Addrs[i], port), nearOnly, l.client.Addrs[i])
			expect(t, l.far.NS, netip.AddrPortFrom(l.near.Addrs[i], port), nearOnly, l.far.Addrs[i])
			expect(t, l.client.NS, l.clusterAt(i), nearOnly, l.client.Addrs[i])
			for _, z := range l.box.Zones {
				expect(t, l.box.OutsideNS(), nodeAt(z, i), nearOnly, l.join(t, z, i))
			}
		})
	})
}
