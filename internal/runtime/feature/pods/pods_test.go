package pods

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/featuretest"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

func TestGolden(t *testing.T) {
	t.Parallel()
	given := featuretest.Golden(t, Feature{})
	for _, code := range Codes {
		if !given[code] {
			t.Errorf("no golden case gives the reason %s", code)
		}
		delete(given, code)
	}
	for code := range given {
		t.Errorf("reason %s is not in Codes", code)
	}
}

// zone is a store with one node and n pods on it.
func zone(n int) *world.Store {
	subnet := netip.MustParsePrefix("10.128.0.0/16")
	s := world.New(world.Config{LocalNode: "n1", Networks: []world.Network{{
		Name: world.DefaultNetwork, ClusterSubnets: []world.ClusterSubnet{{Prefix: netip.MustParsePrefix("10.128.0.0/14"), HostLength: 16}},
	}}})
	s.SetNode(node(subnet))
	for i := range n {
		a, _ := plan.Nth(subnet, uint64(i+3))
		s.SetPod(&world.Pod{
			Namespace: "ns", Name: fmt.Sprintf("pod-%d", i), UID: fmt.Sprint(i), Node: "n1", Created: int64(i),
			Networks: map[string]world.PodNetwork{world.DefaultNetwork: {Addresses: []netip.Prefix{plan.With(a, subnet)}, MAC: plan.MAC(a)}},
		})
	}
	return s
}

func node(subnet netip.Prefix) *world.Node {
	return &world.Node{Name: "n1", ID: 2, ChassisID: "chassis-n1", Subnets: map[string][]netip.Prefix{world.DefaultNetwork: {subnet}}}
}

func TestAllocatorOverridesMalformedAnnotation(t *testing.T) {
	t.Parallel()
	s := zone(0)
	key := world.PodKey{Namespace: "ns", Name: "p"}
	s.SetPod(&world.Pod{Namespace: "ns", Name: "p", UID: "u", Node: "n1",
		Problems: []world.Problem{{Field: "k8s.ovn.org/pod-networks", Message: "no JSON"}}})
	desired := func() (out feature.Output, reasons []feature.Reason) {
		s.Read(func(v world.View) { out, reasons = Feature{}.Desired(v, feature.Key{Namespace: "ns", Name: "p"}) })
		return out, reasons
	}
	if out, reasons := desired(); len(out.NB.Rows) != 0 || len(reasons) != 1 || reasons[0].Code != InvalidPodAnnotation {
		t.Errorf("without an allocation: %v, %v", out, reasons)
	}
	s.Allocate(key, "u", world.DefaultNetwork, world.PodNetwork{Addresses: []netip.Prefix{netip.MustParsePrefix("10.128.0.9/16")}, MAC: "0a:58:0a:80:00:09"})
	if out, reasons := desired(); len(out.NB.Rows) != 1 || len(reasons) != 0 {
		t.Errorf("with one: %v, %v", out, reasons)
	}
}

// TestKeysAreFew counts the keys that changes touch: a pod only itself, a node its pods
// only when their ports change.
func TestKeysAreFew(t *testing.T) {
	t.Parallel()
	const pods = 50
	s := zone(pods)
	touched := 0
	s.Subscribe(func(v world.View, c world.Change) { touched += len(Feature{}.Keys(v, c)) })
	count := func(what string, want int, f func()) {
		t.Helper()
		touched = 0
		f()
		if touched != want {
			t.Errorf("%s touches %d keys, want %d", what, touched, want)
		}
	}
	subnet := netip.MustParsePrefix("10.128.0.0/16")
	count("a changed pod", 1, func() { s.SetPod(&world.Pod{Namespace: "ns", Name: "pod-7", UID: "7", Node: "n1"}) })
	count("a pod of another node", 0, func() { s.SetPod(&world.Pod{Namespace: "ns", Name: "far", UID: "1", Node: "n2"}) })
	count("a new label of the node", 0, func() {
		n := node(subnet)
		n.Labels = map[string]string{"a": "b"}
		s.SetNode(n)
	})
	count("another node", 0, func() {
		s.SetNode(&world.Node{Name: "n2", Subnets: map[string][]netip.Prefix{world.DefaultNetwork: {netip.MustParsePrefix("10.129.0.0/16")}}})
	})
	count("another node with our subnet", pods, func() {
		s.SetNode(&world.Node{Name: "n3", Subnets: map[string][]netip.Prefix{world.DefaultNetwork: {subnet}}})
	})
	count("a new chassis id", pods, func() {
		n := node(subnet)
		n.ChassisID = "other"
		s.SetNode(n)
	})
}

// BenchmarkDesired computes one pod among many: the time must not grow with their number.
func BenchmarkDesired(b *testing.B) {
	for _, size := range []int{10, 1_000, 10_000} {
		s := zone(size)
		b.Run(fmt.Sprintf("pods=%d", size), func(b *testing.B) {
			b.ReportAllocs()
			s.Read(func(v world.View) {
				for b.Loop() {
					if out, _ := (Feature{}).Desired(v, feature.Key{Namespace: "ns", Name: "pod-5"}); len(out.NB.Rows) != 1 {
						b.Fatal("no row")
					}
				}
			})
		})
	}
}

// BenchmarkKeys asks which keys a changed pod touches.
func BenchmarkKeys(b *testing.B) {
	s := zone(10_000)
	s.Read(func(v world.View) {
		p, _ := v.Pod(world.PodKey{Namespace: "ns", Name: "pod-5"})
		b.ReportAllocs()
		for b.Loop() {
			(Feature{}).Keys(v, world.Change{Ref: p.Ref(), OldPod: p, NewPod: p})
		}
	})
}
