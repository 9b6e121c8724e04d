package nft_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/nft"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/nft/nfttest"
)

func TestDiffLeadsToWhatIsWanted(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		leads(t, nfttest.New(), nfttest.New())
	})
}

// services are a table as services need it: a map entry per service, and chains that a map
// leads to.
func services(n, chains int) nft.Table {
	dnat := nft.Map{Name: "m", Type: "inet_proto . inet_service", Value: "ipv4_addr . inet_service", Elements: map[string]string{}}
	local := nft.Map{Name: "v", Type: "ipv4_addr . inet_proto . inet_service", Value: nft.Verdict, Elements: map[string]string{}}
	t := nft.Table{Family: "inet", Name: "t"}
	for i := range n {
		dnat.Elements[fmt.Sprintf("tcp . %d", i+1)] = fmt.Sprintf("10.96.%d.%d . 80", i>>8, i&0xff)
	}
	for i := range chains {
		name := fmt.Sprintf("svc-%d", i)
		local.Elements[fmt.Sprintf("10.1.%d.%d . udp . 80", i>>8, i&0xff)] = "goto " + name
		t.Chains = append(t.Chains, nft.Chain{Name: name, Rules: []nft.Rule{
			{Text: "meta l4proto udp numgen random mod 2 0 dnat ip to 10.244.1.2:80", Comment: name},
			{Text: "meta l4proto udp dnat ip to 10.244.1.3:80", Comment: name},
		}})
	}
	t.Chains = append(t.Chains, nft.Chain{Name: "in", Base: &nft.Base{Type: "nat", Hook: "prerouting", Priority: -100, Policy: "accept"}, Rules: []nft.Rule{
		{Text: "dnat ip to meta l4proto . th dport map @m", Comment: "node ports"},
		{Text: "ip daddr . meta l4proto . th dport vmap @v", Comment: "external addresses"},
	}})
	t.Maps = []nft.Map{dnat, local}
	return t
}

// One service costs its elements and chain, whatever else there is.
func TestDiffIsSmall(t *testing.T) {
	t.Parallel()
	base := services(5, 3)
	base.Sets = []nft.Set{{Name: "s", Type: "ipv4_addr", Elements: []string{"10.0.0.1", "10.0.0.2"}}}
	changed := func(change func(t *nft.Table)) nft.Table {
		c := services(5, 3)
		c.Sets = []nft.Set{{Name: "s", Type: "ipv4_addr", Elements: []string{"10.0.0.1", "10.0.0.2"}}}
		change(&c)
		return c
	}
	for name, test := range map[string]struct {
		to   nft.Table
		want []string
	}{
		"nothing": {changed(func(*nft.Table) {}), nil},
		"other words": {changed(func(t *nft.Table) {
			t.Sets[0].Elements = []string{"10.0.0.2/32", "10.0.0.1", "10.0.0.1"}
			delete(t.Maps[0].Elements, "tcp . 2")
			t.Maps[0].Elements["6 . 2"] = "10.96.0.1 . 80"
		}), nil},
		"elements": {changed(func(t *nft.Table) { t.Sets[0].Elements = []string{"10.0.0.2", "10.0.0.3"} }), []string{
			"delete element inet t s { 10.0.0.1 }", "add element inet t s { 10.0.0.3 }",
		}},
		"value": {changed(func(t *nft.Table) { t.Maps[0].Elements["tcp . 2"] = "10.96.0.1 . 81" }), []string{
			"delete element inet t m { tcp . 2 }", "add element inet t m { tcp . 2 : 10.96.0.1 . 81 }",
		}},
		"service gone": {changed(func(t *nft.Table) {
			delete(t.Maps[1].Elements, "10.1.0.1 . udp . 80")
			t.Chains = slices.Delete(t.Chains, 1, 2)
		}), []string{"flush chain inet t svc-1", "delete element inet t v { 10.1.0.1 . udp . 80 }", "delete chain inet t svc-1"}},
		"service new": {changed(func(t *nft.Table) {
			t.Maps[1].Elements["10.1.0.9 . udp . 80"] = "goto new"
			t.Chains = append(t.Chains, nft.Chain{Name: "new", Rules: []nft.Rule{{Text: "drop", Comment: "x"}}})
		}), []string{"add chain inet t new", "add element inet t v { 10.1.0.9 . udp . 80 : goto new }", `add rule inet t new drop comment "x [d90ee9cc]"`}},
		"rule": {changed(func(t *nft.Table) { t.Chains[0].Rules = []nft.Rule{{Text: "ip saddr @s drop", Comment: "x"}} }), []string{
			"flush chain inet t svc-0", `add rule inet t svc-0 ip saddr @s drop comment "x [e2578a9f]"`,
		}},
		// Its rule could not come to a map with ports for values that is there already.
		"rule that looks up": {changed(func(t *nft.Table) {
			t.Chains[3].Rules = t.Chains[3].Rules[:1]
			t.Chains[3].Rules[0].Comment = "y"
		}), []string{
			"flush chain inet t in", "delete map inet t m", "add map inet t m { typeof meta l4proto . th dport : ip daddr . th dport ; }",
			"add element inet t m { tcp . 1 : 10.96.0.0 . 80, tcp . 2 : 10.96.0.1 . 80, tcp . 3 : 10.96.0.2 . 80, tcp . 4 : 10.96.0.3 . 80, tcp . 5 : 10.96.0.4 . 80 }",
			`add rule inet t in dnat ip to meta l4proto . th dport map @m comment "y [26edb53f]"`,
		}},
		"another type": {changed(func(t *nft.Table) {
			t.Maps = t.Maps[1:]
			t.Sets = append(t.Sets, nft.Set{Name: "m", Type: "inet_proto", Flags: nft.Interval})
			t.Chains[3].Rules = t.Chains[3].Rules[1:]
		}), []string{
			"flush chain inet t in", "delete map inet t m", "add set inet t m { typeof meta l4proto ; flags interval ; }",
			`add rule inet t in ip daddr . meta l4proto . th dport vmap @v comment "external addresses [a307d314]"`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := nfttest.New()
			if err := f.Apply(t.Context(), nft.Diff(nil, base)); err != nil {
				t.Fatal(err)
			}
			have, _ := f.List(t.Context(), "inet", "t")
			ops := nft.Diff(have, test.to)
			var got []string
			for _, o := range ops {
				got = append(got, o.String())
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			if err := f.Apply(t.Context(), ops); err != nil {
				t.Error(err)
			}
		})
	}
}

// What was declared by the names of types is made anew, and what leads to it.
func TestDiffDeclaresAnew(t *testing.T) {
	t.Parallel()
	want, f := services(2, 1), nfttest.New()
	want.Sets = []nft.Set{{Name: "s", Type: "ipv4_addr", Elements: []string{"10.0.0.1"}}}
	if err := f.Apply(t.Context(), nft.Diff(nil, want)); err != nil {
		t.Fatal(err)
	}
	have, _ := f.List(t.Context(), "inet", "t")
	have.Maps[1].Named, have.Sets[0].Named = true, true
	ops := nft.Diff(have, want)
	var got []string
	for _, o := range ops {
		got = append(got, o.String())
	}
	if d := cmp.Diff([]string{
		"flush chain inet t in", "delete map inet t m", "delete set inet t s", "delete map inet t v",
		"add set inet t s { typeof ip daddr ; }", "add element inet t s { 10.0.0.1 }",
		"add map inet t m { typeof meta l4proto . th dport : ip daddr . th dport ; }",
		"add element inet t m { tcp . 1 : 10.96.0.0 . 80, tcp . 2 : 10.96.0.1 . 80 }",
		"add map inet t v { typeof ip daddr . meta l4proto . th dport : verdict ; }",
		"add element inet t v { 10.1.0.0 . udp . 80 : goto svc-0 }",
		`add rule inet t in dnat ip to meta l4proto . th dport map @m comment "node ports [26edb53f]"`,
		`add rule inet t in ip daddr . meta l4proto . th dport vmap @v comment "external addresses [a307d314]"`,
	}, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if err := f.Apply(t.Context(), ops); err != nil {
		t.Error(err)
	}
	if have, _ = f.List(t.Context(), "inet", "t"); len(nft.Diff(have, want)) > 0 {
		t.Errorf("differs when made anew: %v", nft.Diff(have, want))
	}
}

// The fake refuses what the kernel refuses.
func TestFakeRefuses(t *testing.T) {
	t.Parallel()
	op := func(o nft.Op) []nft.Op { o.Family, o.Table = "inet", "t"; return []nft.Op{o} }
	for name, ops := range map[string][]nft.Op{
		"chain in a map":          {{Verb: nft.FlushChain, Chain: &nft.Chain{Name: "svc-0"}}, {Verb: nft.DeleteChain, Chain: &nft.Chain{Name: "svc-0"}}},
		"chain with rules":        {{Verb: nft.DeleteElements, Map: &nft.Map{Name: "v", Elements: map[string]string{"10.1.0.0 . udp . 80": ""}}}, {Verb: nft.DeleteChain, Chain: &nft.Chain{Name: "svc-0"}}},
		"map of a rule":           {{Verb: nft.DeleteMap, Map: &nft.Map{Name: "m"}}},
		"other value":             {{Verb: nft.AddElements, Map: &nft.Map{Name: "m", Elements: map[string]string{"tcp . 1": "10.0.0.9 . 9"}}}},
		"element not there":       {{Verb: nft.DeleteElements, Map: &nft.Map{Name: "m", Elements: map[string]string{"tcp . 99": ""}}}},
		"element of another type": {{Verb: nft.AddElements, Map: &nft.Map{Name: "m", Elements: map[string]string{"tcp": "10.0.0.9 . 9"}}}},
		"value of another type":   {{Verb: nft.AddElements, Map: &nft.Map{Name: "m", Elements: map[string]string{"tcp . 77": "fd00::1 . 9"}}}},
		"no chain":                {{Verb: nft.AddElements, Map: &nft.Map{Name: "v", Elements: map[string]string{"10.1.0.99 . udp . 80": "goto nowhere"}}}},
		"base chain":              {{Verb: nft.AddRule, Chain: &nft.Chain{Name: "svc-0"}, Rule: &nft.Rule{Text: "jump in"}}},
		"no set":                  {{Verb: nft.AddRule, Chain: &nft.Chain{Name: "svc-0"}, Rule: &nft.Rule{Text: "ip saddr @none drop"}}},
		"prefix without interval": {{Verb: nft.AddSet, Set: &nft.Set{Name: "p", Type: "ipv4_addr"}}, {Verb: nft.AddElements, Set: &nft.Set{Name: "p", Elements: []string{"10.0.0.0/8"}}}},
		"overlapping intervals": {
			{Verb: nft.AddSet, Set: &nft.Set{Name: "p", Type: "ipv4_addr", Flags: nft.Interval}},
			{Verb: nft.AddElements, Set: &nft.Set{Name: "p", Elements: []string{"10.0.0.0/8", "10.1.0.0/16"}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := nfttest.New()
			if err := f.Apply(t.Context(), nft.Diff(nil, services(2, 2))); err != nil {
				t.Fatal(err)
			}
			before, _ := f.List(t.Context(), "inet", "t")
			for i, o := range ops {
				ops[i] = op(o)[0]
			}
			if err := f.Apply(t.Context(), ops); err == nil {
				t.Error("it was taken")
			}
			if after, _ := f.List(t.Context(), "inet", "t"); cmp.Diff(before, after) != "" {
				t.Error("half a transaction was made")
			}
		})
	}
}

func BenchmarkDiff(b *testing.B) {
	f, want := nfttest.New(), services(20000, 1000)
	if err := f.Apply(b.Context(), nft.Diff(nil, want)); err != nil {
		b.Fatal(err)
	}
	have, _ := f.List(b.Context(), "inet", "t")
	for b.Loop() {
		if ops := nft.Diff(have, want); len(ops) > 0 {
			b.Fatal(ops)
		}
	}
}
