//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

// policyResources are the resources of the kinds of policies.
var policyResources = map[string]string{
	"NetworkPolicy": "networkpolicies", "AdminNetworkPolicy": "adminnetworkpolicies",
	"BaselineAdminNetworkPolicy": "baselineadminnetworkpolicies", "ClusterNetworkPolicy": "clusternetworkpolicies",
	"EgressFirewall": "egressfirewalls",
}

// apply makes a policy as a template says; it goes with the test.
func (c *cluster) apply(t *testing.T, text string, args ...any) (remove func()) {
	t.Helper()
	text = fmt.Sprintf(text, args...)
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	client, err := dynamic.NewForConfig(c.rest)
	if err != nil {
		t.Fatal(err)
	}
	gvk := o.GroupVersionKind()
	resource := client.Resource(schema.GroupVersionResource{Group: gvk.Group, Version: gvk.Version, Resource: policyResources[gvk.Kind]}).Namespace(o.GetNamespace())
	if _, err := resource.Apply(t.Context(), o.GetName(), o, metav1.ApplyOptions{FieldManager: "e2e", Force: true}); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	remove = func() {
		if err := resource.Delete(context.WithoutCancel(t.Context()), o.GetName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("delete %s %s: %v", gvk.Kind, o.GetName(), err)
		}
	}
	t.Cleanup(remove)
	return remove
}

// arena is what the tests of policies play on: in one namespace a server and two clients of
// which one is a friend, in another one a stranger. All of them serve, and the friend is on
// the server's node.
type arena struct {
	*cluster
	ns, other                      string
	nodes                          []string
	server, friend, mate, stranger *corev1.Pod
}

// The server's ports: its web server's has the name "web", which the friend has for another.
const (
	webPort   = 8080
	otherPort = 8083
)

func (c *cluster) arena(t *testing.T) *arena {
	t.Helper()
	a := &arena{cluster: c, ns: c.namespace(t), other: c.namespace(t), nodes: c.nodes(t)}
	far := a.nodes[len(a.nodes)-1]
	pod := func(ns, name, node string, port int32) *corev1.Pod {
		p := podOn(ns, name, node, "netexec", fmt.Sprintf("--http-port=%d", port), "--udp-port=8081")
		p.Labels["name"] = name
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "web", ContainerPort: port}}
		return p
	}
	server := pod(a.ns, "server", a.nodes[0], webPort)
	server.Spec.Containers[0].ReadinessProbe = &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(webPort)}},
		PeriodSeconds: 1, FailureThreshold: 2,
	}
	pods := c.start(t, server, pod(a.ns, "friend", a.nodes[0], otherPort), pod(a.ns, "mate", far, webPort), pod(a.other, "stranger", far, webPort))
	a.server, a.friend, a.mate, a.stranger = pods[0], pods[1], pods[2], pods[3]
	return a
}

// path is a way from one pod to another, or to an address, that is open or closed.
type path struct {
	from *corev1.Pod
	to   []netip.Addr
	at   string // how the target is called
	port int
	open bool
}

func (a *arena) open(t *testing.T, from, to *corev1.Pod, port int) path {
	return path{from, addresses(t, to), to.Name, port, true}
}

func (a *arena) closed(t *testing.T, from, to *corev1.Pod, port int) path {
	return path{from, addresses(t, to), to.Name, port, false}
}

// outside is the way to the host beyond the gateway, in all families of the cluster.
func (a *arena) outside(t *testing.T, from *corev1.Pod, open bool) path {
	p := path{from: from, at: "the outside", port: 8080, open: open}
	for _, own := range addresses(t, from) {
		p.to = append(p.to, outsideAddress(own))
	}
	return p
}

// expect waits until all paths are as they should be, by TCP, in all families, at one time.
func (a *arena) expect(t *testing.T, what string, paths ...path) {
	t.Helper()
	until(t, what, func(ctx context.Context) error {
		var wg sync.WaitGroup
		var mu sync.Mutex
		var wrong []error
		for _, p := range paths {
			for _, ip := range p.to {
				wg.Go(func() {
					if err := a.try(ctx, p, ip); err != nil {
						mu.Lock()
						defer mu.Unlock()
						wrong = append(wrong, err)
					}
				})
			}
		}
		wg.Wait()
		return errors.Join(wrong...)
	})
}

// try says how a path to one address is not what it should be. What is denied is silent.
func (a *arena) try(ctx context.Context, p path, ip netip.Addr) error {
	target := netip.AddrPortFrom(ip, uint16(p.port))
	_, err := a.exec(ctx, p.from, "", nil, "/agnhost", "connect", "--timeout=1s", target.String())
	switch {
	case p.open && err != nil:
		return fmt.Errorf("%s → %s at %s is closed: %w", p.from.Name, p.at, target, err)
	case !p.open && err == nil:
		return fmt.Errorf("%s → %s at %s is open", p.from.Name, p.at, target)
	case !p.open && !strings.Contains(err.Error(), "TIMEOUT"):
		return fmt.Errorf("%s → %s at %s: want silence: %w", p.from.Name, p.at, target, err)
	}
	return nil
}
