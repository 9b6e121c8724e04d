//go:build e2e

package e2e

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/ovnkctl/ovnkctl/internal/trace"
	"github.com/ovnkctl/ovnkctl/test/sandbox/fabric"
	"github.com/ovnkctl/ovnkctl/test/sandbox/netspace"
)

// The ports of pods, and of those in the network of a host, where others are.
const (
	podTCP, podUDP   = 8080, 8081
	hostTCP, hostUDP = 18080, 18081
)

// placeVariable is the variable by which the processes of a pod are found.
const placeVariable = "TRUTH_PLACE"

// crowd starts pods in two namespaces, and one in the network of each host.
func (c *truth) crowd(t *testing.T) {
	t.Helper()
	c.spaces = []string{c.namespace(t), c.namespace(t)}
	nodes := c.nodes(t)
	var pods []*corev1.Pod
	add := func(p *corev1.Pod, tcp, udp int32) {
		p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: placeVariable, Value: p.Namespace + "/" + p.Name}}
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "web", ContainerPort: tcp}, {Name: "echo", ContainerPort: udp, Protocol: corev1.ProtocolUDP}}
		pods = append(pods, p)
	}
	for i := range 4 {
		p := podOn(c.spaces[i/2], fmt.Sprintf("p%d", i), nodes[i%len(nodes)])
		p.Labels["role"] = string(rune('a' + (i+i/2)%3))
		add(p, podTCP, podUDP)
	}
	for i, n := range nodes {
		p := podOn(c.spaces[0], fmt.Sprintf("host%d", i), n, "netexec", fmt.Sprintf("--http-port=%d", hostTCP), fmt.Sprintf("--udp-port=%d", hostUDP))
		p.Spec.HostNetwork, p.Labels["role"] = true, "host"
		add(p, hostTCP, hostUDP)
	}
	started := c.start(t, pods...)
	c.pods, c.hosts = started[:4], started[4:]
	for _, p := range c.pods {
		c.places = append(c.places, &place{"pod/" + p.Namespace + "/" + p.Name, netnsOf(t, p), p})
	}
	for i, p := range c.hosts {
		name := "node/" + p.Spec.NodeName
		if i == 0 { // the same, by another name
			name = "pod/" + p.Namespace + "/" + p.Name
		}
		c.places = append(c.places, &place{name, netnsOf(t, p), nil})
	}
	c.places = append(c.places, &place{netns: netspace.Path(fabric.OutsideNS)})
}

// netnsOf is the network namespace of a pod: that of one of its processes.
func netnsOf(t *testing.T, p *corev1.Pod) string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		environ, _ := os.ReadFile(file) // processes end
		if slices.Contains(strings.Split(string(environ), "\x00"), placeVariable+"="+p.Namespace+"/"+p.Name) {
			return filepath.Join(filepath.Dir(file), "ns", "net")
		}
	}
	t.Fatalf("no process of pod %s/%s", p.Namespace, p.Name)
	return ""
}

// offer is a service of the crowd.
type offer struct {
	*corev1.Service
	outside  []netip.Addr // addresses besides those that the cluster gave
	receiver *corev1.Pod  // its only end point
}

// offers makes services: with one end point, with none, with end points that the node of the
// client must have, and with hosts behind them.
func (c *truth) offers(t *testing.T) []offer {
	t.Helper()
	both := corev1.IPFamilyPolicyPreferDualStack
	var out []offer
	for _, o := range []struct {
		space      int
		name, role string
		receiver   *corev1.Pod
		change     func(*corev1.ServiceSpec)
		outside    []string
	}{
		{0, "some", "a", c.pods[0], func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeLoadBalancer }, externalIPs},
		{0, "none", "nobody", nil, func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeNodePort }, nil},
		{0, "hosts", "host", nil, func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeNodePort }, nil},
		{1, "some", "b", c.pods[3], nil, nil},
		{1, "local", "a", c.pods[2], func(s *corev1.ServiceSpec) {
			s.Type, s.ExternalTrafficPolicy = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal
		}, nil},
		{1, "near", "a", nil, func(s *corev1.ServiceSpec) {
			s.InternalTrafficPolicy = ptr.To(corev1.ServiceInternalTrafficPolicyLocal)
		}, nil},
	} {
		spec := corev1.ServiceSpec{Selector: map[string]string{"role": o.role}, IPFamilyPolicy: &both, Ports: []corev1.ServicePort{
			{Name: "web", Port: 80, TargetPort: intstr.FromString("web")},
			{Name: "echo", Port: 81, TargetPort: intstr.FromString("echo"), Protocol: corev1.ProtocolUDP},
		}}
		if o.change != nil {
			o.change(&spec)
		}
		made := offer{receiver: o.receiver}
		for _, text := range o.outside {
			a := netip.MustParseAddr(text)
			if slices.ContainsFunc(addresses(t, c.pods[0]), func(own netip.Addr) bool { return own.Is4() == a.Is4() }) {
				made.outside, spec.ExternalIPs = append(made.outside, a), append(spec.ExternalIPs, text)
			}
		}
		var err error
		made.Service, err = c.CoreV1().Services(c.spaces[o.space]).Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: o.name}, Spec: spec}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, made)
		if o.role != "nobody" {
			c.ready(t, made.Service)
		}
	}
	return out
}

// ready waits for the end points of a service.
func (c *truth) ready(t *testing.T, s *corev1.Service) {
	t.Helper()
	until(t, "end points of service "+s.Namespace+"/"+s.Name, func(ctx context.Context) error {
		list, err := c.DiscoveryV1().EndpointSlices(s.Namespace).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + s.Name})
		if err != nil {
			return err
		}
		for _, slice := range list.Items {
			if len(slice.Endpoints) == 0 || !ptr.Deref(slice.Endpoints[0].Conditions.Ready, false) {
				return errors.New(slice.Name + " has none")
			}
		}
		if len(list.Items) == 0 {
			return errors.New("no slice")
		}
		return nil
	})
}

// ask makes questions of each place to all pods, hosts and services, and to the outside.
func (c *truth) ask(t *testing.T) {
	t.Helper()
	offers := c.offers(t)
	gate := c.hosts[len(c.hosts)-1] // gets what is for addresses that are no node's
	s := &stage{cluster: c.cluster, addrs: map[string][]netip.Addr{gate.Spec.NodeName: addresses(t, gate)}}
	for _, o := range offers {
		for _, a := range o.outside {
			s.routeVia(t, a, gate.Spec.NodeName)
		}
	}
	for _, from := range c.places {
		fromOutside := from.name == ""
		if !fromOutside {
			for _, to := range c.pods {
				c.askPod(t, from, to, podTCP, podUDP)
			}
		}
		for _, to := range c.hosts {
			c.askPod(t, from, to, hostTCP, hostUDP)
		}
		for _, o := range offers {
			c.askService(t, from, o, gate.Spec.NodeName)
		}
		if from.pod != nil {
			for _, own := range addresses(t, from.pod) {
				a := outsideAddress(own)
				c.questions = append(c.questions,
					question{from: from, to: a.String(), at: netip.AddrPortFrom(a, podTCP), protocol: trace.TCP, port: podTCP},
					question{from: from, to: a.String(), at: netip.AddrPortFrom(a, 0), protocol: trace.ICMP})
			}
		}
	}
}

func (c *truth) askPod(t *testing.T, from *place, to *corev1.Pod, tcp, udp uint16) {
	t.Helper()
	for _, a := range addresses(t, to) {
		for _, at := range []struct {
			protocol trace.Protocol
			port     uint16
		}{{trace.TCP, tcp}, {trace.UDP, udp}, {trace.ICMP, 0}} {
			q := question{from: from, to: "pod/" + to.Namespace + "/" + to.Name, at: netip.AddrPortFrom(a, at.port), protocol: at.protocol, receiver: to, port: at.port}
			if from.name == "" { // what hosts have is theirs by address
				q.to = a.String()
			}
			c.questions = append(c.questions, q)
		}
	}
}

// askService asks for a service's addresses: its own inside, those of nodes and of its own
// choice from everywhere.
func (c *truth) askService(t *testing.T, from *place, o offer, gate string) {
	t.Helper()
	add := func(to, via string, a netip.Addr, port int32, protocol trace.Protocol) {
		q := question{from: from, to: to, via: via, at: netip.AddrPortFrom(a, uint16(port)), protocol: protocol}
		if via == "" && !slices.ContainsFunc(c.hosts, func(p *corev1.Pod) bool { return slices.Contains(addresses(t, p), a) }) {
			if q.receiver, q.port = o.receiver, podTCP; protocol == trace.UDP {
				q.port = podUDP
			}
		}
		c.questions = append(c.questions, q)
	}
	if from.name != "" {
		for _, text := range o.Spec.ClusterIPs {
			name := "svc/" + o.Namespace + "/" + o.Name
			a := netip.MustParseAddr(text)
			add(name, "", a, 80, trace.TCP)
			add(name, "", a, 81, trace.UDP)
		}
		add("svc/"+o.Namespace+"/"+o.Name, "", netip.MustParseAddr(o.Spec.ClusterIPs[0]), 0, trace.ICMP)
	}
	for _, a := range o.outside {
		via := ""
		if from.name == "" {
			via = gate
		}
		add(a.String(), via, a, 80, trace.TCP)
	}
	if o.Spec.Ports[0].NodePort == 0 {
		return
	}
	for _, host := range c.hosts {
		for _, a := range addresses(t, host) {
			add(a.String(), "", a, o.Spec.Ports[0].NodePort, trace.TCP)
			add(a.String(), "", a, o.Spec.Ports[1].NodePort, trace.UDP)
		}
	}
}

// send makes a connection, asks a UDP server for its host name, or pings.
func send(ctx context.Context, q question) error {
	d := net.Dialer{Timeout: silence}
	network, to := string(q.protocol), q.at.String()
	if q.protocol == trace.ICMP {
		network, to = "ip4:icmp", q.at.Addr().String()
		if q.at.Addr().Is6() {
			network = "ip6:ipv6-icmp"
		}
	}
	conn, err := d.DialContext(ctx, network, to)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // nothing more to say
	if q.protocol == trace.TCP {
		return nil
	}
	if q.protocol == trace.ICMP {
		return ping(conn, q.at.Addr())
	}
	return exchange(conn, []byte("hostname"), func([]byte) bool { return true })
}

// exchange sends a message until it is answered, as TCP does by itself: a router that does not
// know the MAC of the next hop yet asks for it, and the packet that made it ask may be lost.
func exchange(conn net.Conn, message []byte, answers func([]byte) bool) error {
	read := conn.Read
	if raw, ok := conn.(*net.IPConn); ok {
		read = func(b []byte) (int, error) {
			n, _, err := raw.ReadFromIP(b) // without the header
			return n, err
		}
	}
	end, b := time.Now().Add(silence), make([]byte, 256)
	for {
		if _, err := conn.Write(message); err != nil {
			return err
		}
		if err := conn.SetReadDeadline(time.Now().Add(silence / 4)); err != nil {
			return err
		}
		n, err := read(b)
		for err == nil && !answers(b[:n]) {
			n, err = read(b)
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Now().After(end) {
			return err
		}
	}
}

// ping sends an echo request and waits for its answer (RFC 792, RFC 4443), which has what only
// this request had.
func ping(conn net.Conn, to netip.Addr) error {
	request, answer := byte(8), byte(0)
	if to.Is6() {
		request, answer = 128, 129 // the kernel makes the checksum
	}
	m := append([]byte{request, 0, 0, 0, 0, 0, 0, 1}, fmt.Sprintf("%p", conn)...)
	if len(m)%2 == 1 {
		m = append(m, 0)
	}
	// One of its own: those of pods on a node that ping the same address share the node's address,
	// and the userspace datapath, which translates no identifier, drops the second of two.
	binary.BigEndian.PutUint16(m[4:], uint16(rand.N(1<<16)))
	if to.Is4() {
		sum := uint32(0)
		for i := 0; i < len(m); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(m[i:]))
		}
		for sum > 0xffff {
			sum = sum>>16 + sum&0xffff
		}
		binary.BigEndian.PutUint16(m[2:], ^uint16(sum))
	}
	return exchange(conn, m, func(b []byte) bool { return len(b) >= len(m) && b[0] == answer && string(b[8:len(m)]) == string(m[8:]) })
}
