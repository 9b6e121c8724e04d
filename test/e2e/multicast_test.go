//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	multicastAnnotation = "k8s.ovn.org/multicast-enabled"
	group4, group6      = "239.1.2.3:5007", "[ff15::7]:5007"
	// telling is how long a text is sent; a listener of another node hears it within
	// milliseconds.
	telling = "1s"
)

// annotate sets an annotation of a namespace, or takes it away.
func (c *cluster) annotate(t *testing.T, ns, key, value string) {
	t.Helper()
	text := "null"
	if value != "" {
		text = fmt.Sprintf("%q", value)
	}
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%s}}}`, key, text)
	if _, err := c.CoreV1().Namespaces().Patch(t.Context(), ns, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// audience are pods that listen to a group of each family of the cluster.
type audience struct {
	*cluster
	pods   []*corev1.Pod
	groups []string
	texts  int
}

// heard are the names of the pods that have heard a text from a pod.
func (a *audience) heard(ctx context.Context, family int, text string, from netip.Addr) ([]string, error) {
	var out []string
	for _, p := range a.pods {
		said, err := a.exec(ctx, p, "", nil, "cat", fmt.Sprintf("/tmp/heard%d", family))
		if err != nil {
			return nil, err
		}
		if slices.Contains(strings.Split(said, "\n"), text+" "+from.String()) {
			out = append(out, p.Name)
		}
	}
	return out, nil
}

// await tells both groups something from a pod until exactly those pods hear it.
func (a *audience) await(t *testing.T, from *corev1.Pod, want ...string) {
	t.Helper()
	for i, g := range a.groups {
		until(t, fmt.Sprintf("%s to %s is heard by %v", from.Name, g, want), func(ctx context.Context) error {
			a.texts++
			text := fmt.Sprint("text", a.texts)
			if _, err := a.exec(ctx, from, "", nil, "/tmp/streamer", "tell", g, text, telling); err != nil {
				return err
			}
			got, err := a.heard(ctx, i, text, addresses(t, from)[i])
			if err == nil && !slices.Equal(got, want) {
				err = fmt.Errorf("%v hear it", got)
			}
			return err
		})
	}
}

// TestMulticast: pods of a namespace that may use it hear each other on all nodes, and nobody
// else does.
func TestMulticast(t *testing.T) {
	c := open(t)
	nodes := c.nodes(t)
	if len(nodes) < 2 {
		t.Fatal("multicast between nodes needs two")
	}
	on, off := c.namespace(t), c.namespace(t)
	c.annotate(t, on, multicastAnnotation, "true")
	all := c.start(t,
		podOn(on, "on-far", nodes[1], "pause"), podOn(on, "on-near", nodes[0], "pause"), podOn(on, "on-teller", nodes[0], "pause"),
		podOn(off, "off-far", nodes[1], "pause"), podOn(off, "off-near", nodes[0], "pause"), podOn(off, "off-teller", nodes[0], "pause"))
	c.giveStreamer(t, all...)
	a := &audience{cluster: c, pods: []*corev1.Pod{all[0], all[1], all[3], all[4]}}
	for _, addr := range addresses(t, all[0]) {
		a.groups = append(a.groups, map[bool]string{true: group4, false: group6}[addr.Is4()])
	}
	for i, g := range a.groups {
		for _, p := range a.pods {
			c.mustExec(t, p, "sh", "-c", fmt.Sprintf("/tmp/streamer listen '%s' >/tmp/heard%d 2>&1 &", g, i))
		}
	}
	teller, stranger := all[2], all[5]
	a.await(t, teller, "on-far", "on-near")
	a.await(t, stranger)
	c.annotate(t, off, multicastAnnotation, "true")
	a.await(t, stranger, "off-far", "off-near")
	c.annotate(t, on, multicastAnnotation, "")
	a.await(t, teller)
	a.await(t, stranger, "off-far", "off-near")
}

// TestMulticastAnnotationIsChecked: what is not understood is an event of the namespace.
func TestMulticastAnnotationIsChecked(t *testing.T) {
	c := open(t)
	ns := c.namespace(t)
	c.annotate(t, ns, multicastAnnotation, "yes")
	c.start(t, podOn(ns, "p", c.nodes(t)[0], "pause"))
	until(t, "an event of the namespace", func(ctx context.Context) error {
		// Events of objects without a namespace are in default.
		events, err := c.CoreV1().Events(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=Namespace,involvedObject.name=" + ns})
		if err != nil {
			return err
		}
		for _, e := range events.Items {
			if e.Reason == "InvalidMulticast" && strings.Contains(e.Message, `"yes"`) {
				return nil
			}
		}
		return errors.New("none says InvalidMulticast")
	})
}
