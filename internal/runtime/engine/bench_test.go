package engine

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// benchPods is shaped like the feature that makes the ports of pods.
type benchPods struct{}

func (benchPods) Name() string { return "pods" }

func (benchPods) Keys(_ world.View, c world.Change) []feature.Key {
	return []feature.Key{{Namespace: c.Ref.Namespace, Name: c.Ref.Name}}
}

func (benchPods) Desired(v world.View, k feature.Key) (out feature.Output, reasons []feature.Reason) {
	if k.Namespace == "" {
		out.NB.Add("switch", &nb.LogicalSwitch{Name: k.Name})
		out.NB.Add("set", &nb.AddressSet{Name: "all"})
		return out, nil
	}
	p, ok := v.Pod(world.PodKey{Namespace: k.Namespace, Name: k.Name})
	if !ok {
		return out, nil
	}
	address := "0a:58:0a:f4:00:05 " + p.UID
	out.NB.AddTo(rows.Target{Table: nb.LogicalSwitchTable, Name: p.Node}, "ports", "port", &nb.LogicalSwitchPort{
		Name: p.Namespace + "_" + p.Name, Addresses: []string{address}, PortSecurity: []string{address},
		Options:     map[string]string{"iface-id-ver": p.UID, "requested-chassis": p.Node},
		ExternalIDs: map[string]string{"namespace": p.Namespace, "pod": "true"},
	})
	out.NB.Members = append(out.NB.Members, rows.Member{Parent: rows.Target{Table: nb.AddressSetTable, Name: "all"}, Column: "addresses", Value: p.UID})
	return out, nil
}

// populated is an engine in sync on a real server with that many pods; it is not running.
func populated(b *testing.B, pods int) (*Engine, *world.Store) {
	b.Helper()
	schema, err := os.ReadFile("../../ovn/schema/ovn-nb.ovsschema")
	if err != nil {
		b.Fatal(err)
	}
	w := world.New(world.Config{LocalNode: "n1"})
	e := New(Config{World: w, NB: ovntest.Real(b, ovn.Northbound(), schema).Connect(b), Features: []feature.Feature{benchPods{}}})
	w.SetNode(&world.Node{Name: "n1"})
	for i := range pods {
		w.SetPod(benchPod(i, 0))
	}
	w.MarkSynced()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	b.StartTimer()
	go func() {
		defer close(done)
		_ = e.Run(ctx)
	}()
	<-e.Synced()
	b.StopTimer()
	cancel()
	<-done
	return e, w
}

func benchPod(i, version int) *world.Pod {
	return &world.Pod{Namespace: "default", Name: fmt.Sprint("pod-", i), Node: "n1", UID: fmt.Sprintf("10.%d.%d.%d", version%256, i/256, i%256)}
}

// cpu reports the time that this process computed, which other load does not lengthen.
func cpu(b *testing.B) (stop func()) {
	b.Helper()
	used := func() time.Duration {
		var r syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
			b.Fatal(err)
		}
		return time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	before := used()
	return func() { b.ReportMetric(float64((used()-before).Nanoseconds())/float64(b.N), "cpu-ns/op") }
}

// BenchmarkPlan is the engine's own work for one key of which one column and one element
// of a shared set have changed: compute, match, compare, write the operations. It must not
// grow with what else there is.
func BenchmarkPlan(b *testing.B) {
	for _, pods := range []int{10, 1000, 10000} {
		b.Run(fmt.Sprint(pods), func(b *testing.B) {
			e, w := populated(b, pods)
			w.SetPod(benchPod(3, 1))
			b.ReportAllocs()
			b.ResetTimer()
			b.StartTimer()
			defer cpu(b)()
			for range b.N {
				it := &item{keyState: e.queue.state(keyID{"pods", feature.Key{Namespace: "default", Name: "pod-3"}})}
				w.Read(func(v world.View) { it.out, it.reasons = benchPods{}.Desired(v, it.id.key) })
				e.planned([]*item{it}, func(p *plan) {
					if n := len(p.sides[nbSide].txn.ops); n != 2 {
						b.Fatalf("%d operations", n)
					}
				})
			}
		})
	}
}

// BenchmarkPlanNothing is the same when nothing has changed, as after a restart.
func BenchmarkPlanNothing(b *testing.B) {
	for _, pods := range []int{10, 1000, 10000} {
		b.Run(fmt.Sprint(pods), func(b *testing.B) {
			e, w := populated(b, pods)
			b.ReportAllocs()
			b.ResetTimer()
			b.StartTimer()
			defer cpu(b)()
			for range b.N {
				it := &item{keyState: e.queue.state(keyID{"pods", feature.Key{Namespace: "default", Name: "pod-3"}})}
				w.Read(func(v world.View) { it.out, it.reasons = benchPods{}.Desired(v, it.id.key) })
				e.planned([]*item{it}, func(p *plan) {
					if n := len(p.sides[nbSide].txn.ops); n != 0 {
						b.Fatalf("%d operations", n)
					}
				})
			}
		})
	}
}

// BenchmarkCommit is one changed pod from the world to the database and back into the
// cache, ovsdb-server included.
func BenchmarkCommit(b *testing.B) {
	for _, pods := range []int{10, 1000, 10000} {
		b.Run(fmt.Sprint(pods), func(b *testing.B) {
			e, w := populated(b, pods)
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = e.Run(ctx)
			}()
			b.ReportAllocs()
			b.ResetTimer()
			b.StartTimer()
			defer cpu(b)()
			for i := range b.N {
				w.SetPod(benchPod(3, i+1))
				if err := e.Wait(ctx, "pods", feature.Key{Namespace: "default", Name: "pod-3"}); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			cancel()
			<-done
		})
	}
}

// BenchmarkStart is the initial sync of an empty database.
func BenchmarkStart(b *testing.B) {
	for _, pods := range []int{250, 5000} {
		b.Run(fmt.Sprint(pods), func(b *testing.B) {
			defer cpu(b)()
			for range b.N {
				b.StopTimer()
				populated(b, pods)
			}
			b.ReportMetric(float64(pods)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
