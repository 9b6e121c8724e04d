//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
)

// TestSleepingServiceIsWoken plays the part of who puts services to sleep: a client's first
// connection is reported, waits for the pod that is started then, and is answered. The
// sandbox has kubernetes.emptyLoadBalancerEvents set.
func TestSleepingServiceIsWoken(t *testing.T) {
	s := open(t).stage(t)
	svc := s.service(t, "sleeper", func(svc *corev1.Service) {
		svc.Spec.Selector = map[string]string{"app": "sleeper"}
		svc.Annotations = map[string]string{"k8s.ovn.org/idled-at": "2026-01-01T00:00:00Z"}
	})
	askers := []asker{s.fromPod(s.clients[0]), s.fromNode(s.nodes[1])}
	answers := make(chan error, len(askers)*len(svc.Spec.ClusterIPs))
	for _, a := range askers {
		for _, ip := range clusterIPs(svc) {
			go func() {
				to := netip.AddrPortFrom(ip, servicePort)
				out, err := a.run(t.Context(), "curl", "-sS", "-g", "-m", fmt.Sprint(patience.Seconds()), "http://"+to.String()+"/hostname")
				if out = strings.TrimSpace(out); err == nil && out != "sleeper" {
					err = fmt.Errorf("the answer is %q", out)
				}
				if err != nil {
					err = fmt.Errorf("%s → %s: %w", a.name, to, err)
				}
				answers <- err
			}()
		}
	}
	until(t, "an event that the service needs pods", func(ctx context.Context) error {
		events, err := s.CoreV1().Events(s.ns).List(ctx, metav1.ListOptions{FieldSelector: fields.Set{
			"involvedObject.kind": "Service", "involvedObject.name": svc.Name, "reason": "NeedPods",
		}.String()})
		if err == nil && len(events.Items) == 0 {
			err = fmt.Errorf("no event of %d answers", len(answers))
		}
		return err
	})
	// Awake before the pods are there: nothing must be refused in between.
	if _, err := s.CoreV1().Services(s.ns).Patch(t.Context(), svc.Name, types.MergePatchType,
		[]byte(`{"metadata":{"annotations":{"k8s.ovn.org/idled-at":null}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	p := podOn(s.ns, "sleeper", s.without)
	p.Labels = map[string]string{"app": "sleeper"}
	s.start(t, p)
	for range cap(answers) {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
}
