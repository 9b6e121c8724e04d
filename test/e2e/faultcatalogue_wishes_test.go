//go:build e2e

package e2e

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// wishes are objects that ask for what there is not.
func (r *faultRig) wishes() *scene {
	s := &scene{name: "wishes"}
	s.faults = []fault{
		{name: "affinity longer than OVN remembers", code: "OVNK-SVC-001", object: "Service forgetful",
			inject: func(t *testing.T) {
				day := int32(24 * 60 * 60) // the longest that Kubernetes takes; OVN has 16 bits for it
				r.service(t, "forgetful", func(s *corev1.Service) {
					s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
					s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &day}}
				})
			},
			remedy: func(t *testing.T) { r.deleteService(t, "forgetful") }},
		{name: "external address among the services' own", code: "OVNK-SVC-001", object: "Service inside",
			inject: func(t *testing.T) {
				r.service(t, "inside", func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"10.96.255.200"} })
			},
			remedy: func(t *testing.T) { r.deleteService(t, "inside") }},
		{name: "no name server", code: "OVNK-SVC-004", object: "Service kube-dns",
			inject: func(t *testing.T) { r.scale(t, "kube-system", "coredns", 0) },
			remedy: func(t *testing.T) { r.scale(t, "kube-system", "coredns", 1) }},
	}
	return s
}
