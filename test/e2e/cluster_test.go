//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/remotecommand"
)

const (
	// agnhost is the image of test pods; the sandbox has it on every node.
	agnhost = "registry.k8s.io/e2e-test-images/agnhost:2.66.1"
	// system is the namespace of the network's own pods.
	system = "ovn-kubernetes"
	// spaces begins the name of every namespace of a test.
	spaces = "e2e-"
	// patience bounds every wait for the cluster to reach a state.
	patience = 3 * time.Minute
)

// cluster is the sandbox under test.
type cluster struct {
	kubernetes.Interface
	rest *rest.Config
	root string // of the checkout
}

var connect = sync.OnceValues(func() (*cluster, error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return nil, err
	}
	kubeconfig := filepath.Join(root, ".sandbox", "kubeconfig")
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("%w\nstart the sandbox first: make sandbox", err)
	}
	config.QPS, config.Burst = 200, 400
	client, err := kubernetes.NewForConfig(config)
	return &cluster{Interface: client, rest: config, root: root}, err
})

func open(t *testing.T) *cluster {
	t.Helper()
	c, err := connect()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// sandbox runs bin/sandbox and returns its output.
func (c *cluster) sandbox(t *testing.T, args ...string) string {
	t.Helper()
	out, err := c.trySandbox(t.Context(), args...)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return out
}

func (c *cluster) trySandbox(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(c.root, "bin", "sandbox"), args...)
	cmd.Dir = c.root
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("sandbox %s: %w\n%s%s", strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// onNode runs a command in a node's namespaces.
func (c *cluster) onNode(t *testing.T, node string, command ...string) string {
	t.Helper()
	return c.sandbox(t, append([]string{"exec", node, "--"}, command...)...)
}

// exec runs a command in a pod's first (or the named) container.
func (c *cluster) exec(ctx context.Context, pod *corev1.Pod, container string, stdin []byte, command ...string) (string, error) {
	if container == "" {
		container = pod.Spec.Containers[0].Name
	}
	req := c.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: container, Command: command, Stdin: stdin != nil, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	ex, err := remotecommand.NewWebSocketExecutor(c.rest, "GET", req.URL().String())
	if err != nil {
		return "", err
	}
	var stdout, stderr bytes.Buffer
	opts := remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr}
	if stdin != nil {
		opts.Stdin = bytes.NewReader(stdin)
	}
	if err := ex.StreamWithContext(ctx, opts); err != nil {
		return stdout.String(), fmt.Errorf("in pod %s/%s: %s: %w\n%s", pod.Namespace, pod.Name, strings.Join(command, " "), err, stderr.String())
	}
	return stdout.String(), nil
}

func (c *cluster) mustExec(t *testing.T, pod *corev1.Pod, command ...string) string {
	t.Helper()
	out, err := c.exec(t.Context(), pod, "", nil, command...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// nodes returns the names of all nodes.
func (c *cluster) nodes(t *testing.T) []string {
	t.Helper()
	list, err := c.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, n := range list.Items {
		names = append(names, n.Name)
	}
	slices.Sort(names)
	return names
}

// namespace makes a namespace that goes with the test.
func (c *cluster) namespace(t *testing.T) string {
	t.Helper()
	ns, err := c.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: spaces}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if t.Failed() {
			c.explain(ctx, t, ns.Name)
		}
		if err := c.CoreV1().Namespaces().Delete(ctx, ns.Name, metav1.DeleteOptions{}); err != nil {
			t.Errorf("delete namespace %s: %v", ns.Name, err)
		}
	})
	return ns.Name
}

// explain prints the events of a namespace whose test failed.
func (c *cluster) explain(ctx context.Context, t *testing.T, ns string) {
	events, err := c.CoreV1().Events(ns).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Logf("events of %s: %v", ns, err)
		return
	}
	for _, e := range events.Items {
		if e.Type != corev1.EventTypeNormal {
			t.Logf("event: %s %s: %s: %s", e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Reason, e.Message)
		}
	}
}

// until waits for a condition of the cluster; check returns why it does not hold yet.
func until(t *testing.T, what string, check func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not after %s: %v", what, patience, err)
		case <-tick.C:
		}
	}
}

// podOn describes an agnhost pod bound to a node. One that serves is ready when it does.
func podOn(ns, name, node string, args ...string) *corev1.Pod {
	if len(args) == 0 {
		args = []string{"netexec", "--http-port=8080", "--udp-port=8081"}
	}
	grace := int64(1)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, Labels: map[string]string{"app": "e2e"}},
		Spec: corev1.PodSpec{
			NodeName:                      node,
			TerminationGracePeriodSeconds: &grace,
			Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			Containers:                    []corev1.Container{{Name: "main", Image: agnhost, Args: args, StartupProbe: serves(args)}},
		},
	}
}

// serves asks a pod for the port of its web server once a second until it answers once.
func serves(args []string) *corev1.Probe {
	for _, arg := range args {
		if port, is := strings.CutPrefix(arg, "--http-port="); is {
			return &corev1.Probe{
				ProbeHandler:  corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.Parse(port)}},
				PeriodSeconds: 1, FailureThreshold: 60,
			}
		}
	}
	return nil
}

// start creates pods and waits until all are ready.
func (c *cluster) start(t *testing.T, pods ...*corev1.Pod) []*corev1.Pod {
	t.Helper()
	for _, p := range pods {
		if _, err := c.CoreV1().Pods(p.Namespace).Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	ready := make([]*corev1.Pod, len(pods))
	for i, p := range pods {
		until(t, fmt.Sprintf("pod %s/%s ready", p.Namespace, p.Name), func(ctx context.Context) error {
			got, err := c.CoreV1().Pods(p.Namespace).Get(ctx, p.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if !podReady(got) {
				return fmt.Errorf("phase %s", got.Status.Phase)
			}
			ready[i] = got
			return nil
		})
	}
	return ready
}

// goodbye is what deleted pods are waited for; those of a stopped kubelet may stay.
const goodbye = 20 * time.Second

// settle waits until the pods of earlier tests are gone. Whenever a device comes or goes,
// Open vSwitch in userspace reads the host's routes anew, and loses packets of its tunnels
// for a millisecond: who sends a single packet sees it (docs/install.md).
func (c *cluster) settle(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), goodbye)
	defer cancel()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		left, err := c.leaving(ctx)
		if left == 0 && err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Logf("going on while %d pods of earlier tests are being deleted (%v)", left, err)
			return
		case <-tick.C:
		}
	}
}

// leaving counts pods that are being deleted, alone or with their namespace.
func (c *cluster) leaving(ctx context.Context) (int, error) {
	namespaces, err := c.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	goes := map[string]bool{}
	for _, ns := range namespaces.Items {
		goes[ns.Name] = ns.DeletionTimestamp != nil
	}
	pods, err := c.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	n := 0
	for _, p := range pods.Items {
		if strings.HasPrefix(p.Namespace, spaces) && (goes[p.Namespace] || p.DeletionTimestamp != nil) {
			n++
		}
	}
	return n, nil
}

func podReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// addresses are a pod's addresses, one per family of the cluster.
func addresses(t *testing.T, p *corev1.Pod) []netip.Addr {
	t.Helper()
	var out []netip.Addr
	for _, ip := range p.Status.PodIPs {
		a, err := netip.ParseAddr(ip.IP)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, a)
	}
	if len(out) == 0 {
		t.Fatalf("pod %s/%s has no address", p.Namespace, p.Name)
	}
	return out
}

// systemPod returns the pod of a DaemonSet of the network on a node.
func (c *cluster) systemPod(ctx context.Context, app, node string) (*corev1.Pod, error) {
	list, err := c.CoreV1().Pods(system).List(ctx, metav1.ListOptions{LabelSelector: "app=" + app, FieldSelector: "spec.nodeName=" + node})
	if err != nil {
		return nil, err
	}
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp == nil {
			return &list.Items[i], nil
		}
	}
	return nil, fmt.Errorf("no pod of %s on %s", app, node)
}

// nodeReady reports why a node is not ready.
func (c *cluster) nodeReady(ctx context.Context, name string) error {
	n, err := c.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, cond := range n.Status.Conditions {
		if cond.Type == corev1.NodeReady {
			if cond.Status == corev1.ConditionTrue {
				return nil
			}
			return errors.New(cond.Message)
		}
	}
	return errors.New("no Ready condition")
}

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "e2e: the sandbox needs root")
		os.Exit(1)
	}
	os.Exit(m.Run())
}
