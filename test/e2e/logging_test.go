//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestPolicyLogs reads what an operator reads: the log of ovn-controller on the node of the
// pod that a packet was denied to.
func TestPolicyLogs(t *testing.T) {
	c := open(t)
	ns := c.namespace(t)
	c.annotate(t, ns, "k8s.ovn.org/acl-logging", `{"deny":"alert"}`)
	nodes := c.nodes(t)
	pods := c.start(t, podOn(ns, "server", nodes[0]), podOn(ns, "client", nodes[len(nodes)-1]))
	deny := &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "deny"},
		Spec:       networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}},
	}
	if _, err := c.NetworkingV1().NetworkPolicies(ns).Create(t.Context(), deny, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	server, client := addresses(t, pods[0])[0], addresses(t, pods[1])[0]
	want := fmt.Sprintf(`name="NP:%s:Ingress", verdict=drop, severity=alert, direction=to-lport: tcp`, ns)
	until(t, "a line about the denied connection", func(ctx context.Context) error {
		if out, err := c.exec(ctx, pods[1], "", nil, "nc", "-z", "-w", "1", server.String(), "8080"); err == nil {
			return fmt.Errorf("it is not denied: %s", out)
		}
		daemons, err := c.systemPod(ctx, "ovnkube-node", nodes[0])
		if err != nil {
			return err
		}
		log, err := c.CoreV1().Pods(system).GetLogs(daemons.Name, &corev1.PodLogOptions{Container: "ovn-controller"}).DoRaw(ctx)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(log)) {
			if strings.Contains(line, want) && strings.Contains(line, "="+client.String()) && strings.Contains(line, "="+server.String()) {
				return nil
			}
		}
		return fmt.Errorf("none has %s", want)
	})
}
