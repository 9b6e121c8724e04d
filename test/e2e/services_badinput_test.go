//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// TestBadServices gives the cluster what it cannot serve: each is told why, by an event on
// the object, and neither its other ports nor other services suffer.
func TestBadServices(t *testing.T) {
	s := open(t).stage(t)
	good := s.service(t, "good", nil)
	vip := clusterIPs(good)[0]
	s.served(t, s.fromPod(s.clients[0]), netip.AddrPortFrom(vip, servicePort))

	inRange := s.service(t, "in-range", func(svc *corev1.Service) { svc.Spec.ExternalIPs = []string{good.Spec.ClusterIPs[0]} })
	s.warned(t, s.ns, "Service", inRange.Name, "service range")

	node := s.addrs[s.nodes[0]][0]
	onNode := s.service(t, "on-node", func(svc *corev1.Service) { svc.Spec.Type = corev1.ServiceTypeLoadBalancer })
	s.ingress(t, onNode, node.String())
	s.warned(t, s.ns, "Service", onNode.Name, "one of node "+s.nodes[0])

	kubelet := s.service(t, "kubelet", func(svc *corev1.Service) {
		svc.Spec.ExternalIPs = []string{node.String()}
		svc.Spec.Ports[0].Port = 10250
	})
	s.warned(t, s.ns, "Service", kubelet.Name, "kubelet")
	thief := s.service(t, "thief", func(svc *corev1.Service) {
		svc.Spec.ExternalIPs = []string{node.String()}
		svc.Spec.Ports[0].Port = servicePort
	})
	s.warned(t, s.ns, "Service", thief.Name, "older service "+s.ns+"/on-node")

	for _, a := range s.inside() { // all of it beside a service that works
		for _, ip := range clusterIPs(good) {
			s.answers(t, a, ip, ports{servicePort, serviceUDPPort}, s.all()...)
		}
		for _, svc := range []*corev1.Service{inRange, onNode, kubelet, thief} {
			port := int(svc.Spec.Ports[0].Port)
			s.answers(t, a, clusterIPs(svc)[0], ports{port, serviceUDPPort}, s.all()...)
		}
	}
	// The kubelet of that node still answers the API server.
	logs, err := s.CoreV1().Pods(s.ns).GetLogs(s.clients[0].Name, &corev1.PodLogOptions{}).DoRaw(t.Context())
	if err != nil {
		t.Errorf("logs through the kubelet: %q, %v", logs, err)
	}
}

// TestBadEndpoints: what the API server keeps out needs no answer of ours; what it lets in
// is told to whoever made it.
func TestBadEndpoints(t *testing.T) {
	s := open(t).stage(t)
	s.service(t, "custom", func(svc *corev1.Service) { svc.Spec.Selector = nil })
	api := s.DiscoveryV1().EndpointSlices(s.ns)
	for name, change := range map[string]func(*discoveryv1.EndpointSlice){
		"loopback":       func(e *discoveryv1.EndpointSlice) { e.Endpoints[0].Addresses[0] = "127.0.0.1" },
		"another-family": func(e *discoveryv1.EndpointSlice) { e.AddressType = discoveryv1.AddressTypeIPv6 },
		"port-0":         func(e *discoveryv1.EndpointSlice) { e.Ports[0].Port = new(int32) },
	} {
		e := s.slice(name, "custom", true, "192.0.2.1")
		change(e)
		_, err := api.Create(t.Context(), e, metav1.CreateOptions{})
		t.Logf("%s: the API server says %v", name, err)
		if err == nil {
			s.warned(t, s.ns, "EndpointSlice", name, "it is left out")
		}
	}
}

// TestServiceChangedManyTimesWhileItStarts: only the last state counts.
func TestServiceChangedManyTimesWhileItStarts(t *testing.T) {
	s := open(t).stage(t)
	svc := s.service(t, "busy", func(svc *corev1.Service) { svc.Spec.Type = corev1.ServiceTypeNodePort })
	for i := range 100 {
		target := httpPort
		if i%2 == 0 {
			target = 9 // nobody
		}
		patch := fmt.Appendf(nil, `[{"op":"replace","path":"/spec/ports/0/targetPort","value":%d},{"op":"replace","path":"/spec/ports/0/port","value":%d}]`, target, 1000+i)
		if _, err := s.CoreV1().Services(s.ns).Patch(t.Context(), svc.Name, types.JSONPatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range s.inside() {
		for _, ip := range clusterIPs(svc) {
			s.served(t, a, netip.AddrPortFrom(ip, 1099))
			s.answers(t, a, ip, ports{1099, serviceUDPPort}, s.all()...)
		}
	}
	for _, n := range s.nodes {
		vips := s.nbctl(t, n, "--bare", "--columns=vips", "find", "Load_Balancer", "name=Service_"+s.ns+"/busy_TCP_cluster")
		if strings.Contains(vips, ":1098") {
			t.Errorf("an old port is still served on %s: %s", n, vips)
		}
	}
}

// TestSessionAffinity: a client stays with its backend until it has been quiet for longer
// than the time-out, its first connection is not lost, and a backend that goes is left.
func TestSessionAffinity(t *testing.T) {
	s := open(t).stage(t)
	timeout := int32(8)
	svc := s.service(t, "sticky", func(svc *corev1.Service) {
		svc.Spec.Type = corev1.ServiceTypeNodePort
		svc.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		svc.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &timeout}}
	})
	tcp, _ := nodePorts(svc)
	for _, n := range s.nodes {
		until(t, "rows on "+n, func(ctx context.Context) error {
			out := s.nbctl(t, n, "--bare", "--columns=name", "find", "Load_Balancer", "external_ids:k8s.ovn.org/owner="+s.ns+"/sticky")
			if !strings.Contains(out, "TCP") {
				return fmt.Errorf("%q", out)
			}
			return nil
		})
	}
	type place struct {
		asker
		to netip.AddrPort
	}
	places := []place{{s.fromOutside(), netip.AddrPortFrom(s.addrs[s.nodes[0]][0], uint16(tcp))}}
	for _, a := range s.inside() {
		places = append(places, place{a, netip.AddrPortFrom(clusterIPs(svc)[0], servicePort)})
	}
	for _, p := range places {
		began := time.Now()
		first, err := p.tcp(t.Context(), p.to, "/hostname")
		if err != nil {
			t.Errorf("the first connection of %s: %v", p.name, err)
			continue
		}
		t.Logf("%s: first connection after %s", p.name, time.Since(began).Round(time.Millisecond))
		for range 10 {
			if again, err := p.tcp(t.Context(), p.to, "/hostname"); again != first {
				t.Errorf("%s went from %s to %s, %v", p.name, first, again, err)
			}
		}
	}
	// A backend that goes takes its clients' stickiness with it.
	gone, left := s.backends[s.nodes[0]], s.backends[s.nodes[1]]
	if err := s.CoreV1().Pods(s.ns).Delete(t.Context(), gone, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, p := range places {
		until(t, p.name+" reaches the backend that is left", func(ctx context.Context) error {
			got, err := p.tcp(ctx, p.to, "/hostname")
			if err == nil && got != left {
				err = fmt.Errorf("answered by %s", got)
			}
			return err
		})
	}
}

// TestHostPorts: one port of the nodes for three pods that differ in address and protocol,
// as Kubernetes allows, and the client's own address where it comes from outside.
func TestHostPorts(t *testing.T) {
	s := open(t).stage(t)
	n := s.nodes[0]
	node := s.addrs[n][0]
	const port = 54323
	listening := func(name, ip string, protocol corev1.Protocol, to int32) *corev1.Pod {
		p := podOn(s.ns, name, n)
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: port, HostIP: ip, ContainerPort: to, Protocol: protocol}}
		return p
	}
	pods := []*corev1.Pod{
		listening("on-address", node.String(), corev1.ProtocolTCP, httpPort),
		listening("on-address-udp", node.String(), corev1.ProtocolUDP, udpPort),
	}
	if node.Is4() {
		pods = append(pods, listening("on-loopback", "127.0.0.1", corev1.ProtocolTCP, httpPort))
	}
	s.start(t, pods...)
	at := netip.AddrPortFrom(node, port)
	for _, a := range append(s.inside(), s.fromOutside()) {
		s.served(t, a, at)
		if got, err := a.tcp(t.Context(), at, "/hostname"); got != "on-address" {
			t.Errorf("%s → %s TCP: %q, %v", a.name, at, got, err)
		}
		if got, err := a.udp(t.Context(), at, "hostname"); got != "on-address-udp" {
			t.Errorf("%s → %s UDP: %q, %v", a.name, at, got, err)
		}
	}
	if saw := s.sourceSeen(t, s.fromOutside(), at); saw != outsideAddress(node) {
		t.Errorf("the pod saw %s, want the client %s", saw, outsideAddress(node))
	}
	if node.Is4() {
		loopback := netip.MustParseAddrPort(fmt.Sprintf("127.0.0.1:%d", port))
		s.served(t, s.fromNode(n), loopback)
		if got, err := s.fromNode(n).tcp(t.Context(), loopback, "/hostname"); got != "on-loopback" {
			t.Errorf("loopback: %q, %v", got, err)
		}
	}
}

// TestNamedPortsOfDifferentNumbers: one service, backends with another number each.
func TestNamedPortsOfDifferentNumbers(t *testing.T) {
	s := open(t).stage(t)
	var pods []*corev1.Pod
	for i, port := range []int32{9001, 9002} {
		p := podOn(s.ns, fmt.Sprintf("named-%d", i), s.nodes[i], "netexec", fmt.Sprintf("--http-port=%d", port), "--udp-port=-1")
		p.Labels = map[string]string{"app": "named"}
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "web", ContainerPort: port}}
		pods = append(pods, p)
	}
	s.start(t, pods...)
	svc := s.service(t, "named", func(svc *corev1.Service) {
		svc.Spec.Selector = map[string]string{"app": "named"}
		svc.Spec.Ports = svc.Spec.Ports[:1]
		svc.Spec.Ports[0].TargetPort = intstr.FromString("web")
	})
	at := netip.AddrPortFrom(clusterIPs(svc)[0], servicePort)
	s.served(t, s.fromPod(s.clients[0]), at)
	seen := map[string]bool{}
	until(t, "both backends answer", func(ctx context.Context) error {
		got, err := s.fromPod(s.clients[0]).tcp(ctx, at, "/hostname")
		seen[got] = err == nil
		if len(seen) < 2 {
			return fmt.Errorf("only %v so far", seen)
		}
		return err
	})
}
