package whatif

import (
	"encoding/json"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha2"

	egressfirewallv1 "github.com/ovnkctl/ovnkctl/api/egressfirewall/v1"
)

// networkPolicy has the defaults of the API server.
func networkPolicy(_ *overlay, p, _ *networkingv1.NetworkPolicy) error {
	if len(p.Spec.PolicyTypes) == 0 {
		p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		if len(p.Spec.Egress) > 0 {
			p.Spec.PolicyTypes = append(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
		}
	}
	ports := func(list []networkingv1.NetworkPolicyPort) {
		for i := range list {
			if list[i].Protocol == nil {
				tcp := corev1.ProtocolTCP
				list[i].Protocol = &tcp
			}
		}
	}
	for i := range p.Spec.Ingress {
		ports(p.Spec.Ingress[i].Ports)
	}
	for i := range p.Spec.Egress {
		ports(p.Spec.Egress[i].Ports)
	}
	return nil
}

// maxPriority is the last priority of policies of administrators.
const maxPriority = 1000

func priority(n int32) error {
	if n < 0 || n > maxPriority {
		return fmt.Errorf("the API server refuses the priority %d: it is from 0 to %d", n, maxPriority)
	}
	return nil
}

func adminPorts(list *[]v1alpha1.AdminNetworkPolicyPort) {
	if list == nil {
		return
	}
	for i := range *list {
		if n := (*list)[i].PortNumber; n != nil && n.Protocol == "" {
			n.Protocol = corev1.ProtocolTCP
		}
		if r := (*list)[i].PortRange; r != nil && r.Protocol == "" {
			r.Protocol = corev1.ProtocolTCP
		}
	}
}

func adminPolicy(_ *overlay, p, _ *v1alpha1.AdminNetworkPolicy) error {
	for i := range p.Spec.Ingress {
		adminPorts(p.Spec.Ingress[i].Ports)
	}
	for i := range p.Spec.Egress {
		adminPorts(p.Spec.Egress[i].Ports)
	}
	return priority(p.Spec.Priority)
}

// singleton is the name of kinds of which there is one.
const singleton = "default"

func only(name string) error {
	if name != singleton {
		return fmt.Errorf("the API server refuses other names than %s", singleton)
	}
	return nil
}

func baselinePolicy(_ *overlay, p, _ *v1alpha1.BaselineAdminNetworkPolicy) error {
	for i := range p.Spec.Ingress {
		adminPorts(p.Spec.Ingress[i].Ports)
	}
	for i := range p.Spec.Egress {
		adminPorts(p.Spec.Egress[i].Ports)
	}
	return only(p.Name)
}

func clusterPolicy(_ *overlay, p, _ *v1alpha2.ClusterNetworkPolicy) error {
	if p.Spec.Tier != v1alpha2.AdminTier && p.Spec.Tier != v1alpha2.BaselineTier {
		return fmt.Errorf("the API server refuses the tier %q: it is %s or %s", p.Spec.Tier, v1alpha2.AdminTier, v1alpha2.BaselineTier)
	}
	return priority(p.Spec.Priority)
}

func egressFirewall(_ *overlay, f, _ *egressfirewallv1.EgressFirewall) error { return only(f.Name) }

// endpointSlice has the defaults of the API server.
func endpointSlice(o *overlay, s, _ *discoveryv1.EndpointSlice) error {
	for i := range s.Ports {
		if s.Ports[i].Protocol == nil {
			tcp := corev1.ProtocolTCP
			s.Ports[i].Protocol = &tcp
		}
		if s.Ports[i].Name == nil {
			s.Ports[i].Name = new(string)
		}
	}
	if s.Labels[discoveryv1.LabelServiceName] == "" {
		o.warnings = append(o.warnings, fmt.Sprintf("EndpointSlice %s/%s has no label %s: it is of no service", s.Namespace, s.Name, discoveryv1.LabelServiceName))
	}
	return nil
}

// namespace has the labels that applying the file would leave.
func namespace(_ *overlay, n, old *corev1.Namespace) error {
	if old != nil {
		n.Labels, n.Annotations, n.Status = applied(old, n.Labels, labelsOf), applied(old, n.Annotations, annotationsOf), old.Status
	}
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	n.Labels[corev1.LabelMetadataName] = n.Name
	return nil
}

// pod has the labels that applying the file would leave; all else of a pod stays as it is.
func pod(o *overlay, p, old *corev1.Pod) error {
	if old == nil {
		return fmt.Errorf("there is no such pod in namespace %s, and which address and node it would get is not known before it runs; of a pod that is there the labels can be others", p.Namespace)
	}
	labels := applied(old, p.Labels, labelsOf)
	*p = *old.DeepCopy()
	p.Labels = labels
	o.notes = append(o.notes, fmt.Sprintf("Pod %s/%s: its labels alone are taken from the file", p.Namespace, p.Name))
	return nil
}

func labelsOf(m metav1.ObjectMeta) map[string]string      { return m.Labels }
func annotationsOf(m metav1.ObjectMeta) map[string]string { return m.Annotations }

// applied is what 'kubectl apply' makes of labels: those of the file over those that are
// there, without those of the file that was applied last.
func applied(old metav1.Object, file map[string]string, of func(metav1.ObjectMeta) map[string]string) map[string]string {
	var last struct {
		Metadata metav1.ObjectMeta `json:"metadata"`
	}
	_ = json.Unmarshal([]byte(old.GetAnnotations()[corev1.LastAppliedConfigAnnotation]), &last) // by another program there is none
	out := maps.Clone(of(metav1.ObjectMeta{Labels: old.GetLabels(), Annotations: old.GetAnnotations()}))
	if out == nil {
		out = map[string]string{}
	}
	for k := range of(last.Metadata) {
		delete(out, k)
	}
	maps.Copy(out, file)
	return out
}
