package nft_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/nft"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/nft/nfttest"
)

// drawTable makes a table whose chains and sets overlap with those of another draw.
func drawTable(t *rapid.T, label string) nft.Table {
	out := nft.Table{Family: "inet", Name: "t"}
	for _, name := range []string{"s1", "s2"} {
		if rapid.Bool().Draw(t, label+name) {
			out.Sets = append(out.Sets, nft.Set{
				Name: name, Type: rapid.SampledFrom([]string{"ipv4_addr", "ipv6_addr"}).Draw(t, "type"),
				Elements: rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 0, 4, rapid.ID[string]).Draw(t, "elements"),
			})
		}
	}
	for _, name := range []string{"c1", "c2", "c3"} {
		if !rapid.Bool().Draw(t, label+name) {
			continue
		}
		c := nft.Chain{Name: name}
		if rapid.Bool().Draw(t, "base") {
			c.Base = &nft.Base{Type: "filter", Hook: "input", Priority: rapid.IntRange(0, 1).Draw(t, "priority"), Policy: "accept"}
		}
		for _, verdict := range rapid.SliceOfN(rapid.SampledFrom([]string{"accept", "drop", "return"}), 0, 3).Draw(t, "rules") {
			c.Rules = append(c.Rules, nft.Rule{Text: verdict, Comment: "why"})
		}
		out.Chains = append(out.Chains, c)
	}
	return out
}

func TestDiffLeadsToWhatIsWanted(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := nfttest.New()
		a, b := drawTable(t, "a"), drawTable(t, "b")
		if err := f.Apply(t.Context(), nft.Diff(nil, a)); err != nil {
			t.Fatal(err)
		}
		have, _ := f.List(t.Context(), "inet", "t")
		if again := nft.Diff(have, a); len(again) > 0 {
			t.Fatalf("nothing differs, but %v", again)
		}
		if err := f.Apply(t.Context(), nft.Diff(have, b)); err != nil {
			t.Fatal(err)
		}
		have, _ = f.List(t.Context(), "inet", "t")
		if again := nft.Diff(have, b); len(again) > 0 {
			t.Fatalf("still differs: %v", again)
		}
		fresh := nfttest.New()
		if err := fresh.Apply(t.Context(), nft.Diff(nil, b)); err != nil {
			t.Fatal(err)
		}
		want, _ := fresh.List(t.Context(), "inet", "t")
		byName := cmp.Options{
			cmpopts.SortSlices(func(a, b nft.Chain) bool { return a.Name < b.Name }), cmpopts.EquateEmpty(),
			cmpopts.SortSlices(func(a, b nft.Set) bool { return a.Name < b.Name }), cmpopts.IgnoreFields(nft.Table{}, "Digest"),
			cmpopts.SortSlices(func(a, b string) bool { return a < b }),
		}
		if d := cmp.Diff(want, have, byName); d != "" {
			t.Fatalf("(-made anew +changed)\n%s", d)
		}
	})
}

// One element costs one line, one rule its chain.
func TestDiffIsSmall(t *testing.T) {
	t.Parallel()
	want := func(elements []string, rule string) nft.Table {
		return nft.Table{Family: "inet", Name: "t", Sets: []nft.Set{{Name: "s", Type: "ipv4_addr", Elements: elements}}, Chains: []nft.Chain{
			{Name: "one", Base: &nft.Base{Type: "filter", Hook: "input", Policy: "accept"}, Rules: []nft.Rule{{Text: rule, Comment: "x"}}},
			{Name: "two", Rules: []nft.Rule{{Text: "accept", Comment: "y"}}},
		}}
	}
	for name, test := range map[string]struct {
		to   nft.Table
		want []string
	}{
		"nothing": {want([]string{"10.0.0.1", "10.0.0.2"}, "drop"), nil},
		"elements": {want([]string{"10.0.0.2", "10.0.0.3"}, "drop"), []string{
			"delete element inet t s { 10.0.0.1 }", "add element inet t s { 10.0.0.3 }",
		}},
		"rule": {want([]string{"10.0.0.1", "10.0.0.2"}, "ip saddr @s drop"), []string{
			"flush chain inet t one", `add rule inet t one ip saddr @s drop comment "x [%s]"`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := nfttest.New()
			if err := f.Apply(t.Context(), nft.Diff(nil, want([]string{"10.0.0.1", "10.0.0.2"}, "drop"))); err != nil {
				t.Fatal(err)
			}
			have, _ := f.List(t.Context(), "inet", "t")
			ops := nft.Diff(have, test.to)
			if len(ops) != len(test.want) {
				t.Fatalf("%v", ops)
			}
			for i, o := range ops {
				var hash string
				if _, err := fmt.Sscanf(o.String(), "add rule inet t one ip saddr @s drop comment \"x [%8s]\"", &hash); err == nil {
					test.want[i] = fmt.Sprintf(test.want[i], hash)
				}
				if o.String() != test.want[i] {
					t.Errorf("%s, want %s", o, test.want[i])
				}
			}
		})
	}
}
