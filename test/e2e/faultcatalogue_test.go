//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// told is a finding, or a consequence of one, as `ovnkctl diagnose -o json` tells it.
type told struct {
	Code    string
	Node    string
	Message string
	Object  *struct{ Kind, Namespace, Name string }
}

// is tells whether it is the finding that a fault should have.
func (f *told) is(w *fault) bool {
	if f.Code != w.code || !strings.Contains(f.Message, w.says) {
		return false
	}
	object := ""
	if f.Object != nil {
		object = f.Object.Kind + " " + f.Object.Name
	}
	return (w.node == "" || f.Node == w.node) && (w.object == "" || object == w.object)
}

func (f *told) String() string {
	s := f.Code + " " + f.Node
	if f.Object != nil {
		s += " " + f.Object.Kind + " " + f.Object.Name
	}
	return s + ": " + f.Message
}

type found struct {
	told
	Next     string
	Explains []told
}

// diagnose looks at the cluster as its operator does.
func (c *cluster) diagnose(ctx context.Context) ([]found, error) {
	var r struct{ Findings []found }
	err := c.diagnosis(ctx, &r)
	return r.Findings, err
}

// diagnosis reads what `ovnkctl diagnose` prints.
func (c *cluster) diagnosis(ctx context.Context, into any, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(c.root, "bin", "ovnkctl"), append([]string{
		"--kubeconfig", filepath.Join(c.root, ".sandbox", "kubeconfig"), "diagnose", "-o", "json", "--timeout", "6s", "--fail-on", "never"}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if json.Unmarshal(stdout.Bytes(), into) != nil {
		return fmt.Errorf("diagnose: %w\n%s%s", err, stdout.String(), stderr.String())
	}
	return nil
}

// fault is something that goes wrong, what diagnose must say of it, and what its remedy
// tells to do.
type fault struct {
	name               string
	code, node, object string // object is kind and name
	says               string // part of the message
	inject, remedy     func(t *testing.T)
	// follow has the command that the finding proposes be the remedy, as it is written.
	follow bool
}

// scene are faults that go wrong together. What a fault below brings about, or keeps in
// place, is told with it: holder is that fault's code.
type scene struct {
	name   string
	faults []fault
	holder string
	// before makes what the faults need, and remedy is done once, for all of them.
	before, remedy func(t *testing.T)
}

func (c *cluster) play(t *testing.T, s *scene) {
	t.Helper()
	if s.before != nil {
		s.before(t)
	}
	for i := range s.faults {
		if s.faults[i].inject != nil {
			s.faults[i].inject(t)
		}
	}
	began := time.Now()
	var seen []found
	missing := func() []string {
		var names []string
		for i := range s.faults {
			w := &s.faults[i]
			if !slices.ContainsFunc(seen, func(f found) bool {
				return f.is(w) || s.holder != "" && slices.ContainsFunc(f.Explains, func(x told) bool { return x.is(w) })
			}) {
				names = append(names, w.name)
			}
		}
		return names
	}
	// Probes of the kubelet take some time, and a service is judged after 30 s.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for {
		var err error
		if seen, err = c.diagnose(t.Context()); err != nil {
			t.Error(err)
		}
		if len(missing()) == 0 || ctx.Err() != nil {
			break
		}
	}
	for _, name := range missing() {
		t.Errorf("fault %q is not found", name)
	}
	for i := range seen {
		f := &seen[i]
		if f.Code == s.holder || slices.ContainsFunc(s.faults, func(w fault) bool { return f.is(&w) }) {
			continue
		}
		t.Errorf("a finding that is none of the faults': %s", f)
	}
	if t.Failed() {
		for i := range seen {
			t.Logf("found %s; explains %v", &seen[i], seen[i].Explains)
		}
	}
	t.Logf("%d faults found after %s", len(s.faults), time.Since(began).Round(100*time.Millisecond))
	began = time.Now()
	for i := range s.faults {
		w := &s.faults[i]
		if w.remedy != nil {
			w.remedy(t)
		}
		if at := slices.IndexFunc(seen, func(f found) bool { return f.is(w) }); w.follow && at >= 0 {
			c.follow(t, seen[at].Next)
		}
	}
	if s.remedy != nil {
		s.remedy(t)
	}
	c.healthy(t)
	t.Logf("healthy again after %s", time.Since(began).Round(100*time.Millisecond))
}

// follow runs the command that a finding proposes.
func (c *cluster) follow(t *testing.T, next string) {
	t.Helper()
	t.Logf("following: %s", next)
	if rest, ok := strings.CutPrefix(next, "on machine "); ok {
		node, command, _ := strings.Cut(rest, ", as root: ")
		c.onNode(t, node, "sh", "-c", command)
		return
	}
	words := strings.Fields(next)
	if len(words) == 0 || words[0] != "kubectl" {
		t.Errorf("%q is no command", next)
		return
	}
	c.sandbox(t, words...)
}

// healthy waits until nothing is found any more.
func (c *cluster) healthy(t *testing.T) {
	t.Helper()
	until(t, "nothing is found", func(ctx context.Context) error {
		list, err := c.diagnose(ctx)
		if err != nil {
			return err
		}
		var lines []string
		for i := range list {
			lines = append(lines, list[i].String())
		}
		if len(lines) > 0 {
			return errors.New(strings.Join(lines, "\n"))
		}
		return nil
	})
}

// signal sends a signal to a process of a node.
func (c *cluster) signal(t *testing.T, node, signal, name string) {
	t.Helper()
	i := slices.IndexFunc(processes, func(p process) bool { return p.name == name })
	pids := strings.Fields(c.onNode(t, node, "pgrep", "-f", processes[i].pattern))
	if len(pids) == 0 {
		t.Fatalf("no %s on %s", name, node)
	}
	c.onNode(t, node, append([]string{"kill", "-" + signal}, pids...)...)
}

// replace deletes a pod of the network on a node, as remedies say, and waits for the next
// one. A process that is stopped does not end when it is asked to, so it gets a second.
func (c *cluster) replace(t *testing.T, app string, nodes ...string) {
	t.Helper()
	grace := int64(1)
	for _, n := range nodes {
		p, err := c.systemPod(t.Context(), app, n)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.CoreV1().Pods(system).Delete(t.Context(), p.Name, metav1.DeleteOptions{GracePeriodSeconds: &grace}); err != nil {
			t.Fatal(err)
		}
		until(t, p.Name+" is gone", func(ctx context.Context) error {
			_, err := c.CoreV1().Pods(system).Get(ctx, p.Name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return nil
			}
			return fmt.Errorf("it is there: %w", err)
		})
	}
	for _, n := range nodes {
		c.systemReady(t, n)
	}
}

func (c *cluster) deletePod(t *testing.T, ns, name string) {
	t.Helper()
	grace := int64(0)
	if err := c.CoreV1().Pods(ns).Delete(t.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: &grace}); err != nil && !apierrors.IsNotFound(err) {
		t.Error(err)
	}
}

// TestFaultCatalogue injects faults into a healthy cluster: each must be found and named,
// nothing else may be, and doing what the remedy says must make the cluster healthy.
func TestFaultCatalogue(t *testing.T) {
	c := open(t)
	c.healthy(t)
	nodes := c.nodes(t)
	if len(nodes) < 3 {
		t.Fatalf("needs three nodes, has %v", nodes)
	}
	ns := c.namespace(t)
	r := &faultRig{cluster: c, ns: ns, nodes: nodes, addrs: map[string]string{}}
	for _, name := range nodes {
		n, err := c.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		r.addrs[name] = n.Status.Addresses[0].Address
	}
	var pods []*corev1.Pod
	for i := range 3 {
		p := podOn(ns, fmt.Sprintf("web-%d", i+1), nodes[i])
		p.Labels = map[string]string{"app": "web"}
		pods = append(pods, p)
	}
	r.pods = c.start(t, pods...)
	_, route, _ := strings.Cut(c.onNode(t, nodes[0], "ip", "-4", "route", "show", "default"), " via ")
	r.router, _, _ = strings.Cut(route, " ")
	c.healthy(t)
	count := 0
	for _, build := range []func() *scene{
		r.hosts, r.rows, r.moreRows, r.objects, r.moreObjects, r.moreHosts, r.daemons, r.moreDaemons, r.machines, r.wishes, r.paused, r.leftAlone, r.renamed, r.switchHangs,
	} {
		s := build() // of the pods that there are by then
		count += len(s.faults)
		t.Run(s.name, func(t *testing.T) { c.play(t, s) })
	}
	t.Logf("%d faults", count)
}
