package diagnose

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
)

var serviceNowhere = &Check{
	Code: "OVNK-SVC-003", Severity: Warning,
	Title: "a service has pods, and leads to none of them",
	Meaning: "The selector of a service selects pods, and its EndpointSlices have no end point that is ready, or none for one of its ports. " +
		"Connections to the service are refused.",
	Remedy: "See why the pods are not ready (kubectl describe pod), whether a container has the port that the service calls by name, " +
		"and whether kube-controller-manager, which writes EndpointSlices, runs.",
	causes: []cause{
		{clusterDNS.Code, sameObject}, {nodeSilent.Code, sameNode}, {nodeComponent.Code, sameNode}, {podStart.Code, sameNode}, {podInterface.Code, sameNode}, {podClaim.Code, sameNode},
	},
	find: func(c *Cluster, found func(Finding)) {
		if c.Incomplete {
			return
		}
		slices := map[[2]string][]*discoveryv1.EndpointSlice{}
		for i := range c.Objects.EndpointSlices {
			s := &c.Objects.EndpointSlices[i]
			k := [2]string{s.Namespace, s.Labels[discoveryv1.LabelServiceName]}
			slices[k] = append(slices[k], s)
		}
		for i := range c.Objects.Services {
			s := &c.Objects.Services[i]
			if len(s.Spec.Selector) == 0 || s.Spec.Type == corev1.ServiceTypeExternalName || s.Spec.ClusterIP == corev1.ClusterIPNone || s.DeletionTimestamp != nil {
				continue
			}
			if f, ok := c.nowhere(s, slices[[2]string{s.Namespace, s.Name}]); ok {
				found(f)
			}
		}
	},
}

func (c *Cluster) nowhere(s *corev1.Service, endpoints []*discoveryv1.EndpointSlice) (f Finding, ok bool) {
	f.Object = &Object{"Service", s.Namespace, s.Name}
	f.Next = fmt.Sprintf("kubectl -n %s get endpointslices -l %s=%s", s.Namespace, discoveryv1.LabelServiceName, s.Name)
	p := c.backing(s)
	f.peers = p.nodes
	if p.settled == 0 {
		return f, false // nobody serves, which may be meant
	}
	if !anyReady(endpoints) {
		f.Message = fmt.Sprintf("service %s/%s selects %d pods, of which %d are ready, and no end point of it is ready", s.Namespace, s.Name, p.settled, p.ready)
		return f, true
	}
	for _, port := range s.Spec.Ports {
		if !hasPort(endpoints, port.Name) {
			f.Message = fmt.Sprintf("no end point of service %s/%s has its port %s (target port %s)", s.Namespace, s.Name, portName(port), port.TargetPort.String())
			return f, true
		}
	}
	return f, false
}

// selection are the pods that a service selects.
type selection struct {
	settled, young, ready int
	nodes                 []string // where they are
}

func (c *Cluster) backing(s *corev1.Service) (out selection) {
	for i := range c.Objects.Pods {
		p := &c.Objects.Pods[i]
		if p.Namespace != s.Namespace || !labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(p.Labels)) || finished(p) {
			continue
		}
		if c.young(p) {
			out.young++
		} else {
			out.settled++
		}
		if isReady(p) {
			out.ready++
		}
		if p.Spec.NodeName != "" && !slices.Contains(out.nodes, p.Spec.NodeName) {
			out.nodes = append(out.nodes, p.Spec.NodeName)
		}
	}
	return out
}

// young tells whether a pod was made, or is about to go, just now.
func (c *Cluster) young(p *corev1.Pod) bool {
	return p.DeletionTimestamp != nil || c.Now.Sub(p.CreationTimestamp.Time) < longStart/2
}

func finished(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

func isReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(x corev1.PodCondition) bool {
		return x.Type == corev1.PodReady && x.Status == corev1.ConditionTrue
	})
}

func anyReady(list []*discoveryv1.EndpointSlice) bool {
	return slices.ContainsFunc(list, func(s *discoveryv1.EndpointSlice) bool {
		return slices.ContainsFunc(s.Endpoints, func(e discoveryv1.Endpoint) bool { return e.Conditions.Ready == nil || *e.Conditions.Ready })
	})
}

func hasPort(list []*discoveryv1.EndpointSlice, name string) bool {
	return slices.ContainsFunc(list, func(s *discoveryv1.EndpointSlice) bool {
		return slices.ContainsFunc(s.Ports, func(p discoveryv1.EndpointPort) bool { return value(p.Name) == name })
	})
}

func portName(p corev1.ServicePort) string {
	if p.Name != "" {
		return p.Name
	}
	return fmt.Sprint(p.Port)
}
