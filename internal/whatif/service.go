package whatif

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// The API server's default range of node ports.
const firstNodePort, lastNodePort = int32(30000), int32(32767)

// service has the defaults of the API server, and the addresses and ports that it would
// choose.
func service(o *overlay, s, old *corev1.Service) error {
	if s.Spec.Type == "" {
		s.Spec.Type = corev1.ServiceTypeClusterIP
	}
	if old != nil {
		s.Status = old.Status
	}
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	if s.Spec.SessionAffinity == "" {
		s.Spec.SessionAffinity = corev1.ServiceAffinityNone
	}
	if s.Spec.InternalTrafficPolicy == nil {
		cluster := corev1.ServiceInternalTrafficPolicyCluster
		s.Spec.InternalTrafficPolicy = &cluster
	}
	if err := servicePorts(s); err != nil {
		return err
	}
	if err := o.clusterIPs(s, old); err != nil {
		return err
	}
	if s.Spec.Type == corev1.ServiceTypeClusterIP {
		return nil
	}
	if s.Spec.ExternalTrafficPolicy == "" {
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster
	}
	if s.Spec.Type == corev1.ServiceTypeLoadBalancer && len(s.Status.LoadBalancer.Ingress) == 0 {
		o.notes = append(o.notes, fmt.Sprintf("Service %s/%s has no load balancer's address before somebody gives it one", s.Namespace, s.Name))
	}
	return o.nodePorts(s, old)
}

// servicePorts has the ports' defaults.
func servicePorts(s *corev1.Service) error {
	headless := s.Spec.ClusterIP == corev1.ClusterIPNone
	if len(s.Spec.Ports) == 0 && !headless {
		return errors.New("the API server refuses a service without ports")
	}
	names := map[string]bool{}
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if p.Port < 1 || p.Port > 65535 {
			return fmt.Errorf("the API server refuses the port %d: it is from 1 to 65535", p.Port)
		}
		if len(s.Spec.Ports) > 1 && p.Name == "" || names[p.Name] {
			return errors.New("the API server refuses several ports unless each has a name of its own")
		}
		names[p.Name] = true
		if p.Protocol == "" {
			p.Protocol = corev1.ProtocolTCP
		}
		if p.TargetPort == (intstr.IntOrString{}) {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
	return nil
}

// clusterIPs keeps the addresses that the service has, or chooses some.
func (o *overlay) clusterIPs(s, old *corev1.Service) error {
	if len(s.Spec.ClusterIPs) == 0 && s.Spec.ClusterIP != "" {
		s.Spec.ClusterIPs = []string{s.Spec.ClusterIP}
	}
	if len(s.Spec.ClusterIPs) == 0 && old != nil && old.Spec.Type != corev1.ServiceTypeExternalName {
		s.Spec.ClusterIPs = slices.Clone(old.Spec.ClusterIPs)
	}
	if len(s.Spec.ClusterIPs) == 0 {
		if err := o.allocate(s); err != nil {
			return err
		}
	}
	s.Spec.ClusterIP = s.Spec.ClusterIPs[0]
	s.Spec.IPFamilies = nil
	for _, text := range s.Spec.ClusterIPs {
		if text == corev1.ClusterIPNone {
			return nil
		}
		a, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("its cluster IP %q is no address", text)
		}
		for i := range o.objects.Services {
			other := &o.objects.Services[i]
			if (other.Namespace != s.Namespace || other.Name != s.Name) && slices.Contains(other.Spec.ClusterIPs, text) {
				return fmt.Errorf("the API server refuses the cluster IP %s: Service %s/%s has it", text, other.Namespace, other.Name)
			}
		}
		s.Spec.IPFamilies = append(s.Spec.IPFamilies, familyOf(a))
	}
	if s.Spec.IPFamilyPolicy == nil {
		single := corev1.IPFamilyPolicySingleStack
		if len(s.Spec.IPFamilies) > 1 {
			single = corev1.IPFamilyPolicyRequireDualStack
		}
		s.Spec.IPFamilyPolicy = &single
	}
	return nil
}

func familyOf(a netip.Addr) corev1.IPFamily {
	if a.Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

// allocate chooses cluster IPs. The API server takes any that is free: so is this one.
func (o *overlay) allocate(s *corev1.Service) error {
	var ranges []netip.Prefix
	for _, text := range o.ranges {
		if p, err := netip.ParsePrefix(text); err == nil {
			ranges = append(ranges, p.Masked())
		}
	}
	if len(ranges) == 0 {
		return errors.New("the ranges of cluster IPs are not known: give it a clusterIP")
	}
	want := s.Spec.IPFamilies
	if len(want) == 0 {
		want = []corev1.IPFamily{familyOf(ranges[0].Addr())}
	}
	if p := s.Spec.IPFamilyPolicy; len(want) == 1 && p != nil && *p != corev1.IPFamilyPolicySingleStack {
		for _, r := range ranges {
			if f := familyOf(r.Addr()); f != want[0] {
				want = append(slices.Clone(want), f)
				break
			}
		}
	}
	used := map[string]bool{}
	for i := range o.objects.Services {
		for _, ip := range o.objects.Services[i].Spec.ClusterIPs {
			used[ip] = true
		}
	}
	for _, family := range want {
		i := slices.IndexFunc(ranges, func(p netip.Prefix) bool { return familyOf(p.Addr()) == family })
		if i < 0 {
			return fmt.Errorf("the cluster has no cluster IPs of family %s", family)
		}
		a, ok := free(ranges[i], used)
		if !ok {
			return fmt.Errorf("no cluster IP of %s is free", ranges[i])
		}
		s.Spec.ClusterIPs = append(s.Spec.ClusterIPs, a.String())
		o.notes = append(o.notes, fmt.Sprintf("Service %s/%s: cluster IP %s is one that is free; the API server may choose another", s.Namespace, s.Name, a))
	}
	return nil
}

// staticAddrs is how many addresses at the start of a range are left to services that name
// theirs, at most (KEP-3070).
const staticAddrs = 256

func free(p netip.Prefix, used map[string]bool) (netip.Addr, bool) {
	skip := staticAddrs
	if hosts := p.Addr().BitLen() - p.Bits(); hosts < 12 {
		skip = max(16, 1<<hosts/16)
		if hosts < 6 { // such a small range is not divided
			skip = 1
		}
	}
	a := p.Addr()
	for range skip {
		a = a.Next()
	}
	for ; p.Contains(a); a = a.Next() {
		if !used[a.String()] && (!a.Is4() || p.Contains(a.Next())) { // not the broadcast address
			return a, true
		}
	}
	return netip.Addr{}, false
}

// nodePorts keeps the node ports that the service has, or chooses some.
func (o *overlay) nodePorts(s, old *corev1.Service) error {
	if s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.AllocateLoadBalancerNodePorts != nil && !*s.Spec.AllocateLoadBalancerNodePorts {
		return nil
	}
	used := o.usedNodePorts(s)
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if p.NodePort == 0 && old != nil {
			for _, was := range old.Spec.Ports {
				if was.Protocol == p.Protocol && was.Port == p.Port {
					p.NodePort = was.NodePort
				}
			}
		}
		if who := used[nodePort{p.Protocol, p.NodePort}]; p.NodePort != 0 && who != "" {
			return fmt.Errorf("the API server refuses the node port %d: Service %s has it", p.NodePort, who)
		}
		if p.NodePort == 0 {
			n, ok := freeNodePort(p.Protocol, used)
			if !ok {
				return errors.New("no node port is free")
			}
			p.NodePort = n
			o.notes = append(o.notes, fmt.Sprintf("Service %s/%s: node port %d is one that is free; the API server may choose another", s.Namespace, s.Name, n))
		}
		used[nodePort{p.Protocol, p.NodePort}] = s.Namespace + "/" + s.Name
	}
	return nil
}

type nodePort struct {
	protocol corev1.Protocol
	port     int32
}

// usedNodePorts are the node ports that other services have, and which ones.
func (o *overlay) usedNodePorts(s *corev1.Service) map[nodePort]string {
	used := map[nodePort]string{}
	for i := range o.objects.Services {
		other := &o.objects.Services[i]
		if other.Namespace == s.Namespace && other.Name == s.Name {
			continue
		}
		for _, p := range other.Spec.Ports {
			used[nodePort{p.Protocol, p.NodePort}] = other.Namespace + "/" + other.Name
		}
	}
	return used
}

func freeNodePort(protocol corev1.Protocol, used map[nodePort]string) (int32, bool) {
	for n := firstNodePort; n <= lastNodePort; n++ {
		if used[nodePort{protocol, n}] == "" {
			return n, true
		}
	}
	return 0, false
}
