//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/ovnkctl/ovnkctl/internal/diagnose"
	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/trace"
)

// tools are the operator's commands, as processes on the operator's machine.
type tools struct {
	*arena
	dir string
}

// TestTools has a service and policies in a cluster that is quiet.
func TestTools(t *testing.T) {
	c := &tools{arena: open(t).arena(t), dir: t.TempDir()}
	c.serve(t)
	c.apply(t, `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: friends, namespace: "%s"}
spec:
  podSelector: {matchLabels: {name: server}}
  ingress:
  - from: [{podSelector: {matchLabels: {name: friend}}}]
`, c.ns)
	c.apply(t, `
apiVersion: k8s.ovn.org/v1
kind: EgressFirewall
metadata: {name: default, namespace: "%s"}
spec: {egress: [{type: Deny, to: {cidrSelector: 203.0.113.9/32}}]}
`, c.ns)
	c.expect(t, "the policy is in force", c.open(t, c.friend, c.server, webPort), c.closed(t, c.stranger, c.server, webPort))
	t.Run("time line of a pod", c.timeLine)
	t.Run("a pod that waits", c.podThatWaits)
	t.Run("time limits", c.timeLimits)
	t.Run("bundle equals live", c.bundleEqualsLive)
	t.Run("physical trace", c.physical)
	t.Run("two bundles at once", c.atOnce)
	t.Run("bundle that is interrupted", c.interrupted)
	t.Run("bundle without space", c.noSpace)
}

// serve makes the service of the server and the mate, and waits until all nodes have it.
func (c *tools) serve(t *testing.T) {
	t.Helper()
	if _, err := c.CoreV1().Services(c.ns).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"name": "mate"}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(webPort)}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "the service answers", func(ctx context.Context) error {
		_, err := c.exec(ctx, c.friend, "", nil, "curl", "-sS", "-m", "2", "http://web/hostname")
		return err
	})
}

// command is a process of the program, without colours, that finds OVN's programs for records.
func (c *tools) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.root, "bin", "ovnkctl"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(c.root, ".sandbox", "kubeconfig"), "NO_COLOR=1",
		"PATH="+filepath.Join(c.root, "test", "bundle", "ovn")+":"+os.Getenv("PATH"))
	return cmd
}

// says is what a command says, and its exit code.
type says struct {
	stdout, stderr string
	code           int
}

func (c *tools) run(t *testing.T, args ...string) says {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := c.command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exited := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exited) || ctx.Err() != nil {
		t.Errorf("ovnkctl %s: %v", strings.Join(args, " "), errors.Join(err, ctx.Err()))
		return says{code: -1}
	}
	return says{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

func (c *tools) timeline(t *testing.T, args ...string) (*diagnose.Timeline, int) {
	t.Helper()
	out := c.run(t, append([]string{"diagnose", "-o", "json"}, args...)...)
	tl := &diagnose.Timeline{}
	if err := json.Unmarshal([]byte(out.stdout), tl); err != nil {
		t.Fatalf("%v: exit code %d, %s", err, out.code, out.stderr)
	}
	return tl, out.code
}

// timeLine: of a pod that has started each stage has a time, and they are in order.
func (c *tools) timeLine(t *testing.T) {
	tl, code := c.timeline(t, "pod/"+c.server.Name, "-n", c.ns)
	if code != 0 || tl.State != diagnose.PodReady || tl.Node != c.server.Spec.NodeName || tl.Adds != 1 || tl.NetworkMilliseconds == nil {
		t.Fatalf("exit code %d: %+v", code, tl)
	}
	var stages []string
	var before time.Time
	for _, s := range tl.Stages {
		if s.State != diagnose.StageDone || s.Time.IsZero() || s.Error != "" {
			t.Errorf("stage %s: %+v", s.Name, s)
		}
		if !strings.Contains(string(s.Name), "/") && !s.ToTheSecond {
			if s.Time.Before(before) {
				t.Errorf("stage %s was before the one before it", s.Name)
			}
			before = s.Time
		}
		stages = append(stages, string(s.Name))
	}
	for _, want := range []string{"scheduled", "heard", "address", "port", "add", "add/turn", "add/veth", "add/flows", "bound", "installed", "up", "answered", "sandbox", "ready"} {
		if !slices.Contains(stages, want) {
			t.Errorf("no stage %s: %v", want, stages)
		}
	}
	t.Logf("network of %s in place after %.0f ms", c.server.Name, *tl.NetworkMilliseconds)
}

// podThatWaits has a pod for whose volume the kubelet waits, before it asks for a network.
func (c *tools) podThatWaits(t *testing.T) {
	p := podOn(c.ns, "waits", c.nodes[0])
	p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "none"}}}}}
	p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}
	if _, err := c.CoreV1().Pods(c.ns).Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "the time line names the volume", func(context.Context) error {
		tl, code := c.timeline(t, "pod", c.ns+"/waits")
		if code != 3 || tl.WaitsFor != diagnose.StageAdd || !strings.Contains(tl.Message, `configmap "none" not found`) {
			return fmt.Errorf("exit code %d, waits for %q: %s", code, tl.WaitsFor, tl.Message)
		}
		return nil
	})
	none := int64(0)
	if err := c.CoreV1().Pods(c.ns).Delete(t.Context(), "waits", metav1.DeleteOptions{GracePeriodSeconds: &none}); err != nil {
		t.Fatal(err)
	}
	until(t, "the pod is gone", func(ctx context.Context) error {
		if tl := c.run(t, "diagnose", "pod", c.ns+"/waits"); tl.code != 1 || !strings.Contains(tl.stderr, "there is no such pod") {
			return fmt.Errorf("exit code %d: %s", tl.code, tl.stdout+tl.stderr)
		}
		return nil
	})
}

// The times that commands may take are those of the best of some rounds, of patient times as
// many if the machine has other work; headRoom is for what that does not leave out.
const (
	patient  = 3
	headRoom = 1.5
	rounds   = 4
	bundles  = 2
)

func (c *tools) timeLimits(t *testing.T) {
	from, web := "pod/"+c.ns+"/"+c.friend.Name, "svc/"+c.ns+"/web:80"
	for _, m := range []struct {
		what   string
		limit  time.Duration
		rounds int
		args   []string
	}{
		{"status over all nodes", time.Second, rounds, []string{"status"}},
		{"trace of a pod to a service with a pod on another node", 500 * time.Millisecond, rounds, []string{"trace", from, web}},
		{"--help", 50 * time.Millisecond, rounds, []string{"--help"}},
		{"bundle of all nodes", 10 * time.Second, bundles, []string{"collect", "--file", filepath.Join(c.dir, "timed.tar.gz")}},
	} {
		var took []time.Duration
		for n := 0; n < m.rounds || n < patient*m.rounds && slices.Min(took) > m.limit; n++ {
			began := time.Now()
			if out := c.run(t, m.args...); out.code != 0 {
				t.Fatalf("%s: exit code %d\n%s%s", m.what, out.code, out.stdout, out.stderr)
			}
			took = append(took, time.Since(began))
		}
		best := slices.Min(took).Round(time.Millisecond)
		t.Logf("%s: %s at best, %s at worst; it is to take %s", m.what, best, slices.Max(took).Round(time.Millisecond), m.limit)
		if best > time.Duration(headRoom*float64(m.limit)) {
			t.Errorf("%s takes %s, and is to take %s", m.what, best, m.limit)
		}
	}
}

// questions are what commands are asked, of each kind.
func (c *tools) questions(t *testing.T) []string {
	t.Helper()
	s, err := inspect.Connect(inspect.LiveConfig{REST: c.rest, Namespace: system})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	node := s.Node(c.nodes[0])
	north, err := node.Database(t.Context(), ovn.Northbound())
	if err != nil {
		t.Fatal(err)
	}
	south, err := node.Database(t.Context(), ovn.Southbound())
	if err != nil {
		t.Fatal(err)
	}
	var port *nb.LogicalSwitchPort
	for _, p := range ovn.RowsOf[nb.LogicalSwitchPort](north) {
		if p.Name == names.Pod(c.ns, c.server.Name) {
			port = p
		}
	}
	var acl string
	for _, a := range ovn.RowsOf[nb.ACL](north) {
		if a.Name != nil && strings.Contains(*a.Name, c.ns) {
			acl = *a.Name
		}
	}
	flows := ovn.RowsOf[sb.LogicalFlow](south)
	if port == nil || acl == "" || len(flows) == 0 {
		t.Fatalf("port %v, ACL %q, %d logical flows", port, acl, len(flows))
	}
	mac, _, _ := strings.Cut(port.Addresses[0], " ")
	flow := slices.MinFunc(flows, func(a, b *sb.LogicalFlow) int { return strings.Compare(a.UUID, b.UUID) })
	pod := func(p *corev1.Pod) string { return "pod/" + p.Namespace + "/" + p.Name }
	web := "svc/" + c.ns + "/web"
	return []string{
		"status", "version", "diagnose", "diagnose pod", "diagnose " + pod(c.server), "diagnose " + pod(c.mate),
		"explain " + pod(c.server), "explain " + web, "explain node/" + c.nodes[0], "explain ns/" + c.ns,
		"explain networkpolicy/" + c.ns + "/friends", "explain egressfirewall/" + c.ns + "/default",
		"explain " + addresses(t, c.server)[0].String(), "explain " + mac, "explain " + port.Name, "explain " + port.UUID,
		"explain " + flow.UUID, "explain 0x" + strings.TrimLeft(flow.UUID[:8], "0"), "explain " + acl,
		"trace " + pod(c.friend) + " " + web + ":80",
		"trace " + pod(c.friend) + " " + web + ":80 --all-backends --reply",
		"trace " + pod(c.friend) + " " + pod(c.server) + ":8080",
		"trace " + pod(c.stranger) + " " + pod(c.server) + ":8080",
		"trace " + pod(c.friend) + " 203.0.113.9:443",
		"trace " + pod(c.stranger) + " 203.0.113.1:8080",
		"trace " + pod(c.mate) + " node/" + c.nodes[0],
		"trace node/" + c.nodes[0] + " " + pod(c.mate) + ":8080",
		"trace 203.0.113.1 " + pod(c.mate) + " --via " + c.nodes[0],
		"reach ns/" + c.ns + " ns/" + c.other + " to ns/" + c.ns + " --port tcp/8080",
		"reach ns/" + c.ns + " to " + web + " --evaluate",
		"logs ovn-controller --tail -1 --grep " + port.Name,
		"trace " + pod(c.friend) + " nobody", "explain nothing.of.that/name", "diagnose pod " + c.ns + "/nobody",
	}
}

// bundleEqualsLive: each reading command says of a bundle what it said of the cluster when
// the bundle was taken. A cluster changes by itself, so before or after will do.
func (c *tools) bundleEqualsLive(t *testing.T) {
	questions := c.questions(t)
	forms := []string{"table", "json"}
	// ask puts all questions, some at a time: a small machine has two cores.
	ask := func(from ...string) map[string]answer {
		out := map[string]answer{}
		var mu sync.Mutex
		var g errgroup.Group
		g.SetLimit(3)
		for _, q := range questions {
			for _, form := range forms {
				g.Go(func() error {
					a, err := normal(form, c.run(t, append(append(strings.Fields(q), "-o", form), from...)...))
					mu.Lock()
					defer mu.Unlock()
					out[q+" -o "+form] = a
					return err
				})
			}
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		return out
	}
	before := ask()
	bundle := filepath.Join(c.dir, "b.tar.gz")
	if out := c.run(t, "collect", "--file", bundle); out.code != 0 {
		t.Fatalf("collect: exit code %d\n%s%s", out.code, out.stdout, out.stderr)
	}
	record := ask("--from", bundle)
	if cmp.Equal(before, record) {
		t.Logf("%d questions in %d forms", len(questions), len(forms))
		return
	}
	after := ask()
	for q, said := range record {
		if !cmp.Equal(before[q], said) && !cmp.Equal(after[q], said) {
			t.Errorf("ovnkctl %s says of the bundle (+) not what it says of the cluster (-):\n%s", q, cmp.Diff(after[q], said))
		}
	}
}

// physical: the cluster's switch is asked beside ovn-trace; a bundle has none, which is said,
// and the verdict is the same.
func (c *tools) physical(t *testing.T) {
	bundle := filepath.Join(c.dir, "physical.tar.gz")
	if out := c.run(t, "collect", "--logs=false", "--file", bundle); out.code != 0 {
		t.Fatalf("collect: exit code %d\n%s%s", out.code, out.stdout, out.stderr)
	}
	look := func(args ...string) (r trace.Result) {
		t.Helper()
		out := c.run(t, append([]string{"trace", "pod/" + c.ns + "/" + c.friend.Name, "svc/" + c.ns + "/web:80", "--physical", "-o", "json"}, args...)...)
		if err := json.Unmarshal([]byte(out.stdout), &r); err != nil || len(r.Paths) == 0 {
			t.Fatalf("exit code %d, %v: %s", out.code, err, out.stderr)
		}
		return r
	}
	live, record := look(), look("--from", bundle)
	if live.Verdict != trace.Allowed || len(live.Paths[0].Physical) == 0 || len(live.Paths[0].Problems) > 0 {
		t.Errorf("live: %s, %d physical traces, %v", live.Verdict, len(live.Paths[0].Physical), live.Paths[0].Problems)
	}
	if record.Verdict != live.Verdict || !strings.Contains(fmt.Sprint(record.Paths[0].Problems), "no physical trace") {
		t.Errorf("record: %s, %v", record.Verdict, record.Paths[0].Problems)
	}
}

// answer is what must be equal.
type answer struct {
	Code     int
	Text     string
	Document any
}

// normal is an answer without where it is from, when that was looked at, and what counts
// packets.
func normal(form string, s says) (answer, error) {
	still := func(text string) string {
		return strings.TrimSpace(packets.ReplaceAllString(sourceLine.ReplaceAllString(text, ""), "${1}N${2}"))
	}
	a := answer{Code: s.code, Text: still(s.stdout + s.stderr)}
	if form != "json" || s.stdout == "" {
		return a, nil
	}
	if err := json.Unmarshal([]byte(packets.ReplaceAllString(s.stdout, "${1}N${2}")), &a.Document); err != nil {
		return a, fmt.Errorf("%w in %s", err, s.stdout)
	}
	a.Text = still(s.stderr)
	document, _ := a.Document.(map[string]any)
	for _, key := range []string{"source", "from", "time"} {
		if _, text := document[key].(string); !text || key == "time" {
			delete(document, key)
		}
	}
	withoutCounters(a.Document)
	return a, nil
}

// sourceLine is how tables tell where they are from, packets how flows count them.
var (
	sourceLine = regexp.MustCompile(`(?m)^(as of \S+, from .*|in \S+:)\n`)
	packets    = regexp.MustCompile(`(n_packets=)\d+|\b\d+( packets\b)`)
)

// counters are keys whose values count packets: an Interface's statistics, and flows' own.
var counters = regexp.MustCompile(`^((rx|tx|ovs_rx|ovs_tx)_[a-z0-9_]+|collisions|packets)$`)

func withoutCounters(v any) {
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			if counters.MatchString(key) {
				delete(v, key)
				continue
			}
			withoutCounters(inner)
		}
	case []any:
		for _, inner := range v {
			withoutCounters(inner)
		}
	}
}

// atOnce: two people collect into the same file; each has a whole bundle, and one of both is
// there.
func (c *tools) atOnce(t *testing.T) {
	bundle := filepath.Join(t.TempDir(), "b.tar.gz")
	var g sync.WaitGroup
	for range 2 {
		g.Go(func() {
			if out := c.run(t, "collect", "--file", bundle); out.code != 0 {
				t.Errorf("exit code %d\n%s%s", out.code, out.stdout, out.stderr)
			}
		})
	}
	g.Wait()
	if out := c.run(t, "diagnose", "--from", bundle); out.code != 0 {
		t.Errorf("exit code %d\n%s%s", out.code, out.stdout, out.stderr)
	}
	if left, err := os.ReadDir(filepath.Dir(bundle)); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// interrupted: Ctrl-C leaves a whole bundle of what was there, or nothing.
func (c *tools) interrupted(t *testing.T) {
	dir := t.TempDir()
	bundle := filepath.Join(dir, "b.tar.gz")
	cmd := c.command(t.Context(), "collect", "--file", bundle)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 4096)
	n, _ := stderr.Read(said) // how large it will be: the nodes are asked from now on
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	for err == nil { // nothing more is of interest, but must be taken
		_, err = stderr.Read(said[n:])
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit code %d, after %s", code, said[:n])
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 1 || len(left) == 1 && left[0].Name() != "b.tar.gz" {
		t.Errorf("left: %v, %v", left, err)
	}
	if len(left) == 1 {
		if out := c.run(t, "status", "--from", bundle); out.code != 3 && out.code != 4 || !strings.Contains(out.stdout+out.stderr, "interrupted") {
			t.Errorf("status of what was there: exit code %d\n%s%s", out.code, out.stdout, out.stderr)
		}
	}
}

// noSpace: on a disk that is too small nothing is left that looks like a bundle.
func (c *tools) noSpace(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	out := c.run(t, "collect", "--file", filepath.Join(dir, "b.tar.gz"))
	if out.code != 1 || out.stdout != "" || !strings.Contains(out.stderr, "no space left on device") || !strings.Contains(out.stderr, "→") {
		t.Errorf("exit code %d\n%s%s", out.code, out.stdout, out.stderr)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
