package collect_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ovn-kubernetes/libovsdb/model"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ovnkctl/ovnkctl/internal/collect"
	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/inspect/inspecttest"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// patience is for what a loaded machine does in a moment.
const patience = 30 * time.Second

const token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW0ifQ.c2ln"

// cluster is two nodes with a pod each.
func cluster(t *testing.T) *inspecttest.Cluster {
	t.Helper()
	c := inspecttest.New(t, "a", "b")
	for name, n := range c.Nodes {
		must := func(_ any, err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		must(n.DB["nb"].Transact(t.Context(), "", ovn.Insert(&nb.LogicalSwitch{Name: name, OtherConfig: map[string]string{"subnet": "10.244.0.0/24"}}, "ls")))
		must(n.DB["sb"].Transact(t.Context(), "", ovn.Insert(&sb.Chassis{Name: name, Hostname: name}, "ch")))
		must(n.DB["ovs"].Transact(t.Context(), "",
			ovn.Insert(&vswitch.OpenvSwitch{Bridges: []string{"br"}, ExternalIDs: map[string]string{"hostname": name}}, "ovs"),
			ovn.Insert(&vswitch.Bridge{Name: "br-int", Ports: []string{"port"}}, "br"),
			ovn.Insert(&vswitch.Port{Name: "tunnel", Interfaces: []string{"iface"}}, "port"),
			ovn.Insert(&vswitch.Interface{Name: "tunnel", Options: map[string]string{"remote_ip": "1.2.3.4", "psk": "swordfish"}}, "iface")))
	}
	c.API.Put(
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Annotations: map[string]string{"k8s.ovn.org/multicast-enabled": "true", "example.com/key": "swordfish"}}},
		&corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Annotations: map[string]string{corev1.LastAppliedConfigAnnotation: `{"swordfish":1}`}},
			Spec: corev1.PodSpec{NodeName: "a", Containers: []corev1.Container{{
				Name: "web", Args: []string{"--password=swordfish"}, Env: []corev1.EnvVar{{Name: "KEY", Value: "swordfish"}},
				Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
			}}},
		},
		&networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "np"}},
		&corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: inspecttest.Namespace, Name: "ovnkctl-config"},
			Data:       map[string]string{"config.yaml": "network:\n  clusterSubnets: 10.99.0.0/16\n"},
		},
	)
	run := c.Run
	c.Run = func(node string, argv []string) (string, int) {
		if argv[0] == "nft" {
			return "Authorization: Bearer " + token + "\npassword=swordfish\n", 0
		}
		return run(node, argv)
	}
	return c
}

// take collects, and returns the bundle's path.
func take(t *testing.T, s *inspect.Snapshot) (string, *collect.Collection, error) {
	t.Helper()
	var out bytes.Buffer
	r, err := collect.Run(t.Context(), collect.Options{
		Snapshot: s, Namespace: inspecttest.Namespace, Version: "v-test", Out: &out, Name: "bundle",
	})
	return inspecttest.Write(t, "bundle.tar.gz", out.Bytes()), r, err
}

func open(t *testing.T, paths ...string) *inspect.Snapshot {
	t.Helper()
	s, err := inspect.Open(inspect.OpenConfig{Paths: paths, Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// unpack unpacks a bundle and returns its folder and all of its text.
func unpack(t *testing.T, bundle string) (string, map[string]string) {
	t.Helper()
	f, err := os.Open(bundle)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	dir, files := t.TempDir(), map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return dir, files
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = string(data)
		path := filepath.Join(dir, h.Name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

// facts are what a snapshot says, without what is secret.
func facts(t *testing.T, s *inspect.Snapshot) map[string]any {
	t.Helper()
	out := map[string]any{}
	nodes, err := s.Nodes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out["nodes"] = nodes
	w, err := s.World(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.Read(func(v world.View) {
		for p := range v.Pods {
			out["pod "+p.Name] = []any{p.Node, p.Labels, p.Ports}
		}
		n, _ := v.Network("")
		out["subnets"] = n.ClusterSubnets[0].Prefix.String()
	})
	var mu sync.Mutex
	if err := s.Each(t.Context(), nil, func(ctx context.Context, n *inspect.Node) error {
		mu.Lock()
		defer mu.Unlock()
		for _, d := range ovn.Databases() {
			c, err := n.Database(ctx, d)
			if err != nil {
				return err
			}
			for _, table := range d.Tables() {
				if table.Name != vswitch.InterfaceTable {
					out[n.Name()+" "+d.Short+" "+table.Name] = c.Rows(table)
				}
			}
		}
		text, err := n.Text(ctx, inspect.TextFlows+"br-int")
		out[n.Name()+" flows"] = text
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// A bundle says what the cluster said, in one file, as a folder, and to a browser of files.
func TestBundleEqualsLive(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	c.Stop("ovs-node-a", "ovs-daemons") // nobody needs it
	live := c.Snapshot(patience)
	path, result, err := take(t, live)
	if err != nil || result.Bytes == 0 || len(result.Nodes) != 3 {
		t.Fatalf("%+v, %v", result, err)
	}
	for _, p := range result.Problems {
		if !strings.Contains(p.What, "log of container") { // this API server has none
			t.Errorf("problem: %v", p)
		}
	}
	want := facts(t, live)
	if rows, ok := want["a nb "+nb.LogicalSwitchTable].([]model.Model); !ok || len(rows) != 1 || want["subnets"] != "10.99.0.0/16" || want["pod web"] == nil {
		t.Fatalf("nothing to compare: %v", want)
	}
	dir, _ := unpack(t, path)
	for name, from := range map[string]string{"file": path, "folder": dir, "folder in it": filepath.Join(dir, "bundle")} {
		if diff := cmp.Diff(want, facts(t, open(t, from))); diff != "" {
			t.Errorf("%s (-live +bundle):\n%s", name, diff)
		}
	}
}

func TestNoSecrets(t *testing.T) {
	t.Parallel()
	path, _, err := take(t, cluster(t).Snapshot(patience))
	if err != nil {
		t.Fatal(err)
	}
	_, files := unpack(t, path)
	for name, text := range files {
		if strings.Contains(text, "swordfish") || strings.Contains(text, token) {
			t.Errorf("%s has a secret:\n%s", name, text)
		}
		if strings.Contains(name, "secret") {
			t.Errorf("%s is in the bundle", name)
		}
	}
	for _, want := range []string{"bundle/manifest.json", "bundle/collect.log", "bundle/nodes/a/nb.db", "bundle/nodes/b/text/nft", "bundle/cluster/pods.json"} {
		if files[want] == "" {
			t.Errorf("%s is not in the bundle: %v", want, slices.Sorted(maps.Keys(files)))
		}
	}
	if !strings.Contains(files["bundle/cluster/pods.json"], `"http"`) || !strings.Contains(files["bundle/cluster/namespaces.json"], "multicast-enabled") {
		t.Error("what the network reads is not in the bundle")
	}
}

// A node that cannot be reached does not keep the others out, and is named, later too.
func TestUnreachableNode(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	c.Refuse = func(node string) error {
		if node == "b" {
			return errors.New("error dialing backend: dial tcp 10.0.0.2:10250: connect: no route to host")
		}
		return nil
	}
	path, result, err := take(t, c.Snapshot(patience))
	if err != nil || result.ExitCode() != 4 {
		t.Fatalf("%+v, %v", result, err)
	}
	s := open(t, path)
	named := false
	for _, p := range s.Problems() {
		named = named || p.Node == "b" && strings.Contains(p.Why, "no route to host")
	}
	if !named {
		t.Errorf("problems of the bundle: %v", inspect.Errors(s.Problems()))
	}
	if _, err := s.Node("b").Database(t.Context(), ovn.Northbound()); err == nil || !errors.Is(err, inspect.ErrAbsent) {
		t.Errorf("a database that was not collected: %v", err)
	}
	if c, err := s.Node("a").Database(t.Context(), ovn.Northbound()); err != nil || c.Len() == 0 {
		t.Errorf("the node that was reached: %v", err)
	}
}

// Who may not read is told what has to be allowed.
func TestForbidden(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	c.API.Intercept(func(r *http.Request) *metav1.Status {
		if strings.Contains(r.URL.Path, "networkpolicies") {
			return &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: "networkpolicies is forbidden"}
		}
		return nil
	})
	_, result, err := take(t, c.Snapshot(patience))
	if err != nil || result.ExitCode() != 4 {
		t.Fatalf("%+v, %v", result, err)
	}
	for _, p := range result.Problems {
		if p.Node == "" && strings.Contains(p.Next, `--verb=list --resource=`) && strings.Contains(p.Next, "networkpolicies.networking.k8s.io") {
			return
		}
	}
	t.Errorf("problems %v", inspect.Errors(result.Problems))
}

// Ctrl-C leaves a whole file with what there was.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	ctx, cancel := context.WithCancel(t.Context())
	run := c.Run
	c.Run = func(node string, argv []string) (string, int) {
		cancel()
		return run(node, argv)
	}
	var out bytes.Buffer
	_, err := collect.Run(ctx, collect.Options{Snapshot: c.Snapshot(patience), Out: &out, Name: "bundle"})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v", err)
	}
	s := open(t, inspecttest.Write(t, "bundle.tar.gz", out.Bytes()))
	if !slices.ContainsFunc(s.Problems(), func(p *inspect.Problem) bool { return strings.Contains(p.Why, "interrupted") }) {
		t.Errorf("problems %v", inspect.Errors(s.Problems()))
	}
}

// Wherever a bundle is cut, opening it ends, and either works or says why not.
func TestCutBundles(t *testing.T) {
	t.Parallel()
	path, _, err := take(t, cluster(t).Snapshot(patience))
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	opened := 0
	for cut := 0; cut < len(whole); cut += 1 + len(whole)/97 {
		s, err := inspect.Open(inspect.OpenConfig{Paths: []string{inspecttest.Write(t, "cut.tar.gz", whole[:cut])}})
		if err != nil {
			continue
		}
		opened++
		if len(s.Problems()) == 0 {
			t.Errorf("cut at %d of %d: no problem", cut, len(whole))
		}
		_ = s.Each(t.Context(), nil, func(ctx context.Context, n *inspect.Node) error {
			_, err := n.Database(ctx, ovn.Northbound())
			return err
		})
		s.Close()
	}
	if opened == 0 {
		t.Error("no cut bundle could be opened at all")
	}
}

func TestEstimate(t *testing.T) {
	t.Parallel()
	e, err := collect.NewEstimate(t.Context(), cluster(t).Snapshot(patience), nil, true)
	if err != nil || e.Nodes != 2 || e.Pods != 1 || e.Bytes == 0 || e.Unpacked <= e.Bytes {
		t.Errorf("%+v, %v", e, err)
	}
}
