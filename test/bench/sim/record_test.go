//go:build linux

package sim

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/ovnkctl/ovnkctl/internal/collect"
	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/inspect/inspecttest"
	"github.com/ovnkctl/ovnkctl/internal/inspect/relay"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/runtime/kube/kubetest"
)

// recordVariable names the file that BenchmarkRecord leaves its bundle in.
const recordVariable = "BENCH_SIM_BUNDLE"

// BenchmarkRecord collects a bundle from a node with 500 pods, and opens it: databases and
// flows are those of a real OVN and Open vSwitch.
func BenchmarkRecord(b *testing.B) {
	c := crowd{nodes: 1, namespaces: 50, pods: 10}
	objects := kubetest.New()
	objects.Put(c.base()...)
	node := nodeName(0)
	objects.Put(
		&corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: inspecttest.Namespace, Name: "ovnkctl-config"},
			Data:       map[string]string{"config.yaml": "apiVersion: ovnkctl.io/v1alpha1\nkind: Configuration\nnetwork:\n  clusterSubnets: " + crowdSubnets + "\n"},
		},
		inspecttest.Pod("ovnkube-node-a", "ovnkube-node", node, "nb-ovsdb", "sb-ovsdb", "ovn-northd", "ovn-controller", "ovnkube-controller"),
		inspecttest.Pod("ovs-node-a", "ovs-node", node, "ovsdb-server", "ovs-daemons"),
	)
	z := newZone(b, nil)
	api := serve(b, objects, crowdSubnets)
	api.NB, api.SB = z.socket("nb"), z.socket("sb")
	_, _, stop := api.start(b)
	defer stop()
	z.plug(c)
	z.sync()
	path := os.Getenv(recordVariable)
	if path == "" {
		path = filepath.Join(b.TempDir(), "node500.tar.gz")
	}
	began := time.Now()
	z.collect(objects, path)
	took := time.Since(began)
	for b.Loop() {
		open(b, path, node)
	}
	b.ReportMetric(float64(took.Milliseconds()), "ms-collect")
	if stat, err := os.Stat(path); err == nil {
		b.ReportMetric(float64(stat.Size())/(1<<20), "MiB-bundle")
	}
}

// open reads all of a bundle that commands look at.
func open(b *testing.B, path, node string) {
	b.Helper()
	s, err := inspect.Open(inspect.OpenConfig{Paths: []string{path}})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if _, err := s.World(b.Context()); err != nil {
		b.Fatal(err)
	}
	for _, d := range ovn.Databases() {
		if c, err := s.Node(node).Database(b.Context(), d); err != nil || c.Len() == 0 {
			b.Fatalf("%s: %v", d.Name, err)
		}
	}
}

// collect takes a bundle of the zone, as of a node in a cluster.
func (z *zone) collect(objects *kubetest.Server, path string) {
	z.b.Helper()
	relayed := func(ctx context.Context, _ inspect.Container, _ []string, streams remotecommand.StreamOptions) error {
		in, _ := streams.Stdin.(*io.PipeReader)
		defer context.AfterFunc(ctx, func() { in.CloseWithError(io.EOF) })()
		return relay.Serve(ctx, in, streams.Stdout, relay.Config{
			Sockets: map[string]string{"nb": filepath.Join(z.dir, "nb.sock"), "sb": filepath.Join(z.dir, "sb.sock"), "ovs": filepath.Join(z.dir, "db.sock")},
			Version: "bench", Run: z.print,
		})
	}
	s, err := inspect.Connect(inspect.LiveConfig{REST: objects.Config(), Namespace: inspecttest.Namespace, Timeout: zonePatience, Exec: relayed})
	if err != nil {
		z.b.Fatal(err)
	}
	defer s.Close()
	f, err := os.Create(path)
	if err != nil {
		z.b.Fatal(err)
	}
	_, err = collect.Run(z.b.Context(), collect.Options{Snapshot: s, Namespace: inspecttest.Namespace, Version: "bench", Out: f, Name: "node500"})
	if err := errors.Join(err, f.Close()); err != nil {
		z.b.Fatal(err)
	}
}

// print is what the programs of OVN and Open vSwitch print. The host's have no part in a
// simulated node: they print nothing.
func (z *zone) print(argv []string) (stdout string, code int) {
	if !strings.HasPrefix(argv[0], "ov") {
		return "", 0
	}
	out, err := z.command(argv[0], argv[1:]...).Output()
	if err != nil {
		return string(out), 1
	}
	return string(out), 0
}
