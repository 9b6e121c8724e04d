package engine_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

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
//	address           the port's address
//	called            the port's name, when it is not to be the pod's
//	bad               a reference that the database refuses
//	sets              address sets and port groups that the pod makes
//	in, shared        address sets that it puts the element "shared" into
//	groups            port groups that it puts its port into
//	member            a port group of its own with its port
//	mac               a router with a port and a row that cannot carry an owner
//	option, value     an entry of other_config of its switch and of NB_Global's options
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
	lsp := &nb.LogicalSwitchPort{
		Name: p.Namespace + "_" + p.Name, Addresses: []string{p.Labels["address"]},
		ExternalIDs: map[string]string{"pod": "true"},
	}
	if name := p.Labels["called"]; name != "" {
		lsp.Name = name
	}
	if group := p.Labels["bad"]; group != "" {
		lsp.HaChassisGroup = &group
		reasons = append(reasons, feature.Reason{Code: "Odd", Message: "this pod is odd"})
	}
	ref := out.NB.AddTo(ls, "ports", "port", lsp)
	if mac := p.Labels["mac"]; mac != "" {
		router := rows.Target{Table: nb.LogicalRouterTable, Name: "r-" + p.Name}
		out.NB.Add("router", &nb.LogicalRouter{Name: router.Name})
		out.NB.AddTo(router, "ports", "router-port", &nb.LogicalRouterPort{Name: "rp-" + p.Name, MAC: mac})
		out.NB.Add("mac", &nb.StaticMACBinding{LogicalPort: "rp-" + p.Name, IP: "10.0.0.1", MAC: mac})
	}
	if option := p.Labels["option"]; option != "" {
		out.NB.Put(ls, "other_config", option, p.Labels["value"])
		out.NB.Put(rows.Target{Table: nb.NBGlobalTable}, "options", option, p.Labels["value"])
	}
	for _, set := range strings.Fields(p.Labels["sets"]) {
		out.NB.Add("set/"+set, &nb.AddressSet{Name: set})
		out.NB.Add("group/"+set, &nb.PortGroup{Name: set})
	}
	for _, set := range strings.Fields(p.Labels["in"]) {
		out.NB.Members = append(out.NB.Members, rows.Member{Parent: rows.Target{Table: nb.AddressSetTable, Name: set}, Column: "addresses", Value: p.Labels["shared"]})
	}
	if p.Labels["member"] != "" { // a group of its own, which others could join
		out.NB.Add("group", &nb.PortGroup{Name: "of-" + p.Name})
		out.NB.Members = append(out.NB.Members, rows.Member{Parent: rows.Target{Table: nb.PortGroupTable, Name: "of-" + p.Name}, Column: "ports", Value: ref})
	}
	for _, group := range strings.Fields(p.Labels["groups"]) {
		out.NB.Members = append(out.NB.Members, rows.Member{Parent: rows.Target{Table: nb.PortGroupTable, Name: group}, Column: "ports", Value: ref})
	}
	return out, reasons
}

func TestOnePod(t *testing.T) {
	t.Parallel()
	f := start(t, ovntest.NB(t), newWorld())
	f.world.SetNode(node("n1", "1"))
	f.wait("switches", "n1")
	before := f.transactions()
	f.world.SetPod(pod("web", "n1", "10.244.0.5"))
	f.wait("ports", "default/web")
	if n := f.transactions() - before; n != 1 {
		t.Errorf("%d transactions for one pod", n)
	}
	f.holds("port default_web[10.244.0.5] [ovnkctl.io/owner=ports/default/web ovnkctl.io/row=port pod=true]",
		"switch n1[default_web] [id=1]switches/n1")
	f.world.SetPod(pod("web", "n1", "10.244.0.6"))
	f.wait("ports", "default/web")
	f.holds("port default_web[10.244.0.6] [ovnkctl.io/owner=ports/default/web ovnkctl.io/row=port pod=true]",
		"switch n1[default_web] [id=1]switches/n1")
	f.world.DeletePod(podKey("web"))
	f.wait("ports", "default/web")
	f.holds("switch n1[] [id=1]switches/n1")
	if st := f.engine.Status(); st.Keys != 1 || len(st.Problems) != 0 || !st.Synced {
		t.Errorf("status: %+v", st)
	}
}

// TestBurst has everything there at the start: parents and children in one transaction.
func TestBurst(t *testing.T) {
	t.Parallel()
	s := ovntest.NB(t)
	w := newWorld()
	f := prepare(t, s, w)
	for i := range 200 {
		w.SetPod(pod(fmt.Sprint("p", i), fmt.Sprint("n", i%3), fmt.Sprint("10.244.0.", i), "in", "all", "shared", fmt.Sprint("10.244.0.", i)))
	}
	w.SetPod(pod("maker", "n1", "10.244.0.250", "sets", "all"))
	for i := range 3 {
		w.SetNode(node(fmt.Sprint("n", i), "x"))
	}
	w.MarkSynced()
	f.run().sync()
	f.idle()
	if n := f.transactions(); n != 1 {
		t.Errorf("%d transactions", n)
	}
	if n := len(must(ovn.Find[nb.AddressSet](f.nb, "all")).Addresses); n != 200 {
		t.Errorf("%d addresses", n)
	}
	g := f.restart(s)
	if n := g.transactions(); n != 0 {
		t.Errorf("%d transactions after a restart", n)
	}
}

func must[T any](v *T, ok bool) *T {
	if !ok {
		panic("row not found")
	}
	return v
}

// TestWaiting brings children before their parents.
func TestWaiting(t *testing.T) {
	t.Parallel()
	f := start(t, ovntest.NB(t), newWorld())
	f.world.SetPod(pod("web", "n1", "10.244.0.5", "in", "set", "shared", "a"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := f.engine.Wait(ctx, "ports", feature.ParseKey("default/web"))
	if err == nil || !strings.Contains(err.Error(), "waiting for Logical_Switch n1") {
		t.Errorf("Wait: %v", err)
	}
	f.world.SetNode(node("n1", "1"))
	f.until("the port waits for the other parent", func() bool { return len(f.told()) >= 1 && len(dump(f.nb)) == 1 })
	f.world.SetPod(pod("maker", "n1", "10.244.0.6", "sets", "set"))
	f.wait("ports", "default/web")
	f.wait("ports", "default/maker")
	if got := must(ovn.Find[nb.AddressSet](f.nb, "set")).Addresses; !slices.Equal(got, []string{"a"}) {
		t.Errorf("addresses: %v", got)
	}
	if got, want := f.told(), []string{"ports default/web: WaitingForRow", "ports default/web: WaitingForRow", "ports default/web:"}; !slices.Equal(got, want) && !slices.Equal(got, want[1:]) {
		t.Errorf("reasons: %v", got)
	}
}

// TestWaitersComeAlong: what waits for a row is in the transaction that makes the row, so that
// a port is never there without the groups that it was to be in.
func TestWaitersComeAlong(t *testing.T) {
	t.Parallel()
	f := start(t, ovntest.NB(t), newWorld())
	const pods = 5
	for i := range pods {
		f.world.SetPod(pod(fmt.Sprint("web", i), "n1", fmt.Sprint("10.244.0.", i)))
	}
	for len(f.told()) < pods { // told by the engine without a change of the database
		if t.Context().Err() != nil {
			t.Fatal("the ports do not wait")
		}
		runtime.Gosched()
	}
	before := f.transactions()
	f.world.SetNode(node("n1", "1"))
	f.idle()
	if n := f.transactions() - before; n != 1 {
		t.Errorf("%d transactions, want one with the switch and its ports", n)
	}
	if n := len(must(ovn.Find[nb.LogicalSwitch](f.nb, "n1")).Ports); n != pods {
		t.Errorf("%d ports in the switch", n)
	}
}

// TestOneBadAmongGood has a transaction that the database refuses.
func TestOneBadAmongGood(t *testing.T) {
	t.Parallel()
	s := ovntest.NB(t)
	c := newClock()
	w := newWorld()
	f := prepare(t, s, w, func(cfg *engine.Config) { cfg.Clock = c })
	w.SetNode(node("n1", "1"))
	for i := range 100 {
		w.SetPod(pod(fmt.Sprint("p", i), "n1", fmt.Sprint("10.244.0.", i)))
	}
	nobody := "11111111-2222-3333-4444-555555555555"
	w.SetPod(pod("bad", "n1", "10.244.0.200", "bad", nobody))
	w.MarkSynced()
	f.run().sync()
	for i := range 100 {
		f.wait("ports", fmt.Sprint("default/p", i))
	}
	if n := len(ovn.List[nb.LogicalSwitchPort](f.nb)); n != 100 {
		t.Errorf("%d ports", n)
	}
	st := f.engine.Status()
	if len(st.Problems) != 1 || st.Problems[0].Key != "default/bad" || st.Problems[0].RetryAt.IsZero() {
		t.Fatalf("status: %+v", st)
	}
	// It is tried again ever more rarely, alone, and does not disturb others.
	last := time.Duration(0)
	for range 14 {
		pause := <-c.armed
		if pause < last || pause > time.Minute {
			t.Errorf("pause of %s after %s", pause, last)
		}
		last = pause
		c.advance(pause)
	}
	if last != time.Minute {
		t.Errorf("last pause %s", last)
	}
	f.world.SetPod(pod("good", "n1", "10.244.0.201"))
	f.wait("ports", "default/good")
	// Who asks for it hears why it is refused.
	repaired := f.engine.Repair("ports", key("default/bad"))
	<-c.armed
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := repaired(ctx); err == nil || !strings.Contains(err.Error(), nobody) {
		t.Errorf("repaired: %v", err)
	}
	// Mended, it is done at once.
	f.world.SetPod(pod("bad", "n1", "10.244.0.200"))
	f.wait("ports", "default/bad")
	if st := f.engine.Status(); len(st.Problems) != 0 {
		t.Errorf("status: %+v", st)
	}
	if got, want := f.told(), []string{"ports default/bad: Odd TransactionRefused", "ports default/bad:"}; !slices.Equal(got, want) {
		t.Errorf("reasons: %v", got)
	}
}

// TestSharedElement has two keys contribute the same.
func TestSharedElement(t *testing.T) {
	t.Parallel()
	s := ovntest.NB(t)
	f := start(t, s, newWorld())
	f.world.SetNode(node("n1", "1"))
	f.world.SetPod(pod("maker", "n1", "m", "sets", "set"))
	f.world.SetPod(pod("a", "n1", "1", "in", "set", "shared", "x", "option", "o", "value", "from-a"))
	f.world.SetPod(pod("b", "n1", "2", "in", "set", "shared", "x", "option", "o", "value", "from-b"))
	if _, err := f.nb.Transact(t.Context(), "", ovn.Insert(&nb.NBGlobal{Options: map[string]string{"theirs": "stays"}}, "g")); err != nil {
		t.Fatal(err)
	}
	f.idle()
	check := func(addresses, option string) {
		t.Helper()
		if got := strings.Join(must(ovn.Find[nb.AddressSet](f.nb, "set")).Addresses, " "); got != addresses {
			t.Errorf("addresses %q, want %q", got, addresses)
		}
		if got := must(ovn.Find[nb.LogicalSwitch](f.nb, "n1")).OtherConfig; got["o"] != option || got["id"] != "1" {
			t.Errorf("other_config %v, want o=%s", got, option)
		}
		if got := must(ovn.Find[nb.NBGlobal](f.nb, "")).Options; got["o"] != option || got["theirs"] != "stays" {
			t.Errorf("options %v, want o=%s", got, option)
		}
	}
	check("x", "from-a")
	f.world.DeletePod(podKey("a"))
	f.wait("ports", "default/a")
	check("x", "from-b")
	g := f.restart(s)
	if n := g.transactions(); n != 0 {
		t.Errorf("%d transactions after a restart", n)
	}
	f = g
	f.world.DeletePod(podKey("b"))
	f.wait("ports", "default/b")
	check("", "")
}

// TestNameTaken has two objects want the same name, then one go.
func TestNameTaken(t *testing.T) {
	t.Parallel()
	f := start(t, ovntest.NB(t), newWorld())
	f.world.SetNode(node("n1", "1"))
	f.world.SetPod(pod("a", "n1", "1", "called", "same"))
	f.wait("ports", "default/a")
	f.world.SetPod(pod("b", "n1", "2", "called", "same"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := f.engine.Wait(ctx, "ports", feature.ParseKey("default/b")); err == nil || !strings.Contains(err.Error(), `"same" belongs to ports/default/a`) {
		t.Errorf("Wait: %v", err)
	}
	f.world.DeletePod(podKey("a"))
	f.wait("ports", "default/b")
	f.holds("port same[2] [ovnkctl.io/owner=ports/default/b ovnkctl.io/row=port pod=true]", "switch n1[same] [id=1]switches/n1")
}

// TestMetrics looks at what a scrape gets.
func TestMetrics(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	waits := make(chan struct{}, 1)
	f := start(t, ovntest.NB(t), newWorld(), func(cfg *engine.Config) {
		cfg.Metrics = reg
		cfg.OnReasons = func(string, feature.Key, []feature.Reason) { waits <- struct{}{} }
	})
	f.world.SetNode(node("n1", "1"))
	f.world.SetPod(pod("a", "n1", "1"))
	f.world.SetPod(pod("b", "n1", "2"))
	f.world.SetPod(pod("c", "n2", "3"))
	f.wait("ports", "default/a")
	f.wait("ports", "default/b")
	<-waits
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, fam := range families {
		for _, m := range fam.GetMetric() {
			name := fam.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"ovnk_feature_rows ports Logical_Switch_Port":   2,
		"ovnk_feature_rows switches Logical_Switch":     1,
		"ovnk_feature_reasons ports WaitingForRow":      1,
		"ovnk_feature_reconciles_total change switches": 1,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	for _, fam := range families {
		if !strings.HasPrefix(fam.GetName(), "ovnk_") || fam.GetHelp() == "" {
			t.Errorf("metric %s: %q", fam.GetName(), fam.GetHelp())
		}
	}
}
