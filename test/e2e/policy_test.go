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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ovnkctl/ovnkctl/internal/annotation"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// denyIngress isolates all pods of a namespace, allowed what "ingress" says.
const denyIngress = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: ingress, namespace: "%s"}
spec: {podSelector: {}, policyTypes: [Ingress]}
`

// TestNetworkPolicies: isolation in each direction, peers by label of pods and namespaces and
// by address, ports by number and by name; changes of policies and labels.
func TestNetworkPolicies(t *testing.T) {
	a := open(t).arena(t)
	t.Run("nothing", func(t *testing.T) {
		a.expect(t, "all is open without policies", a.open(t, a.friend, a.server, webPort), a.open(t, a.mate, a.server, webPort),
			a.open(t, a.stranger, a.server, webPort), a.open(t, a.server, a.stranger, webPort))
	})
	a.apply(t, strings.Replace(denyIngress, "podSelector: {}", "podSelector: {matchLabels: {name: server}}", 1), a.ns)
	t.Run("default deny", func(t *testing.T) {
		a.expect(t, "nobody reaches the server, which reaches all", a.closed(t, a.friend, a.server, webPort), a.closed(t, a.mate, a.server, webPort),
			a.closed(t, a.stranger, a.server, webPort), a.open(t, a.server, a.stranger, webPort), a.open(t, a.mate, a.friend, otherPort))
		a.nodeReaches(t, a.server, false)
	})
	t.Run("selectors", func(t *testing.T) {
		defer a.apply(t, `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow, namespace: "%s"}
spec:
  podSelector: {matchLabels: {name: server}}
  ingress:
  - from:
    - podSelector: {matchLabels: {name: friend}}
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: "%s"}}
      podSelector: {matchLabels: {welcome: "true"}}
    ports: [{port: 8080}]
`, a.ns, a.other)()
		a.expect(t, "the friend alone", a.open(t, a.friend, a.server, webPort), a.closed(t, a.mate, a.server, webPort), a.closed(t, a.stranger, a.server, webPort))
		a.label(t, a.stranger, `"true"`)
		a.expect(t, "a stranger with a label, too", a.open(t, a.friend, a.server, webPort), a.open(t, a.stranger, a.server, webPort), a.closed(t, a.mate, a.server, webPort))
		a.label(t, a.stranger, "null")
		a.expect(t, "no longer", a.closed(t, a.stranger, a.server, webPort))
	})
	t.Run("ranges of addresses", func(t *testing.T) {
		var blocks []string
		for _, ip := range addresses(t, a.mate) {
			whole := netip.PrefixFrom(ip, map[bool]int{true: 8, false: 32}[ip.Is4()]).Masked()
			blocks = append(blocks, fmt.Sprintf("{ipBlock: {cidr: %q, except: [%q]}}", whole, netip.PrefixFrom(ip, ip.BitLen())))
		}
		defer a.apply(t, `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow, namespace: "%s"}
spec:
  podSelector: {matchLabels: {name: server}}
  ingress: [{from: [%s]}]
`, a.ns, strings.Join(blocks, ", "))()
		a.expect(t, "all but one", a.open(t, a.friend, a.server, webPort), a.open(t, a.stranger, a.server, webPort), a.closed(t, a.mate, a.server, webPort))
	})
	t.Run("isolated on the way out", a.egress)
}

// egress: the friend may reach the port "web" of others, which is another number for each.
func (a *arena) egress(t *testing.T) {
	defer a.apply(t, `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: egress, namespace: "%s"}
spec:
  podSelector: {matchLabels: {name: mate}}
  policyTypes: [Egress]
  egress:
  - to: [{podSelector: {}}, {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: "%s"}}}]
    ports: [{port: web}]
`, a.ns, a.other)()
	friendWrong := a.closed(t, a.mate, a.friend, webPort) // it has nothing there, and would refuse
	a.expect(t, "named ports, number by number", a.open(t, a.mate, a.friend, otherPort), friendWrong,
		a.open(t, a.mate, a.stranger, webPort), a.closed(t, a.mate, a.stranger, otherPort), a.outside(t, a.mate, false),
		a.outside(t, a.friend, true), a.open(t, a.stranger, a.mate, webPort))
}

// nodeReaches: the own node, and with it the kubelet's probes, always reaches a pod; others say
// whether other nodes do, which are peers like all others.
func (a *arena) nodeReaches(t *testing.T, p *corev1.Pod, others bool) {
	t.Helper()
	for _, ip := range addresses(t, p) {
		target := netip.AddrPortFrom(ip, webPort).String()
		for _, node := range a.nodes {
			out, err := a.trySandbox(t.Context(), "exec", node, "--", "curl", "-sS", "-g", "-m", "2", "http://"+target+"/hostname")
			if (err == nil) != (others || node == p.Spec.NodeName) {
				t.Errorf("node %s → %s: %q, %v; the pod is on %s, others reach it: want %t", node, target, out, err, p.Spec.NodeName, others)
			}
		}
	}
	now, err := a.CoreV1().Pods(p.Namespace).Get(t.Context(), p.Name, metav1.GetOptions{})
	if err != nil || !podReady(now) {
		t.Errorf("the kubelet's probes do not reach %s: %v, %v", p.Name, now.Status.Conditions, err)
	}
}

// label sets the label "welcome" of a pod to a JSON value.
func (a *arena) label(t *testing.T, p *corev1.Pod, value string) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"metadata":{"labels":{"welcome":%s}}}`, value)
	if _, err := a.CoreV1().Pods(p.Namespace).Patch(t.Context(), p.Name, "application/merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestPolicyHairpin: a pod reaches itself through a service, whatever isolates it.
func TestPolicyHairpin(t *testing.T) {
	s := open(t).stage(t)
	backend := s.backends[s.nodes[0]]
	svc := s.service(t, "self", func(svc *corev1.Service) { svc.Spec.Selector["node"] = s.nodes[0] })
	s.apply(t, denyIngress, s.ns)
	self, err := s.CoreV1().Pods(s.ns).Get(t.Context(), backend, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, ip := range clusterIPs(svc) {
		at := netip.AddrPortFrom(ip, servicePort)
		until(t, "others do not reach it", func(ctx context.Context) error {
			if out, err := s.fromPod(s.clients[1]).tcp(ctx, at, "/hostname"); err == nil {
				return fmt.Errorf("%s answered", out)
			}
			return nil
		})
		s.served(t, s.fromPod(self), at)
		s.answers(t, s.fromPod(self), ip, ports{servicePort, serviceUDPPort}, backend)
	}
}

// These allow streams from the client to the server, or from nobody.
const streamPolicy = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: streams, namespace: "%s"}
spec:
  podSelector: {matchLabels: {app: e2e}}
  ingress: [{from: [{podSelector: {matchLabels: {%s}}}]}]
`

const (
	everybody = "app: e2e"
	nobody    = "app: nobody"
)

// TestPolicyUnderTraffic: a policy that allows an open connection comes and goes without its
// noticing; one that denies it cuts it, and it goes on when it is allowed again.
func TestPolicyUnderTraffic(t *testing.T) {
	c := open(t)
	nodes := c.nodes(t)
	for _, where := range []struct{ name, client string }{{"same node", nodes[0]}, {"other node", nodes[len(nodes)-1]}} {
		t.Run(where.name, func(t *testing.T) {
			server, client := c.streamPods(t, nodes[0], where.client)
			remove := func() {}
			during := func(d time.Duration, steps ...func()) report {
				t.Helper()
				done := make(chan struct{})
				var r report
				var err error
				go func() {
					defer close(done)
					r, err = c.stream(t.Context(), server, client, d)
				}()
				for _, step := range steps {
					<-time.After(d / time.Duration(len(steps)+2))
					step()
				}
				<-done
				if err != nil {
					t.Fatal(err)
				}
				return r
			}
			allow := func() { remove = c.apply(t, streamPolicy, server.Namespace, everybody) }
			deny := func() { remove = c.apply(t, streamPolicy, server.Namespace, nobody) }

			// Two busy cores may lose a packet, and TCP sends it again after 0.2 to 1 s.
			const unnoticed = 1500
			r := during(9*time.Second, allow, func() { remove() })
			if r.TCP.GapMS > unnoticed || r.UDP.GapMS > unnoticed || r.TCP.Failure != "" {
				t.Errorf("a policy that allows came and went: %+v", r)
			}

			// Denied for 4 s, less or more the second that a change may take. TCP tries again after
			// twice as long as before, so its silence may last twice as long.
			const least, most = 3000, 5000
			r = during(20*time.Second, allow, deny, allow)
			if r.UDP.GapMS < least || r.UDP.GapMS > most || r.TCP.GapMS < least || r.TCP.GapMS > 2*most || r.TCP.Failure != "" || r.UDP.Failure != "" {
				t.Errorf("a policy that denied for 4 s: %+v", r)
			}
			deny()
			r = during(6 * time.Second)
			if r.TCP.Echoed != 0 {
				t.Errorf("denied from the beginning: %+v", r)
			}
			remove()
		})
	}
}

// starting is how many pods start at a time, on all nodes in turn.
const starting = 6

// TestPodsStartProtected: a pod of a namespace that denies all is protected from its first
// instruction on, in both directions. In one that does not, all gets through: so the test
// would see it.
func TestPodsStartProtected(t *testing.T) {
	c := open(t)
	nodes := c.nodes(t)
	outside := c.namespace(t)
	server := c.start(t, podOn(outside, "server", nodes[0]))[0]
	for _, isolated := range []bool{false, true} {
		t.Run(fmt.Sprintf("isolated %t", isolated), func(t *testing.T) {
			ns := c.namespace(t)
			if isolated {
				c.apply(t, strings.Replace(denyIngress, "[Ingress]", "[Ingress, Egress]", 1), ns)
			}
			early := c.reachesEarly(t, server, ns)
			var pods []*corev1.Pod
			for i := range starting {
				pods = append(pods, c.hasty(ns, fmt.Sprint("hasty", i), nodes[i%len(nodes)], addresses(t, server)))
			}
			c.start(t, pods...)
			for _, p := range pods {
				var said string
				until(t, p.Name+" has tried", func(ctx context.Context) error {
					log, err := c.CoreV1().Pods(ns).GetLogs(p.Name, &corev1.PodLogOptions{}).DoRaw(ctx)
					if said = string(log); err == nil && !strings.Contains(said, "DONE") {
						err = fmt.Errorf("%q", said)
					}
					return err
				})
				if leaked := strings.Contains(said, reached); leaked == isolated {
					t.Errorf("%s, isolated %t, got out: %t", p.Name, isolated, leaked)
				}
			}
			for name, got := range early() {
				if got == isolated {
					t.Errorf("%s, isolated %t, was reached: %t", name, isolated, got)
				}
			}
		})
	}
}

// reached is what an attempt says that succeeds.
const reached = "REACHED"

// attempt is one connection in the background, of a program that starts quickly: agnhost takes
// longer than a pod may be open by mistake.
func attempt(ip netip.Addr) string {
	return fmt.Sprintf("(nc -z -w 1 %s %d && echo %s) 2>/dev/null & ", ip, webPort, reached)
}

// hasty is a pod that serves and tries to get out as the first things it does.
func (c *cluster) hasty(ns, name, node string, to []netip.Addr) *corev1.Pod {
	var tries strings.Builder
	for _, ip := range to {
		tries.WriteString(attempt(ip))
	}
	p := podOn(ns, name, node)
	p.Spec.Containers[0].StartupProbe = nil // ready or not, it begins
	p.Spec.Containers[0].Command = []string{"sh", "-c",
		"/agnhost netexec --http-port=8080 --udp-port=8081 & for i in $(seq 40); do " + tries.String() + "sleep 0.05; done; sleep 1; echo DONE; wait"}
	p.Spec.Containers[0].Args = nil
	return p
}

// reachesEarly tries to reach the hasty pods of a namespace from when their addresses are known,
// which is before they start, until some seconds after; it tells of each whether it was
// reached.
func (c *cluster) reachesEarly(t *testing.T, from *corev1.Pod, ns string) func() map[string]bool {
	t.Helper()
	type result struct {
		name string
		got  bool
		err  error
	}
	results := make(chan result, starting)
	for i := range starting {
		go func() {
			r := result{name: fmt.Sprint("hasty", i)}
			var ips []netip.Prefix
			if ips, r.err = c.addressesEarly(t.Context(), ns, r.name); r.err == nil {
				var tries strings.Builder
				for _, ip := range ips {
					tries.WriteString(attempt(ip.Addr()))
				}
				// A pod takes 1 to 5 s from its addresses to its first instruction here.
				var out string
				out, r.err = c.exec(t.Context(), from, "", nil, "sh", "-c", "for i in $(seq 150); do "+tries.String()+"sleep 0.05; done; wait")
				r.got = strings.Contains(out, reached)
			}
			results <- r
		}()
	}
	return func() map[string]bool {
		out := map[string]bool{}
		for range starting {
			r := <-results
			if r.err != nil {
				t.Errorf("%s: %v", r.name, r.err)
			}
			out[r.name] = r.got
		}
		return out
	}
}

// addressesEarly are a pod's addresses as soon as its node has decided about them.
func (c *cluster) addressesEarly(ctx context.Context, ns, name string) ([]netip.Prefix, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		p, err := c.CoreV1().Pods(ns).Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			networks, _, err := annotation.PodNetworks.Get(p.Annotations)
			if ips := networks[world.DefaultNetwork].Addresses; err != nil || len(ips) > 0 {
				return ips, err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("no addresses: %w, %w", ctx.Err(), err)
		}
	}
}
