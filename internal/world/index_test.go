package world

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestIndexAgreesWithScan changes the store at random and compares every answer of the
// index with a scan of the objects.
func TestIndexAgreesWithScan(t *testing.T) {
	t.Parallel()
	subnets := []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("10.0.1.0/24"),
		netip.MustParsePrefix("10.0.0.0/23"), netip.MustParsePrefix("fd00::/64"),
	}
	addrs := []netip.Addr{netip.MustParseAddr("10.0.0.3"), netip.MustParseAddr("fd00::3")}
	rapid.Check(t, func(rt *rapid.T) {
		s := New(Config{})
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			name := fmt.Sprint("o", rapid.IntRange(0, 3).Draw(rt, "object"))
			key := PodKey{"ns", name}
			switch rapid.IntRange(0, 4).Draw(rt, "step") {
			case 0:
				s.SetNode(&Node{
					Name: name, ID: rapid.IntRange(0, 2).Draw(rt, "id"),
					ChassisID: rapid.SampledFrom([]string{"", "a", "b"}).Draw(rt, "chassis"),
					EncapIPs:  rapid.SliceOfDistinct(rapid.SampledFrom(addrs), rapid.ID).Draw(rt, "encap"),
					Subnets:   map[string][]netip.Prefix{"default": rapid.SliceOfDistinct(rapid.SampledFrom(subnets), rapid.ID).Draw(rt, "subnets")},
					Transit:   []netip.Prefix{netip.PrefixFrom(rapid.SampledFrom(addrs).Draw(rt, "transit"), 16)},
				})
			case 1:
				s.DeleteNode(name)
			case 2:
				s.SetPod(&Pod{Namespace: "ns", Name: name, UID: "1", Node: "n", Finished: rapid.Bool().Draw(rt, "finished")})
			case 3:
				a := rapid.SampledFrom(addrs).Draw(rt, "address")
				s.Allocate(key, "1", "default", PodNetwork{Addresses: []netip.Prefix{netip.PrefixFrom(a, 24)}})
			case 4:
				s.DeletePod(key)
			}
			s.Read(func(v View) { compareWithScan(rt, v, subnets, addrs) })
		}
		s.Read(func(v View) {
			for _, n := range v.Nodes() {
				s.index.replaceNode(n, nil)
			}
			for p := range v.Pods {
				s.index.replacePod(p, nil)
			}
		})
		if diff := cmp.Diff(newIndex(), s.index, cmp.AllowUnexported(index{}, subnetKey{}, lengthKey{}, addressKey{})); diff != "" {
			rt.Fatalf("something is left in the index of an empty store: %s", diff)
		}
	})
}

func compareWithScan(t *rapid.T, v View, subnets []netip.Prefix, addrs []netip.Addr) {
	check := func(what string, got []*Node, has func(*Node) bool) {
		t.Helper()
		slices.SortFunc(got, func(a, b *Node) int { return strings.Compare(a.Name, b.Name) })
		want := slices.DeleteFunc(v.Nodes(), func(n *Node) bool { return !has(n) })
		if !slices.Equal(got, want) {
			t.Fatalf("%s: got %d nodes, want %d", what, len(got), len(want))
		}
	}
	check("id 1", v.NodesWithID(1), func(n *Node) bool { return n.ID == 1 })
	check("chassis a", v.NodesWithChassis("a"), func(n *Node) bool { return n.ChassisID == "a" })
	for _, a := range addrs {
		check("encap", v.NodesWithEncap(a), func(n *Node) bool { return slices.Contains(n.EncapIPs, a) })
		t16 := netip.PrefixFrom(a, 16)
		check("transit", v.NodesWithTransit(t16), func(n *Node) bool { return n.Transit[0] == t16 })
		pods := v.PodsWithAddress("default", a)
		n := 0
		for p := range v.Pods {
			has := p.Networked() && slices.ContainsFunc(p.Networks["default"].Addresses, func(q netip.Prefix) bool { return q.Addr() == a })
			if has != slices.Contains(pods, p) {
				t.Fatalf("pod %s and address %s: index says %v", p.Name, a, !has)
			}
			if has {
				n++
			}
		}
		if n != len(pods) {
			t.Fatalf("address %s: index has %d pods, want %d", a, len(pods), n)
		}
	}
	for _, p := range subnets {
		check(p.String(), v.NodesOverlapping("default", p), func(n *Node) bool { return slices.ContainsFunc(n.Subnets["default"], p.Overlaps) })
		check("other network", v.NodesOverlapping("blue", p), func(*Node) bool { return false })
	}
}
