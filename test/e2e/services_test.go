//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Ports of agnhost's netexec, and those that the services have for them.
const (
	httpPort, udpPort = 8080, 8081
	servicePort       = 80
	serviceUDPPort    = 81
)

// stage is what the tests of services play on: backends on all nodes but the last, a
// client pod on each.
type stage struct {
	*cluster
	ns       string
	nodes    []string
	without  string            // the node that has no backend
	backends map[string]string // backend by node
	clients  []*corev1.Pod
	addrs    map[string][]netip.Addr // of nodes
}

func (c *cluster) stage(t *testing.T) *stage {
	t.Helper()
	s := &stage{cluster: c, ns: c.namespace(t), nodes: c.nodes(t), backends: map[string]string{}, addrs: map[string][]netip.Addr{}}
	s.without = s.nodes[len(s.nodes)-1]
	var pods []*corev1.Pod
	for _, n := range s.nodes {
		if n != s.without {
			p := podOn(s.ns, "web-"+n, n)
			p.Labels = map[string]string{"app": "web", "node": n}
			s.backends[n] = p.Name
			pods = append(pods, p)
		}
	}
	for _, n := range s.nodes {
		pods = append(pods, podOn(s.ns, "client-"+n, n, "pause"))
		node, err := c.CoreV1().Nodes().Get(t.Context(), n, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range node.Status.Addresses {
			if a.Type == corev1.NodeInternalIP {
				s.addrs[n] = append(s.addrs[n], netip.MustParseAddr(a.Address))
			}
		}
	}
	s.clients = c.start(t, pods...)[len(s.backends):]
	c.settle(t)
	return s
}

// service makes a service for all backends, of all families of the cluster.
func (s *stage) service(t *testing.T, name string, change func(*corev1.Service)) *corev1.Service {
	t.Helper()
	both := corev1.IPFamilyPolicyPreferDualStack
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: name},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "web"}, IPFamilyPolicy: &both,
			Ports: []corev1.ServicePort{
				{Name: "http", Protocol: corev1.ProtocolTCP, Port: servicePort, TargetPort: intstr.FromInt32(httpPort)},
				{Name: "udp", Protocol: corev1.ProtocolUDP, Port: serviceUDPPort, TargetPort: intstr.FromInt32(udpPort)},
			},
		},
	}
	if change != nil {
		change(svc)
	}
	svc, err := s.CoreV1().Services(s.ns).Create(t.Context(), svc, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return svc
}

// ingress writes the addresses of a load balancer into a service's status.
func (s *stage) ingress(t *testing.T, svc *corev1.Service, ips ...string) {
	t.Helper()
	var status corev1.ServiceStatus
	for _, ip := range ips {
		status.LoadBalancer.Ingress = append(status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: ip})
	}
	patch, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CoreV1().Services(s.ns).Patch(t.Context(), svc.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
}

// asker is somewhere that a request can be made from.
type asker struct {
	name string
	run  func(ctx context.Context, command ...string) (string, error)
}

func (s *stage) fromPod(p *corev1.Pod) asker {
	return asker{"pod " + p.Name, func(ctx context.Context, command ...string) (string, error) {
		return s.exec(ctx, p, "", nil, command...)
	}}
}

func (s *stage) fromNode(node string) asker {
	return asker{"node " + node, func(ctx context.Context, command ...string) (string, error) {
		return s.trySandbox(ctx, append([]string{"exec", node, "--"}, command...)...)
	}}
}

func (s *stage) fromOutside() asker {
	return asker{"outside", func(ctx context.Context, command ...string) (string, error) {
		return s.trySandbox(ctx, append([]string{"outside", "exec", "--"}, command...)...)
	}}
}

// inside are all places within the cluster.
func (s *stage) inside() []asker {
	var out []asker
	for _, p := range s.clients {
		out = append(out, s.fromPod(p))
	}
	for _, n := range s.nodes {
		out = append(out, s.fromNode(n))
	}
	return out
}

// tcp asks agnhost's web server for a path.
func (a asker) tcp(ctx context.Context, to netip.AddrPort, path string) (string, error) {
	out, err := a.run(ctx, "curl", "-sS", "-g", "-m", "5", "http://"+to.String()+path)
	return strings.TrimSpace(out), err
}

// udp asks its UDP server.
func (a asker) udp(ctx context.Context, to netip.AddrPort, what string) (string, error) {
	out, err := a.run(ctx, "sh", "-c", fmt.Sprintf("echo %s | nc -u -w 5 -W 1 %s %d", what, to.Addr(), to.Port()))
	return strings.TrimSpace(out), err
}

// served waits until a service answers there: its rows take a moment after its creation.
func (s *stage) served(t *testing.T, a asker, to netip.AddrPort) {
	t.Helper()
	until(t, fmt.Sprintf("%s reaches %s", a.name, to), func(ctx context.Context) error {
		_, err := a.tcp(ctx, to, "/hostname")
		return err
	})
}

// ports are where a service is asked by TCP and by UDP; 0 for not at all.
type ports struct{ tcp, udp int }

// answers asks once by TCP and once by UDP, and wants one of the backends each time.
func (s *stage) answers(t *testing.T, a asker, ip netip.Addr, at ports, want ...string) {
	t.Helper()
	got, err := a.tcp(t.Context(), netip.AddrPortFrom(ip, uint16(at.tcp)), "/hostname")
	if err != nil || !slices.Contains(want, got) {
		t.Errorf("%s → %s TCP %d: %q, %v, want one of %v", a.name, ip, at.tcp, got, err, want)
	}
	if at.udp == 0 {
		return
	}
	if got, err = a.udp(t.Context(), netip.AddrPortFrom(ip, uint16(at.udp)), "hostname"); err != nil || !slices.Contains(want, got) {
		t.Errorf("%s → %s UDP %d: %q, %v, want one of %v", a.name, ip, at.udp, got, err, want)
	}
}

// refused wants an answer that nobody is there, at once (exit code 7 of curl).
func refused(t *testing.T, a asker, to netip.AddrPort) {
	t.Helper()
	out, err := a.tcp(t.Context(), to, "/hostname")
	if err == nil || !strings.Contains(err.Error(), "curl: (7) ") {
		t.Errorf("%s → %s: %q, %v, want connection refused", a.name, to, out, err)
	}
}

// silent wants no answer at all.
func silent(t *testing.T, a asker, to netip.AddrPort) {
	t.Helper()
	out, err := a.run(t.Context(), "curl", "-sS", "-g", "-m", "2", "http://"+to.String()+"/hostname")
	if err == nil || !strings.Contains(err.Error(), "timed out") {
		t.Errorf("%s → %s: %q, %v, want silence", a.name, to, out, err)
	}
}

func (s *stage) all() []string {
	var out []string
	for _, b := range s.backends {
		out = append(out, b)
	}
	return out
}

// clusterIPs are the service's own addresses.
func clusterIPs(svc *corev1.Service) []netip.Addr {
	var out []netip.Addr
	for _, ip := range svc.Spec.ClusterIPs {
		out = append(out, netip.MustParseAddr(ip))
	}
	return out
}

// nodePorts are the node ports of the TCP and the UDP port.
func nodePorts(svc *corev1.Service) (tcp, udp int) {
	return int(svc.Spec.Ports[0].NodePort), int(svc.Spec.Ports[1].NodePort)
}

// TestServiceAnswersInside: pods and hosts, on nodes with and without backends, by TCP and
// UDP, in each family; a backend that reaches itself; and an empty service refuses at once.
func TestServiceAnswersInside(t *testing.T) {
	s := open(t).stage(t)
	svc := s.service(t, "web", nil)
	empty := s.service(t, "empty", func(svc *corev1.Service) { svc.Spec.Selector = map[string]string{"app": "nobody"} })
	single := s.service(t, "single", func(svc *corev1.Service) { svc.Spec.Selector["node"] = s.nodes[0] })
	for _, a := range s.inside() {
		t.Run(a.name, func(t *testing.T) {
			for _, ip := range clusterIPs(svc) {
				s.served(t, a, netip.AddrPortFrom(ip, servicePort))
				s.answers(t, a, ip, ports{servicePort, serviceUDPPort}, s.all()...)
			}
			for _, ip := range clusterIPs(empty) {
				refused(t, a, netip.AddrPortFrom(ip, servicePort))
			}
		})
	}
	self, err := s.CoreV1().Pods(s.ns).Get(t.Context(), s.backends[s.nodes[0]], metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, ip := range clusterIPs(single) {
		s.served(t, s.fromPod(self), netip.AddrPortFrom(ip, servicePort))
		s.answers(t, s.fromPod(self), ip, ports{servicePort, serviceUDPPort}, self.Name)
	}
}

// TestNodePortsAnswer: every node's addresses, from outside, from every pod and host.
func TestNodePortsAnswer(t *testing.T) {
	s := open(t).stage(t)
	svc := s.service(t, "web", func(svc *corev1.Service) { svc.Spec.Type = corev1.ServiceTypeNodePort })
	tcp, udp := nodePorts(svc)
	for _, a := range append(s.inside(), s.fromOutside()) {
		t.Run(a.name, func(t *testing.T) {
			for _, n := range s.nodes {
				for _, ip := range s.addrs[n] {
					s.served(t, a, netip.AddrPortFrom(ip, uint16(tcp)))
					s.answers(t, a, ip, ports{tcp, udp}, s.all()...)
				}
			}
		})
	}
}

// outsideOf is the outside host's address in the family of a.
func (s *stage) sourceSeen(t *testing.T, a asker, to netip.AddrPort) netip.Addr {
	t.Helper()
	saw, err := a.tcp(t.Context(), to, "/clientip")
	if err != nil {
		t.Errorf("%s → %s: %v", a.name, to, err)
		return netip.Addr{}
	}
	return sourceOf(t, saw)
}

// TestExternalTrafficPolicyLocal: only the node's own backends, who see the true client; a
// node without is silent and says so to load balancers; pods and hosts are served all the
// same.
func TestExternalTrafficPolicyLocal(t *testing.T) {
	s := open(t).stage(t)
	svc := s.service(t, "web", func(svc *corev1.Service) {
		svc.Spec.Type = corev1.ServiceTypeLoadBalancer
		svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	})
	tcp, udp := nodePorts(svc)
	out := s.fromOutside()
	for _, n := range s.nodes {
		for _, ip := range s.addrs[n] {
			at := netip.AddrPortFrom(ip, uint16(tcp))
			health := netip.AddrPortFrom(ip, uint16(svc.Spec.HealthCheckNodePort))
			if n == s.without {
				silent(t, out, at)
				s.healthSays(t, out, health, "503", 0)
				continue
			}
			s.served(t, out, at)
			s.answers(t, out, ip, ports{tcp, udp}, s.backends[n])
			if saw := s.sourceSeen(t, out, at); saw != outsideAddress(ip) {
				t.Errorf("backend on %s saw %s by %s, want the client %s", n, saw, at, outsideAddress(ip))
			}
			s.healthSays(t, out, health, "200", 1)
		}
	}
	for _, a := range s.inside() {
		for _, ip := range clusterIPs(svc) {
			s.answers(t, a, ip, ports{servicePort, serviceUDPPort}, s.all()...)
		}
	}
	for _, a := range []asker{s.fromPod(s.clients[len(s.clients)-1]), s.fromNode(s.without)} {
		for _, ip := range s.addrs[s.without] { // own node: no way through the network
			s.answers(t, a, ip, ports{tcp, udp}, s.all()...)
		}
	}
	s.becomesCluster(t, svc)
}

// becomesCluster changes a service's policy: every node serves it, and the health check
// port is closed.
func (s *stage) becomesCluster(t *testing.T, svc *corev1.Service) {
	t.Helper()
	patch := []byte(`{"spec":{"externalTrafficPolicy":"Cluster"}}`)
	if _, err := s.CoreV1().Services(s.ns).Patch(t.Context(), svc.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	tcp, udp := nodePorts(svc)
	for _, n := range s.nodes {
		for _, ip := range s.addrs[n] {
			s.served(t, s.fromOutside(), netip.AddrPortFrom(ip, uint16(tcp)))
			s.answers(t, s.fromOutside(), ip, ports{tcp, udp}, s.all()...)
			refused(t, s.fromOutside(), netip.AddrPortFrom(ip, uint16(svc.Spec.HealthCheckNodePort)))
		}
	}
}

// healthSays asks a health check port.
func (s *stage) healthSays(t *testing.T, a asker, at netip.AddrPort, code string, local int) {
	t.Helper()
	out, err := a.run(t.Context(), "curl", "-sS", "-g", "-m", "5", "-w", " %{http_code}", "http://"+at.String()+"/healthz")
	if err != nil {
		t.Errorf("health check at %s: %v", at, err)
		return
	}
	end := strings.LastIndex(out, " ")
	body, status := strings.ReplaceAll(out[:end], " ", ""), strings.TrimSpace(out[end:])
	if status != code || !strings.Contains(body, fmt.Sprintf(`"localEndpoints":%d`, local)) {
		t.Errorf("health check at %s: %s, want %s and %d local endpoints", at, out, code, local)
	}
}

// Addresses that a load balancer or a router would lead to the nodes.
var (
	ingressIPs  = []string{"198.51.100.10", "2001:db8:100::10"}
	externalIPs = []string{"198.51.100.20", "2001:db8:100::20"}
)

// routeVia has the outside host send an address to a node.
func (s *stage) routeVia(t *testing.T, ip netip.Addr, node string) {
	t.Helper()
	for _, via := range s.addrs[node] {
		if via.Is4() == ip.Is4() {
			dst := netip.PrefixFrom(ip, ip.BitLen()).String()
			s.sandbox(t, "outside", "exec", "--", "ip", "route", "replace", dst, "via", via.String())
			t.Cleanup(func() {
				_, _ = s.trySandbox(context.WithoutCancel(t.Context()), "outside", "exec", "--", "ip", "route", "del", dst)
			})
		}
	}
}

// ofCluster leaves out the addresses of families that the cluster does not have.
func (s *stage) ofCluster(ips []string) []netip.Addr {
	var out []netip.Addr
	for _, text := range ips {
		a := netip.MustParseAddr(text)
		if slices.ContainsFunc(s.addrs[s.nodes[0]], func(b netip.Addr) bool { return a.Is4() == b.Is4() }) {
			out = append(out, a)
		}
	}
	return out
}

func textsOf(addrs []netip.Addr) []string {
	var out []string
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return out
}

// TestLoadBalancerAndExternalIPs by each node in turn, without node ports.
func TestLoadBalancerAndExternalIPs(t *testing.T) {
	s := open(t).stage(t)
	none := false
	for _, policy := range []corev1.ServiceExternalTrafficPolicy{corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal} {
		t.Run(string(policy), func(t *testing.T) {
			svc := s.service(t, "lb-"+strings.ToLower(string(policy)), func(svc *corev1.Service) {
				svc.Spec.Type = corev1.ServiceTypeLoadBalancer
				svc.Spec.AllocateLoadBalancerNodePorts = &none
				svc.Spec.ExternalTrafficPolicy = policy
				svc.Spec.ExternalIPs = textsOf(s.ofCluster(externalIPs))
			})
			s.ingress(t, svc, textsOf(s.ofCluster(ingressIPs))...)
			for _, ip := range append(s.ofCluster(ingressIPs), s.ofCluster(externalIPs)...) {
				s.externalAddress(t, policy, ip)
			}
			if err := s.CoreV1().Services(s.ns).Delete(t.Context(), svc.Name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func (s *stage) externalAddress(t *testing.T, policy corev1.ServiceExternalTrafficPolicy, ip netip.Addr) {
	t.Helper()
	out, at := s.fromOutside(), netip.AddrPortFrom(ip, servicePort)
	for _, n := range s.nodes {
		s.routeVia(t, ip, n)
		switch {
		case policy == corev1.ServiceExternalTrafficPolicyCluster:
			s.served(t, out, at)
			s.answers(t, out, ip, ports{servicePort, serviceUDPPort}, s.all()...)
		case n == s.without:
			silent(t, out, at)
		default:
			s.served(t, out, at)
			s.answers(t, out, ip, ports{servicePort, serviceUDPPort}, s.backends[n])
			if saw := s.sourceSeen(t, out, at); saw != outsideAddress(ip) {
				t.Errorf("backend on %s saw %s by %s, want the client %s", n, saw, at, outsideAddress(ip))
			}
		}
	}
	for _, a := range s.inside() { // never leaves the node
		s.served(t, a, at)
		s.answers(t, a, ip, ports{servicePort, serviceUDPPort}, s.all()...)
	}
}

// TestSourceRanges: only those named reach the load balancer's address.
func TestSourceRanges(t *testing.T) {
	s := open(t).stage(t)
	ips := s.ofCluster(ingressIPs)
	for _, c := range []struct {
		name   string
		ranges []string
		open   bool
	}{
		{"allowed", []string{"172.30.250.0/24", "fd30:250::/64"}, true},
		{"forbidden", []string{"203.0.113.128/25", "2001:db8:ffff::/48"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			svc := s.service(t, c.name, func(svc *corev1.Service) {
				svc.Spec.Type = corev1.ServiceTypeLoadBalancer
				svc.Spec.LoadBalancerSourceRanges = c.ranges
			})
			s.ingress(t, svc, textsOf(ips)...)
			tcp, _ := nodePorts(svc)
			for _, ip := range ips {
				s.routeVia(t, ip, s.nodes[0])
				at := netip.AddrPortFrom(ip, servicePort)
				for _, n := range s.addrs[s.nodes[0]] { // node ports are open to everybody
					s.served(t, s.fromOutside(), netip.AddrPortFrom(n, uint16(tcp)))
				}
				if c.open {
					s.served(t, s.fromOutside(), at)
					s.served(t, s.fromNode(s.nodes[1]), at)
				} else {
					silent(t, s.fromOutside(), at)
					silent(t, s.fromNode(s.nodes[1]), at)
				}
				silent(t, s.fromPod(s.clients[0]), at) // pods' addresses are in neither
			}
			if err := s.CoreV1().Services(s.ns).Delete(t.Context(), svc.Name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestInternalTrafficPolicyLocal: only backends of the client's node, pods and hosts alike.
func TestInternalTrafficPolicyLocal(t *testing.T) {
	s := open(t).stage(t)
	local := corev1.ServiceInternalTrafficPolicyLocal
	svc := s.service(t, "web", func(svc *corev1.Service) { svc.Spec.InternalTrafficPolicy = &local })
	for i, n := range s.nodes {
		for _, a := range []asker{s.fromPod(s.clients[i]), s.fromNode(n)} {
			for _, ip := range clusterIPs(svc) {
				at := netip.AddrPortFrom(ip, servicePort)
				if n == s.without {
					silent(t, a, at)
					continue
				}
				s.served(t, a, at)
				s.answers(t, a, ip, ports{servicePort, serviceUDPPort}, s.backends[n])
			}
		}
	}
}

// TestHostNetworkBackends: services whose backends are the nodes themselves, reached from
// pods, from every host, the backend's own included, and from outside under both policies.
func TestHostNetworkBackends(t *testing.T) {
	s := open(t).stage(t)
	node := s.nodes[0]
	p := podOn(s.ns, "host-web", node, "netexec", "--http-port=18080", "--udp-port=18081")
	p.Spec.HostNetwork = true
	p.Labels = map[string]string{"app": "host-web"}
	s.start(t, p)
	on := func(policy corev1.ServiceExternalTrafficPolicy) func(*corev1.Service) {
		return func(svc *corev1.Service) {
			svc.Spec.Type = corev1.ServiceTypeNodePort
			svc.Spec.ExternalTrafficPolicy = policy
			svc.Spec.Selector = map[string]string{"app": "host-web"}
			svc.Spec.Ports[0].TargetPort, svc.Spec.Ports[1].TargetPort = intstr.FromInt32(18080), intstr.FromInt32(18081)
		}
	}
	cluster := s.service(t, "cluster", on(corev1.ServiceExternalTrafficPolicyCluster))
	local := s.service(t, "local", on(corev1.ServiceExternalTrafficPolicyLocal))
	tcp, udp := nodePorts(cluster)
	for _, a := range append(s.inside(), s.fromOutside()) {
		t.Run(a.name, func(t *testing.T) {
			if a.name != "outside" {
				for _, ip := range clusterIPs(cluster) {
					s.served(t, a, netip.AddrPortFrom(ip, servicePort))
					s.answers(t, a, ip, ports{servicePort, serviceUDPPort}, node)
				}
			}
			for _, n := range s.nodes {
				for _, ip := range s.addrs[n] {
					s.served(t, a, netip.AddrPortFrom(ip, uint16(tcp)))
					s.answers(t, a, ip, ports{tcp, udp}, node)
				}
			}
		})
	}
	tcp, udp = nodePorts(local)
	for _, ip := range s.addrs[node] {
		at := netip.AddrPortFrom(ip, uint16(tcp))
		s.served(t, s.fromOutside(), at)
		s.answers(t, s.fromOutside(), ip, ports{tcp, udp}, node)
		if saw := s.sourceSeen(t, s.fromOutside(), at); saw != outsideAddress(ip) {
			t.Errorf("host backend saw %s by %s, want the client %s", saw, at, outsideAddress(ip))
		}
	}
}

// TestLargeTransfersThroughServices moves more than any window or MTU covers from outside
// through a node port and from a host through the cluster IP.
func TestLargeTransfersThroughServices(t *testing.T) {
	s := open(t).stage(t)
	svc := s.service(t, "web", func(svc *corev1.Service) { svc.Spec.Type = corev1.ServiceTypeNodePort })
	tcp, _ := nodePorts(svc)
	fetch := func(a asker, to netip.AddrPort) {
		t.Helper()
		s.served(t, a, to)
		got, err := a.run(t.Context(), "sh", "-c", fmt.Sprintf(
			"for i in 1 2 3 4 5 6 7 8; do curl -sS -g -m 20 'http://%s/echo?msg='$(head -c 60000 /dev/zero | tr '\\0' x); done | wc -c", to))
		if err != nil || strings.TrimSpace(got) != "480000" {
			t.Errorf("%s → %s: eight times 60,000 bytes came back as %s, %v", a.name, to, strings.TrimSpace(got), err)
		}
	}
	for _, n := range s.nodes {
		for _, ip := range s.addrs[n] {
			fetch(s.fromOutside(), netip.AddrPortFrom(ip, uint16(tcp)))
		}
		for _, ip := range clusterIPs(svc) {
			fetch(s.fromNode(n), netip.AddrPortFrom(ip, servicePort))
		}
	}
}
