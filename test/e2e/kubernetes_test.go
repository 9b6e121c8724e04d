//go:build e2e

package e2e

import (
	"os/exec"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The specs of Kubernetes' own e2e suite that concern pods alone.
const (
	kubernetesSpecs = `Networking Granular Checks: Pods|NoSNAT`
	// On a dual-stack cluster also these.
	dualStackSpecs = `|IPv6DualStack.*pod`
	// Of these, what is about Services (see below), the internet, or a kernel with SCTP.
	kubernetesSkips = `Services|service|\[Feature:SCTPConnectivity\]|\[Feature:Networking-IPv6\]|\[Disruptive\]|\[Serial\]`
)

// TestKubernetesSpecs runs them without retries; the JUnit report is in .sandbox/e2e.
func TestKubernetesSpecs(t *testing.T) {
	c := open(t)
	specs := kubernetesSpecs
	if c.dualStack(t) {
		specs += dualStackSpecs
	}
	t.Log(c.sandbox(t, "e2e", specs, kubernetesSkips))
}

// TestKubernetesCoreSpecs runs one spec or two of each kind of Service and of network policy:
// the selections "core" and "policies" of test/conformance, all of which `make conformance` runs.
func TestKubernetesCoreSpecs(t *testing.T) {
	open(t).conformance(t, "core", "core", "policies")
}

// TestPolicyAPICore runs what shows most of AdminNetworkPolicy, BaselineAdminNetworkPolicy and
// ClusterNetworkPolicy in their own conformance suites; `make conformance` runs all of them.
func TestPolicyAPICore(t *testing.T) {
	open(t).conformance(t, "-only", "Integration|PriorityField|NamedPort|EgressNodePeers|BaselineTierGress|BaselineAdminNetworkPolicyGress",
		"policyapi-core", "policyapi-v1alpha1", "policyapi-v1alpha2")
}

// conformance runs the program of test/conformance.
func (c *cluster) conformance(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(c.root, "bin", "conformance"), append([]string{"-out", "dist/conformance"}, args...)...)
	cmd.Dir = c.root
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatalf("%v (test/e2e/run builds the program)", err)
	}
}

// dualStack tells whether nodes have addresses of both families.
func (c *cluster) dualStack(t *testing.T) bool {
	t.Helper()
	node, err := c.CoreV1().Nodes().Get(t.Context(), c.nodes(t)[0], metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	families := 0
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			families++
		}
	}
	return families == 2
}
