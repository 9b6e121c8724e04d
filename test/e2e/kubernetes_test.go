//go:build e2e

package e2e

import "testing"

// The specs of Kubernetes' own e2e suite that concern pod networking without Services.
const (
	kubernetesSpecs = `Networking Granular Checks: Pods|NoSNAT|IPv6DualStack.*(pod|should create pod)`
	// Of these, what needs Services, the internet, or a kernel with SCTP.
	kubernetesSkips = `Services|service|\[Feature:SCTPConnectivity\]|\[Feature:Networking-IPv6\]|\[Disruptive\]|\[Serial\]`
)

// TestKubernetesSpecs runs them without retries; the JUnit report is in .sandbox/e2e.
func TestKubernetesSpecs(t *testing.T) {
	c := open(t)
	t.Log(c.sandbox(t, "e2e", kubernetesSpecs, kubernetesSkips))
}
