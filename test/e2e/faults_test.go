//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// report mirrors what test/e2e/streamer prints.
type report struct {
	TCP, UDP struct {
		Sent, Echoed int
		GapMS        int64 `json:"gapMs"`
		Failure      string
	}
}

// streamPods starts a server pod and a client pod that both hold the streamer.
func (c *cluster) streamPods(t *testing.T, serverNode, clientNode string) (server, client *corev1.Pod) {
	t.Helper()
	ns := c.namespace(t)
	pods := c.start(t, podOn(ns, "server", serverNode, "pause"), podOn(ns, "client", clientNode, "pause"))
	c.giveStreamer(t, pods...)
	c.serveStreams(t, pods[0])
	return pods[0], pods[1]
}

// giveStreamer copies the streamer into pods.
func (c *cluster) giveStreamer(t *testing.T, pods ...*corev1.Pod) {
	t.Helper()
	binary, err := os.ReadFile(filepath.Join(c.root, "bin", "streamer"))
	if err != nil {
		t.Fatalf("%v (test/e2e/run builds it)", err)
	}
	for _, p := range pods {
		if _, err := c.exec(t.Context(), p, "", binary, "sh", "-c", "cat >/tmp/streamer && chmod +x /tmp/streamer"); err != nil {
			t.Fatal(err)
		}
	}
}

// streamPort is where a pod's streamer serves.
const streamPort = 7000

func (c *cluster) serveStreams(t *testing.T, pods ...*corev1.Pod) {
	t.Helper()
	for _, p := range pods {
		c.mustExec(t, p, "sh", "-c", fmt.Sprintf("/tmp/streamer serve %d >/dev/null 2>&1 &", streamPort))
	}
}

// stream runs traffic from client to server for d and returns how it fared.
func (c *cluster) stream(ctx context.Context, server, client *corev1.Pod, d time.Duration) (report, error) {
	var r report
	out, err := c.exec(ctx, client, "", nil, "/tmp/streamer", "client", server.Status.PodIP+":7000", d.String())
	if strings.Contains(server.Status.PodIP, ":") {
		out, err = c.exec(ctx, client, "", nil, "/tmp/streamer", "client", "["+server.Status.PodIP+"]:7000", d.String())
	}
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal([]byte(out), &r)
}

// process is one process of a node: where it runs and what its death may cost.
type process struct {
	name, app, container string
	pattern              string // for pgrep -f on the node
	outage               time.Duration
}

// Without its database, vswitchd forwards nothing in userspace: its main loop, which is the
// data plane there, does not run until it is connected again (the kernel datapath goes on).
var processes = []process{
	{"node", "ovnkube-node", "ovnkube-controller", "^/usr/bin/ovnkctl node", time.Second},
	{"northd", "ovnkube-node", "ovn-northd", "^(/usr/bin/)?ovn-northd", time.Second},
	{"ovn-controller", "ovnkube-node", "ovn-controller", "^(/usr/bin/)?ovn-controller", time.Second},
	{"nb-ovsdb", "ovnkube-node", "nb-ovsdb", "^(/usr/s?bin/)?ovsdb-server.*ovnnb_db", time.Second},
	{"sb-ovsdb", "ovnkube-node", "sb-ovsdb", "^(/usr/s?bin/)?ovsdb-server.*ovnsb_db", time.Second},
	{"ovsdb-server", "ovs-node", "ovsdb-server", "^(/usr/s?bin/)?ovsdb-server.*conf.db", 10 * time.Second},
	{"vswitchd", "ovs-node", "ovs-daemons", "^(/usr/s?bin/)?ovs-vswitchd", time.Minute},
}

// TestKilledProcessesHeal kills each process with SIGKILL under traffic between two nodes.
// Established traffic must not notice, but for vswitchd, which on the userspace datapath
// is the data plane; all must come back and nothing may leak.
func TestKilledProcessesHeal(t *testing.T) {
	c := open(t)
	nodes := c.nodes(t)
	victim := nodes[len(nodes)-1]
	server, client := c.streamPods(t, victim, nodes[0])
	for _, p := range processes {
		t.Run(p.name, func(t *testing.T) {
			before := c.restarts(t, p, victim)
			done := make(chan error, 1)
			var r report
			go func() {
				var err error
				r, err = c.stream(t.Context(), server, client, 20*time.Second)
				done <- err
			}()
			pids := strings.Fields(c.onNode(t, victim, "pgrep", "-f", p.pattern))
			if len(pids) == 0 {
				t.Fatalf("no process matches %q on %s", p.pattern, victim)
			}
			c.onNode(t, victim, append([]string{"kill", "-9"}, pids...)...)
			until(t, p.name+" restarted", func(context.Context) error {
				if now := c.restarts(t, p, victim); now <= before {
					return fmt.Errorf("restart count is %d", now)
				}
				return nil
			})
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			t.Logf("TCP %d/%d, longest silence %d ms; UDP %d/%d, %d ms", r.TCP.Echoed, r.TCP.Sent, r.TCP.GapMS, r.UDP.Echoed, r.UDP.Sent, r.UDP.GapMS)
			if r.TCP.Failure != "" {
				t.Errorf("the TCP connection did not survive: %s", r.TCP.Failure)
			}
			if gap := time.Duration(r.TCP.GapMS) * time.Millisecond; gap > p.outage {
				t.Errorf("TCP was silent for %s, allowed %s", gap, p.outage)
			}
			c.systemReady(t, victim)
			c.start(t, podOn(client.Namespace, "after-"+p.name, victim, "pause"))
			c.noLeaks(t)
		})
	}
}

// restarts is the restart count of a process's container.
func (c *cluster) restarts(t *testing.T, p process, node string) int32 {
	t.Helper()
	var n int32
	until(t, "container "+p.container, func(ctx context.Context) error {
		pod, err := c.systemPod(ctx, p.app, node)
		if err != nil {
			return err
		}
		for _, s := range pod.Status.ContainerStatuses {
			if s.Name == p.container {
				n = s.RestartCount
				return nil
			}
		}
		return fmt.Errorf("not in pod %s", pod.Name)
	})
	return n
}

// systemReady waits until the network's own pods of a node are ready.
func (c *cluster) systemReady(t *testing.T, node string) {
	t.Helper()
	for _, app := range []string{"ovs-node", "ovnkube-node"} {
		until(t, app+" on "+node+" ready", func(ctx context.Context) error {
			pod, err := c.systemPod(ctx, app, node)
			if err != nil {
				return err
			}
			if !podReady(pod) {
				return fmt.Errorf("pod %s is not ready", pod.Name)
			}
			return nil
		})
	}
}

// footprint is what a restart must not change: the size of the databases on disk, which
// grows with every durable transaction, and the flows.
type footprint struct {
	NB, OVS int64
	Flows   string
}

var volatileFlowFields = regexp.MustCompile(`(duration|n_packets|n_bytes|idle_age|hard_age)=[^, ]*,? ?`)

func (c *cluster) footprint(t *testing.T, node string) footprint {
	t.Helper()
	size := func(file string) int64 {
		n, err := strconv.ParseInt(strings.TrimSpace(c.onNode(t, node, "stat", "-c", "%s", file)), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	flows := c.inSystem(t, "ovs-node", node, "ovs-daemons", "ovs-ofctl", "-O", "OpenFlow13", "dump-flows", "br-ex")
	return footprint{
		NB:    size("/etc/ovn/ovnnb_db.db"),
		OVS:   size("/etc/openvswitch/conf.db"),
		Flows: volatileFlowFields.ReplaceAllString(flows, ""),
	}
}

// nothingEnds waits until what earlier tests left behind is gone: pods that end meanwhile
// are written about, rightly.
func (c *cluster) nothingEnds(t *testing.T) {
	t.Helper()
	until(t, "no pod ends", func(ctx context.Context) error {
		pods, err := c.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, p := range pods.Items {
			if p.DeletionTimestamp != nil {
				return fmt.Errorf("%s/%s does", p.Namespace, p.Name)
			}
		}
		namespaces, err := c.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, n := range namespaces.Items {
			if n.DeletionTimestamp != nil {
				return fmt.Errorf("namespace %s does", n.Name)
			}
		}
		return nil
	})
}

// policed puts policies of each kind in force for a namespace's pods on a node, with a domain
// name of which an address is known.
func (c *cluster) policed(t *testing.T, ns, node string) {
	t.Helper()
	for _, text := range []string{npAllow, banpDeny} {
		c.apply(t, text, ns)
	}
	c.apply(t, anpDeny, ns, ns)
	c.apply(t, cnp, ns, "Baseline", 3, "Deny", "nobody")
	c.firewall(t, ns, []any{rule("Allow", "dnsName", "*.outside.test"), rule("Deny", "cidrSelector", "192.0.2.0/24")})
	asks := c.start(t, podOn(ns, "asks", node, "pause"))[0]
	until(t, "the address of a name is known on "+node, func(ctx context.Context) error {
		if _, err := c.exec(ctx, asks, "", nil, "nslookup", fmt.Sprintf("x%d.outside.test.", lastName)); err != nil {
			return err
		}
		if known := byName(lastName)[0].String(); !strings.Contains(c.nbctl(t, node, "list", "Address_Set"), known) {
			return fmt.Errorf("%s is in no address set", known)
		}
		return nil
	})
}

// TestRestartWritesNothing restarts `ovnkctl node` with unchanged state.
func TestRestartWritesNothing(t *testing.T) {
	c := open(t)
	node := c.nodes(t)[0]
	ns := c.namespace(t)
	for i := range 5 {
		c.start(t, podOn(ns, fmt.Sprintf("p%d", i), node, "pause"))
	}
	c.policed(t, ns, node)
	c.nothingEnds(t)
	c.noLeaks(t)
	p := processes[0]
	before, count := c.footprint(t, node), c.restarts(t, p, node)
	for _, pid := range strings.Fields(c.onNode(t, node, "pgrep", "-f", p.pattern)) {
		c.onNode(t, node, "kill", "-9", pid)
	}
	until(t, "node process restarted and ready", func(context.Context) error {
		if c.restarts(t, p, node) == count {
			return fmt.Errorf("restart count is still %d", count)
		}
		return nil
	})
	c.systemReady(t, node)
	if after := c.footprint(t, node); after != before {
		t.Errorf("the restart changed something:\nbefore NB %d bytes, OVS %d bytes\nafter  NB %d bytes, OVS %d bytes\nflows equal: %v",
			before.NB, before.OVS, after.NB, after.OVS, before.Flows == after.Flows)
	}
}

// podNetworks is the annotation that says which addresses a pod has.
const podNetworks = "k8s.ovn.org/pod-networks"

func (c *cluster) annotatePod(t *testing.T, p *corev1.Pod, key string, value any) {
	t.Helper()
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{key: value}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().Pods(p.Namespace).Patch(t.Context(), p.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestHandMadeDamageHeals removes state behind the node process's back.
func TestHandMadeDamageHeals(t *testing.T) {
	c := open(t)
	nodes := c.nodes(t)
	node := nodes[len(nodes)-1]
	ns := c.namespace(t)
	pods := c.start(t, podOn(ns, "here", node), podOn(ns, "there", nodes[0]))
	works := func(ctx context.Context) error {
		p, err := c.CoreV1().Pods(ns).Get(ctx, pods[0].Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if is, was := p.Annotations[podNetworks], pods[0].Annotations[podNetworks]; is != was {
			return fmt.Errorf("annotation %s of pod %s is %q, and was %q", podNetworks, p.Name, is, was)
		}
		for _, dst := range addresses(t, pods[0]) {
			if _, err := c.exec(ctx, pods[1], "", nil, "curl", "-sS", "-m", "2", "-o", "/dev/null", "http://"+hostPort(dst, 8080)+"/hostname"); err != nil {
				return err
			}
			if _, err := c.trySandbox(ctx, "exec", node, "--", "curl", "-sS", "-m", "2", "-o", "/dev/null", "http://"+hostPort(dst, 8080)+"/hostname"); err != nil {
				return err
			}
			if _, err := c.exec(ctx, pods[0], "", nil, "curl", "-sS", "-m", "2", "-o", "/dev/null", "http://"+hostPort(outsideAddress(dst), 8080)+"/hostname"); err != nil {
				return err
			}
		}
		return nil
	}
	damages := map[string]func(){
		"logical switch port deleted": func() { c.nbctl(t, node, "lsp-del", ns+"_here") },
		"all routes of the cluster router deleted": func() {
			c.nbctl(t, node, "lr-route-del", "ovn_cluster_router")
		},
		"br-ex flows deleted": func() {
			c.inSystem(t, "ovs-node", node, "ovs-daemons", "ovs-ofctl", "-O", "OpenFlow13", "del-flows", "br-ex")
		},
		"nftables flushed":           func() { c.onNode(t, node, "nft", "flush", "ruleset") },
		"management port deleted":    func() { c.vsctl(t, node, "del-port", "ovn-k8s-mp0") },
		"management address deleted": func() { c.onNode(t, node, "ip", "addr", "flush", "dev", "ovn-k8s-mp0") },
		"overlay routes deleted":     func() { c.onNode(t, node, "ip", "route", "flush", "proto", "85") },
		"addresses of a pod removed": func() { c.annotatePod(t, pods[0], podNetworks, nil) },
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			until(t, "everything works before", works)
			damage()
			until(t, "healed", works)
		})
	}
}

// TestNodeComesAndGoes kills, reboots, removes and re-adds a node.
func TestNodeComesAndGoes(t *testing.T) {
	c := open(t)
	nodes := c.nodes(t)
	first, node := nodes[0], nodes[len(nodes)-1]
	check := func(t *testing.T) {
		t.Helper()
		until(t, node+" ready", func(ctx context.Context) error { return c.nodeReady(ctx, node) })
		c.systemReady(t, node)
		ns := c.namespace(t)
		pods := c.start(t, podOn(ns, "here", node), podOn(ns, "there", first))
		for i, dst := range addresses(t, pods[0]) {
			c.mustExec(t, pods[1], "curl", "-sS", "-m", "5", "--retry", "0", "http://"+hostPort(dst, 8080)+"/hostname")
			c.mustExec(t, pods[0], "curl", "-sS", "-m", "5", "--retry", "0", "http://"+hostPort(addresses(t, pods[1])[i], 8080)+"/hostname")
			c.mustExec(t, pods[0], "curl", "-sS", "-m", "5", "http://"+hostPort(outsideAddress(dst), 8080)+"/hostname")
		}
		c.noLeaks(t)
	}
	t.Run("reboot", func(t *testing.T) {
		c.sandbox(t, "node", "reboot", node)
		check(t)
	})
	t.Run("remove and add again", func(t *testing.T) {
		c.sandbox(t, "node", "remove", node)
		until(t, "the other zones forget "+node, func(ctx context.Context) error {
			if out := c.nbctl(t, first, "--bare", "--columns=name", "find", "Logical_Switch_Port", "name=tstor-"+node); strings.TrimSpace(out) != "" {
				return fmt.Errorf("port %s is still there", strings.TrimSpace(out))
			}
			return nil
		})
		c.sandbox(t, "node", "add", node)
		check(t)
	})
	if _, err := c.CoreV1().Nodes().Get(t.Context(), node, metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}
