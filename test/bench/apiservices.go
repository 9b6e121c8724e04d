//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// service makes one without a selector, whose end points are the benchmark's own, and
// returns its cluster IP and port.
func (r *rig) service(ctx context.Context, name string, labels map[string]string) (netip.AddrPort, error) {
	s, err := r.makeService(ctx, name, corev1.ServiceTypeClusterIP, labels)
	if err != nil {
		return netip.AddrPort{}, err
	}
	a, err := netip.ParseAddr(s.Spec.ClusterIP)
	return netip.AddrPortFrom(a, servicePort), err
}

// nodePort makes one of type NodePort and returns the port.
func (r *rig) nodePort(ctx context.Context, name string, labels map[string]string) (uint16, error) {
	s, err := r.makeService(ctx, name, corev1.ServiceTypeNodePort, labels)
	if err != nil {
		return 0, err
	}
	return uint16(s.Spec.Ports[0].NodePort), nil
}

func (r *rig) makeService(ctx context.Context, name string, kind corev1.ServiceType, labels map[string]string) (*corev1.Service, error) {
	return r.api.CoreV1().Services(namespace).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec: corev1.ServiceSpec{Type: kind, Ports: []corev1.ServicePort{{
			Name: "http", Protocol: corev1.ProtocolTCP, Port: servicePort, TargetPort: intstr.FromInt32(backendPort),
		}}},
	}, metav1.CreateOptions{})
}

// slice makes the end points of a service.
func (r *rig) slice(ctx context.Context, service string, labels map[string]string, addrs ...netip.Addr) error {
	kind, name, protocol, port := discoveryv1.AddressTypeIPv4, "http", corev1.ProtocolTCP, int32(backendPort)
	if addrs[0].Is6() {
		kind = discoveryv1.AddressTypeIPv6
	}
	all := map[string]string{discoveryv1.LabelServiceName: service, discoveryv1.LabelManagedBy: namespace}
	maps.Copy(all, labels)
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: service, Labels: all},
		AddressType: kind, Endpoints: ready(addrs),
		Ports: []discoveryv1.EndpointPort{{Name: &name, Protocol: &protocol, Port: &port}},
	}
	_, err := r.api.DiscoveryV1().EndpointSlices(namespace).Create(ctx, s, metav1.CreateOptions{})
	return err
}

func ready(addrs []netip.Addr) []discoveryv1.Endpoint {
	yes := true
	out := make([]discoveryv1.Endpoint, 0, len(addrs))
	for _, a := range addrs {
		out = append(out, discoveryv1.Endpoint{Addresses: []string{a.String()}, Conditions: discoveryv1.EndpointConditions{Ready: &yes}})
	}
	return out
}

// redirect leads a service to other end points.
func (r *rig) redirect(ctx context.Context, service string, addrs ...netip.Addr) error {
	patch, err := json.Marshal(dict{"endpoints": ready(addrs)})
	if err != nil {
		return err
	}
	_, err = r.api.DiscoveryV1().EndpointSlices(namespace).Patch(ctx, service, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("change the end points of %s: %w", service, err)
	}
	return nil
}

// dropServices deletes the services with a label and their end points, one by one: the API
// server gives up a request to delete thousands after a minute.
func (r *rig) dropServices(ctx context.Context, label string) error {
	list, err := r.api.CoreV1().Services(namespace).List(ctx, metav1.ListOptions{LabelSelector: label})
	if err != nil {
		return err
	}
	return workers(len(list.Items), func(i int) error {
		name := list.Items[i].Name
		if err := r.api.CoreV1().Services(namespace).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			return err
		}
		err := r.api.DiscoveryV1().EndpointSlices(namespace).Delete(ctx, name, metav1.DeleteOptions{})
		if apierrors.IsNotFound(err) {
			return nil // went with its service
		}
		return err
	})
}
