package nft

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestCanonical(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ kind, text, want string }{
		{"ipv4_addr", "10.0.0.1", "10.0.0.1"},
		{"ipv4_addr", "10.0.0.1/32", "10.0.0.1"},
		{"ipv4_addr", "10.1.2.3/8", "10.0.0.0/8"},
		{"ipv4_addr", "0.0.0.0-255.255.255.255", "0.0.0.0/0"},
		{"ipv4_addr", "1.0.0.0-1.0.0.255", "1.0.0.0/24"},
		{"ipv4_addr", "1.0.0.1-1.0.0.255", "1.0.0.1-1.0.0.255"},
		{"ipv4_addr", "1.0.0.1-1.0.1.0", "1.0.0.1-1.0.1.0"},
		{"ipv6_addr", "FD00:0:0::1", "fd00::1"},
		{"ipv6_addr", "fd00::/64", "fd00::/64"},
		{"inet_proto", "6", "tcp"},
		{"inet_proto", "sctp", "sctp"},
		{"inet_proto", "ipv6-icmp", "icmpv6"},
		{"inet_proto", "99", "99"},
		{"inet_service", "0x50", "80"},
		{"inet_service", "80-80", "80"},
		{"inet_service", "0-1023", "0-1023"},
		{"mark", "0x10", "16"},
		{"ifname", "eth0", `"eth0"`},
		{"ifname", `"eth0"`, `"eth0"`},
		{"verdict", "goto  x", "goto x"},
		{"ipv4_addr . inet_proto . inet_service", "10.0.0.1 . 17 . 053", "10.0.0.1 . udp . 43"},
		// What nft would refuse is left for nft to refuse.
		{"inet_service", "http", "http"},
		{"inet_service", "70000", "70000"},
		{"ipv4_addr", "fd00::1", "fd00::1"},
		{"ipv4_addr", "2.0.0.0-1.0.0.0", "2.0.0.0-1.0.0.0"},
		{"ipv4_addr . inet_service", "10.0.0.1", "10.0.0.1"},
	} {
		if got := canonical(split(test.kind), test.text); got != test.want {
			t.Errorf("%s %s: %s, want %s", test.kind, test.text, got, test.want)
		}
	}
}

// What is canonical stays as it is, and means the same.
func TestCanonicalIsStable(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]int{4, 16}).Draw(t, "bytes")
		lo, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, "lo"))
		text := lo.String()
		switch hi, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, "hi")); rapid.IntRange(0, 2).Draw(t, "form") {
		case 0:
			text = netip.PrefixFrom(lo, rapid.IntRange(0, size*8).Draw(t, "bits")).String()
		case 1:
			if hi.Less(lo) {
				lo, hi = hi, lo
			}
			text = lo.String() + "-" + hi.String()
		}
		kind := map[int]string{4: "ipv4_addr", 16: "ipv6_addr"}[size]
		once := canonical([]string{kind}, text)
		if again := canonical([]string{kind}, once); again != once {
			t.Fatalf("%s, then %s, then %s", text, once, again)
		}
		a, err := ParseElement(kind, text)
		if err != nil {
			t.Fatal(err)
		}
		b, err := ParseElement(kind, once)
		if err != nil || a.parts[0] != b.parts[0] {
			t.Fatalf("%s became %s: %v", text, once, err)
		}
	})
}

func TestParseElementRefuses(t *testing.T) {
	t.Parallel()
	for kind, texts := range map[string][]string{
		"ipv4_addr":                {"", "fd00::1", "10.0.0.1/33", "10.0.0.2-10.0.0.1", "fd00::/64"},
		"ipv6_addr":                {"10.0.0.1", "fe80::1%eth0", "0.0.0.0/0"},
		"inet_service":             {"http", "65536", "-1", "9-8"},
		"inet_proto":               {"256", "none"},
		"ipv4_addr . inet_service": {"10.0.0.1", "10.0.0.1 . 80 . 80", "80 . 10.0.0.1"},
	} {
		for _, text := range texts {
			if _, err := ParseElement(kind, text); err == nil {
				t.Errorf("%q was taken for %s", text, kind)
			}
		}
	}
}

// Disjoint prefixes hold the same addresses, and none twice.
func TestDisjoint(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var in []netip.Prefix
		for range rapid.IntRange(0, 8).Draw(t, "prefixes") {
			b := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 128, 255}), 4, 4).Draw(t, "address")
			a, _ := netip.AddrFromSlice(b)
			if rapid.Bool().Draw(t, "IPv6") {
				a = netip.AddrFrom16([16]byte{0: b[0], 1: b[1], 2: b[2], 3: b[3]})
			}
			in = append(in, netip.PrefixFrom(a, rapid.IntRange(0, 32).Draw(t, "bits")))
		}
		out := Disjoint(in)
		for i, p := range out {
			if !slices.ContainsFunc(in, func(q netip.Prefix) bool { return q.Masked() == p }) {
				t.Fatalf("%s was never there", p)
			}
			if slices.ContainsFunc(out[i+1:], p.Overlaps) {
				t.Fatalf("%s overlaps others of %v", p, out)
			}
		}
		for _, p := range in {
			if !slices.ContainsFunc(out, func(q netip.Prefix) bool { return q.Overlaps(p) && q.Bits() <= p.Bits() }) {
				t.Fatalf("%s is in none of %v", p, out)
			}
		}
	})
}

// What two releases of nft print of the same table.
func TestListing(t *testing.T) {
	t.Parallel()
	const elements = `
{"metainfo": {"version": "RELEASE", "release_name": "x", "json_schema_version": 1}},
{"table": {"family": "inet", "name": "t", "handle": 1}},
{"set": {"family": "inet", "name": "r", "table": "t", "type": "ipv4_addr", "flags": ["interval"], "elem": ["1.2.3.4", {"prefix": {"addr": "10.0.0.0", "len": 8}}, {"range": ["192.168.1.5", "192.168.1.9"]}]}},
{"set": {"family": "inet", "name": "c", "table": "t", "type": ["ipv4_addr", "inet_proto", "inet_service", "ipv4_addr"], "flags": ["interval"], "elem": [{"concat": ["10.0.0.9", 6, {"range": [80, 90]}, {"prefix": {"addr": "0.0.0.0", "len": 0}}]}]}},
{"set": {"family": "inet", "name": "d", "table": "t", "type": "ipv4_addr", "size": 65535, "flags": ["timeout", "dynamic"], "timeout": 10800, "elem": [{"elem": {"val": "1.2.3.4", "timeout": 10800}}]}},
{"map": {"family": "inet", "name": "v", "table": "t", "type": KEY, "map": "verdict", "elem": [[{"concat": [132, 22]}, {"accept": null}], [{"concat": [17, 53]}, {"goto": {"target": "c2"}}], [{"elem": {"val": {"concat": [6, 30080]}, "comment": "x"}}, {"jump": {"target": "c1"}}]]}},
{"map": {"family": "inet", "name": "m", "table": "t", "type": KEY, "map": VALUE, "elem": [[{"concat": [6, 30080]}, {"concat": ["10.96.0.1", 80]}]]}},
{"set": {"family": "inet", "name": "one", "table": "t", "type": {"typeof": {"payload": {"protocol": "ip", "field": "daddr"}}}, "elem": ["1.2.3.4"]}},
{"set": {"family": "inet", "name": "odd", "table": "t", "type": {"typeof": "?"}, "elem": [{"&": [1, 2]}]}},
{"chain": {"family": "inet", "table": "t", "name": "c1", "handle": 2}},
{"chain": {"family": "inet", "table": "t", "name": "b", "handle": 3, "type": "nat", "hook": "output", "prio": -100, "policy": "accept"}},
{"rule": {"family": "inet", "table": "t", "chain": "b", "handle": 4, "comment": "why [0123]", "expr": []}}`
	want := &Table{
		Family: "inet", Name: "t",
		Sets: []Set{
			{Name: "r", Type: "ipv4_addr", Flags: "interval", Elements: []string{"1.2.3.4", "10.0.0.0/8", "192.168.1.5-192.168.1.9"}},
			{Name: "c", Type: "ipv4_addr . inet_proto . inet_service . ipv4_addr", Flags: "interval", Elements: []string{"10.0.0.9 . tcp . 80-90 . 0.0.0.0/0"}},
			{Name: "d", Type: "ipv4_addr", Flags: "dynamic,timeout", Elements: []string{"1.2.3.4"}},
			{Name: "one", Type: "ipv4_addr", Elements: []string{"1.2.3.4"}},
			{Name: "odd", Type: `{"typeof": "?"}`, Elements: []string{`{"\u0026":[1,2]}`}},
		},
		Maps: []Map{
			{Name: "v", Type: "inet_proto . inet_service", Value: "verdict", Elements: map[string]string{
				"sctp . 22": "accept", "udp . 53": "goto c2", "tcp . 30080": "jump c1",
			}},
			{Name: "m", Type: "inet_proto . inet_service", Value: "ipv4_addr . inet_service", Elements: map[string]string{"tcp . 30080": "10.96.0.1 . 80"}},
		},
		Chains: []Chain{
			{Name: "c1"},
			{Name: "b", Base: &Base{Type: "nat", Hook: "output", Priority: -100, Policy: "accept"}, Rules: []Rule{{Comment: "why [0123]"}}},
		},
	}
	const (
		names     = `["inet_proto", "inet_service"]`
		selectors = `{"typeof": {"concat": [{"meta": {"key": "l4proto"}}, {"payload": {"protocol": "th", "field": "dport"}}]}}`
		values    = `{"typeof": {"concat": [{"payload": {"protocol": "ip", "field": "daddr"}}, {"payload": {"protocol": "th", "field": "dport"}}]}}`
	)
	for _, test := range []struct {
		release, key, value string
		named               bool // the maps
	}{
		{"1.0.6", names, `"ipv4_addr . inet_service"`, false}, // it calls everything so
		{"1.1.1", names, `["ipv4_addr", "inet_service"]`, false},
		{"1.1.3", names, `["ipv4_addr", "inet_service"]`, true},
		{"1.1.3", selectors, `["ipv4_addr", "inet_service"]`, false},
		{"1.1.3", selectors, values, false},
		{"1.10", names, `["ipv4_addr", "inet_service"]`, true},
	} {
		for i := range want.Sets {
			want.Sets[i].Named = test.release != "1.0.6" && test.release != "1.1.1" && want.Sets[i].Name != "one"
		}
		want.Maps[0].Named, want.Maps[1].Named = test.named, test.named
		text := strings.NewReplacer("RELEASE", test.release, "KEY", test.key, "VALUE", test.value).Replace(elements)
		got, err := parse([]byte(`{"nftables": [` + text + `]}`))
		if err != nil {
			t.Fatal(err)
		}
		if want.Digest = got.Digest; len(got.Digest) != 64 {
			t.Errorf("digest %q", got.Digest)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s, %s (-want +got)\n%s", test.release, test.key, d)
		}
	}
	if _, err := parse([]byte("no JSON")); err == nil {
		t.Error("no JSON was taken")
	}
}
