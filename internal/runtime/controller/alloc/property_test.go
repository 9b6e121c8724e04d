package alloc

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// plans are small enough for everything to collide.
var plans = rapid.SampledFrom([]func() world.Network{
	func() world.Network { return network("10.1.0.0/28/30", "10.1.0.64/26/28") },
	func() world.Network { return network("10.1.0.0/26/28", "fd00::/125/126") },
	func() world.Network { return network("fd00::/120/123") },
	func() world.Network {
		n := network("10.1.0.0/24/26", "10.1.1.0/25/29", "fd00::/112/116")
		n.JoinSubnets = prefixes("100.64.0.0/29")
		return n
	},
})

// drawClaim claims things that exist, overlap, lie outside or make no sense.
func drawClaim(t *rapid.T, node string) Claim {
	c := Claim{Node: node, Created: time.Unix(int64(rapid.IntRange(0, 3).Draw(t, "created")), 0)}
	c.ID = rapid.IntRange(0, 9).Draw(t, "id")
	for _, base := range []string{"10.1.0.0", "fd00::"} {
		if !rapid.Bool().Draw(t, "claims "+base) {
			continue
		}
		a := netip.MustParseAddr(base)
		b := a.AsSlice()
		b[len(b)-1] = rapid.Byte().Draw(t, "last byte")
		b[len(b)-2] = rapid.ByteRange(0, 2).Draw(t, "last byte but one")
		a, _ = netip.AddrFromSlice(b)
		bits := a.BitLen() - rapid.IntRange(1, 9).Draw(t, "host bits")
		c.Subnets = append(c.Subnets, netip.PrefixFrom(a, bits).Masked())
	}
	return c
}

func drawClaims(t *rapid.T) []Claim {
	var claims []Claim
	for i := range rapid.IntRange(0, 8).Draw(t, "nodes") {
		claims = append(claims, drawClaim(t, fmt.Sprintf("n%d", i)))
	}
	return claims
}

// checkInvariants: no two nodes have the same id or overlapping subnets, and a node
// without a problem has all it needs.
func checkInvariants(t *rapid.T, n world.Network, results map[string]Result) {
	type owned struct {
		node   string
		prefix netip.Prefix
	}
	families := map[bool]bool{}
	for _, c := range n.ClusterSubnets {
		families[c.Prefix.Addr().Is4()] = true
	}
	ids := map[int]string{}
	var all []owned
	for node, r := range results {
		if r.ID != 0 {
			if other, ok := ids[r.ID]; ok {
				t.Fatalf("nodes %s and %s both have id %d", node, other, r.ID)
			}
			ids[r.ID] = node
		}
		for _, p := range r.Subnets {
			for _, o := range all {
				if o.prefix.Overlaps(p) {
					t.Fatalf("%s of node %s overlaps %s of node %s", p, node, o.prefix, o.node)
				}
			}
			all = append(all, owned{node, p})
		}
		if r.Problem == nil && (r.ID == 0 || len(r.Subnets) != len(families)) {
			t.Fatalf("node %s has no problem, but only %+v", node, r.Allocation)
		}
	}
}

func byNode(results []Result) map[string]Result {
	m := map[string]Result{}
	for _, r := range results {
		m[r.Node] = r
	}
	return m
}

func TestOrderOfNodesDoesNotMatter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := plans.Draw(t, "plan")()
		claims := drawClaims(t)
		want := byNode(New(n).Load(slices.Clone(claims)))
		checkInvariants(t, n, want)
		got := byNode(New(n).Load(rapid.Permutation(claims).Draw(t, "order")))
		if diff := cmp.Diff(want, got, opaque); diff != "" {
			t.Fatalf("in another order:\n%s", diff)
		}
	})
}

// TestAnyHistory runs nodes through any sequence of events: nothing ever overlaps, what a
// node has stays until it is deleted, and a restart from what was written changes nothing.
func TestAnyHistory(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := plans.Draw(t, "plan")()
		a := New(n)
		claims := map[string]Claim{}
		for _, c := range drawClaims(t) {
			claims[c.Node] = c
		}
		now := byNode(a.Load(slices.Collect(maps.Values(claims))))
		checkInvariants(t, n, now)
		for range rapid.IntRange(0, 12).Draw(t, "events") {
			node := fmt.Sprintf("n%d", rapid.IntRange(0, 9).Draw(t, "node"))
			switch rapid.SampledFrom([]string{"update", "delete", "restart"}).Draw(t, "event") {
			case "update":
				c := drawClaim(t, node)
				if old, ok := claims[node]; ok {
					c.Created = old.Created
				}
				r := a.Allocate(c)
				if before, ok := now[node]; ok && before.Problem == nil && !cmp.Equal(before.Allocation, r.Allocation, opaque) {
					t.Fatalf("node %s had %+v and has %+v", node, before.Allocation, r.Allocation)
				}
				claims[node], now[node] = c, r
			case "delete":
				a.Release(node)
				delete(claims, node)
				delete(now, node)
			case "restart":
				a, now = restart(t, n, claims, now)
			}
			checkInvariants(t, n, now)
		}
		if used := a.IDUsage().Used; used > len(now) {
			t.Fatalf("%d ids are in use by %d nodes", used, len(now))
		}
	})
}

// restart loads what was written into a new allocator. Nodes that have all they need keep
// it; those that wait may get something, because others' findings were settled.
func restart(t *rapid.T, n world.Network, claims map[string]Claim, now map[string]Result) (*Allocator, map[string]Result) {
	var written []Claim
	for node, r := range now {
		c := claims[node]
		c.Allocation = r.Allocation
		claims[node] = c
		written = append(written, c)
	}
	a := New(n)
	after := byNode(a.Load(written))
	for node, before := range now {
		r := after[node]
		if len(r.Findings) > 0 {
			t.Fatalf("restart finds fault with what was allocated to %s: %+v", node, r.Findings)
		}
		if before.Problem == nil && !cmp.Equal(before.Allocation, r.Allocation, opaque) {
			t.Fatalf("restart gave %s %+v instead of %+v", node, r.Allocation, before.Allocation)
		}
	}
	return a, after
}
