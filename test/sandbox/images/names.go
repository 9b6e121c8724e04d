// Package images makes container images without a registry or a container
// engine: the programs that the nested module built, a few of the machine's own
// programs, and a Debian root folder for the product's image. Nodes get them
// from a containerd folder that is prepared once and hard-linked.
package images

// Names under which the images are known to Kubernetes v1.37 and its tests.
const (
	Pause      = "registry.k8s.io/pause:3.10.2"
	Agnhost    = "registry.k8s.io/e2e-test-images/agnhost:2.66.1"
	agnhostOld = "registry.k8s.io/e2e-test-images/agnhost:2.55" // the StatefulSet tests
	agnhostAPI = "registry.k8s.io/e2e-test-images/agnhost:2.45" // the conformance suites of the policy API
	Busybox    = "registry.k8s.io/e2e-test-images/busybox:1.37.0-2"
	CoreDNS    = "registry.k8s.io/coredns/coredns:v1.14.4"
	dnsTesting = "registry.k8s.io/e2e-test-images/glibc-dns-testing:2.1.1"
	nginx      = "registry.k8s.io/e2e-test-images/nginx:1.27.0-2"
	regression = "registry.k8s.io/e2e-test-images/regression-issue-74839:1.5"
)

// Repository is the name of the product's image.
const Repository = "ghcr.io/ovnkctl/ovnkctl"

// baseRepository names the Debian layer alone: containerd keeps the layer on
// every node, so that a new product image is only its two programs.
const baseRepository = "localhost/ovnkctl-base"
