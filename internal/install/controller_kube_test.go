//go:build kube

package install

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/ovnkctl/ovnkctl/internal/annotation"
	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/runtime/controller"
	"github.com/ovnkctl/ovnkctl/internal/runtime/kube"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/live"
)

// TestControllerWithItsRights runs the controller against a real API server, with the
// token, the roles and the policies that the chart gives it.
func TestControllerWithItsRights(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	ctx := t.Context()
	c.apply(testRender(t), "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding",
		"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
	for _, name := range []string{"n1", "n2", "n3"} {
		c.createNode(ctx, name)
	}
	c.createPod(ctx, DefaultNamespace, "controller", "n2", controllerName)
	c.createPod(ctx, DefaultNamespace, "agent", "n1", nodeName)
	c.createPod(ctx, "default", "here", "n1", "")
	c.awaitPolicies(ctx, c.as(c.token(ctx, nodeName, "")))
	client := c.inPod(c.token(ctx, controllerName, "controller"))

	stop := runController(t, client, nil)
	c.awaitNode(ctx, "n1", func(n *corev1.Node) bool { return subnet(n) == "10.244.0.0/24" && subnetsAllocated(n) == "" })
	c.awaitNode(ctx, "n2", func(n *corev1.Node) bool { return subnet(n) == "10.244.1.0/24" })
	c.awaitNode(ctx, "n3", func(n *corev1.Node) bool { return subnetsAllocated(n) == "False ClusterSubnetsExhausted" })
	c.awaitEvent(ctx, "n3", "ClusterSubnetsExhausted")

	if err := c.kube.CoreV1().Nodes().Delete(ctx, "n1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.awaitNode(ctx, "n3", func(n *corev1.Node) bool {
		return subnet(n) == "10.244.0.0/24" && subnetsAllocated(n) == "True Allocated"
	})
	stop()
	lease, err := c.kube.CoordinationV1().Leases(DefaultNamespace).Get(ctx, controller.LeaseName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if holder := lease.Spec.HolderIdentity; holder != nil && *holder != "" {
		t.Errorf("the Lease is still held by %q", *holder)
	}

	before := c.versions(ctx)
	runController(t, client, nil)()
	for name, version := range c.versions(ctx) {
		if before[name] != version {
			t.Errorf("the restart wrote node %s", name)
		}
	}
	checkPatcher(t, c, client)
}

// inPod is the client that a program in a pod makes of its mounted token.
func (c *testCluster) inPod(token string) kubernetes.Interface {
	c.t.Helper()
	client, err := kubernetes.NewForConfig(c.accessInPod(token))
	if err != nil {
		c.t.Fatal(err)
	}
	return client
}

func (c *testCluster) accessInPod(token string) *rest.Config {
	c.t.Helper()
	dir := c.t.TempDir()
	for name, data := range map[string][]byte{"token": []byte(token), "ca.crt": c.ca} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	r, _, err := kube.RESTConfig(kube.ClientConfig{Kubernetes: config.Kubernetes{APIServer: c.url}, Component: "controller", ServiceAccountDir: dir})
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

// runController runs a controller until it is ready; stop ends it.
func runController(t *testing.T, client kubernetes.Interface, policies *live.PolicyClient) (stop func()) {
	t.Helper()
	conf := config.Default()
	conf.Network.ClusterSubnets = "10.244.0.0/23/24"
	p, err := controller.New(controller.Options{
		Config: conf, Client: client, Policies: policies, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Registerer: prometheus.NewRegistry(), Identity: "controller",
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for p.Ready(ctx) != nil {
		select {
		case err := <-done:
			t.Fatalf("the controller ended: %v", err)
		case <-tick.C:
		}
	}
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// checkPatcher: a real API server refuses a patch for another incarnation in a way that
// the Patcher understands as gone.
func checkPatcher(t *testing.T, c *testCluster, client kubernetes.Interface) {
	p, err := kube.NewPatcher(kube.PatcherConfig{Client: client, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	p.Annotate(world.ObjectRef{Kind: world.KindNode, Name: "n2", UID: "00000000-0000-4000-8000-000000000000"},
		map[string]string{annotation.NodeID.Key(): "77"})
	p.Annotate(world.ObjectRef{Kind: world.KindNode, Name: "nowhere", UID: "u"}, map[string]string{annotation.NodeID.Key(): "78"})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Run(ctx)
	}()
	c.await(func() bool { return p.Pending() == 0 })
	cancel()
	<-done
	n, err := c.kube.CoreV1().Nodes().Get(t.Context(), "n2", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if id := n.Annotations[annotation.NodeID.Key()]; id == "77" {
		t.Error("another incarnation of the node was written")
	}
}

func subnet(n *corev1.Node) string {
	subnets, _, _ := annotation.NodeSubnets.Get(n.Annotations)
	if list := subnets[annotation.DefaultNetwork]; len(list) > 0 {
		return list[0].String()
	}
	return ""
}

func subnetsAllocated(n *corev1.Node) string {
	for _, c := range n.Status.Conditions {
		if c.Type == controller.ConditionType {
			return string(c.Status) + " " + c.Reason
		}
	}
	return ""
}

// awaitNode watches a node until it is as it should be.
func (c *testCluster) awaitNode(ctx context.Context, name string, done func(*corev1.Node) bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	var last *corev1.Node
	for ctx.Err() == nil { // an API server may end a watch at any time
		w, err := c.kube.CoreV1().Nodes().Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
		if err != nil {
			c.t.Fatal(err)
		}
		for e := range w.ResultChan() {
			if n, ok := e.Object.(*corev1.Node); ok {
				if last = n; done(n) {
					w.Stop()
					return
				}
			}
		}
	}
	c.t.Fatalf("node %s did not become as it should be: %+v", name, last)
}

func (c *testCluster) awaitEvent(ctx context.Context, name, reason string) {
	c.t.Helper()
	c.await(func() bool {
		list, err := c.kube.EventsV1().Events(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{FieldSelector: "reason=" + reason})
		return err == nil && len(list.Items) == 1 && list.Items[0].Regarding.Name == name && list.Items[0].Note != ""
	})
}

func (c *testCluster) versions(ctx context.Context) map[string]string {
	c.t.Helper()
	list, err := c.kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	versions := map[string]string{}
	for _, n := range list.Items {
		versions[n.Name] = n.ResourceVersion
	}
	return versions
}
