//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/runtime/node"
	"github.com/ovnkctl/ovnkctl/internal/trace"
	"github.com/ovnkctl/ovnkctl/internal/whatif"
)

// asIf is the verdict of a packet from one pod to another if a file was applied, or an object
// was not there.
func (a *arena) asIf(t *testing.T, with string, without []string, from, to *corev1.Pod) trace.Verdict {
	t.Helper()
	var files []string
	if with != "" {
		path := filepath.Join(t.TempDir(), "file.yaml")
		if err := os.WriteFile(path, []byte(with), 0o600); err != nil {
			t.Fatal(err)
		}
		files = []string{path}
	}
	in, err := whatif.Read(files, without, a.ns, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := inspect.Connect(inspect.LiveConfig{REST: a.rest, Namespace: system})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w, err := whatif.New(t.Context(), whatif.Config{Snapshot: s, Features: node.Features, Input: in, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r, err := trace.Run(t.Context(), trace.FromSnapshot(w.Snapshot()), trace.Options{
		Source: "pod/" + from.Namespace + "/" + from.Name, Destination: "pod/" + to.Namespace + "/" + to.Name, Port: fmt.Sprint(webPort), Protocol: trace.TCP,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range append(s.Problems(), w.Snapshot().Problems()...) {
		t.Errorf("%v", problem)
	}
	for _, problem := range r.Paths[0].Problems {
		t.Error(problem)
	}
	return r.Verdict
}

// TestWhatIf: what trace says of a policy before it is applied, packets do when it is; and
// nothing of the copies is left on the nodes.
func TestWhatIf(t *testing.T) {
	a := open(t).arena(t)
	policy := fmt.Sprintf(`
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: what-if, namespace: "%s"}
spec:
  podSelector: {matchLabels: {name: server}}
  ingress:
  - from: [{podSelector: {matchLabels: {name: friend}}}]
`, a.ns)
	said := func(t *testing.T, with string, without []string) []path {
		var paths []path
		for _, from := range []*corev1.Pod{a.friend, a.mate, a.stranger} {
			p := a.open(t, from, a.server, webPort)
			p.open = a.asIf(t, with, without, from, a.server) == trace.Allowed
			paths = append(paths, p)
		}
		return paths
	}
	would := said(t, policy, nil)
	if !would[0].open || would[1].open || would[2].open {
		t.Errorf("the friend alone would be let in: %v, %v, %v", would[0].open, would[1].open, would[2].open)
	}
	a.expect(t, "nothing is applied", a.open(t, a.friend, a.server, webPort), a.open(t, a.mate, a.server, webPort), a.open(t, a.stranger, a.server, webPort))
	remove := a.apply(t, "%s", policy)
	a.expect(t, "what was said", would...)
	gone := said(t, "", []string{"netpol/" + a.ns + "/what-if"})
	remove()
	a.expect(t, "what was said of its end", gone...)
	if !gone[0].open || !gone[1].open || !gone[2].open {
		t.Errorf("without the policy all would be open: %+v", gone)
	}
	for _, n := range a.nodes {
		if left := a.left(t, n); left != "" {
			t.Errorf("left on node %s: %s", n, left)
		}
	}
}

// left are folders and programs of copies on a node.
func (a *arena) left(t *testing.T, node string) string {
	t.Helper()
	const find = `ls -d /tmp/ovnkctl-copy-* 2>/dev/null; grep -la ovnkctl-copy-[0-9] /proc/[0-9]*/cmdline 2>/dev/null; true`
	return strings.TrimSpace(a.inSystem(t, "ovnkube-node", node, "ovnkube-controller", "sh", "-c", find))
}
