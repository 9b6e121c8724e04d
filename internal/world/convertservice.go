package world

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// Annotations of services that sleep: anybody's "<prefix>/idled-at", such as OpenShift's or
// k8s.ovn.org/idled-at, puts one to sleep; unidledAt is when the last of them went.
const (
	idledAtSuffix = "/idled-at"
	unidledAt     = "k8s.ovn.org/unidled-at"
)

// proxyName is the label of services that another proxy serves.
const proxyName = "service.kubernetes.io/service-proxy-name"

// FromService takes what features need out of a Service.
func FromService(o *corev1.Service) *Service {
	s := &Service{Namespace: interned(o.Namespace), Name: o.Name, UID: string(o.UID), Created: created(&o.ObjectMeta)}
	if _, theirs := o.Labels[proxyName]; theirs || o.Spec.Type == corev1.ServiceTypeExternalName {
		return s
	}
	s.ClusterIPs = s.addrs("spec.clusterIPs", clusterIPs(o))
	if len(s.ClusterIPs) == 0 {
		return s // headless: DNS alone
	}
	s.ExternalIPs = s.addrs("spec.externalIPs", o.Spec.ExternalIPs)
	s.InternalLocal = o.Spec.InternalTrafficPolicy != nil && *o.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal
	s.ExternalLocal = externallyAccessible(o) && o.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
	if o.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		s.AffinitySeconds = int(corev1.DefaultClientIPServiceAffinitySeconds)
		if c := o.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil && *c.ClientIP.TimeoutSeconds > 0 {
			s.AffinitySeconds = int(*c.ClientIP.TimeoutSeconds)
		}
	}
	if o.Spec.Type == corev1.ServiceTypeLoadBalancer {
		s.loadBalancer(o)
	}
	s.sleep(o.Annotations)
	s.Ports = make([]ServicePort, 0, len(o.Spec.Ports))
	for _, p := range o.Spec.Ports {
		if port, ok := s.port(p); ok {
			s.Ports = append(s.Ports, port)
		}
	}
	return s
}

// sleep reads the annotations of services that sleep or did. A time that does not parse is
// none: it only makes for a grace.
func (s *Service) sleep(annotations map[string]string) {
	for key := range annotations {
		s.Idled = s.Idled || strings.HasSuffix(key, idledAtSuffix)
	}
	if t, err := time.Parse(time.RFC3339, annotations[unidledAt]); err == nil {
		s.WokeAt = t.Unix()
	}
}

func clusterIPs(o *corev1.Service) []string {
	ips := o.Spec.ClusterIPs
	if len(ips) == 0 && o.Spec.ClusterIP != "" {
		ips = []string{o.Spec.ClusterIP}
	}
	if len(ips) > 0 && ips[0] == corev1.ClusterIPNone {
		return nil
	}
	return ips
}

// externallyAccessible tells whether the external traffic policy has a meaning: API servers
// keep what a service had in that field before its type changed.
func externallyAccessible(o *corev1.Service) bool {
	switch o.Spec.Type {
	case corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort:
		return true
	}
	return len(o.Spec.ExternalIPs) > 0
}

// loadBalancer ignores the class of the load balancer, which is for those that make load
// balancers, and the old annotation for source ranges, which is theirs, too.
func (s *Service) loadBalancer(o *corev1.Service) {
	s.LoadBalancer = true
	if p := o.Spec.HealthCheckNodePort; s.ExternalLocal && p >= 1 && p <= 65535 {
		s.HealthCheckPort = uint16(p)
	}
	var ingress []string
	for _, i := range o.Status.LoadBalancer.Ingress {
		if i.IP != "" && (i.IPMode == nil || *i.IPMode == corev1.LoadBalancerIPModeVIP) {
			ingress = append(ingress, i.IP)
		}
	}
	s.Ingress = s.addrs("status.loadBalancer.ingress", ingress)
	s.sourceRanges(o.Spec.LoadBalancerSourceRanges)
}

// nobody are ranges in which no packet's source is.
var nobody = []netip.Prefix{
	netip.PrefixFrom(netip.IPv4Unspecified(), 32),
	netip.PrefixFrom(netip.IPv6Unspecified(), 128),
}

// sourceRanges reads the ranges. Those that name everybody of a family, and nobody else, are
// no restriction: 0.0.0.0/0 is how many say so whatever their families.
func (s *Service) sourceRanges(texts []string) {
	var ranges []netip.Prefix
	wrong := false
	for _, text := range texts {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		p, err := parsePrefix(text)
		if err != nil {
			wrong = true
			s.problem("spec.loadBalancerSourceRanges", fmt.Sprintf("%q is not a range of addresses; nobody in it has access", text), "write a range such as 192.0.2.0/24")
			continue
		}
		ranges = append(ranges, p)
	}
	if wrong && len(ranges) == 0 {
		ranges = slices.Clone(nobody) // a slip of the pen must not let everybody in
	}
	restricted := wrong
	for _, is4 := range []bool{true, false} {
		of := func(p netip.Prefix) bool { return p.Addr().Is4() == is4 }
		if i := slices.IndexFunc(ranges, func(p netip.Prefix) bool { return of(p) && p.Bits() == 0 }); i >= 0 {
			all := ranges[i]
			ranges = append(slices.DeleteFunc(ranges, of), all)
		} else if slices.ContainsFunc(ranges, of) {
			restricted = true
		}
	}
	if restricted {
		s.SourceRanges = ranges
	}
}

func (s *Service) port(p corev1.ServicePort) (ServicePort, bool) {
	protocol, ok := protocolOf(&p.Protocol)
	if !ok || p.Port < 1 || p.Port > 65535 || p.NodePort < 0 || p.NodePort > 65535 {
		s.problem("spec.ports", fmt.Sprintf("port %d/%s of %q is none that can be served; it is left out", p.Port, p.Protocol, p.Name),
			"use a port from 1 to 65535 of TCP, UDP or SCTP")
		return ServicePort{}, false
	}
	return ServicePort{Name: interned(p.Name), Protocol: protocol, Port: uint16(p.Port), NodePort: uint16(p.NodePort)}, true
}

func (s *Service) problem(field, message, remedy string) {
	s.Problems = append(s.Problems, Problem{Field: field, Message: message, Remedy: remedy})
}

func (s *Service) addrs(field string, texts []string) []netip.Addr {
	var out []netip.Addr
	for _, text := range texts {
		if strings.TrimSpace(text) == "" {
			continue // API servers let them in
		}
		a, err := parseAddr(text)
		if err != nil {
			s.problem(field, fmt.Sprintf("%q is not an IP address; it is left out", text), "correct the address")
			continue
		}
		out = append(out, a)
	}
	return out
}

// protocolOf reads a protocol; none is TCP.
func protocolOf(p *corev1.Protocol) (Protocol, bool) {
	if p == nil {
		return TCP, true
	}
	switch *p {
	case corev1.ProtocolTCP, "":
		return TCP, true
	case corev1.ProtocolUDP:
		return UDP, true
	case corev1.ProtocolSCTP:
		return SCTP, true
	}
	return "", false
}

// FromServiceCIDR takes what features need out of a ServiceCIDR.
func FromServiceCIDR(o *networkingv1.ServiceCIDR) *ServiceCIDR {
	c := &ServiceCIDR{Name: o.Name, UID: string(o.UID)}
	for _, text := range o.Spec.CIDRs {
		if p, err := parsePrefix(text); err == nil { // else the API server's own check is broken
			c.Prefixes = append(c.Prefixes, p)
		}
	}
	return c
}

// HostPortField is the Field of problems with host ports.
const HostPortField = "spec.containers.ports.hostPort"

// lastingPorts yields the ports of a pod's containers. Those of init containers count only
// when they go on running (KEP-753).
func lastingPorts(spec *corev1.PodSpec, yield func(*corev1.ContainerPort)) {
	for i := range spec.InitContainers {
		if c := &spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			for j := range c.Ports {
				yield(&c.Ports[j])
			}
		}
	}
	for i := range spec.Containers {
		for j := range spec.Containers[i].Ports {
			yield(&spec.Containers[i].Ports[j])
		}
	}
}

// hostPort adds the port of the node that a container's port asks for, if it does.
func (p *Pod) hostPort(port *corev1.ContainerPort) {
	if port.HostPort == 0 {
		return
	}
	protocol, ok := protocolOf(&port.Protocol)
	h := HostPort{Protocol: protocol, Port: uint16(port.HostPort), PodPort: uint16(port.ContainerPort)}
	var err error
	if port.HostIP != "" {
		h.HostIP, err = parseAddr(port.HostIP)
	}
	if !ok || err != nil || port.HostPort < 1 || port.HostPort > 65535 || port.ContainerPort < 1 || port.ContainerPort > 65535 {
		p.Problems = append(p.Problems, Problem{
			Field:   HostPortField,
			Message: fmt.Sprintf("host port %d/%s on %q for port %d cannot be opened", port.HostPort, port.Protocol, port.HostIP, port.ContainerPort),
			Remedy:  "use ports from 1 to 65535 and an address of the node",
		})
		return
	}
	p.HostPorts = append(p.HostPorts, h)
}
