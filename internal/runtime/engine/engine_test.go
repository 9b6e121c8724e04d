package engine_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
	"github.com/ovnkctl/ovnkctl/internal/runtime/engine"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// switches makes one logical switch per node.
type switches struct{}

func (switches) Name() string { return "switches" }

func (switches) Keys(_ world.View, c world.Change) []feature.Key {
	if c.Ref.Kind != world.KindNode {
		return nil
	}
	return []feature.Key{{Name: c.Ref.Name}}
}

func (switches) Desired(v world.View, k feature.Key) (out feature.Output, reasons []feature.Reason) {
	n, ok := v.Node(k.Name)
	if !ok {
		return out, nil
	}
	out.NB.Add("switch", &nb.LogicalSwitch{Name: n.Name, OtherConfig: map[string]string{"id": n.Labels["id"]}})
	return out, nil
}

// ports makes one port per pod, and puts its labels into address sets and port groups:
//
//	set: an address set that exists or is made by a pod labelled sets
type ports struct{}

func (ports) Name() string { return "ports" }

func (ports) Keys(_ world.View, c world.Change) []feature.Key {
	if c.Ref.Kind != world.KindPod {
		return nil
	}
	return []feature.Key{{Namespace: c.Ref.Namespace, Name: c.Ref.Name}}
}

func (ports) Desired(v world.View, k feature.Key) (out feature.Output, reasons []feature.Reason) {
	p, ok := v.Pod(world.PodKey{Namespace: k.Namespace, Name: k.Name})
	if !ok {
		return out, nil
	}
	ls := rows.Target{Table: nb.LogicalSwitchTable, Name: p.Node}
	ref := out.NB.AddTo(ls, "ports", "port", &nb.LogicalSwitchPort{
		Name: p.Namespace + "_" + p.Name, Addresses: []string{p.Labels["address"]},
		ExternalIDs: map[string]string{"pod": "true"},
	})
	for _, set := range strings.Fields(p.Labels["sets"]) {
		out.NB.Add("set/"+set, &nb.AddressSet{Name: set})
	}
	for _, set := range strings.Fields(p.Labels["in"]) {
		out.NB.Members = append(out.NB.Members, rows.Member{Parent: rows.Target{Table: nb.AddressSetTable, Name: set}, Column: "addresses", Value: p.Labels["shared"]})
	}
	for _, group := range strings.Fields(p.Labels["groups"]) {
		out.NB.Members = append(out.NB.Members, rows.Member{Parent: rows.Target{Table: nb.PortGroupTable, Name: group}, Column: "ports", Value: ref})
	}
	return out, nil
}

type fixture struct {
	t      testing.TB
	world  *world.Store
	server *ovntest.Server
	nb     *ovn.DB
	engine *engine.Engine
}

// start runs an engine with the fake features on a database.
func start(t testing.TB, s *ovntest.Server, w *world.Store, more ...func(*engine.Config)) *fixture {
	t.Helper()
	f := &fixture{t: t, world: w, server: s, nb: s.Connect(t)}
	cfg := engine.Config{World: w, NB: f.nb, Features: []feature.Feature{switches{}, ports{}}}
	for _, m := range more {
		m(&cfg)
	}
	f.engine = engine.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = f.engine.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return f
}

func (f *fixture) wait(featureName, key string) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := f.engine.Wait(ctx, featureName, feature.ParseKey(key)); err != nil {
		f.t.Fatal(err)
	}
}

func pod(name, node, address string, labels ...string) *world.Pod {
	p := &world.Pod{Namespace: "default", Name: name, Node: node, Labels: map[string]string{"address": address}}
	for i := 0; i < len(labels); i += 2 {
		p.Labels[labels[i]] = labels[i+1]
	}
	return p
}

func TestThinSlice(t *testing.T) {
	t.Parallel()
	w := world.New(world.Config{LocalNode: "n1"})
	f := start(t, ovntest.NB(t), w)
	w.MarkSynced()
	<-f.engine.Synced()
	w.SetNode(&world.Node{Name: "n1"})
	w.SetPod(pod("web", "n1", "0a:58:0a:f4:00:05 10.244.0.5"))
	f.wait("ports", "default/web")
	ls, ok := ovn.Find[nb.LogicalSwitch](f.nb, "n1")
	if !ok || len(ls.Ports) != 1 {
		t.Fatalf("switch: %v", ls)
	}
	lsp, ok := ovn.Get[nb.LogicalSwitchPort](f.nb, ls.Ports[0])
	if !ok || lsp.ExternalIDs["ovnkctl.io/owner"] != "ports/default/web" || lsp.ExternalIDs["pod"] != "true" {
		t.Fatalf("port: %v", lsp)
	}
	w.DeletePod(world.PodKey{Namespace: "default", Name: "web"})
	f.wait("ports", "default/web")
	if got := ovn.List[nb.LogicalSwitchPort](f.nb); len(got) != 0 {
		t.Errorf("after deletion: %v", got)
	}
}
