package nft_test

import (
	"context"
	"fmt"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/nft"
)

// firewall is the fake or the real nft.
type firewall interface {
	List(ctx context.Context, family, name string) (*nft.Table, error)
	Digest(ctx context.Context, family, name string) (string, error)
	Apply(context.Context, []nft.Op) error
}

// kind is a type of sets and maps with elements of it, of which no two overlap, and how a
// rule looks into it.
type kind struct {
	name, flags, value string
	keys, values       []string
	rule               string
}

var kinds = []kind{
	{name: "ipv4_addr", keys: []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}, rule: "ip saddr @%s drop"},
	{name: "ipv6_addr", keys: []string{"fd00::1", "fd00:0::2", "::ffff:1.2.3.4"}, rule: "ip6 saddr @%s drop"},
	{
		name: "ipv4_addr . inet_proto . inet_service", rule: "ip daddr . meta l4proto . th dport @%s drop",
		keys: []string{"10.0.0.1 . tcp . 80", "10.0.0.1 . 17 . 53", "10.0.0.9 . sctp . 5060", "10.0.0.1 . 6 . 443"},
	},
	{
		name: "ipv4_addr", flags: nft.Interval, rule: "ip saddr @%s accept",
		keys: []string{"10.0.0.0/8", "11.0.0.0/9", "11.128.0.0/9", "192.168.0.1", "192.168.0.2-192.168.0.9", "255.255.255.255/32", "1.0.0.0-1.0.0.255"},
	},
	{
		name: "ipv4_addr . inet_proto . inet_service . ipv4_addr", flags: nft.Interval,
		rule: "ip daddr . meta l4proto . th dport . ip saddr @%s accept",
		keys: []string{"10.0.0.1 . tcp . 80 . 10.2.0.0/16", "10.0.0.1 . tcp . 80 . 1.2.3.4", "10.0.0.2 . tcp . 80 . 0.0.0.0/0", "10.0.0.1 . tcp . 81-90 . 1.2.3.4"},
	},
	{
		name: "ipv6_addr . inet_service . ipv6_addr", flags: nft.Interval, rule: "ip6 daddr . th dport . ip6 saddr @%s accept",
		keys: []string{"fd00::1 . 80 . fd00::/64", "fd00::1 . 80 . 2001:db8::/32", "fd00::2 . 0-1023 . ::/0"},
	},
	{
		name: "inet_proto . inet_service", value: "ipv4_addr . inet_service", rule: "dnat ip to meta l4proto . th dport map @%s",
		keys:   []string{"tcp . 30080", "udp . 30053", "132 . 30090", "6 . 30443"},
		values: []string{"10.96.0.1 . 80", "10.96.0.2 . 443"},
	},
	{
		name: "ipv6_addr . inet_proto . inet_service", value: "ipv6_addr . inet_service",
		rule: "dnat ip6 to ip6 daddr . meta l4proto . th dport map @%s",
		keys: []string{"fd00::1 . tcp . 80", "fd00::2 . udp . 80"}, values: []string{"fd00:10:96::1 . 80", "fd00:10:96::2 . 81"},
	},
	{name: "inet_proto . inet_service", value: nft.Verdict, keys: []string{"tcp . 30080", "udp . 30053", "6 . 30443"}, rule: "meta l4proto . th dport vmap @%s"},
	{
		name: "ipv4_addr . inet_service", value: nft.Verdict, flags: nft.Interval, rule: "ip saddr . th dport vmap @%s",
		keys: []string{"10.0.0.0/8 . 80", "10.0.0.0/8 . 81-90", "11.0.0.0/16 . 80"},
	},
	{name: "mark", value: nft.Verdict, keys: []string{"1", "0x10", "77"}, rule: "meta mark vmap @%s"},
}

// drawTable makes a table whose chains, sets and maps overlap with those of another draw.
func drawTable(t *rapid.T) nft.Table {
	out := nft.Table{Family: "inet", Name: "t"}
	// A chain leads only to later ones, and no map leads to where rules look into maps: the
	// kernel refuses loops.
	verdicts := []string{"drop", "accept", "return"}
	var rules []string
	var regular []nft.Chain
	for _, name := range []string{"d1", "d2", "d3"} {
		if rapid.Bool().Draw(t, name) {
			regular = append(regular, nft.Chain{Name: name, Rules: drawRules(t, []string{"accept", "counter drop"})})
			verdicts = append(verdicts, "jump "+name, "goto "+name)
			rules = append(rules, "counter jump "+name, "ip saddr 10.0.0.1 goto "+name)
		}
	}
	for _, name := range []string{"x1", "x2", "x3"} {
		if rapid.Bool().Draw(t, name) {
			k := rapid.SampledFrom(kinds).Draw(t, "kind")
			k.add(t, &out, name, verdicts)
			rules = append(rules, fmt.Sprintf(k.rule, name))
		}
	}
	for _, name := range []string{"b1", "b2", "d4"} {
		if !rapid.Bool().Draw(t, name) {
			continue
		}
		c := nft.Chain{Name: name, Rules: drawRules(t, append(rules, "accept"))}
		if name != "d4" || rapid.Bool().Draw(t, "base") {
			c.Base = &nft.Base{Type: "nat", Hook: "prerouting", Priority: rapid.IntRange(0, 1).Draw(t, "priority"), Policy: "accept"}
		}
		out.Chains = append(out.Chains, c)
	}
	if rapid.Bool().Draw(t, "callers first") {
		out.Chains = append(out.Chains, regular...)
	} else {
		out.Chains = append(regular, out.Chains...)
	}
	return out
}

func drawRules(t *rapid.T, texts []string) []nft.Rule {
	var out []nft.Rule
	for _, text := range rapid.SliceOfN(rapid.SampledFrom(texts), 0, 3).Draw(t, "rules") {
		out = append(out, nft.Rule{Text: text, Comment: "why"})
	}
	return out
}

func (k kind) add(t *rapid.T, to *nft.Table, name string, verdicts []string) {
	keys := rapid.SliceOfNDistinct(rapid.SampledFrom(k.keys), 0, len(k.keys), rapid.ID[string]).Draw(t, "keys")
	if k.value == "" {
		to.Sets = append(to.Sets, nft.Set{Name: name, Type: k.name, Flags: k.flags, Elements: keys})
		return
	}
	values := k.values
	if k.value == nft.Verdict {
		values = verdicts
	}
	m := nft.Map{Name: name, Type: k.name, Value: k.value, Flags: k.flags, Elements: map[string]string{}}
	for _, key := range keys {
		m.Elements[key] = rapid.SampledFrom(values).Draw(t, key)
	}
	to.Maps = append(to.Maps, m)
}

// leads changes the table of f a few times, and compares it with one made anew.
func leads(t *rapid.T, f, fresh firewall) {
	ctx := context.Background()
	var have *nft.Table
	if err := f.Apply(ctx, nft.Rewrite(nil, nft.Table{Family: "inet", Name: "t"})); err != nil {
		t.Fatal(err)
	}
	have, _ = f.List(ctx, "inet", "t")
	for range rapid.IntRange(1, 3).Draw(t, "steps") {
		want := drawTable(t)
		ops := nft.Diff(have, want)
		if err := f.Apply(ctx, ops); err != nil {
			t.Fatalf("%v\n%v", err, ops)
		}
		var err error
		if have, err = f.List(ctx, "inet", "t"); err != nil {
			t.Fatal(err)
		}
		if again := nft.Diff(have, want); len(again) > 0 {
			t.Fatalf("still differs: %v", again)
		}
		if digest, err := f.Digest(ctx, "inet", "t"); err != nil || digest != have.Digest {
			t.Fatalf("the digest is %s, not %s: %v", digest, have.Digest, err)
		}
		if err := fresh.Apply(ctx, nft.Rewrite(nil, want)); err != nil {
			t.Fatal(err)
		}
		anew, err := fresh.List(ctx, "inet", "t")
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(anew, have, sameTable); d != "" {
			t.Fatalf("(-made anew +changed)\n%s", d)
		}
		if err := fresh.Apply(ctx, []nft.Op{{Verb: nft.DeleteTable, Family: "inet", Table: "t"}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Apply(ctx, []nft.Op{{Verb: nft.DeleteTable, Family: "inet", Table: "t"}}); err != nil {
		t.Fatal(err)
	}
}

var sameTable = cmp.Options{
	cmpopts.SortSlices(func(a, b nft.Chain) bool { return a.Name < b.Name }), cmpopts.EquateEmpty(),
	cmpopts.SortSlices(func(a, b nft.Set) bool { return a.Name < b.Name }), cmpopts.IgnoreFields(nft.Table{}, "Digest"),
	cmpopts.SortSlices(func(a, b nft.Map) bool { return a.Name < b.Name }),
	cmpopts.SortSlices(func(a, b string) bool { return a < b }),
}
