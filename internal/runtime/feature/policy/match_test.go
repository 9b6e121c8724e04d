package policy

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// prefixes draws ranges that touch each other: of few addresses, in either family.
func prefixes() *rapid.Generator[netip.Prefix] {
	return rapid.Custom(func(t *rapid.T) netip.Prefix {
		last := rapid.Byte().Draw(t, "last")
		if rapid.Bool().Draw(t, "IPv4") {
			bits := rapid.SampledFrom([]int{0, 8, 24, 25, 28, 31, 32}).Draw(t, "bits")
			return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, last}), bits).Masked()
		}
		bits := rapid.SampledFrom([]int{0, 64, 120, 124, 127, 128}).Draw(t, "bits")
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 15: last}), bits).Masked()
	})
}

// TestWithout: an address is in what is left exactly if it is in the range and in no hole,
// and it is in there once.
func TestWithout(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		whole := prefixes().Draw(t, "whole")
		holes := rapid.SliceOfN(prefixes(), 0, 4).Draw(t, "holes")
		left := without(whole, holes)
		for range 20 {
			a := prefixes().Draw(t, "address").Addr()
			want := whole.Contains(a) && !slices.ContainsFunc(holes, func(h netip.Prefix) bool { return h.Contains(a) })
			n := 0
			for _, p := range left {
				if p.Contains(a) {
					n++
				}
			}
			if n > 1 || (n == 1) != want {
				t.Fatalf("%s without %v is %v: %s is in %d of them, want %v", whole, holes, left, a, n, want)
			}
		}
	})
}

func TestUnite(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(prefixes(), 0, 6).Draw(t, "list")
		united := unite(slices.Clone(list))
		for _, a := range rapid.SliceOfN(prefixes(), 20, 20).Draw(t, "addresses") {
			in := func(p netip.Prefix) bool { return p.Contains(a.Addr()) }
			if slices.ContainsFunc(list, in) != slices.ContainsFunc(united, in) {
				t.Fatalf("%v becomes %v: they differ about %s", list, united, a.Addr())
			}
		}
		for i := range united {
			for j := range i {
				if united[i].Overlaps(united[j]) {
					t.Fatalf("%v overlap", united)
				}
			}
		}
	})
}

func TestPortMatch(t *testing.T) {
	t.Parallel()
	for want, spans := range map[string][]span{
		"tcp.dst == 80":                                {{80, 80}, {80, 80}},
		"tcp.dst == {80, 82}":                          {{82, 82}, {80, 80}},
		"80 <= tcp.dst <= 81":                          {{81, 81}, {80, 80}},
		"1 <= tcp.dst <= 65535":                        {{9, 9}, {1, 65535}},
		"(10 <= tcp.dst <= 30 || tcp.dst == 32)":       {{10, 20}, {15, 30}, {32, 32}},
		"(1 <= tcp.dst <= 2 || 4 <= tcp.dst <= 65535)": {{4, 65535}, {1, 2}, {65535, 65535}},
	} {
		if got := portMatch(world.TCP, spans); got != want {
			t.Errorf("%v: %s, want %s", spans, got, want)
		}
	}
}

func TestEnds(t *testing.T) {
	t.Parallel()
	texts := func(e ends) (out []string) {
		e.each(func(family, match string) { out = append(out, family+": "+match) })
		return out
	}
	var e ends
	if !e.none() || texts(e) != nil {
		t.Error("nobody is somebody")
	}
	e.add(false, "ip6.src == $b")
	e.add(true, "ip4.src == $a")
	e.add(true, "ip4.src == $a")
	e.add(true, "ip4.src == $c")
	if diff := cmp.Diff([]string{"ip4: (ip4.src == $a || ip4.src == $c)", "ip6: ip6.src == $b"}, texts(e)); diff != "" {
		t.Error(diff)
	}
	var some ends
	some.add(true, "ip4.src == 192.0.2.0/24")
	if diff := cmp.Diff([]string{"ip4: ((ip4.src == $a || ip4.src == $c) && ip4.src == 192.0.2.0/24)"}, texts(e.and(some))); diff != "" {
		t.Errorf("both: %s", diff)
	}
	e.add(true, "ip4")
	e.add(true, "ip4.src == $d")
	some.join(e)
	if diff := cmp.Diff([]string{"ip4: ip4", "ip6: ip6.src == $b"}, texts(some)); diff != "" {
		t.Errorf("all of a family: %s", diff)
	}
}

// Where one expression has both families, OVN makes a flow for each pair of a port and an
// address, instead of one for each.
func TestEachACLHasOneFamily(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	seen := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			match, ok := strings.CutPrefix(strings.TrimSpace(line), "match ")
			if !ok {
				continue
			}
			seen++
			if strings.Contains(match, "ip4.") && strings.Contains(match, "ip6.") {
				t.Errorf("%s: %s", file, match)
			}
		}
	}
	if seen == 0 {
		t.Error("there are no expressions")
	}
}
