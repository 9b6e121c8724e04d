//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// says waits until a policy's Ready condition is about its present spec and begins with a
// text: status, reason and message with blanks between them.
func (c *cluster) says(t *testing.T, kind schema.GroupVersionResource, at types.NamespacedName, want string) {
	t.Helper()
	client, err := dynamic.NewForConfig(c.rest)
	if err != nil {
		t.Fatal(err)
	}
	policies := client.Resource(kind).Namespace(at.Namespace)
	until(t, fmt.Sprintf("%s %s says %q", kind.Resource, at.Name, want), func(ctx context.Context) error {
		o, err := policies.Get(ctx, at.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		ready, err := readyOf(o)
		if err != nil {
			return err
		}
		got := fmt.Sprintf("%s %s %s", ready.Status, ready.Reason, ready.Message)
		if !strings.HasPrefix(got, want) || ready.ObservedGeneration != o.GetGeneration() {
			return fmt.Errorf("it says %q of generation %d, which is %d", got, ready.ObservedGeneration, o.GetGeneration())
		}
		return nil
	})
}

func readyOf(o *unstructured.Unstructured) (*metav1.Condition, error) {
	var with struct {
		Status struct {
			Conditions []metav1.Condition `json:"conditions"`
		} `json:"status"`
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &with); err != nil {
		return nil, err
	}
	ready := apimeta.FindStatusCondition(with.Status.Conditions, "Ready")
	if ready == nil {
		return nil, fmt.Errorf("no condition Ready of %d", len(with.Status.Conditions))
	}
	return ready, nil
}

var (
	adminPolicies   = schema.GroupVersionResource{Group: "policy.networking.k8s.io", Version: "v1alpha1", Resource: "adminnetworkpolicies"}
	clusterPolicies = schema.GroupVersionResource{Group: "policy.networking.k8s.io", Version: "v1alpha2", Resource: "clusternetworkpolicies"}
	egressFirewalls = schema.GroupVersionResource{Group: "k8s.ovn.org", Version: "v1", Resource: "egressfirewalls"}
)

// halfWrong lacks the values of a selector, which the API server does not look into.
const halfWrong = `
apiVersion: k8s.ovn.org/v1
kind: EgressFirewall
metadata: {name: default, namespace: %s}
spec:
  egress:
  - {type: Allow, to: {cidrSelector: 192.0.2.0/24}}
  - {type: Allow, to: {nodeSelector: {matchExpressions: [{key: zone, operator: In}]}}}
`

// TestPolicyStatus: what is not in force as it is written says so itself, names the rule, and
// says that all is well once it is.
func TestPolicyStatus(t *testing.T) {
	c := open(t)
	ns := c.namespace(t)
	t.Run("priorities", func(t *testing.T) {
		defer c.apply(t, cnp, ns, "Admin", 10, "Deny", "nobody")()
		c.says(t, clusterPolicies, types.NamespacedName{Name: ns + "-10"}, "True SetupSucceeded")
		remove := c.apply(t, anpDeny, ns, ns)
		c.says(t, adminPolicies, types.NamespacedName{Name: ns}, "False EqualPriority it has priority 10 as has ClusterNetworkPolicy "+ns+"-10")
		c.says(t, clusterPolicies, types.NamespacedName{Name: ns + "-10"}, "False EqualPriority it has priority 10 as has AdminNetworkPolicy "+ns)
		remove()
		c.says(t, clusterPolicies, types.NamespacedName{Name: ns + "-10"}, "True SetupSucceeded")
	})
	t.Run("one wrong rule", func(t *testing.T) {
		defer c.apply(t, halfWrong, ns)()
		c.says(t, egressFirewalls, types.NamespacedName{Namespace: ns, Name: "default"}, "False InvalidPolicy spec.egress[1]")
		c.warned(t, ns, "EgressFirewall", "default", "spec.egress[1]")
	})
	t.Run("a node that does not follow", c.nodeDoesNotFollow)
}

// nodeDoesNotFollow stops the Northbound database of a node, for which nothing takes effect
// there: after half a minute the policy names the node, and no longer once it goes on.
func (c *cluster) nodeDoesNotFollow(t *testing.T) {
	ns, nodes := c.namespace(t), c.nodes(t)
	away := nodes[len(nodes)-1]
	c.start(t, podOn(ns, "subject", away, "pause")) // where it has no pod there is nothing to do
	c.apply(t, anpDeny, ns, ns)
	c.says(t, adminPolicies, types.NamespacedName{Name: ns}, "True SetupSucceeded")
	c.signal(t, away, "STOP", "nb-ovsdb")
	goOn := func() { c.signal(t, away, "CONT", "nb-ovsdb") }
	defer func() { goOn() }()
	c.apply(t, strings.Replace(anpDeny, "action: Deny", "action: Pass", 1), ns, ns)
	c.says(t, adminPolicies, types.NamespacedName{Name: ns}, fmt.Sprintf("False DatabaseAway 1 of %d nodes (%s): ", len(nodes), away))
	goOn()
	c.says(t, adminPolicies, types.NamespacedName{Name: ns}, "True SetupSucceeded")
}
