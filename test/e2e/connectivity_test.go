//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"

	"io"
	"net/http"
)

// hostPort joins an address and a port as a URL wants it.
func hostPort(a netip.Addr, port int) string { return net.JoinHostPort(a.String(), strconv.Itoa(port)) }

// everywhere starts two pods on each node, so that every pair of places occurs.
func (c *cluster) everywhere(t *testing.T, ns string) []*corev1.Pod {
	t.Helper()
	var pods []*corev1.Pod
	for _, node := range c.nodes(t) {
		for i := range 2 {
			pods = append(pods, podOn(ns, fmt.Sprintf("%s-%d", node, i), node))
		}
	}
	pods = c.start(t, pods...)
	c.settle(t)
	return pods
}

// TestEveryPodReachesEveryPod sends TCP, UDP and ICMP between all pairs of pods, on the
// same node and across nodes, in every family, and has the receiver say whom it saw.
func TestEveryPodReachesEveryPod(t *testing.T) {
	c := open(t)
	pods := c.everywhere(t, c.namespace(t))
	for _, from := range pods {
		t.Run(from.Name, func(t *testing.T) {
			for _, to := range pods {
				for i, dst := range addresses(t, to) {
					src := addresses(t, from)[i]
					label := fmt.Sprintf("%s → %s (%s)", from.Name, to.Name, dst)
					if saw := c.mustExec(t, from, "curl", "-sS", "-m", "5", "http://"+hostPort(dst, 8080)+"/clientip"); sourceOf(t, saw) != src {
						t.Errorf("TCP %s: receiver saw %s, want %s", label, saw, src)
					}
					saw := c.mustExec(t, from, "sh", "-c", fmt.Sprintf("echo clientip | nc -u -w 5 -W 1 %s 8081", dst))
					if sourceOf(t, saw) != src {
						t.Errorf("UDP %s: receiver saw %q, want %s", label, saw, src)
					}
					c.mustExec(t, from, "ping", "-c", "1", "-W", "5", dst.String())
				}
			}
		})
	}
}

// sourceOf reads agnhost's answer to clientip: "ADDRESS:PORT".
func sourceOf(t *testing.T, answer string) netip.Addr {
	t.Helper()
	ap, err := netip.ParseAddrPort(strings.TrimSpace(answer))
	if err != nil {
		t.Errorf("answer %q is no address and port: %v", answer, err)
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

// TestNodesReachPods is what kubelet probes and the API server's proxy need.
func TestNodesReachPods(t *testing.T) {
	c := open(t)
	pods := c.everywhere(t, c.namespace(t))
	for _, node := range c.nodes(t) {
		for _, pod := range pods {
			for _, dst := range addresses(t, pod) {
				c.onNode(t, node, "curl", "-sS", "-m", "5", "-o", "/dev/null", "http://"+hostPort(dst, 8080)+"/hostname")
			}
		}
	}
}

// TestPodsReachOutside checks the way out and the address that the outside sees: the node's.
func TestPodsReachOutside(t *testing.T) {
	c := open(t)
	for _, pod := range c.everywhere(t, c.namespace(t)) {
		node, err := c.CoreV1().Nodes().Get(t.Context(), pod.Spec.NodeName, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, own := range addresses(t, pod) {
			outside := outsideAddress(own)
			saw := sourceOf(t, c.mustExec(t, pod, "curl", "-sS", "-m", "5", "http://"+hostPort(outside, 8080)+"/clientip"))
			if !nodeHas(node, saw) {
				t.Errorf("%s on %s: the outside saw %s, want an address of the node", pod.Name, node.Name, saw)
			}
		}
	}
}

// outsideAddress is the sandbox's host beyond the nodes' gateway, in the family of a.
func outsideAddress(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.MustParseAddr("172.30.250.1")
	}
	return netip.MustParseAddr("fd30:250::1")
}

func nodeHas(n *corev1.Node, a netip.Addr) bool {
	for _, na := range n.Status.Addresses {
		if na.Type == corev1.NodeInternalIP && na.Address == a.String() {
			return true
		}
	}
	return false
}

// TestEverybodyReachesTheAPIServer: pods by the name of its service, which takes DNS, and
// nodes by its address.
func TestEverybodyReachesTheAPIServer(t *testing.T) {
	c := open(t)
	for _, pod := range c.everywhere(t, c.namespace(t)) {
		c.mustExec(t, pod, "curl", "-sSk", "-m", "5", "https://kubernetes.default.svc.cluster.local/livez")
	}
	svc, err := c.CoreV1().Services("default").Get(t.Context(), "kubernetes", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range c.nodes(t) {
		for _, ip := range svc.Spec.ClusterIPs {
			c.onNode(t, node, "curl", "-sSk", "-g", "-m", "5", "-o", "/dev/null", "https://"+hostPort(netip.MustParseAddr(ip), 443)+"/livez")
		}
	}
}

// TestLargeTransfersPass moves more than any window or MTU covers, across nodes and out of
// the cluster's proxy: a path with a wrong MTU passes small exchanges and stalls here.
func TestLargeTransfersPass(t *testing.T) {
	c := open(t)
	ns := c.namespace(t)
	nodes := c.nodes(t)
	pods := c.start(t, podOn(ns, "a", nodes[0]), podOn(ns, "b", nodes[len(nodes)-1]))
	const size = 8 << 20
	for _, dst := range addresses(t, pods[1]) {
		got := c.mustExec(t, pods[0], "sh", "-c", fmt.Sprintf(
			"curl -sS -m 60 -o /tmp/in 'http://%s/echo?msg='$(head -c 60000 /dev/zero | tr '\\0' x) && wc -c </tmp/in", hostPort(dst, 8080)))
		if got != "60000" {
			t.Errorf("60,000 bytes to %s came back as %s", dst, got)
		}
	}
	out, err := c.exec(t.Context(), pods[1], "", nil, "head", "-c", strconv.Itoa(size), "/dev/zero")
	if err != nil || len(out) != size {
		t.Errorf("reading %d bytes through the API server: got %d, %v", size, len(out), err)
	}
}

// TestExecLogsPortForward goes through the API server and the kubelet.
func TestExecLogsPortForward(t *testing.T) {
	c := open(t)
	ns := c.namespace(t)
	nodes := c.nodes(t)
	pod := c.start(t, podOn(ns, "target", nodes[len(nodes)-1]))[0]

	if got := c.mustExec(t, pod, "hostname"); got != pod.Name {
		t.Errorf("exec hostname: %q", got)
	}
	logs, err := c.CoreV1().Pods(ns).GetLogs(pod.Name, &corev1.PodLogOptions{}).DoRaw(t.Context())
	if err != nil || len(logs) == 0 {
		t.Errorf("logs: %q, %v", logs, err)
	}

	transport, upgrader, err := spdy.RoundTripperFor(c.rest)
	if err != nil {
		t.Fatal(err)
	}
	url := c.CoreV1().RESTClient().Post().Resource("pods").Namespace(ns).Name(pod.Name).SubResource("portforward").URL()
	stop, ready := make(chan struct{}), make(chan struct{})
	fw, err := portforward.New(spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", url), []string{"0:8080"}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- fw.ForwardPorts() }()
	defer func() {
		close(stop)
		if err := <-done; err != nil {
			t.Errorf("port-forward ended: %v", err)
		}
	}()
	select {
	case <-ready:
	case err := <-done:
		t.Fatalf("port-forward: %v", err)
	}
	ports, err := fw.GetPorts()
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/hostname", ports[0].Local))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); string(body) != pod.Name {
		t.Errorf("port-forward: got %q, want %q", body, pod.Name)
	}
}

// TestHostNetworkPodsAreUntouched: they have the node's addresses and no port in OVN.
func TestHostNetworkPodsAreUntouched(t *testing.T) {
	c := open(t)
	ns := c.namespace(t)
	for _, node := range c.nodes(t) {
		p := podOn(ns, "host-"+node, node, "pause")
		p.Spec.HostNetwork = true
		pod := c.start(t, p)[0]
		n, err := c.CoreV1().Nodes().Get(t.Context(), node, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range addresses(t, pod) {
			if !nodeHas(n, a) {
				t.Errorf("host-network pod on %s has address %s", node, a)
			}
		}
		if out := c.nbctl(t, node, "--bare", "--columns=name", "find", "Logical_Switch_Port", "name="+ns+"_"+pod.Name); strings.TrimSpace(out) != "" {
			t.Errorf("host-network pod has logical switch port %s", out)
		}
	}
}

// nbctl runs ovn-nbctl in the zone of a node.
func (c *cluster) nbctl(t *testing.T, node string, args ...string) string {
	t.Helper()
	return c.inSystem(t, "ovnkube-node", node, "nb-ovsdb", append([]string{"ovn-nbctl", "--no-leader-only"}, args...)...)
}

// vsctl runs ovs-vsctl on a node.
func (c *cluster) vsctl(t *testing.T, node string, args ...string) string {
	t.Helper()
	return c.inSystem(t, "ovs-node", node, "ovs-daemons", append([]string{"ovs-vsctl"}, args...)...)
}

func (c *cluster) inSystem(t *testing.T, app, node, container string, command ...string) string {
	t.Helper()
	var out string
	until(t, fmt.Sprintf("%s on %s", command[0], node), func(ctx context.Context) error {
		pod, err := c.systemPod(ctx, app, node)
		if err != nil {
			return err
		}
		out, err = c.exec(ctx, pod, container, nil, command...)
		return err
	})
	return out
}
