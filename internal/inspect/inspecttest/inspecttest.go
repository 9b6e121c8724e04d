// Package inspecttest is a small cluster in the test's own memory, for what reads clusters:
// an API server, and nodes with databases that a relay reaches.
package inspecttest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/inspect/relay"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
	"github.com/ovnkctl/ovnkctl/internal/runtime/kube/kubetest"
)

// Namespace is that of the network.
const Namespace = "ovn-kubernetes"

// Cluster is a cluster.
type Cluster struct {
	API   *kubetest.Server
	Nodes map[string]*Node
	// Run is what programs on nodes print; the default is their command line.
	Run func(node string, argv []string) (stdout string, code int)
	// Refuse, when it returns an error, is what pods/exec says instead.
	Refuse func(node string) error

	t testing.TB
}

// Node is a node with databases.
type Node struct {
	Name string
	// Servers are the databases' by short name; DB are connections to write by.
	Servers map[string]*ovntest.Server
	DB      map[string]*ovn.DB
}

// New makes a cluster with nodes, whose databases are empty and whose pods run.
func New(t testing.TB, nodes ...string) *Cluster {
	t.Helper()
	c := &Cluster{API: kubetest.New(), Nodes: map[string]*Node{}, t: t}
	c.Run = func(node string, argv []string) (string, int) { return node + ": " + strings.Join(argv, " ") + "\n", 0 }
	c.Refuse = func(string) error { return nil }
	for _, name := range nodes {
		n := &Node{Name: name, Servers: map[string]*ovntest.Server{}, DB: map[string]*ovn.DB{}}
		for _, d := range ovn.Databases() {
			s := ovntest.Memory(t, d)
			n.Servers[d.Short], n.DB[d.Short] = s, s.Connect(t)
		}
		c.Nodes[name] = n
		c.API.Put(
			&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}},
			Pod("ovnkube-node-"+name, "ovnkube-node", name, "nb-ovsdb", "sb-ovsdb", "ovn-northd", "ovn-controller", "ovnkube-controller"),
			Pod("ovs-node-"+name, "ovs-node", name, "ovsdb-server", "ovs-daemons"),
		)
	}
	return c
}

// Pod is a running pod of the network.
func Pod(name, app, node string, containers ...string) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: name, Labels: map[string]string{"app": app, "app.kubernetes.io/name": "ovnk"}},
		Spec:       corev1.PodSpec{NodeName: node, HostNetwork: true},
	}
	for _, c := range containers {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: c})
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: c, Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
		})
	}
	return p
}

// Stop has containers of a pod not run.
func (c *Cluster) Stop(pod string, containers ...string) {
	p := c.API.Pod(Namespace, pod).DeepCopy()
	for i := range p.Status.ContainerStatuses {
		for _, name := range containers {
			if s := &p.Status.ContainerStatuses[i]; s.Name == name {
				s.Ready, s.RestartCount, s.State = false, 1, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
			}
		}
	}
	c.API.Put(p)
}

// Snapshot looks at the cluster.
func (c *Cluster) Snapshot(timeout time.Duration) *inspect.Snapshot {
	c.t.Helper()
	s, err := inspect.Connect(inspect.LiveConfig{REST: c.API.Config(), Namespace: Namespace, Timeout: timeout, Exec: c.exec})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { s.Close() })
	return s
}

// exec is pods/exec.
func (c *Cluster) exec(ctx context.Context, at inspect.Container, argv []string, streams remotecommand.StreamOptions) error {
	node := strings.TrimPrefix(strings.TrimPrefix(at.Pod, "ovnkube-node-"), "ovs-node-")
	if err := c.Refuse(node); err != nil {
		return err
	}
	if len(argv) < 3 || argv[2] != "relay" {
		out, code := c.Run(node, argv)
		_, err := io.WriteString(streams.Stdout, out)
		if code != 0 {
			err = errors.Join(err, fmt.Errorf("exit code %d", code))
		}
		return err
	}
	sockets := map[string]string{}
	for short, s := range c.Nodes[node].Servers {
		sockets[short] = strings.TrimPrefix(s.Endpoint(), "unix:")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return relay.Serve(ctx, until(ctx, streams.Stdin), streams.Stdout, relay.Config{
		Sockets: sockets, Version: "v-test", Run: func(argv []string) (string, int) { return c.Run(node, argv) },
	})
}

// until is a reader that ends with ctx, as streams of pods/exec do.
func until(ctx context.Context, r io.Reader) io.Reader {
	if p, ok := r.(*io.PipeReader); ok {
		context.AfterFunc(ctx, func() { p.CloseWithError(io.EOF) })
	}
	return r
}

// Write writes a file into the test's folder and returns its path.
func Write(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Script writes a shell script and returns its path.
func Script(t testing.TB, name, text string) string {
	t.Helper()
	path := Write(t, name, []byte("#!/bin/sh\n"+text+"\n"))
	if err := os.Chmod(path, 0o700); err != nil { //nolint:gosec // it is to be run
		t.Fatal(err)
	}
	return path
}
