package engine_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
	"github.com/ovnkctl/ovnkctl/internal/runtime/engine"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

func northbound(t testing.TB) []byte {
	t.Helper()
	text, err := os.ReadFile("../../ovn/schema/ovn-nb.ovsschema")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestRealServer goes through a life on a real ovsdb-server: a burst with one bad key, a
// change by hand, a restart, the end.
func TestRealServer(t *testing.T) {
	t.Parallel()
	s := ovntest.Real(t, ovn.Northbound(), northbound(t))
	w := newWorld()
	f := prepare(t, s, w)
	const pods = 300
	for i := range pods {
		w.SetPod(pod(fmt.Sprint("p", i), "n1", fmt.Sprint("10.244.0.", i), "in", "all", "groups", "all", "shared", fmt.Sprint(i/2)))
	}
	w.SetPod(pod("bad", "n1", "x", "bad", "11111111-2222-3333-4444-555555555555"))
	w.SetPod(pod("maker", "n1", "m", "sets", "all"))
	w.SetNode(node("n1", "1"))
	w.MarkSynced()
	f.run().sync()
	check := func(f *fixture) {
		t.Helper()
		for i := range pods {
			f.wait("ports", fmt.Sprint("default/p", i))
		}
		ls, set, group := must(ovn.Find[nb.LogicalSwitch](f.nb, "n1")), must(ovn.Find[nb.AddressSet](f.nb, "all")), must(ovn.Find[nb.PortGroup](f.nb, "all"))
		if len(ls.Ports) != pods+1 || len(group.Ports) != pods || len(set.Addresses) != pods/2 {
			t.Errorf("%d ports, %d in the group, %d addresses", len(ls.Ports), len(group.Ports), len(set.Addresses))
		}
	}
	check(f)
	if st := f.engine.Status(); len(st.Problems) != 1 || !strings.Contains(st.Problems[0].Reasons[1].Message, "referential integrity violation") {
		t.Errorf("status: %+v", st)
	}
	w.DeletePod(podKey("bad"))
	f.wait("ports", "default/bad")

	hand := s.Connect(t)
	table, c := column(t, "Logical_Switch", "ports")
	ls := must(ovn.Find[nb.LogicalSwitch](hand, "n1"))
	heard := make(chan struct{}, pods)
	defer ovn.Watch(f.nb, func(old, now *nb.LogicalSwitch) {
		if old != nil && now != nil && len(now.Ports) < len(old.Ports) {
			heard <- struct{}{}
		}
	})()
	byHand(t, hand, ovn.Mutate(table, ls.UUID, ovn.Mutation{Column: c, Remove: ls.Ports[:10]}))
	<-heard
	f.until("ten ports are back", func() bool { return len(must(ovn.Find[nb.LogicalSwitch](f.nb, "n1")).Ports) == pods+1 })
	f.until("and in their group", func() bool { return len(must(ovn.Find[nb.PortGroup](f.nb, "all")).Ports) == pods })
	f.idle()

	before := dump(f.nb)
	g := f.restart(s)
	if n := g.transactions(); n != 0 {
		t.Errorf("%d transactions after a restart: %s", n, cmp.Diff(before, dump(g.nb)))
	}
	check(g)
	for i := range pods {
		g.world.DeletePod(podKey(fmt.Sprint("p", i)))
	}
	g.world.DeletePod(podKey("maker"))
	g.world.DeleteNode("n1")
	g.until("nothing is left", func() bool { return len(dump(g.nb)) == 0 })
}

// nats uses what older servers lack: a column, and for nodes labelled app a table.
type nats struct{}

func (nats) Name() string { return "nats" }

func (nats) Keys(_ world.View, c world.Change) []feature.Key {
	return []feature.Key{{Name: c.Ref.Name}}
}

func (nats) Desired(v world.View, k feature.Key) (out feature.Output, reasons []feature.Reason) {
	n, ok := v.Node(k.Name)
	if !ok {
		return out, nil
	}
	out.NB.Add("router", &nb.LogicalRouter{Name: n.Name})
	out.NB.AddTo(rows.Target{Table: nb.LogicalRouterTable, Name: n.Name}, "nat", "nat",
		&nb.NAT{Type: nb.NATTypeSNAT, ExternalIP: "192.0.2.1", LogicalIP: "10.0.0.0/8", Match: "ip4.dst == 192.0.2.0/24"})
	if n.Labels["app"] != "" {
		out.NB.Add("app", &nb.SamplingApp{ID: 1, Type: nb.SamplingAppTypeDrop})
	}
	return out, nil
}

// TestOlderServer runs a feature on a server that lacks some of what it uses.
func TestOlderServer(t *testing.T) {
	t.Parallel()
	var schema map[string]any
	if err := json.Unmarshal(northbound(t), &schema); err != nil {
		t.Fatal(err)
	}
	delete(schema, "cksum")
	tables := schema["tables"].(map[string]any)
	delete(tables, "Sampling_App")
	delete(tables["NAT"].(map[string]any)["columns"].(map[string]any), "match")
	text, err := json.Marshal(schema)
	if err != nil {
		t.Fatal(err)
	}
	s := ovntest.Real(t, ovn.Northbound(), text)
	older := func(cfg *engine.Config) { cfg.Features = []feature.Feature{nats{}} }
	f := start(t, s, newWorld(), older)
	f.world.SetNode(node("n1", "1"))
	f.wait("nats", "n1")
	f.world.SetNode(&world.Node{Name: "n2", Labels: map[string]string{"app": "yes"}})
	f.world.SetNode(node("n3", "1"))
	f.wait("nats", "n3")
	if got := len(ovn.List[nb.NAT](f.nb)); got != 2 {
		t.Errorf("%d NATs", got)
	}
	rs := f.engine.Reasons("nats", key("n1"))
	if len(rs) != 1 || rs[0].Code != "SchemaTooOld" || !strings.Contains(rs[0].Message, "no column NAT.match") {
		t.Errorf("n1: %+v", rs)
	}
	rs = f.engine.Reasons("nats", key("n2"))
	if !slices.ContainsFunc(rs, func(r feature.Reason) bool { return strings.Contains(r.Message, "no table Sampling_App") }) {
		t.Errorf("n2: %+v", rs)
	}
	before := f.transactions()
	f.engine.Resync()
	f.wait("nats", "n1")
	if n := f.transactions() - before; n != 0 {
		t.Errorf("%d transactions of a second look", n)
	}

	// The server is upgraded: the column appears and is filled in.
	s.Shut()
	s.StartReal(t, northbound(t))
	s.Open(t)
	f.until("all is there with its match", func() bool {
		all := ovn.List[nb.NAT](f.nb)
		return len(all) == 3 && !slices.ContainsFunc(all, func(n *nb.NAT) bool { return n.Match == "" }) && len(ovn.List[nb.SamplingApp](f.nb)) == 1
	})
	f.wait("nats", "n1")
	f.wait("nats", "n2")
	if st := f.engine.Status(); len(st.Problems) != 0 {
		t.Errorf("status: %+v", st)
	}
}
