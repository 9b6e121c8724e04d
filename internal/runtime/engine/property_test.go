package engine_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// event is one thing that happens while an engine lives, or before.
type event struct {
	what string // pod, unpod, node, unnode, look, run, cut
	pod  *world.Pod
	node *world.Node
}

func (e event) String() string {
	switch {
	case e.pod != nil:
		return fmt.Sprint(e.what, " ", e.pod.Name, " on ", e.pod.Node, " ", e.pod.Labels)
	case e.node != nil:
		return fmt.Sprint(e.what, " ", e.node.Name, " ", e.node.Labels)
	}
	return e.what
}

// histories draws what happens; kinds are as likely as they are often.
func histories(kinds ...string) *rapid.Generator[[]event] {
	one := rapid.Custom(func(r *rapid.T) event {
		e := event{what: rapid.SampledFrom(kinds).Draw(r, "what")}
		switch e.what {
		case "pod", "unpod":
			e.pod = drawPod(r)
		case "node", "unnode":
			e.node = node(rapid.SampledFrom([]string{"n0", "n1"}).Draw(r, "node"), fmt.Sprint(rapid.IntRange(1, 3).Draw(r, "id")))
		}
		return e
	})
	return rapid.SliceOfN(one, 1, 40)
}

var peaceful = []string{"pod", "pod", "pod", "pod", "pod", "pod", "unpod", "unpod", "unpod", "node", "node", "unnode", "look", "look", "run"}

// live goes through a history and ends with everything in place.
func live(t testing.TB, s *ovntest.Server, history []event) *fixture {
	f := prepare(t, s, newWorld())
	running := false
	run := func() {
		if !running {
			running = true
			f.world.MarkSynced()
			f.run()
		}
	}
	for _, e := range history {
		switch e.what {
		case "pod":
			f.world.SetPod(e.pod)
		case "unpod":
			f.world.DeletePod(podKey(e.pod.Name))
		case "node":
			f.world.SetNode(e.node)
		case "unnode":
			f.world.DeleteNode(e.node.Name)
		case "run":
			run()
		case "look": // lets the engine catch up, more or less
			if running {
				f.sync()
			}
		case "cut":
			s.Shut()
			s.Open(t)
		}
	}
	// Every parent is there in the end, so that nothing waits.
	f.world.SetNode(node("n0", "1"))
	f.world.SetNode(node("n1", "1"))
	f.world.SetPod(pod("maker", "n0", "m", "sets", "s0 s1 s2"))
	run()
	f.sync()
	f.idle()
	return f
}

// judge compares with what an engine makes of the final world alone, restarts, and deletes
// everything; it returns what is wrong.
func judge(t testing.TB, f *fixture, s *ovntest.Server, deletions func([]world.PodKey) []world.PodKey) string {
	defer f.close()
	other := prepare(t, ovntest.NB(t), newWorld())
	defer other.close()
	f.copyWorld(other.world)
	other.world.MarkSynced()
	other.run().sync()
	other.idle()
	if want, got := dump(other.nb), dump(f.nb); !cmp.Equal(want, got) {
		return fmt.Sprintf("history matters (-fresh +lived):\n%s", cmp.Diff(want, got))
	}
	again := f.restart(s)
	defer again.close()
	if n := again.transactions(); n != 0 {
		return fmt.Sprintf("%d transactions after a restart", n)
	}
	var pods []world.PodKey
	again.world.Read(func(v world.View) {
		for p := range v.Pods {
			pods = append(pods, world.PodKey{Namespace: p.Namespace, Name: p.Name})
		}
	})
	slices.SortFunc(pods, func(a, b world.PodKey) int { return strings.Compare(a.Name, b.Name) })
	pods = deletions(pods)
	for _, p := range pods {
		again.world.DeletePod(p)
	}
	again.world.DeleteNode("n0")
	again.world.DeleteNode("n1")
	again.until("everything is gone and forgotten", func() bool { return len(dump(again.nb)) == 0 })
	for _, p := range pods {
		again.wait("ports", p.String())
	}
	for st := again.engine.Status(); st.Keys != 0; st = again.engine.Status() {
		// A key may be looked at once more before it is forgotten; it must not stay.
		if len(st.Problems) > 0 || t.Context().Err() != nil {
			return fmt.Sprintf("keys left: %+v", st)
		}
		runtime.Gosched()
	}
	return ""
}

func TestAnyHistory(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		s := ovntest.NB(t)
		f := live(t, s, histories(peaceful...).Draw(r, "history"))
		if wrong := judge(t, f, s, func(ps []world.PodKey) []world.PodKey {
			return rapid.Permutation(ps).Draw(r, "order of deletion")
		}); wrong != "" {
			r.Fatal(wrong)
		}
	})
}

// TestAnyHistoryWithCuts does the same on a real server whose connection breaks: the one
// in memory may lose an update to a client that connects during a transaction.
func TestAnyHistoryWithCuts(t *testing.T) {
	t.Parallel()
	for seed := range 15 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			history := histories(append([]string{"cut", "cut", "run"}, peaceful...)...).Example(seed)
			s := ovntest.Real(t, ovn.Northbound(), northbound(t))
			f := live(t, s, history)
			if wrong := judge(t, f, s, func(ps []world.PodKey) []world.PodKey { return ps }); wrong != "" {
				t.Errorf("%s\nafter %v", wrong, history)
			}
		})
	}
}

func drawName(r *rapid.T) string {
	return rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(r, "pod")
}

func drawPod(r *rapid.T) *world.Pod {
	p := pod(drawName(r), rapid.SampledFrom([]string{"n0", "n1"}).Draw(r, "node"), fmt.Sprint("10.244.0.", rapid.IntRange(1, 3).Draw(r, "address")))
	var in []string
	for _, s := range []string{"s0", "s1", "s2"} {
		if rapid.Bool().Draw(r, s) {
			in = append(in, s)
		}
	}
	if len(in) > 0 {
		p.Labels["in"], p.Labels["shared"] = fmt.Sprint(in[0], " ", in[len(in)-1]), rapid.SampledFrom([]string{"x", "y"}).Draw(r, "element")
	}
	if rapid.Bool().Draw(r, "mac") {
		p.Labels["mac"] = "0a:58:00:00:00:01"
	}
	if rapid.Bool().Draw(r, "grouped") {
		p.Labels["groups"], p.Labels["member"] = "s1", "yes"
	}
	return p
}

// TestOrderIsNothing delivers the same final objects in any order.
func TestOrderIsNothing(t *testing.T) {
	t.Parallel()
	var want []string
	rapid.Check(t, func(r *rapid.T) {
		f := start(t, ovntest.NB(t), newWorld())
		defer f.close()
		events := []func(){
			func() { f.world.SetNode(node("n0", "1")) },
			func() { f.world.SetNode(node("n1", "2")) },
			func() { f.world.SetPod(pod("maker", "n0", "m", "sets", "s0 s1")) },
			func() { f.world.SetPod(pod("a", "n0", "1", "in", "s0 s1", "shared", "x")) },
			func() { f.world.SetPod(pod("b", "n1", "2", "in", "s1", "shared", "x", "mac", "0a:58:00:00:00:01")) },
			func() { f.world.SetPod(pod("c", "n1", "3", "in", "s0", "shared", "y")) },
		}
		for _, e := range rapid.Permutation(events).Draw(r, "order") {
			e()
			if rapid.Bool().Draw(r, "pause") {
				_ = f.engine.Wait(t.Context(), "switches", key("n0"))
			}
		}
		f.idle()
		got := dump(f.nb)
		if want == nil {
			want = got
		}
		if !slices.Equal(want, got) {
			r.Fatalf("order matters:\n%s", cmp.Diff(want, got))
		}
	})
}
