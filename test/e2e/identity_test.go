//go:build e2e

package e2e

import (
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// TestANodesTokenReachesItsOwnDataOnly takes the token of one node's pod, as a thief
// would, and tries what it can change elsewhere.
func TestANodesTokenReachesItsOwnDataOnly(t *testing.T) {
	c := open(t)
	nodes := c.nodes(t)
	own, other := nodes[0], nodes[len(nodes)-1]
	agent, err := c.systemPod(t.Context(), "ovnkube-node", own)
	if err != nil {
		t.Fatal(err)
	}
	token, err := c.CoreV1().ServiceAccounts(system).CreateToken(t.Context(), agent.Spec.ServiceAccountName, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: agent.Name, UID: agent.UID}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config := rest.AnonymousClientConfig(c.rest)
	config.BearerToken = token.Status.Token
	thief, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	ns := c.namespace(t)
	pods := c.start(t, podOn(ns, "own", own, "pause"), podOn(ns, "foreign", other, "pause"))

	node := func(name, patch string) error {
		_, err := thief.CoreV1().Nodes().Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	pod := func(name, patch string) error {
		_, err := thief.CoreV1().Pods(ns).Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	const hostCIDRs = `{"metadata":{"annotations":{"k8s.ovn.org/host-cidrs":"[]"}}}`
	const podNetworks = `{"metadata":{"annotations":{"k8s.ovn.org/pod-networks":"{}"}}}`
	cases := []struct {
		name    string
		err     error
		allowed bool
	}{
		{"own node, own annotation", node(own, hostCIDRs), true},
		{"another node", node(other, hostCIDRs), false},
		{"own node, foreign annotation", node(own, `{"metadata":{"annotations":{"example.com/x":"y"}}}`), false},
		{"own node, the controller's annotation", node(own, `{"metadata":{"annotations":{"k8s.ovn.org/node-subnets":"{}"}}}`), false},
		{"own node, label", node(own, `{"metadata":{"labels":{"x":"y"}}}`), false},
		{"own node, taint", node(own, `{"spec":{"unschedulable":true}}`), false},
		{"own pod, own annotation", pod(pods[0].Name, podNetworks), true},
		{"foreign pod", pod(pods[1].Name, podNetworks), false},
		{"own pod, label", pod(pods[0].Name, `{"metadata":{"labels":{"app":"x"}}}`), false},
	}
	for _, tc := range cases {
		switch {
		case tc.allowed && tc.err != nil:
			t.Errorf("%s: refused: %v", tc.name, tc.err)
		case !tc.allowed && tc.err == nil:
			t.Errorf("%s: allowed", tc.name)
		}
	}
	if _, err := thief.CoreV1().Secrets(system).List(t.Context(), metav1.ListOptions{}); err == nil || !strings.Contains(err.Error(), "forbidden") {
		t.Errorf("reading secrets: %v", err)
	}
}
