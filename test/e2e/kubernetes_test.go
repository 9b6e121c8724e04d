//go:build e2e

package e2e

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The specs of Kubernetes' own e2e suite that concern pod networking without Services.
const (
	kubernetesSpecs = `Networking Granular Checks: Pods|NoSNAT`
	// On a dual-stack cluster also these.
	dualStackSpecs = `|IPv6DualStack.*pod`
	// Of these, what needs Services, the internet, or a kernel with SCTP.
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
