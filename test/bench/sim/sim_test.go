//go:build linux

// Package sim measures the node's program in a simulated cluster of 2,000 nodes: the world,
// the allocator, the engine and the features as a process of their own, against an API
// server on loopback and real ovsdb-servers. The host and the CNI server have no part.
package sim

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/kubernetes"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
	"github.com/ovnkctl/ovnkctl/internal/runtime/engine"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/topology"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host"
	"github.com/ovnkctl/ovnkctl/internal/runtime/kube"
	"github.com/ovnkctl/ovnkctl/internal/runtime/kube/kubetest"
	"github.com/ovnkctl/ovnkctl/internal/runtime/node"
	"github.com/ovnkctl/ovnkctl/internal/runtime/node/ipam"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/live"
)

// agentEnv makes the test binary the node's program; its value is an agentConfig.
const agentEnv = "BENCH_SIM_AGENT"

type agentConfig struct {
	Kubeconfig, NB, SB string
	Subnets            string // of the cluster
}

// report is what the program says when it is ready, and once more when it has nothing more
// to do.
type report struct {
	ReadyMillis  float64
	Transactions map[string]float64
}

func TestMain(m *testing.M) {
	raw := os.Getenv(agentEnv)
	if raw == "" {
		os.Exit(m.Run())
	}
	var c agentConfig
	err := json.Unmarshal([]byte(raw), &c)
	if err == nil {
		err = agent(c)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

func simConfig(subnets string) *config.Config {
	c := config.Default()
	c.Network.ClusterSubnets = subnets
	return c
}

// agent runs until its standard input ends.
func agent(c agentConfig) error {
	start := time.Now()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cfg := simConfig(c.Subnets)
	cfg.Kubernetes.Kubeconfig = c.Kubeconfig
	network, err := cfg.DefaultNetwork()
	if err != nil {
		return err
	}
	rest, _, err := kube.RESTConfig(kube.ClientConfig{Kubernetes: cfg.Kubernetes, Component: "node"})
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return err
	}
	policies, err := live.NewPolicyClient(rest, http.DefaultClient)
	if err != nil {
		return err
	}
	registry, log := prometheus.NewRegistry(), slog.New(slog.DiscardHandler)
	metrics := ovn.NewMetrics(registry)
	north, err := ovn.Open(ctx, ovn.Config{Endpoint: c.NB, Database: ovn.Northbound(), Tables: feature.NorthTables(), Metrics: metrics})
	if err != nil {
		return err
	}
	defer north.Close()
	south, err := ovn.Open(ctx, ovn.Config{Endpoint: c.SB, Database: ovn.Southbound(), Tables: feature.SouthTables(), Metrics: metrics})
	if err != nil {
		return err
	}
	defer south.Close()
	patcher, err := kube.NewPatcher(kube.PatcherConfig{Client: client, Logger: log, Registerer: registry})
	if err != nil {
		return err
	}
	store := world.New(world.Config{LocalNode: nodeName(0), Networks: []world.Network{network}})
	e := engine.New(engine.Config{World: store, NB: north, SB: south, Features: node.Features(cfg), Logger: log, Metrics: registry})
	addresses := ipam.New(ipam.Config{
		Store: store, Network: network, Logger: log, Annotate: patcher.Annotate,
		Recorded: func() map[ipam.Owner][]netip.Prefix { return nil },
		Report:   func(world.ObjectRef, string, string, string) {},
	})
	go patcher.Run(ctx)
	go func() { _ = addresses.Run(ctx) }()
	followServices(ctx, store, host.New(host.Config{Node: nodeName(0), Config: cfg, Network: network}), &network)
	go live.Run(ctx, live.Config{
		Client: client, Store: store, Logger: log, Node: nodeName(0),
		AllPods: true, Namespaces: true, Services: true, Policies: policies,
	})
	ended := make(chan error, 1)
	go func() {
		<-addresses.Recovered() // as the node's program does: what is not known yet would look as if it were gone
		ended <- e.Run(ctx)
	}()
	select {
	case <-e.Synced():
	case err := <-ended:
		return errors.Join(errors.New("the engine ended"), err)
	}
	out := report{ReadyMillis: time.Since(start).Seconds() * 1000}
	said := json.NewEncoder(os.Stdout)
	if err := said.Encode(out); err != nil { // at once: who measures waits for it
		return err
	}
	debug.FreeOSMemory() // as the node's program does
	if reasons := e.Reasons(topology.Name, feature.Key{Name: nodeName(0)}); len(reasons) > 0 {
		return fmt.Errorf("the own node is not in order: %v", reasons)
	}
	time.Sleep(2 * time.Second) // for late writes, and the garbage collector's own pace
	if out.Transactions, err = transactions(registry); err != nil {
		return err
	}
	if err := said.Encode(out); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}

// followServices computes what the host would do for services; nobody does it.
func followServices(ctx context.Context, store *world.Store, r *host.Reconciler, network *world.Network) {
	set, wake := host.NewServiceSet(network), make(chan struct{}, 1)
	store.Subscribe(func(v world.View, c world.Change) {
		if set.Touch(v, c) {
			select {
			case wake <- struct{}{}:
			default:
			}
		}
	})
	go func() {
		<-store.SyncedC()
		for {
			select {
			case <-wake:
			case <-ctx.Done():
				return
			}
			var s host.Services
			store.Read(func(v world.View) { s = set.Update(v) })
			r.SetServices(s)
		}
	}()
}

func transactions(r *prometheus.Registry) (map[string]float64, error) {
	families, err := r.Gather()
	if err != nil {
		return nil, err
	}
	out := map[string]float64{"nb": 0, "sb": 0}
	for _, f := range families {
		if f.GetName() != "ovnk_ovsdb_txn_ops" { // refused ones count, too
			continue
		}
		for _, m := range f.Metric {
			out[m.Label[0].GetValue()] = float64(m.Histogram.GetSampleCount())
		}
	}
	return out, nil
}

// cluster is what the program talks to.
type cluster struct {
	agentConfig
	objects *kubetest.Server
}

func simulate(b *testing.B, s size) cluster {
	b.Helper()
	api := kubetest.New()
	for i := range s.nodes {
		api.Put(clusterNode(i))
	}
	for i := range s.pods {
		api.Put(clusterPod(i))
	}
	for i := range s.services {
		api.Put(clusterService(i), clusterSlice(i, 0))
	}
	c := serve(b, api, clusterSubnets)
	// ovn-northd makes this row in a real zone.
	c.NB = database(b, ovn.Northbound(), "ovn-nb", &nb.NBGlobal{Name: "zone"}).Endpoint()
	c.SB = database(b, ovn.Southbound(), "ovn-sb").Endpoint()
	return c
}

// serve has the objects on loopback. The databases are the caller's to add.
func serve(b *testing.B, objects *kubetest.Server, subnets string) cluster {
	b.Helper()
	api := httptest.NewServer(objects)
	b.Cleanup(func() {
		api.CloseClientConnections()
		api.Close()
	})
	c := cluster{agentConfig{Subnets: subnets, Kubeconfig: filepath.Join(b.TempDir(), "kubeconfig")}, objects}
	kubeconfig := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: '%s'}}]\n"+
		"users: [{name: u, user: {}}]\ncontexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n", api.URL)
	if err := os.WriteFile(c.Kubeconfig, []byte(kubeconfig), 0o600); err != nil {
		b.Fatal(err)
	}
	return c
}

func database(b *testing.B, d *ovn.Database, schema string, first ...model.Model) *ovntest.Server {
	b.Helper()
	raw, err := os.ReadFile("../../../internal/ovn/schema/" + schema + ".ovsschema")
	if err != nil {
		b.Fatal(err)
	}
	server := ovntest.Real(b, d, raw)
	for _, row := range first {
		if _, err := server.Connect(b).Transact(b.Context(), "", ovn.Insert(row, "first")); err != nil {
			b.Fatal(err)
		}
	}
	return server
}

// start runs the program until it has nothing more to do. It calls what is given when the
// program is ready, at once.
func (c cluster) start(b *testing.B, ready ...func()) (r report, pid int, stop func() time.Duration) {
	b.Helper()
	raw, err := json.Marshal(c.agentConfig)
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), agentEnv+"="+string(raw))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	said := json.NewDecoder(out)
	for range 2 { // when it is ready, and when it is quiet
		if err := said.Decode(&r); err != nil {
			b.Fatalf("the program said nothing: %v", err)
		}
		for _, f := range ready {
			f()
		}
		ready = nil
	}
	return r, cmd.Process.Pid, func() time.Duration {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
		return cmd.ProcessState.SystemTime() + cmd.ProcessState.UserTime()
	}
}

// size of a cluster.
type size struct{ nodes, pods, services int }

func (s size) String() string {
	if s.services > 0 {
		return fmt.Sprintf("services=%d", s.services)
	}
	return fmt.Sprintf("nodes=%d/pods=%d", s.nodes, s.pods)
}

// BenchmarkSimulated starts the program on empty databases and once more on full ones.
func BenchmarkSimulated(b *testing.B) {
	for _, s := range []size{{1, 0, 0}, {1, 50, 0}, {1, 250, 0}, {2000, 50, 0}, {1, 0, 5000}} {
		b.Run(s.String(), func(b *testing.B) {
			for b.Loop() {
				c := simulate(b, s)
				first, _, stop := c.start(b)
				b.ReportMetric(stop().Seconds()*1000, "cpu-ms-first")
				b.ReportMetric(first.ReadyMillis, "ms-first")
				if first.Transactions["nb"] == 0 {
					b.Fatal("nothing was written to an empty Northbound database")
				}
				b.ReportMetric(first.Transactions["nb"]+first.Transactions["sb"], "txns-first")
				again, pid, stop := c.start(b)
				b.ReportMetric(anonymousMiB(b, pid), "MiB-anonymous")
				b.ReportMetric(stop().Seconds()*1000, "cpu-ms-restart")
				b.ReportMetric(again.ReadyMillis, "ms-restart")
				b.ReportMetric(again.Transactions["nb"]+again.Transactions["sb"], "txns-restart")
			}
		})
	}
}

func anonymousMiB(b *testing.B, pid int) float64 {
	b.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // nothing was written
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "Anonymous:"); ok {
			var kib float64
			_, _ = fmt.Sscan(rest, &kib)
			return kib / 1024
		}
	}
	b.Fatal("smaps_rollup has no line Anonymous")
	return 0
}
