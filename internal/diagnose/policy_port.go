package diagnose

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var policyPort = &Check{
	Code: "OVNK-POL-002", Severity: Warning,
	Title: "a policy allows a port by a name that no pod has",
	Meaning: "A rule for ingress names a port, and no container of the pods that the policy selects has a port of that name and protocol. " +
		"The rule allows nothing there, although it looks as if it did.",
	Remedy: "Give the port of the container the name, or use its number in the policy.",
	find: func(c *Cluster, found func(Finding)) {
		if c.Incomplete {
			return
		}
		for i := range c.Objects.NetworkPolicies {
			p := &c.Objects.NetworkPolicies[i]
			pods := c.selected(p)
			if len(pods) == 0 {
				continue
			}
			for _, port := range namedPorts(p) {
				if !exposes(pods, port) {
					found(Finding{
						Object:  &Object{"NetworkPolicy", p.Namespace, p.Name},
						Message: fmt.Sprintf("no container of the %d pods of NetworkPolicy %s/%s has a port called %q", len(pods), p.Namespace, p.Name, port.Port.StrVal),
					})
					break
				}
			}
		}
	},
}

// selected are the pods that a policy is about.
func (c *Cluster) selected(p *networkingv1.NetworkPolicy) []*corev1.Pod {
	selector, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
	if err != nil {
		return nil // policyObject tells of it
	}
	var out []*corev1.Pod
	for i := range c.Objects.Pods {
		if o := &c.Objects.Pods[i]; o.Namespace == p.Namespace && !o.Spec.HostNetwork && !finished(o) && selector.Matches(labels.Set(o.Labels)) {
			out = append(out, o)
		}
	}
	return out
}

func namedPorts(p *networkingv1.NetworkPolicy) []networkingv1.NetworkPolicyPort {
	var out []networkingv1.NetworkPolicyPort
	for _, r := range p.Spec.Ingress {
		for _, port := range r.Ports {
			if port.Port != nil && port.Port.Type == intstr.String {
				out = append(out, port)
			}
		}
	}
	return out
}

func exposes(pods []*corev1.Pod, port networkingv1.NetworkPolicyPort) bool {
	protocol := corev1.ProtocolTCP
	if port.Protocol != nil {
		protocol = *port.Protocol
	}
	for _, p := range pods {
		containers := append(p.Spec.InitContainers[:len(p.Spec.InitContainers):len(p.Spec.InitContainers)], p.Spec.Containers...)
		for i := range containers {
			for _, has := range containers[i].Ports {
				if has.Name == port.Port.StrVal && (has.Protocol == protocol || has.Protocol == "" && protocol == corev1.ProtocolTCP) {
					return true
				}
			}
		}
	}
	return false
}
