package engine_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// TestAnyHistory changes the world at random and then compares with what an engine makes
// of the final world alone, restarts, and deletes everything.
func TestAnyHistory(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		s := ovntest.NB(t)
		f := prepare(t, s, newWorld())
		defer f.close()
		running := false
		run := func() {
			if !running {
				running = true
				f.world.MarkSynced()
				f.run()
			}
		}
		for range rapid.IntRange(1, 40).Draw(r, "events") {
			switch rapid.SampledFrom([]string{"pod", "pod", "pod", "pod", "pod", "pod", "unpod", "unpod", "unpod", "node", "node", "unnode", "look", "look", "run", "cut"}).Draw(r, "what") {
			case "pod":
				f.world.SetPod(drawPod(r))
			case "unpod":
				f.world.DeletePod(podKey(drawName(r)))
			case "node":
				f.world.SetNode(node(drawNode(r), fmt.Sprint(rapid.IntRange(1, 3).Draw(r, "id"))))
			case "unnode":
				f.world.DeleteNode(drawNode(r))
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

		other := prepare(t, ovntest.NB(t), newWorld())
		defer other.close()
		f.world.Read(func(v world.View) {
			for p := range v.Pods {
				other.world.SetPod(p)
			}
			for _, n := range v.Nodes() {
				other.world.SetNode(n)
			}
		})
		other.world.MarkSynced()
		other.run().sync()
		other.idle()
		if want, got := dump(other.nb), dump(f.nb); !cmp.Equal(want, got) {
			r.Fatalf("history matters (-fresh +lived):\n%s", cmp.Diff(want, got))
		}

		again := f.restart(s)
		defer again.close()
		if n := again.transactions(); n != 0 {
			r.Fatalf("%d transactions after a restart", n)
		}
		var pods []world.PodKey
		again.world.Read(func(v world.View) {
			for p := range v.Pods {
				pods = append(pods, world.PodKey{Namespace: p.Namespace, Name: p.Name})
			}
		})
		for _, i := range rapid.Permutation(pods).Draw(r, "order of deletion") {
			again.world.DeletePod(i)
		}
		again.world.DeleteNode("n0")
		again.world.DeleteNode("n1")
		for _, p := range pods {
			again.wait("ports", p.String())
		}
		again.wait("switches", "n0")
		again.wait("switches", "n1")
		if got := dump(again.nb); len(got) != 0 {
			r.Fatalf("left when all is deleted: %v", got)
		}
		for again.engine.Status().Keys != 0 { // a key may be looked at once more before it is forgotten
			for _, p := range pods {
				again.wait("ports", p.String())
			}
		}
	})
}

func drawName(r *rapid.T) string {
	return rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(r, "pod")
}
func drawNode(r *rapid.T) string { return rapid.SampledFrom([]string{"n0", "n1"}).Draw(r, "node") }

func drawPod(r *rapid.T) *world.Pod {
	p := pod(drawName(r), drawNode(r), fmt.Sprint("10.244.0.", rapid.IntRange(1, 3).Draw(r, "address")))
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
