//go:build kube

package install

import (
	"context"
	"fmt"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/restmapper"
)

// TestPolicies tries, against a real API server and with tokens that it made, what the
// programs of the network may and may not change.
func TestPolicies(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	ctx := t.Context()
	c.apply(testRender(t), "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
	for _, name := range []string{"n1", "n2"} {
		c.createNode(ctx, name)
	}
	c.createPod(ctx, DefaultNamespace, "agent", "n1", nodeName)
	c.createPod(ctx, DefaultNamespace, "controller", "n2", controllerName)
	c.createPod(ctx, "default", "here", "n1", "")
	c.createPod(ctx, "default", "there", "n2", "")
	c.createPod(ctx, "default", "nowhere", "", "")

	agent := c.as(c.token(ctx, nodeName, "agent"))
	unbound := c.as(c.token(ctx, nodeName, ""))
	controller := c.as(c.token(ctx, controllerName, "controller"))
	c.awaitPolicies(ctx, unbound)

	node := func(name string) target { return target{"nodes", "", name, ""} }
	pod := func(name string) target { return target{"pods", "default", name, ""} }
	own := func(k, v string) string { return annotate(annotationPrefix+k, v) }
	for _, try := range []struct {
		name   string
		as     kubernetes.Interface
		target target
		patch  string
		denied string // part of the refusal; empty for allowed
	}{
		{"own facts", agent, node("n1"), own("l3-gateway-config", "{}"), ""},
		{"own chassis, the first time", agent, node("n1"), own("node-chassis-id", "c1"), ""},
		{"own chassis, unchanged", agent, node("n1"), own("node-chassis-id", "c1"), ""},
		{"own chassis, changed", agent, node("n1"), own("node-chassis-id", "c2"), "kubectl annotate node n1 k8s.ovn.org/node-chassis-id-"},
		{"own chassis, removed", agent, node("n1"), `{"metadata":{"annotations":{"k8s.ovn.org/node-chassis-id":null}}}`, "the chassis of a node does not change"},
		{"own facts, removed", agent, node("n1"), `{"metadata":{"annotations":{"k8s.ovn.org/l3-gateway-config":null}}}`, ""},
		{"several own facts", agent, node("n1"), `{"metadata":{"annotations":{"k8s.ovn.org/host-cidrs":"[]","k8s.ovn.org/node-encap-ips":"[]","k8s.ovn.org/node-primary-ifaddr":"{}","k8s.ovn.org/node-masquerade-subnet":"{}","k8s.ovn.org/gateway-mtu-support":"false"}}}`, ""},
		{"the controller's annotation", agent, node("n1"), own("node-subnets", "{}"), "not k8s.ovn.org/node-subnets"},
		{"somebody's annotation", agent, node("n1"), annotate("example.com/a", "b"), "not example.com/a"},
		{"an own and a foreign annotation", agent, node("n1"), `{"metadata":{"annotations":{"k8s.ovn.org/host-cidrs":"[1]","example.com/a":"b"}}}`, "not example.com/a"},
		{"a label", agent, node("n1"), `{"metadata":{"labels":{"node-role.kubernetes.io/control-plane":""}}}`, "not labels"},
		{"a taint", agent, node("n1"), `{"spec":{"taints":[]}}`, "not labels"},
		{"unschedulable", agent, node("n1"), `{"spec":{"unschedulable":true}}`, "not labels"},
		{"a finalizer", agent, node("n1"), `{"metadata":{"finalizers":["example.com/x"]}}`, "not labels"},
		{"an owner", agent, node("n1"), `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"n2","uid":"1"}]}}`, "not labels"},
		{"its status", agent, target{"nodes", "", "n1", "status"}, `{"status":{"phase":"Running"}}`, "nodes/status"},
		{"its problems", agent, node("n1"), own("zone-problems", "[]"), ""},
		{"another node's problems", agent, node("n2"), own("zone-problems", "[]"), "may change its own Node alone, not n2"},
		{"a node's problems, by the controller", controller, node("n1"), own("zone-problems", "[1]"), "not k8s.ovn.org/zone-problems"},
		{"another node's facts", agent, node("n2"), own("l3-gateway-config", "{}"), "may change its own Node alone, not n2"},
		{"facts with a token of no node", unbound, node("n1"), own("host-cidrs", "[2]"), "the token names none"},

		{"addresses of its pod", agent, pod("here"), own("pod-networks", "{}"), ""},
		{"other addresses of its pod", agent, pod("here"), own("pod-networks", "{1}"), ""},
		{"addresses of its pod, removed", agent, pod("here"), `{"metadata":{"annotations":{"k8s.ovn.org/pod-networks":null}}}`, ""},
		{"addresses of a foreign pod", agent, pod("there"), own("pod-networks", "{}"), "there is on n2"},
		{"addresses of a pending pod", agent, pod("nowhere"), own("pod-networks", "{}"), "nowhere is on no node"},
		{"addresses with a token of no node", unbound, pod("here"), own("pod-networks", "{}"), "the token names none"},
		{"another annotation of its pod", agent, pod("here"), annotate("example.com/a", "b"), "not example.com/a"},
		{"a label of its pod", agent, pod("here"), `{"metadata":{"labels":{"a":"b"}}}`, "not labels"},
		{"the image of its pod", agent, pod("here"), `{"spec":{"containers":[{"name":"c","image":"evil"}]}}`, "not labels"},
		{"the status of its pod", agent, target{"pods", "default", "here", "status"}, `{"status":{"podIP":"10.0.0.1"}}`, "pods/status"},

		{"an allocation", controller, node("n1"), own("node-subnets", "{}"), ""},
		{"all allocations", controller, node("n2"), `{"metadata":{"annotations":{"k8s.ovn.org/node-id":"2","k8s.ovn.org/network-ids":"{}","k8s.ovn.org/node-transit-switch-port-ifaddr":"{}"}}}`, ""},
		{"the agent's annotation", controller, node("n1"), own("host-cidrs", "[3]"), "not k8s.ovn.org/host-cidrs"},
		{"a label, by the controller", controller, node("n1"), `{"metadata":{"labels":{"a":"b"}}}`, "annotations and its condition alone"},
		{"a taint, by the controller", controller, node("n1"), `{"spec":{"taints":[]}}`, "annotations and its condition alone"},
		{"its condition", controller, target{"nodes", "", "n1", "status"}, condition("k8s.ovn.org/SubnetsAllocated"), ""},
		{"its condition again", controller, target{"nodes", "", "n1", "status"}, strings.Replace(condition("k8s.ovn.org/SubnetsAllocated"), "True", "False", 1), ""},
		{"another condition", controller, target{"nodes", "", "n1", "status"}, condition("Ready"), "only the condition k8s.ovn.org/SubnetsAllocated"},
		{"another part of the status", controller, target{"nodes", "", "n1", "status"}, `{"status":{"addresses":[{"type":"InternalIP","address":"192.0.2.66"}]}}`, "only its condition in a Node's status"},
		{"a pod, by the controller", controller, pod("here"), own("pod-networks", "{}"), "cannot patch resource"},
	} {
		t.Run(try.name, func(t *testing.T) {
			err := try.target.patch(t.Context(), try.as, try.patch)
			switch {
			case try.denied == "" && err != nil:
				t.Errorf("refused: %v", err)
			case try.denied != "" && err == nil:
				t.Error("allowed")
			case try.denied != "" && !apierrors.IsForbidden(err):
				t.Errorf("failed for another reason: %v", err)
			case try.denied != "" && !strings.Contains(err.Error(), try.denied):
				t.Errorf("the refusal does not say %q: %v", try.denied, err)
			}
		})
	}
	t.Run("a status does not change through its node", func(t *testing.T) {
		before, err := c.kube.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		// The API server takes such a patch and leaves the status out.
		_ = node("n1").patch(t.Context(), agent, `{"status":{"phase":"Running"}}`)
		after, err := c.kube.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if after.Status.Phase != before.Status.Phase {
			t.Errorf("phase %q became %q", before.Status.Phase, after.Status.Phase)
		}
	})
	t.Run("others are not confined", func(t *testing.T) {
		for _, at := range []target{node("n1"), node("n2"), pod("here"), pod("there")} {
			if err := at.patch(t.Context(), c.kube, own("node-chassis-id", "c9")); err != nil {
				t.Error(err)
			}
		}
	})
}

type target struct{ resource, namespace, name, subresource string }

func (at target) patch(ctx context.Context, client kubernetes.Interface, patch string) error {
	var parts []string
	if at.subresource != "" {
		parts = append(parts, at.subresource)
	}
	request := client.CoreV1().RESTClient().Patch(types.StrategicMergePatchType).Resource(at.resource).Name(at.name).SubResource(parts...)
	if at.namespace != "" {
		request = request.Namespace(at.namespace)
	}
	return request.Body([]byte(patch)).Do(ctx).Error()
}

func annotate(key, value string) string {
	return fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, key, value)
}

func condition(name string) string {
	return fmt.Sprintf(`{"status":{"conditions":[{"type":%q,"status":"True","reason":"R","message":"M"}]}}`, name)
}

// awaitPolicies waits until the API server enforces the policies, which it does some
// moments after their creation.
func (c *testCluster) awaitPolicies(ctx context.Context, unbound kubernetes.Interface) {
	c.t.Helper()
	c.await(func() bool {
		for _, at := range []target{{"nodes", "", "n1", ""}, {"pods", "default", "here", ""}} {
			err := at.patch(ctx, unbound, annotate("example.com/probe", "x"))
			if err == nil || !strings.Contains(err.Error(), "the token names none") {
				return false
			}
		}
		return true
	})
}

func (c *testCluster) apply(r *rendered, kinds ...string) {
	c.t.Helper()
	ctx := c.t.Context()
	config, err := c.flags.ToRESTConfig()
	if err != nil {
		c.t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		c.t.Fatal(err)
	}
	groups, err := restmapper.GetAPIGroupResources(c.kube.Discovery())
	if err != nil {
		c.t.Fatal(err)
	}
	mapper := restmapper.NewDiscoveryRESTMapper(groups)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: DefaultNamespace}}
	if _, err := c.kube.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil {
		c.t.Fatal(err)
	}
	wanted := map[string]bool{}
	for _, k := range kinds {
		wanted[k] = true
	}
	for _, o := range r.objects {
		if !wanted[o.GetKind()] {
			continue
		}
		mapping, err := mapper.RESTMapping(schema.GroupKind{Group: o.GroupVersionKind().Group, Kind: o.GetKind()})
		if err != nil {
			c.t.Fatal(err)
		}
		_, err = client.Resource(mapping.Resource).Namespace(o.GetNamespace()).Create(ctx, o, metav1.CreateOptions{FieldValidation: "Strict"})
		if err != nil {
			c.t.Fatalf("%s %s: %v", o.GetKind(), o.GetName(), err)
		}
	}
}

func (c *testCluster) createNode(ctx context.Context, name string) {
	c.t.Helper()
	_, err := c.kube.CoreV1().Nodes().Create(ctx, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/os": "linux", "kubernetes.io/hostname": name}},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: "example.com/t", Effect: corev1.TaintEffectNoSchedule}}},
		Status: corev1.NodeStatus{
			Capacity:   capacity(),
			Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.11"}},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionFalse, Reason: "KubeletNotReady"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *testCluster) createPod(ctx context.Context, namespace, name, node, account string) {
	c.t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: corev1.PodSpec{
			NodeName: node, ServiceAccountName: account, SchedulerName: "nobody",
			Containers: []corev1.Container{{Name: "c", Image: "i"}},
		},
	}
	if _, err := c.kube.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

// token is one that the API server binds to a pod, and so to its node, as for the kubelet;
// without a pod it is one that anybody with the right to make tokens can have.
func (c *testCluster) token(ctx context.Context, account, pod string) string {
	c.t.Helper()
	request := &authenticationv1.TokenRequest{}
	if pod != "" {
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod}
	}
	made, err := c.kube.CoreV1().ServiceAccounts(DefaultNamespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return made.Status.Token
}
