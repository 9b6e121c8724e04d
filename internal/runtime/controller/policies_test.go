package controller

import (
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	egressfirewallv1 "github.com/ovnkctl/ovnkctl/api/egressfirewall/v1"
)

// TestZoneProblems: what Nodes say of a policy gets to the policy, and goes with the Node; and
// with a new leader nothing is written.
func TestZoneProblems(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const says = `[{"object":"EgressFirewall/ns/default","reason":"UnknownDomain","message":"no address"}]`
		c := newCluster("10.244.0.0/16/24")
		c.Put(node("n1", 1, "zone-problems", says), node("n2", 2))
		c.Put(&egressfirewallv1.EgressFirewall{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: egressfirewallv1.Name}})
		expect := func(want string) {
			t.Helper()
			synctest.Wait()
			got := ""
			for _, cond := range c.List("egressfirewalls")[0].(*egressfirewallv1.EgressFirewall).Status.Conditions {
				got += string(cond.Status) + " " + cond.Reason + " " + cond.Message
			}
			if got != want {
				t.Errorf("the policy says %q, want %q", got, want)
			}
		}
		p := c.start(t, "one")
		expect("False UnknownDomain 1 of 2 nodes (n1): no address")
		c.update("n2", func(n *corev1.Node) { n.Annotations["k8s.ovn.org/zone-problems"] = says })
		expect("False UnknownDomain 2 of 2 nodes (n1, n2): no address")
		c.Delete(node("n1", 1))
		expect("False UnknownDomain 1 of 1 nodes (n2): no address")
		_ = p.stop()
		written := c.Requests("PATCH /apis/")
		c.start(t, "two")
		if n := c.Requests("PATCH /apis/"); n != written {
			t.Errorf("%d writes by a new leader", n-written)
		}
		c.update("n2", func(n *corev1.Node) { delete(n.Annotations, "k8s.ovn.org/zone-problems") })
		expect("True SetupSucceeded All rules are in force")
	})
}
