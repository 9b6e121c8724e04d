package whatif

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
)

// endpoints does what the controller of EndpointSlices does: the end points of services that
// select others than today.
func (o *overlay) endpoints(today *inspect.Objects) {
	for _, e := range o.edited("Service") {
		if e.Action == Removed {
			o.dropSlices(e.Object.Namespace, e.Object.Name)
		}
	}
	for i := range o.objects.Services {
		s := &o.objects.Services[i]
		if len(s.Spec.Selector) == 0 || s.Spec.Type == corev1.ServiceTypeExternalName || o.hasSlices(s) {
			continue
		}
		old := findService(today.Services, s)
		asBefore := old != nil && reflect.DeepEqual(old.Spec.Selector, s.Spec.Selector) && samePorts(old.Spec.Ports, s.Spec.Ports) &&
			reflect.DeepEqual(old.Spec.IPFamilies, s.Spec.IPFamilies) && old.Spec.PublishNotReadyAddresses == s.Spec.PublishNotReadyAddresses
		if asBefore && !o.selectsEdited(s, today) {
			continue
		}
		o.dropSlices(s.Namespace, s.Name)
		made := o.slicesOf(s)
		o.objects.EndpointSlices = append(slices.Clip(o.objects.EndpointSlices), made...)
		ready := 0
		for _, slice := range made {
			for _, e := range slice.Endpoints {
				if *e.Conditions.Ready {
					ready++
				}
			}
		}
		o.notes = append(o.notes, fmt.Sprintf("Service %s/%s: its end points are worked out from the pods that it selects: %d ready", s.Namespace, s.Name, ready))
	}
}

func findService(list []corev1.Service, s *corev1.Service) *corev1.Service {
	i := slices.IndexFunc(list, func(o corev1.Service) bool { return o.Namespace == s.Namespace && o.Name == s.Name })
	if i < 0 {
		return nil
	}
	return &list[i]
}

// samePorts tells whether ports lead to the same of pods.
func samePorts(a, b []corev1.ServicePort) bool {
	return slices.EqualFunc(a, b, func(p, q corev1.ServicePort) bool {
		return p.Name == q.Name && p.Protocol == q.Protocol && p.TargetPort == q.TargetPort
	})
}

// hasSlices tells whether the input has end points of a service.
func (o *overlay) hasSlices(s *corev1.Service) bool {
	for _, e := range o.edited("EndpointSlice") {
		for i := range o.objects.EndpointSlices {
			slice := &o.objects.EndpointSlices[i]
			if e.Action != Removed && slice.Namespace == e.Object.Namespace && slice.Name == e.Object.Name && ofService(slice, s.Namespace, s.Name) {
				return true
			}
		}
	}
	return false
}

func ofService(slice *discoveryv1.EndpointSlice, namespace, name string) bool {
	return slice.Namespace == namespace && slice.Labels[discoveryv1.LabelServiceName] == name
}

func (o *overlay) dropSlices(namespace, name string) {
	o.objects.EndpointSlices = slices.DeleteFunc(slices.Clone(o.objects.EndpointSlices), func(s discoveryv1.EndpointSlice) bool {
		return ofService(&s, namespace, name)
	})
}

// selectsEdited tells whether a service selects a pod of the input, now or before.
func (o *overlay) selectsEdited(s *corev1.Service, today *inspect.Objects) bool {
	selector := labels.SelectorFromSet(s.Spec.Selector)
	for _, e := range o.edited("Pod") {
		for _, list := range [][]corev1.Pod{today.Pods, o.objects.Pods} {
			for i := range list {
				if p := &list[i]; p.Namespace == s.Namespace && p.Namespace == e.Object.Namespace && p.Name == e.Object.Name && selector.Matches(labels.Set(p.Labels)) {
					return true
				}
			}
		}
	}
	return false
}

// slicesOf are the end points of a service, in a slice for each family and each set of port
// numbers, for a named port may be another one in each pod.
func (o *overlay) slicesOf(s *corev1.Service) []discoveryv1.EndpointSlice {
	selector := labels.SelectorFromSet(s.Spec.Selector)
	var out []discoveryv1.EndpointSlice
	at := map[string]int{}
	for i := range o.objects.Pods {
		p := &o.objects.Pods[i]
		if p.Namespace != s.Namespace || !selector.Matches(labels.Set(p.Labels)) || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		ports := portsOf(s, p)
		for _, ip := range p.Status.PodIPs {
			family := discoveryv1.AddressTypeIPv4
			if strings.Contains(ip.IP, ":") {
				family = discoveryv1.AddressTypeIPv6
			}
			if !slices.Contains(s.Spec.IPFamilies, corev1.IPFamily(family)) {
				continue
			}
			key := string(family)
			for _, port := range ports {
				key += fmt.Sprintf(" %s:%d", *port.Name, *port.Port)
			}
			n, ok := at[key]
			if !ok {
				n = len(out)
				at[key] = n
				out = append(out, discoveryv1.EndpointSlice{
					ObjectMeta: metav1.ObjectMeta{
						Namespace: s.Namespace, Name: fmt.Sprintf("%s-what-if-%d", s.Name, n),
						Labels: map[string]string{discoveryv1.LabelServiceName: s.Name},
					},
					AddressType: family, Ports: ports,
				})
			}
			out[n].Endpoints = append(out[n].Endpoints, endpointOf(s, p, ip.IP))
		}
	}
	return out
}

func endpointOf(s *corev1.Service, p *corev1.Pod, ip string) discoveryv1.Endpoint {
	serving := s.Spec.PublishNotReadyAddresses || slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
	terminating := p.DeletionTimestamp != nil
	ready := serving && (!terminating || s.Spec.PublishNotReadyAddresses)
	node := p.Spec.NodeName
	return discoveryv1.Endpoint{
		Addresses: []string{ip}, NodeName: &node,
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID},
	}
}

// portsOf are the ports of a pod that the service leads to. A name that no container has
// leads nowhere.
func portsOf(s *corev1.Service, p *corev1.Pod) []discoveryv1.EndpointPort {
	var out []discoveryv1.EndpointPort
	for _, port := range s.Spec.Ports {
		number := port.TargetPort.IntVal
		if port.TargetPort.Type == intstr.String {
			number = 0
			for _, c := range p.Spec.Containers {
				for _, cp := range c.Ports {
					protocol := cp.Protocol
					if protocol == "" {
						protocol = corev1.ProtocolTCP
					}
					if cp.Name == port.TargetPort.StrVal && protocol == port.Protocol {
						number = cp.ContainerPort
					}
				}
			}
		}
		if number == 0 {
			continue
		}
		name, protocol := port.Name, port.Protocol
		out = append(out, discoveryv1.EndpointPort{Name: &name, Protocol: &protocol, Port: &number})
	}
	return out
}
