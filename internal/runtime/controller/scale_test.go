package controller

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"

	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/ovnkctl/ovnkctl/internal/annotation"
	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/runtime/kube"
	"github.com/ovnkctl/ovnkctl/internal/world/live"
)

// manyNodes is the size of the largest clusters that are tested with OVN-Kubernetes.
const manyNodes = 2000

const manySubnets = "10.128.0.0/9/24,fd00:10:244::/48/64"

// bigNode is a Node as ordinary clusters have them: labels, 50 images, conditions.
func bigNode(i int) *corev1.Node {
	name := fmt.Sprintf("ip-10-%d-%d-17.eu-central-1.compute.internal", i/256, i%256)
	n := node(name, int64(i))
	n.Labels = map[string]string{
		"kubernetes.io/hostname": name, "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux",
		"node.kubernetes.io/instance-type": "m6i.2xlarge", "topology.kubernetes.io/zone": "eu-central-1a",
	}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("10.%d.%d.17", i/256, i%256)}}
	for _, c := range []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure, corev1.NodeReady} {
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: c, Status: corev1.ConditionFalse, Reason: "KubeletHasSufficient", Message: "kubelet has sufficient of it"})
	}
	for j := range 50 {
		n.Status.Images = append(n.Status.Images, corev1.ContainerImage{Names: []string{fmt.Sprintf("registry.example.com/team/application-%d@sha256:%064d", j, j)}, SizeBytes: 1 << 28})
	}
	return n
}

// checkAllAllocated: every node has an id, a subnet per family and transit addresses, and
// no two have the same.
func checkAllAllocated(t testing.TB, c *cluster) {
	t.Helper()
	ids := map[int]string{}
	subnets := map[netip.Prefix]string{}
	for i := range manyNodes {
		n := c.Node(bigNode(i).Name)
		id, _, err := annotation.NodeID.Get(n.Annotations)
		if other, dup := ids[id]; err != nil || id == 0 || dup {
			t.Fatalf("node %s has id %d like %q (%v)", n.Name, id, other, err)
		}
		ids[id] = n.Name
		bySubnet, _, err := annotation.NodeSubnets.Get(n.Annotations)
		if err != nil || len(bySubnet[annotation.DefaultNetwork]) != 2 {
			t.Fatalf("node %s has subnets %v (%v)", n.Name, bySubnet, err)
		}
		for _, p := range bySubnet[annotation.DefaultNetwork] {
			if other, dup := subnets[p]; dup { // all blocks are of one size
				t.Fatalf("nodes %s and %s both have %s", n.Name, other, p)
			}
			subnets[p] = n.Name
		}
		if transit, _, err := annotation.NodeTransit.Get(n.Annotations); err != nil || len(transit) != 2 {
			t.Fatalf("node %s has transit addresses %v (%v)", n.Name, transit, err)
		}
	}
}

func TestManyNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(manySubnets)
		for i := range manyNodes {
			n := bigNode(i)
			n.Status.Images = nil // what the server spends on them is not the point here
			c.Put(n)
		}
		p := c.start(t, "one")
		synctest.Wait()
		checkAllAllocated(t, c)
		_ = p.stop()
		writes := c.writes()
		if writes != manyNodes {
			t.Errorf("%d writes for %d nodes", writes, manyNodes)
		}
		c.start(t, "two")
		if n := c.writes(); n != writes {
			t.Errorf("%d writes by a restart", n-writes)
		}
	})
}

// childAddress is the environment variable that makes the test binary a controller of the
// API server at its address, so that memory and CPU of the process can be measured alone.
const childAddress = "CONTROLLER_OF"

func TestMain(m *testing.M) {
	if host := os.Getenv(childAddress); host != "" {
		if err := child(host); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child runs until its standard input ends.
func child(host string) error {
	r, _, err := kube.RESTConfig(kube.ClientConfig{Kubernetes: config.Kubernetes{Kubeconfig: host}, Component: "controller"})
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(r)
	if err != nil {
		return err
	}
	h, err := rest.HTTPClientFor(r)
	if err != nil {
		return err
	}
	policies, err := live.NewPolicyClient(r, h)
	if err != nil {
		return err
	}
	c, err := New(Options{
		Config: newCluster(manySubnets).config, Client: client, Policies: policies, Logger: slog.New(slog.DiscardHandler),
		Registerer: prometheus.NewRegistry(), Identity: "child",
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	return c.Run(ctx)
}

// BenchmarkManyNodes measures a process of its own against an API server on loopback: how
// long until every node of a new cluster is annotated, CPU, and anonymous memory after
// every node sent a heartbeat.
func BenchmarkManyNodes(b *testing.B) {
	for b.Loop() {
		c := newCluster(manySubnets)
		for i := range manyNodes {
			c.Put(bigNode(i))
		}
		server := httptest.NewServer(c)
		started := time.Now()
		stop, pid := startChild(b, server.Listener.Addr())
		c.Await(b, "annotating all nodes", func() bool { return c.writes() == manyNodes })
		allocated := time.Since(started)
		for i := range manyNodes {
			c.update(bigNode(i).Name, func(n *corev1.Node) { n.Status.Conditions[3].LastHeartbeatTime = metav1.Now() })
		}
		c.Put(node("last", manyNodes)) // once it has an id, the heartbeats went through
		c.Await(b, "annotating the last node", func() bool { return c.Node("last").Annotations[annotation.NodeID.Key()] != "" })
		checkAllAllocated(b, c)
		b.ReportMetric(allocated.Seconds(), "s-to-allocate")
		b.ReportMetric(anonymousMiB(b, pid), "MiB-anonymous")
		b.ReportMetric(stop().Seconds()*1000, "cpu-ms")
		server.CloseClientConnections()
		server.Close()
	}
}

func startChild(b *testing.B, address net.Addr) (stop func() time.Duration, pid int) {
	file := b.TempDir() + "/kubeconfig"
	kubeconfig := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'http://%s'}}]\n"+
		"users: [{name: u, user: {}}]\ncontexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n", address)
	if err := os.WriteFile(file, []byte(kubeconfig), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childAddress+"="+file)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	return func() time.Duration {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
		return cmd.ProcessState.SystemTime() + cmd.ProcessState.UserTime()
	}, cmd.Process.Pid
}

// anonymousMiB is the memory that a process has for itself, without its program text.
func anonymousMiB(b *testing.B, pid int) float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Skip("no /proc: ", err)
	}
	for line := range strings.Lines(string(status)) {
		if kib, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			n, err := strconv.ParseFloat(strings.Fields(kib)[0], 64)
			if err != nil {
				b.Fatal(err)
			}
			return n / 1024
		}
	}
	b.Fatal("no RssAnon")
	return 0
}
