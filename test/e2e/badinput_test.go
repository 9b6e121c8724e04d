//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
)

// annotate sets one annotation as the cluster's administrator would by hand.
func (c *cluster) annotateNode(t *testing.T, node, key, value string) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, key, value)
	err := retry.OnError(retry.DefaultRetry, apierrors.IsConflict, func() error {
		_, err := c.CoreV1().Nodes().Patch(t.Context(), node, types.MergePatchType, patch, metav1.PatchOptions{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// warned waits for a warning event on an object.
func (c *cluster) warned(t *testing.T, namespace, kind, name, word string) {
	t.Helper()
	until(t, fmt.Sprintf("a warning on %s %s that says %q", kind, name, word), func(ctx context.Context) error {
		events, err := c.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=" + kind + ",involvedObject.name=" + name})
		if err != nil {
			return err
		}
		for _, e := range events.Items {
			if e.Type == corev1.EventTypeWarning && strings.Contains(e.Message, word) {
				return nil
			}
		}
		return errors.New("no such event")
	})
}

// TestCorruptNodeAnnotationIsRepaired damages what the controller allocated to a node.
func TestCorruptNodeAnnotationIsRepaired(t *testing.T) {
	c := open(t)
	nodes := c.nodes(t)
	node := nodes[len(nodes)-1]
	const key = "k8s.ovn.org/node-subnets"
	n, err := c.CoreV1().Nodes().Get(t.Context(), node, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := n.Annotations[key]
	for _, bad := range []string{"{", `{"default":["10.244.300.0/24"]}`, `{"default":["192.0.2.0/24"]}`} {
		c.annotateNode(t, node, key, bad)
		c.warned(t, "default", "Node", node, key)
		until(t, "subnets of "+node+" restored", func(ctx context.Context) error {
			n, err := c.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
			if err == nil && n.Annotations[key] != want {
				err = fmt.Errorf("annotation is %q, want %q", n.Annotations[key], want)
			}
			return err
		})
	}
	ns := c.namespace(t)
	pods := c.start(t, podOn(ns, "a", node), podOn(ns, "b", nodes[0]))
	c.mustExec(t, pods[1], "curl", "-sS", "-m", "5", "http://"+hostPort(addresses(t, pods[0])[0], 8080)+"/hostname")
}

// TestCorruptPodAnnotation gives a pod an address plan that nobody can use before the
// node sees it: the pod is told, others are not disturbed.
func TestCorruptPodAnnotation(t *testing.T) {
	c := open(t)
	ns := c.namespace(t)
	node := c.nodes(t)[0]
	for i, bad := range []string{"garbage", `{"default":{"ip_addresses":["192.0.2.7/24"],"mac_address":"0a:58:c0:00:02:07"}}`} {
		p := podOn(ns, fmt.Sprintf("bad-%d", i), node, "pause")
		p.Annotations = map[string]string{"k8s.ovn.org/pod-networks": bad}
		if _, err := c.CoreV1().Pods(ns).Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		c.warned(t, ns, "Pod", p.Name, "k8s.ovn.org/pod-networks")
	}
	c.start(t, podOn(ns, "good", node, "pause"))
}

// TestGarbageOnTheCNISocket: the server answers or hangs up, and goes on serving.
func TestGarbageOnTheCNISocket(t *testing.T) {
	c := open(t)
	node := c.nodes(t)[0]
	const socket = "/run/ovn-kubernetes/cni/ovn-cni-server.sock"
	if mode := strings.TrimSpace(c.onNode(t, node, "stat", "-c", "%a %U", "/run/ovn-kubernetes/cni")); mode != "700 root" {
		t.Errorf("the socket's directory is %q, want 700 root", mode)
	}
	for _, garbage := range []string{"head -c 1000000 /dev/urandom", "printf GET", "printf '{\"command\":\"ADD\"}\\n'", "true"} {
		c.onNode(t, node, "sh", "-c", fmt.Sprintf("%s | timeout 5 socat -t 1 - UNIX-CONNECT:%s >/dev/null 2>&1 || true", garbage, socket))
	}
	c.start(t, podOn(c.namespace(t), "after", node, "pause"))
}

// TestPodsDeletedDuringAdd deletes pods while their network is being set up.
func TestPodsDeletedDuringAdd(t *testing.T) {
	c := open(t)
	ns := c.namespace(t)
	nodes := c.nodes(t)
	zero := int64(0)
	for i := range 30 {
		p := podOn(ns, fmt.Sprintf("brief-%d", i), nodes[i%len(nodes)], "pause")
		if _, err := c.CoreV1().Pods(ns).Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if i%3 > 0 {
			until(t, p.Name+" has an address", func(ctx context.Context) error {
				got, err := c.CoreV1().Pods(ns).Get(ctx, p.Name, metav1.GetOptions{})
				if err == nil && got.Annotations["k8s.ovn.org/pod-networks"] == "" {
					err = errors.New("no annotation yet")
				}
				return err
			})
		}
		if err := c.CoreV1().Pods(ns).Delete(t.Context(), p.Name, metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
			t.Fatal(err)
		}
	}
	c.noLeaks(t)
}
