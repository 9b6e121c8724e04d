//go:build ovn && linux

package ovn

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/services"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
	"github.com/ovnkctl/ovnkctl/test/ovn/box"
)

const (
	servicePort = 80
	nodePort    = 30080
	hostPort    = 8099
	sctpPort    = 90
	emptyPort   = 91
	// samples is how many connections look at which backends a service has: that 24 of
	// them miss one of two happens once in eight million times.
	samples = 24
	// patience bounds each exchange of packets: TCP repeats a lost SYN after one and three
	// seconds; more is a fault.
	patience = 5 * time.Second
)

// TestServices sends packets from everywhere to services of every kind.
func TestServices(t *testing.T) {
	t.Parallel()
	for _, o := range []box.Options{
		{Zones: 2, Family: box.Dual, Mode: world.GatewayShared},
		{Zones: 2, Family: box.Dual, Mode: world.GatewayLocal},
		{Zones: 2, Family: box.IPv6, Mode: world.GatewayShared},
	} {
		t.Run(fmt.Sprintf("%s/%s", o.Family, o.Mode), func(t *testing.T) {
			l := newServiceLab(t, o)
			t.Run("cluster IP", l.clusterIP)
			t.Run("hairpin", l.hairpin)
			t.Run("node port", l.nodePort)
			t.Run("external policy Local", l.externalLocal)
			t.Run("internal policy Local", l.internalLocal)
			t.Run("without end points", l.refused)
			t.Run("host-network backend", l.hostNetwork)
			t.Run("load balancer", l.loadBalancer)
			t.Run("backends come and go", l.comeAndGo)
			t.Run("host ports", l.hostPorts)
			t.Run("SCTP", l.sctp)
			t.Run("a restart writes nothing", l.restart)
			quietLogs(t, l.box)
		})
	}
}

// serviceLab is two nodes: near has the backend near and the client, far the backend far.
type serviceLab struct {
	box          *box.Box
	n1, n2       *box.Zone
	client       *box.Pod
	near, far    *box.Pod
	families     int
	cluster, vip []netip.Addr // of the service web: cluster IPs, addresses of its load balancer
}

func newServiceLab(t *testing.T, o box.Options) *serviceLab {
	t.Helper()
	b := program(t, o)
	l := &serviceLab{box: b, n1: b.Zones[0], n2: b.Zones[1]}
	l.client, l.near, l.far = l.n1.AddPod("client"), l.n1.AddPod("near"), l.n2.AddPod("far")
	for _, p := range []*box.Pod{l.near, l.far} {
		serveNamed(t, p.NS, p.Key.Name, port)
	}
	for _, z := range b.Zones {
		serveNamed(t, z.NS, "host-"+z.Name, port)
	}
	for _, s := range b.Network.ServiceSubnets {
		a, _ := plan.Nth(s, 10)
		l.cluster = append(l.cluster, a)
	}
	for _, text := range []string{"192.0.2.10", "2001:db8:10::10"} {
		if a := netip.MustParseAddr(text); b.Network.HasFamily(a) {
			l.box.RouteFabric(netip.PrefixFrom(a, a.BitLen()), l.n1.Addrs[len(l.vip)].Addr())
			l.vip = append(l.vip, a)
		}
	}
	l.families = len(l.cluster)
	return l
}

// web is the service that the tests change: HTTP and the same by UDP, and SCTP that is
// only traced.
func (l *serviceLab) web(change func(*corev1.Service)) {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: types.UID("uid-web")},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort,
			Ports: []corev1.ServicePort{
				{Name: "tcp", Protocol: corev1.ProtocolTCP, Port: servicePort, NodePort: nodePort},
				{Name: "udp", Protocol: corev1.ProtocolUDP, Port: servicePort, NodePort: nodePort},
				{Name: "sctp", Protocol: corev1.ProtocolSCTP, Port: sctpPort},
			},
		},
	}
	for _, a := range l.cluster {
		s.Spec.ClusterIPs = append(s.Spec.ClusterIPs, a.String())
	}
	if change != nil {
		change(s)
	}
	l.box.SetService(s)
}

// backends makes the service's end points.
func (l *serviceLab) backends(list ...backend) {
	l.slices("web", list)
	l.box.Sync()
}

// backend is an end point: a pod, or a node's host.
type backend struct {
	addrs []netip.Addr
	node  string
}

func ofPod(p *box.Pod) backend { return backend{p.Addrs, p.Zone.Name} }

func ofHost(z *box.Zone) backend { return backend{plan.Addrs(z.Addrs), z.Name} }

func (l *serviceLab) slices(service string, list []backend) {
	for _, family := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
		s := &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "default", Name: service + "-" + strings.ToLower(string(family)), Labels: map[string]string{discoveryv1.LabelServiceName: service},
			},
			AddressType: family,
		}
		for _, p := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP} {
			name, number := strings.ToLower(string(p)), int32(port)
			s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: &name, Protocol: &p, Port: &number})
		}
		for _, b := range list {
			for _, a := range b.addrs {
				if a.Is4() == (family == discoveryv1.AddressTypeIPv4) {
					s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a.String()}, NodeName: &b.node})
				}
			}
		}
		l.box.SetSlice(s)
	}
}

// who are the names of servers.
type who []string

var (
	nearAndFar = who{"far", "near"}
	nearOnly   = who{"near"}
	farOnly    = who{"far"}
)

// expect connects several times with TCP and UDP and checks who answers and whose address
// they see; an invalid one is not checked.
func expect(t *testing.T, from string, to netip.AddrPort, want who, seen netip.Addr) {
	t.Helper()
	for _, network := range []string{"tcp", "udp"} {
		got := map[string]bool{}
		for range samples {
			a := ask(from, network, to, patience)
			if a.err != nil {
				t.Errorf("%s %s → %s: %v", network, from, to, a.err)
				return
			}
			if seen.IsValid() && a.seen != seen {
				t.Errorf("%s %s → %s: %s; want %s", network, from, to, a, seen)
				return
			}
			got[a.name] = true
		}
		if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, want) {
			t.Errorf("%s %s → %s: %v answered, want %v", network, from, to, names, want)
		}
	}
}

// expectNothing checks that packets are dropped: no answer and no error.
func expectNothing(t *testing.T, from string, to netip.AddrPort) {
	t.Helper()
	for _, network := range []string{"tcp", "udp"} {
		box.Request{From: from, Network: network, To: to, Port: freshPort()}.CheckSilence(t)
	}
}

// expectRefusal checks that connections are refused at once.
func expectRefusal(t *testing.T, from string, to netip.AddrPort) {
	t.Helper()
	for _, network := range []string{"tcp", "udp"} {
		if a := ask(from, network, to, patience); !errors.Is(a.err, syscall.ECONNREFUSED) {
			t.Errorf("%s %s → %s: %s, %v; want it refused", network, from, to, a, a.err)
		}
	}
}

// each runs f for every family.
func (l *serviceLab) each(f func(i int)) {
	for i := range l.families {
		f(i)
	}
}

func (l *serviceLab) clusterAt(i int) netip.AddrPort {
	return netip.AddrPortFrom(l.cluster[i], servicePort)
}

func nodeAt(z *box.Zone, i int) netip.AddrPort {
	return netip.AddrPortFrom(z.Addrs[i].Addr(), nodePort)
}

// join is the gateway router's address on the join switch: whom backends see when a
// connection comes through it.
func (l *serviceLab) join(t *testing.T, z *box.Zone, i int) netip.Addr {
	t.Helper()
	n := &l.box.Network
	join, err := plan.JoinGatewayRouter(n.OfFamilies(n.JoinSubnets), slices.Index(l.box.Zones, z)+plan.FirstNodeID)
	if err != nil {
		t.Fatal(err)
	}
	return join[i].Addr()
}

func (l *serviceLab) clusterIP(t *testing.T) {
	l.web(nil)
	l.backends(ofPod(l.near), ofPod(l.far))
	l.each(func(i int) {
		expect(t, l.client.NS, l.clusterAt(i), nearAndFar, l.client.Addrs[i])
		for _, z := range l.box.Zones {
			expect(t, z.NS, l.clusterAt(i), nearAndFar, l.join(t, z, i))
		}
	})
}

func (l *serviceLab) hairpin(t *testing.T) {
	l.backends(ofPod(l.near))
	l.each(func(i int) {
		m, _ := plan.OfFamily(l.box.Network.Masquerade, l.cluster[i])
		hairpin, _ := plan.MasqueradeAddr(m, plan.MasqueradeHairpin)
		expect(t, l.near.NS, l.clusterAt(i), nearOnly, hairpin)
		expect(t, l.near.NS, nodeAt(l.n1, i), nearOnly, hairpin)
	})
}

func (l *serviceLab) nodePort(t *testing.T) {
	l.backends(ofPod(l.near), ofPod(l.far))
	l.each(func(i int) {
		for _, z := range l.box.Zones {
			expect(t, l.box.OutsideNS(), nodeAt(z, i), nearAndFar, l.join(t, z, i))
			expect(t, z.NS, nodeAt(z, i), nearAndFar, netip.Addr{})
		}
		expect(t, l.client.NS, nodeAt(l.n1, i), nearAndFar, l.client.Addrs[i])
		expect(t, l.client.NS, nodeAt(l.n2, i), nearAndFar, l.join(t, l.n2, i))
		expect(t, l.n1.NS, nodeAt(l.n2, i), nearAndFar, l.join(t, l.n2, i))
	})
}

func externalLocal(s *corev1.Service) {
	s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
}

func internalLocal(s *corev1.Service) {
	local := corev1.ServiceInternalTrafficPolicyLocal
	s.Spec.InternalTrafficPolicy = &local
}

func (l *serviceLab) externalLocal(t *testing.T) {
	l.web(externalLocal)
	l.box.Sync()
	l.each(func(i int) {
		outside := l.box.RouterAddrs()[i]
		expect(t, l.box.OutsideNS(), nodeAt(l.n1, i), nearOnly, outside)
		expect(t, l.box.OutsideNS(), nodeAt(l.n2, i), farOnly, outside)
		expect(t, l.client.NS, nodeAt(l.n1, i), nearAndFar, l.client.Addrs[i])
		expect(t, l.client.NS, nodeAt(l.n2, i), farOnly, l.n1.Addrs[i].Addr())
		expect(t, l.client.NS, l.clusterAt(i), nearAndFar, l.client.Addrs[i])
		expect(t, l.n1.NS, nodeAt(l.n1, i), nearAndFar, netip.Addr{})
	})
	l.backends(ofPod(l.far))
	l.each(func(i int) {
		expectNothing(t, l.box.OutsideNS(), nodeAt(l.n1, i))
		expect(t, l.box.OutsideNS(), nodeAt(l.n2, i), farOnly, l.box.RouterAddrs()[i])
		expect(t, l.client.NS, nodeAt(l.n1, i), farOnly, l.client.Addrs[i])
		expect(t, l.n1.NS, nodeAt(l.n1, i), farOnly, netip.Addr{})
	})
}

func (l *serviceLab) internalLocal(t *testing.T) {
	l.web(internalLocal)
	l.backends(ofPod(l.near), ofPod(l.far))
	other := l.n2.AddPod("other")
	defer l.n2.DeletePod(other)
	l.n2.Sync()
	l.each(func(i int) {
		expect(t, l.client.NS, l.clusterAt(i), nearOnly, l.client.Addrs[i])
		expect(t, other.NS, l.clusterAt(i), farOnly, other.Addrs[i])
		expect(t, l.n1.NS, l.clusterAt(i), nearOnly, netip.Addr{})
		expect(t, l.client.NS, nodeAt(l.n1, i), nearAndFar, l.client.Addrs[i])
		expect(t, l.box.OutsideNS(), nodeAt(l.n1, i), nearAndFar, netip.Addr{})
	})
	l.backends(ofPod(l.near))
	l.each(func(i int) {
		expectNothing(t, other.NS, l.clusterAt(i))
		expectNothing(t, l.n2.NS, l.clusterAt(i))
	})
}

func (l *serviceLab) refused(t *testing.T) {
	for _, change := range []func(*corev1.Service){nil, externalLocal, internalLocal} {
		l.web(change)
		l.backends()
		l.each(func(i int) {
			expectRefusal(t, l.client.NS, l.clusterAt(i))
			expectRefusal(t, l.client.NS, nodeAt(l.n1, i))
			expectRefusal(t, l.n1.NS, l.clusterAt(i))
		})
	}
	for _, change := range []func(*corev1.Service){l.balanced(), l.balanced(externalLocal)} {
		l.web(change)
		l.box.Sync()
		l.each(func(i int) {
			expectRefusal(t, l.box.OutsideNS(), nodeAt(l.n1, i))
			expectRefusal(t, l.box.OutsideNS(), netip.AddrPortFrom(l.vip[i], servicePort))
			expectRefusal(t, l.client.NS, netip.AddrPortFrom(l.vip[i], servicePort))
		})
	}
	// A port without backends beside one that has some.
	l.web(func(s *corev1.Service) {
		for _, p := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP} {
			s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "empty-" + strings.ToLower(string(p)), Protocol: p, Port: emptyPort})
		}
	})
	l.backends(ofPod(l.near))
	l.each(func(i int) {
		for _, from := range []string{l.client.NS, l.n1.NS} {
			expect(t, from, l.clusterAt(i), nearOnly, netip.Addr{})
			expectRefusal(t, from, netip.AddrPortFrom(l.cluster[i], emptyPort))
		}
	})
}

// hostNetwork has processes of the hosts as backends; a host must reach its own by a
// service, too.
func (l *serviceLab) hostNetwork(t *testing.T) {
	l.web(nil)
	hosts := who{"host-n1", "host-n2"}
	l.backends(ofHost(l.n1), ofHost(l.n2))
	l.each(func(i int) {
		expect(t, l.client.NS, l.clusterAt(i), hosts, netip.Addr{})
		for _, z := range l.box.Zones {
			expect(t, z.NS, l.clusterAt(i), hosts, netip.Addr{})
			expect(t, l.box.OutsideNS(), nodeAt(z, i), hosts, netip.Addr{})
		}
	})
	l.web(externalLocal)
	l.box.Sync()
	l.each(func(i int) {
		for _, z := range l.box.Zones {
			expect(t, l.box.OutsideNS(), nodeAt(z, i), who{"host-" + z.Name}, l.box.RouterAddrs()[i])
		}
	})
}

// balanced gives the service the address that the fabric leads to the first node.
func (l *serviceLab) balanced(changes ...func(*corev1.Service)) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeLoadBalancer
		for _, a := range l.vip {
			s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: a.String()})
		}
		for _, change := range changes {
			change(s)
		}
	}
}

func (l *serviceLab) loadBalancer(t *testing.T) {
	at := func(i int) netip.AddrPort { return netip.AddrPortFrom(l.vip[i], servicePort) }

	l.web(l.balanced())
	l.backends(ofPod(l.near), ofPod(l.far))
	l.each(func(i int) {
		expect(t, l.box.OutsideNS(), at(i), nearAndFar, l.join(t, l.n1, i))
		expect(t, l.client.NS, at(i), nearAndFar, l.client.Addrs[i])
		expect(t, l.n2.NS, at(i), nearAndFar, netip.Addr{})
	})
	l.web(l.balanced(externalLocal))
	l.box.Sync()
	l.each(func(i int) {
		expect(t, l.box.OutsideNS(), at(i), nearOnly, l.box.RouterAddrs()[i])
		expect(t, l.client.NS, at(i), nearAndFar, l.client.Addrs[i])
	})
	// The client may, the backend itself and the outside may not.
	l.web(l.balanced(func(s *corev1.Service) {
		for _, a := range l.client.Addrs {
			s.Spec.LoadBalancerSourceRanges = append(s.Spec.LoadBalancerSourceRanges, netip.PrefixFrom(a, a.BitLen()).String())
		}
	}))
	l.box.Sync()
	l.each(func(i int) {
		expect(t, l.client.NS, at(i), nearAndFar, l.client.Addrs[i])
		expect(t, l.near.NS, l.clusterAt(i), nearAndFar, netip.Addr{})
		expectNothing(t, l.near.NS, at(i))
		expectNothing(t, l.box.OutsideNS(), at(i))
		expect(t, l.box.OutsideNS(), nodeAt(l.n1, i), nearAndFar, netip.Addr{})
	})
}

// comeAndGo takes the backend from a client that goes on sending from one socket.
func (l *serviceLab) comeAndGo(t *testing.T) {
	l.web(nil)
	l.each(func(i int) {
		l.backends(ofPod(l.near))
		c, err := dial(t.Context(), l.client.NS, "udp", l.clusterAt(i))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close() //nolint:errcheck // the answers are here
		answers := bufio.NewReader(c)
		check := func(want string) {
			t.Helper()
			done := make(chan struct{})
			defer close(done)
			go resend(c, done)
			c.SetReadDeadline(time.Now().Add(box.Patience)) //nolint:errcheck // the read fails then, too
			for {
				name, _, err := readAnswer(answers)
				if err != nil {
					t.Fatalf("%s: no answer of %s: %v", l.clusterAt(i), want, err)
				}
				if name == want {
					return // late answers of the one before may come first
				}
			}
		}
		check("near")
		l.backends(ofPod(l.far))
		check("far")
		expect(t, l.client.NS, l.clusterAt(i), farOnly, l.client.Addrs[i])
		l.backends(ofPod(l.near), ofPod(l.far))
		expect(t, l.client.NS, l.clusterAt(i), nearAndFar, l.client.Addrs[i])
	})
}

func (l *serviceLab) hostPorts(t *testing.T) {
	l.near.SetHostPorts(
		world.HostPort{Protocol: world.TCP, Port: hostPort, PodPort: port},
		world.HostPort{Protocol: world.UDP, Port: hostPort, PodPort: port},
	)
	l.n1.Sync()
	other := l.n2.AddPod("other")
	defer l.n2.DeletePod(other)
	l.n2.Sync()
	l.each(func(i int) {
		at := netip.AddrPortFrom(l.n1.Addrs[i].Addr(), hostPort)
		expect(t, l.box.OutsideNS(), at, nearOnly, l.box.RouterAddrs()[i])
		expect(t, l.client.NS, at, nearOnly, l.client.Addrs[i])
		expect(t, other.NS, at, nearOnly, l.n2.Addrs[i].Addr())
		expect(t, l.n1.NS, at, nearOnly, netip.Addr{})
		expect(t, l.near.NS, at, nearOnly, netip.Addr{})
	})
	l.near.SetHostPorts()
	l.n1.Sync()
	l.each(func(i int) {
		a := ask(l.client.NS, "tcp", netip.AddrPortFrom(l.n1.Addrs[i].Addr(), hostPort), lostSYN)
		if a.err == nil {
			t.Errorf("%s answers at a host port that is gone", a)
		}
	})
}

// sctp traces what the machine cannot send: its kernel has no SCTP.
func (l *serviceLab) sctp(t *testing.T) {
	l.web(nil)
	l.backends(ofPod(l.near))
	l.each(func(i int) {
		trace := box.TraceFrom(l.client, netip.AddrPortFrom(l.cluster[i], sctpPort), "sctp")
		if !slices.Equal(trace.Outputs, []string{l.near.LogicalPort()}) {
			t.Errorf("sctp to %s: output to %q, want %q:\n%s", l.cluster[i], trace.Outputs, l.near.LogicalPort(), trace.Text)
		}
	})
	t.Log("SCTP: not sent, the kernel may have none; followed through the logical flows with ovn-trace")
}

func (l *serviceLab) restart(t *testing.T) {
	for _, z := range l.box.Zones {
		before := z.Transactions("nb", services.Name)
		if before == 0 {
			t.Fatalf("%s: no transaction of ours was counted: the count counts nothing", z.Name)
		}
		z.Restart(features...)
		if n := z.Transactions("nb", services.Name) - before; n != 0 {
			t.Errorf("%s: the restart made %d transactions for services", z.Name, n)
		}
	}
	l.box.DeleteService("default", "web")
	for _, z := range l.box.Zones {
		if out := z.Run("ovn-nbctl", "--bare", "--columns=name", "find", "Load_Balancer", `external_ids:"`+names.KeyOwner+`"="default/web"`); strings.TrimSpace(out) != "" {
			t.Errorf("%s: the service is gone and has left %s", z.Name, out)
		}
	}
}
