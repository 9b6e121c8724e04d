//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// hammering mirrors what `streamer hammer` prints.
type hammering struct {
	Attempts, Failures int
	Slow               int
	SlowestMS          int64  `json:"slowestMs"`
	First              string `json:"first"`
}

// hammer makes connections from a for d.
func hammer(ctx context.Context, a asker, streamer string, to netip.AddrPort, d time.Duration) (hammering, error) {
	var h hammering
	out, err := a.run(ctx, streamer, "hammer", to.String(), d.String())
	if err != nil {
		return h, err
	}
	return h, json.Unmarshal([]byte(out), &h)
}

// assault hammers from all places at once while something happens, and wants no failure.
type assault struct {
	from     asker
	streamer string
	to       netip.AddrPort
}

func (s *stage) underLoad(t *testing.T, assaults []assault, d time.Duration, happen func()) {
	t.Helper()
	type result struct {
		assault
		h   hammering
		err error
	}
	results := make(chan result, len(assaults))
	for _, a := range assaults {
		s.echoes(t, a)
		go func() {
			h, err := hammer(t.Context(), a.from, a.streamer, a.to, d)
			results <- result{a, h, err}
		}()
	}
	happen()
	for range assaults {
		r := <-results
		if r.err != nil {
			t.Error(r.err)
			continue
		}
		t.Logf("%s → %s: %d connections, %d failed, %d after a lost packet, slowest %d ms", r.from.name, r.to, r.h.Attempts, r.h.Failures, r.h.Slow, r.h.SlowestMS)
		if r.h.Failures > 0 || r.h.Attempts == 0 {
			t.Errorf("%s → %s: %d of %d connections failed: %s", r.from.name, r.to, r.h.Failures, r.h.Attempts, r.h.First)
		}
	}
}

// echoService is a service of streamers on the stage's backends, with assaults on it from a
// pod, a host and the outside.
func (s *stage) echoService(t *testing.T, name string) (*corev1.Service, []assault) {
	t.Helper()
	var servers []*corev1.Pod
	for _, name := range s.backends {
		p, err := s.CoreV1().Pods(s.ns).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		servers = append(servers, p)
	}
	client := s.clients[len(s.clients)-1]
	s.giveStreamer(t, append(servers, client)...)
	s.serveStreams(t, servers...)
	svc := s.service(t, name, func(svc *corev1.Service) {
		svc.Spec.Type = corev1.ServiceTypeNodePort
		svc.Spec.Ports[0].TargetPort = intstr.FromInt32(streamPort)
	})
	tcp, _ := nodePorts(svc)
	vip := netip.AddrPortFrom(clusterIPs(svc)[0], servicePort)
	binary := filepath.Join(s.root, "bin", "streamer")
	return svc, []assault{
		{s.fromPod(client), "/tmp/streamer", vip},
		{s.fromNode(s.nodes[0]), binary, vip},
		{s.fromOutside(), binary, netip.AddrPortFrom(s.addrs[s.without][0], uint16(tcp))},
	}
}

// served by the streamer: its port speaks no HTTP, so a connection is enough.
func (s *stage) echoes(t *testing.T, a assault) {
	t.Helper()
	until(t, fmt.Sprintf("%s reaches %s", a.from.name, a.to), func(ctx context.Context) error {
		h, err := hammer(ctx, a.from, a.streamer, a.to, 50*time.Millisecond)
		if err == nil && h.Failures > 0 {
			err = errors.New(h.First)
		}
		return err
	})
}

// TestNodeProgramRestartsUnderServiceLoad: connections are made all the time, and none
// fails while `ovnkctl node` is killed and comes back on every node.
func TestNodeProgramRestartsUnderServiceLoad(t *testing.T) {
	s := open(t).stage(t)
	_, assaults := s.echoService(t, "echo")
	p := processes[0]
	s.underLoad(t, assaults, 25*time.Second, func() {
		for _, n := range s.nodes {
			before := s.restarts(t, p, n)
			for _, pid := range strings.Fields(s.onNode(t, n, "pgrep", "-f", p.pattern)) {
				s.onNode(t, n, "kill", "-9", pid)
			}
			until(t, "restarted on "+n, func(context.Context) error {
				if s.restarts(t, p, n) == before {
					return errors.New("not yet")
				}
				return nil
			})
		}
	})
	for _, n := range s.nodes {
		s.systemReady(t, n)
	}
}

// TestNodeKilledWhileItServes pulls a backend's machine from the network: as soon as
// Kubernetes has noticed, nobody is led there any more, and after its return it serves
// again, with its flows gone and its node port silent in between.
func TestNodeKilledWhileItServes(t *testing.T) {
	s := open(t).stage(t)
	svc, assaults := s.echoService(t, "echo")
	victim := s.nodes[1] // has a backend, and not the API server
	s.sandbox(t, "node", "kill", victim)
	until(t, "the end points of "+victim+" are gone", func(ctx context.Context) error {
		list, err := s.DiscoveryV1().EndpointSlices(s.ns).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + svc.Name})
		if err != nil {
			return err
		}
		for _, slice := range list.Items {
			for _, e := range slice.Endpoints {
				if e.NodeName != nil && *e.NodeName == victim && (e.Conditions.Ready == nil || *e.Conditions.Ready) {
					return fmt.Errorf("%v is still ready", e.Addresses)
				}
			}
		}
		return nil
	})
	for _, a := range assaults {
		s.echoes(t, a)
	}
	s.underLoad(t, assaults, 5*time.Second, func() {})
	s.sandbox(t, "node", "reboot", victim)
	until(t, victim+" ready", func(ctx context.Context) error { return s.nodeReady(ctx, victim) })
	s.systemReady(t, victim)
	var pod *corev1.Pod // its container starts anew
	until(t, "the backend on "+victim+" is back", func(ctx context.Context) (err error) {
		if pod, err = s.CoreV1().Pods(s.ns).Get(ctx, s.backends[victim], metav1.GetOptions{}); err == nil && !podReady(pod) {
			err = errors.New("not ready")
		}
		return err
	})
	s.giveStreamer(t, pod)
	s.serveStreams(t, pod)
	tcp, _ := nodePorts(svc)
	back := assaults[2]
	back.to = netip.AddrPortFrom(s.addrs[victim][0], uint16(tcp))
	s.echoes(t, back)
	s.underLoad(t, append(assaults, back), 5*time.Second, func() {})
}

// slice makes an EndpointSlice of our own for a service without selector.
func (s *stage) slice(name, service string, ready bool, ips ...string) *discoveryv1.EndpointSlice {
	port, protocol, portName := int32(streamPort), corev1.ProtocolTCP, "http"
	out := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: s.ns, Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &portName, Port: &port, Protocol: &protocol}},
	}
	if strings.Contains(ips[0], ":") {
		out.AddressType = discoveryv1.AddressTypeIPv6
	}
	for _, ip := range ips {
		out.Endpoints = append(out.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{ip}, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
		})
	}
	return out
}

// TestEndpointFlapping changes an end point 50 times a second: connections to the service
// do not suffer, and what is left in the end is right.
func TestEndpointFlapping(t *testing.T) {
	s := open(t).stage(t)
	_, assaults := s.echoService(t, "echo")
	flapping := s.service(t, "flapping", func(svc *corev1.Service) { svc.Spec.Selector = nil })
	target, err := s.CoreV1().Pods(s.ns).Get(t.Context(), s.backends[s.nodes[0]], metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	api := s.DiscoveryV1().EndpointSlices(s.ns)
	if _, err := api.Create(t.Context(), s.slice("flapping", "flapping", true, target.Status.PodIP), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// The echo service's own slices change all the time, too: an end point that does not
	// matter comes and goes.
	extra := s.slice("echo-extra", "echo", false, target.Status.PodIP)
	if _, err := api.Create(t.Context(), extra, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	const changes = 500
	s.underLoad(t, assaults, 15*time.Second, func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		began := time.Now()
		for i := range changes {
			<-tick.C
			for _, name := range []string{"flapping", "echo-extra"} {
				patch := fmt.Appendf(nil, `[{"op":"replace","path":"/endpoints/0/conditions/ready","value":%t}]`, i%2 == 1)
				if _, err := api.Patch(t.Context(), name, types.JSONPatchType, patch, metav1.PatchOptions{}); err != nil {
					t.Errorf("change %d of %s: %v", i, name, err)
					return
				}
			}
		}
		t.Logf("%d changes of each of two slices in %s", changes, time.Since(began).Round(time.Millisecond))
	})
	for _, a := range assaults[:2] {
		a.to = netip.AddrPortFrom(clusterIPs(flapping)[0], servicePort)
		s.echoes(t, a)
	}
}

// TestServiceFlowsHeal deletes what carries node ports, behind the program's back.
func TestServiceFlowsHeal(t *testing.T) {
	s := open(t).stage(t)
	svc := s.service(t, "web", func(svc *corev1.Service) { svc.Spec.Type = corev1.ServiceTypeNodePort })
	tcp, _ := nodePorts(svc)
	n := s.without
	at := netip.AddrPortFrom(s.addrs[n][0], uint16(tcp))
	for name, damage := range map[string]func(){
		"br-ex flows": func() {
			s.inSystem(t, "ovs-node", n, "ovs-daemons", "ovs-ofctl", "-O", "OpenFlow13", "del-flows", "br-ex")
		},
		"nftables": func() { s.onNode(t, n, "nft", "flush", "ruleset") },
		"load balancer": func() {
			s.nbctl(t, n, "lb-del", "Service_"+s.ns+"/web_TCP_cluster")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s.served(t, s.fromOutside(), at)
			s.served(t, s.fromNode(n), at)
			damage()
			began := time.Now()
			// A connection that began while the rules were gone may hang: what is healed is seen
			// by the next one, and nobody waits for the first.
			for _, a := range []asker{s.fromOutside(), s.fromNode(n)} {
				until(t, fmt.Sprintf("%s reaches %s", a.name, at), func(ctx context.Context) error {
					ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
					defer cancel()
					_, err := a.tcp(ctx, at, "/hostname")
					return err
				})
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("healed after %s, want 2 s", took)
			} else {
				t.Logf("healed within %s", took.Round(10*time.Millisecond))
			}
		})
	}
}

// TestThousandEndpoints: a service of that many works, and so do others meanwhile.
func TestThousandEndpoints(t *testing.T) {
	s := open(t).stage(t)
	_, assaults := s.echoService(t, "echo")
	big := s.service(t, "big", func(svc *corev1.Service) { svc.Spec.Selector = nil })
	v4 := strings.Contains(big.Spec.ClusterIPs[0], ".")
	s.underLoad(t, assaults, 15*time.Second, func() {
		for i := range 10 {
			var ips []string
			for j := range 100 {
				ip := fmt.Sprintf("192.0.2.%d", j+1)
				if i > 0 {
					ip = fmt.Sprintf("198.18.%d.%d", i, j+1)
				}
				if !v4 {
					ip = fmt.Sprintf("2001:db8:%d::%d", i+1, j+1)
				}
				ips = append(ips, ip)
			}
			if _, err := s.DiscoveryV1().EndpointSlices(s.ns).Create(t.Context(), s.slice(fmt.Sprintf("big-%d", i), "big", true, ips...), metav1.CreateOptions{}); err != nil {
				t.Error(err)
				return
			}
		}
		for _, n := range s.nodes {
			until(t, "1,000 backends on "+n, func(context.Context) error {
				vips := s.nbctl(t, n, "--bare", "--columns=vips", "find", "Load_Balancer", "name=Service_"+s.ns+"/big_TCP_cluster")
				if got := strings.Count(vips, fmt.Sprintf(":%d", streamPort)); got != 1000 {
					return fmt.Errorf("%d", got)
				}
				return nil
			})
		}
	})
}

// TestUDPClientFollowsItsBackend keeps one client port while its backend goes: datagrams
// must not go on to the dead one.
func TestUDPClientFollowsItsBackend(t *testing.T) {
	s := open(t).stage(t)
	svc := s.service(t, "web", func(svc *corev1.Service) {
		svc.Spec.Type = corev1.ServiceTypeNodePort
		svc.Spec.Selector["node"] = s.nodes[0]
	})
	_, udp := nodePorts(svc)
	client := s.clients[1]
	s.giveStreamer(t, client)
	binary := filepath.Join(s.root, "bin", "streamer")
	vip := netip.AddrPortFrom(clusterIPs(svc)[0], serviceUDPPort)
	var done []chan error
	for _, a := range []assault{
		{s.fromPod(client), "/tmp/streamer", vip},
		{s.fromNode(s.nodes[1]), binary, vip},
		{s.fromOutside(), binary, netip.AddrPortFrom(s.addrs[s.nodes[1]][0], uint16(udp))},
	} {
		result := make(chan error, 1)
		done = append(done, result)
		go func() { result <- followsBackend(t.Context(), a, s.backends[s.nodes[0]], s.backends[s.nodes[1]]) }()
	}
	until(t, "all clients talk to the first backend", func(ctx context.Context) error {
		_, err := s.fromPod(client).udp(ctx, vip, "hostname")
		return err
	})
	// Not before the clients have had a few answers.
	time.AfterFunc(3*time.Second, func() {
		patch := fmt.Appendf(nil, `{"spec":{"selector":{"node":%q}}}`, s.nodes[1])
		if _, err := s.CoreV1().Services(s.ns).Patch(context.WithoutCancel(t.Context()), svc.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Error(err)
		}
	})
	for _, d := range done {
		if err := <-d; err != nil {
			t.Error(err)
		}
	}
}

// followsBackend sends for a while from one port, and wants the first backend's answers and
// then the second's to the end.
func followsBackend(ctx context.Context, a assault, first, second string) error {
	out, err := a.from.run(ctx, "sh", "-c", fmt.Sprintf("(for i in $(seq 60); do echo; sleep 0.2; done) | %s ask %s hostname", a.streamer, a.to))
	if err != nil {
		return err
	}
	answers := strings.Split(strings.TrimSpace(out), "\n")
	last := answers[max(0, len(answers)-10):]
	for _, got := range last {
		if got != second {
			return fmt.Errorf("%s → %s: the last answers are %q, want %s; all: %q", a.from.name, a.to, last, second, answers)
		}
	}
	if !strings.Contains(out, first) {
		return fmt.Errorf("%s → %s: no answer of the first backend among %q", a.from.name, a.to, answers)
	}
	return nil
}
