//go:build kube

package install

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/ovnkctl/ovnkctl/internal/annotation"
	"github.com/ovnkctl/ovnkctl/internal/world/live"
)

// policyObjects are policies of all kinds with a status, and what is to be said of them.
var policyObjects = []struct {
	resource schema.GroupVersionResource
	text     string
	want     string // "status reason", and what the message has
	has      string
}{
	{adminPolicies, `{metadata: {name: good}, spec: {priority: 10, subject: {namespaces: {}}}}`, "True SetupSucceeded", ""},
	{adminPolicies, `{metadata: {name: bad}, spec: {priority: 11, subject: {namespaces: {}}, ingress: [
		{action: Deny, name: from-nobody, from: [{namespaces: {matchExpressions: [{key: a, operator: Like}]}}]}]}}`, "False InvalidPolicy", "from-nobody"},
	{adminPolicies, `{metadata: {name: rival}, spec: {priority: 12, subject: {namespaces: {}}}}`, "False EqualPriority", "ClusterNetworkPolicy same"},
	{clusterPolicies, `{metadata: {name: same}, spec: {tier: Admin, priority: 12, subject: {namespaces: {}}}}`, "False EqualPriority", "AdminNetworkPolicy rival"},
	{clusterPolicies, `{metadata: {name: base}, spec: {tier: Baseline, priority: 12, subject: {namespaces: {}}}}`, "True SetupSucceeded", ""},
	{baselinePolicies, `{metadata: {name: default}, spec: {subject: {namespaces: {}}}}`, "True SetupSucceeded", ""},
	{egressFirewalls, `{metadata: {name: default, namespace: default}, spec: {egress: [{type: Deny, to: {cidrSelector: 192.0.2.0/24}}]}}`, "True SetupSucceeded", ""},
	{egressFirewalls, `{metadata: {name: default, namespace: kube-public}, spec: {egress: [
		{type: Deny, to: {nodeSelector: {matchExpressions: [{key: a, operator: Like}]}}}]}}`, "False InvalidPolicy", "spec.egress[0]"},
	{egressFirewalls, `{metadata: {name: default, namespace: kube-system}, spec: {egress: [{type: Allow, to: {dnsName: example.com}}]}}`,
		"False UnknownDomain", "1 of 2 nodes (n1): no address"},
}

var (
	adminPolicies    = schema.GroupVersionResource{Group: "policy.networking.k8s.io", Version: "v1alpha1", Resource: "adminnetworkpolicies"}
	baselinePolicies = schema.GroupVersionResource{Group: "policy.networking.k8s.io", Version: "v1alpha1", Resource: "baselineadminnetworkpolicies"}
	clusterPolicies  = schema.GroupVersionResource{Group: "policy.networking.k8s.io", Version: "v1alpha2", Resource: "clusternetworkpolicies"}
	egressFirewalls  = schema.GroupVersionResource{Group: "k8s.ovn.org", Version: "v1", Resource: "egressfirewalls"}
	kindOf           = map[schema.GroupVersionResource]string{
		adminPolicies: "AdminNetworkPolicy", baselinePolicies: "BaselineAdminNetworkPolicy", clusterPolicies: "ClusterNetworkPolicy", egressFirewalls: "EgressFirewall",
	}
)

// TestPolicyStatusesWithItsRights: a real API server takes the statuses that the controller
// gives policies, with its rights alone, of definitions that come while it runs.
func TestPolicyStatusesWithItsRights(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	ctx := t.Context()
	chart := testRender(t)
	c.apply(chart, "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
	c.createNode(ctx, "n1")
	c.createNode(ctx, "n2")
	c.createPod(ctx, DefaultNamespace, "controller", "n2", controllerName)
	c.createPod(ctx, DefaultNamespace, "agent", "n1", nodeName)
	agent := c.as(c.token(ctx, nodeName, "agent"))
	says := annotation.ZoneProblems.Encode([]annotation.ZoneProblem{{
		Kind: "EgressFirewall", Namespace: "kube-system", Name: "default", Reason: "UnknownDomain", Message: "no address",
	}})
	if err := (target{"nodes", "", "n1", ""}).patch(ctx, agent, annotate(annotation.ZoneProblems.Key(), says)); err != nil {
		t.Fatal(err)
	}
	token := c.token(ctx, controllerName, "controller")
	client, policies := c.inPod(token), policyClient(t, c.accessInPod(token))
	stop := runController(t, client, policies)
	c.define(ctx, chart)
	objects := c.dynamic()
	for _, o := range policyObjects {
		c.createPolicy(ctx, o.resource, o.text)
	}
	c.await(func() bool { return c.unsaid(ctx, objects) == "" })
	c.awaitEvent(ctx, "bad", "InvalidPolicy")
	stop()

	before := c.policyVersions(ctx, objects)
	stop = runController(t, client, policies)
	// Once something is said of a new one, all others have been looked at.
	c.createPolicy(ctx, adminPolicies, `{metadata: {name: late}, spec: {priority: 13, subject: {namespaces: {}}}}`)
	c.await(func() bool {
		late, err := objects.Resource(adminPolicies).Get(ctx, "late", metav1.GetOptions{})
		_, said, _ := unstructured.NestedSlice(late.Object, "status", "conditions")
		return err == nil && said
	})
	stop()
	for name, version := range c.policyVersions(ctx, objects) {
		if was, there := before[name]; there && was != version {
			t.Errorf("the restart wrote %s", name)
		}
	}
}

func (c *testCluster) createPolicy(ctx context.Context, resource schema.GroupVersionResource, text string) {
	c.t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(strings.ReplaceAll(text, "\t", "")), &u.Object); err != nil {
		c.t.Fatal(err)
	}
	u.SetGroupVersionKind(resource.GroupVersion().WithKind(kindOf[resource]))
	if _, err := c.dynamic().Resource(resource).Namespace(u.GetNamespace()).Create(ctx, u, metav1.CreateOptions{FieldValidation: "Strict"}); err != nil {
		c.t.Fatal(err)
	}
}

func policyClient(t *testing.T, access *rest.Config) *live.PolicyClient {
	t.Helper()
	h, err := rest.HTTPClientFor(access)
	if err != nil {
		t.Fatal(err)
	}
	p, err := live.NewPolicyClient(access, h)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (c *testCluster) dynamic() dynamic.Interface {
	c.t.Helper()
	access, err := c.flags.ToRESTConfig()
	if err != nil {
		c.t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(access)
	if err != nil {
		c.t.Fatal(err)
	}
	return client
}

// define creates the chart's definitions and waits until their kinds are served.
func (c *testCluster) define(ctx context.Context, chart *rendered) {
	c.t.Helper()
	client := c.dynamic()
	definitions := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	for _, o := range chart.objects {
		if o.GetKind() != "CustomResourceDefinition" {
			continue
		}
		if _, err := client.Resource(definitions).Create(ctx, o, metav1.CreateOptions{}); err != nil {
			c.t.Fatal(err)
		}
	}
	c.await(func() bool {
		for resource := range kindOf {
			if _, err := client.Resource(resource).List(ctx, metav1.ListOptions{}); err != nil {
				return false
			}
		}
		return true
	})
}

// unsaid is a policy of which the right thing is not said yet; empty for none.
func (c *testCluster) unsaid(ctx context.Context, client dynamic.Interface) string {
	for _, o := range policyObjects {
		var named struct{ Metadata types.NamespacedName }
		if err := yaml.Unmarshal([]byte(strings.ReplaceAll(o.text, "\t", "")), &named); err != nil {
			c.t.Fatal(err)
		}
		u, err := client.Resource(o.resource).Namespace(named.Metadata.Namespace).Get(ctx, named.Metadata.Name, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		said := false
		conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
		for _, one := range conditions {
			f, _ := one.(map[string]any)
			text, _ := f["message"].(string)
			said = said || f["type"] == "Ready" && f["observedGeneration"] == u.GetGeneration() && f["lastTransitionTime"] != "" &&
				strings.Join([]string{f["status"].(string), f["reason"].(string)}, " ") == o.want && strings.Contains(text, o.has)
		}
		if o.resource == egressFirewalls {
			summary, _, _ := unstructured.NestedString(u.Object, "status", "status")
			said = said && strings.HasPrefix(o.want, "True") == (summary == "EgressFirewall Rules applied") && summary != ""
		}
		if !said {
			return o.resource.Resource + " " + named.Metadata.String()
		}
	}
	return ""
}

func (c *testCluster) policyVersions(ctx context.Context, client dynamic.Interface) map[string]string {
	c.t.Helper()
	versions := map[string]string{}
	for resource := range kindOf {
		list, err := client.Resource(resource).Namespace(corev1.NamespaceAll).List(ctx, metav1.ListOptions{})
		if err != nil {
			c.t.Fatal(err)
		}
		for _, o := range list.Items {
			versions[resource.Resource+" "+o.GetNamespace()+"/"+o.GetName()] = o.GetResourceVersion()
		}
	}
	return versions
}
