package plan

import (
	"math/big"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var (
	prefix = netip.MustParsePrefix
	addr   = netip.MustParseAddr
)

func TestNth(t *testing.T) {
	t.Parallel()
	cases := []struct {
		prefix string
		n      uint64
		want   string // empty when there is none
	}{
		{"10.244.1.0/24", 0, "10.244.1.0"},
		{"10.244.1.7/24", 1, "10.244.1.1"},
		{"10.244.1.0/24", 255, "10.244.1.255"},
		{"10.244.1.0/24", 256, ""},
		{"100.64.0.0/16", 300, "100.64.1.44"},
		{"255.255.255.0/24", 256, ""},
		{"0.0.0.0/0", 1 << 32, ""},
		{"fd98::/64", 32767, "fd98::7fff"},
		{"fd00::ffff:ffff:ffff:ffff/48", 1, "fd00::1"},
		{"fd00::/48", 1<<64 - 1, "fd00::ffff:ffff:ffff:ffff"},
		{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00/120", 256, ""},
	}
	for _, c := range cases {
		a, ok := Nth(prefix(c.prefix), c.n)
		if ok != (c.want != "") || ok && a.String() != c.want {
			t.Errorf("Nth(%s, %d) = %s, %v; want %q", c.prefix, c.n, a, ok, c.want)
		}
	}
}

// drawPrefix draws a prefix of either family with host bits set.
func drawPrefix(t *rapid.T) netip.Prefix {
	length := 4
	if rapid.Bool().Draw(t, "v6") {
		length = 16
	}
	b := rapid.SliceOfN(rapid.Byte(), length, length).Draw(t, "bytes")
	a, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(a, rapid.IntRange(0, length*8).Draw(t, "bits"))
}

func number(a netip.Addr) *big.Int { return new(big.Int).SetBytes(a.AsSlice()) }

func TestNthIsAddition(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawPrefix(t)
		if p.Addr().Is4In6() {
			t.Skip("a mapped address is no prefix of ours")
		}
		n := rapid.Uint64().Draw(t, "n")
		sum := new(big.Int).Add(number(p.Masked().Addr()), new(big.Int).SetUint64(n))
		fits := sum.Cmp(number(Last(p))) <= 0
		a, ok := Nth(p, n)
		if ok != fits {
			t.Fatalf("Nth(%s, %d) is %v, want %v", p, n, ok, fits)
		}
		if ok && number(a).Cmp(sum) != 0 {
			t.Fatalf("Nth(%s, %d) = %s", p, n, a)
		}
		if !p.Contains(Last(p)) || Last(p).Next().IsValid() && p.Contains(Last(p).Next()) {
			t.Fatalf("Last(%s) = %s", p, Last(p))
		}
	})
}

func TestMAC(t *testing.T) {
	t.Parallel()
	for a, want := range map[string]string{
		"10.244.1.2":        "0a:58:0a:f4:01:02",
		"::ffff:10.244.1.2": "0a:58:0a:f4:01:02",
		// printf 'fd00:10:244:1::2' | sha256sum
		"fd00:10:244:1::2": "0a:58:1e:02:46:41",
	} {
		if got := MAC(addr(a)); got != want {
			t.Errorf("MAC(%s) = %s, want %s", a, got, want)
		}
	}
	if got := MACOf(addr("fd00::1"), addr("10.0.0.1")); got != "0a:58:0a:00:00:01" {
		t.Errorf("the IPv4 address decides, got %s", got)
	}
	if got := MACOf(); got != "" {
		t.Errorf("MAC of nothing is %s", got)
	}
}

func TestLinkLocal(t *testing.T) {
	t.Parallel()
	for mac, want := range map[string]string{"0a:58:0a:f4:01:02": "fe80::858:aff:fef4:102", "02:00:00:00:00:01": "fe80::ff:fe00:1"} {
		if got := LinkLocal(mac); got != addr(want) {
			t.Errorf("LinkLocal(%s) = %s, want %s", mac, got, want)
		}
	}
	if got := LinkLocal("02:00"); got.IsValid() {
		t.Errorf("half a MAC has the address %s", got)
	}
}

func TestNodeSubnet(t *testing.T) {
	t.Parallel()
	s := prefix("10.244.1.0/24")
	if Gateway(s) != addr("10.244.1.1") || Management(s) != addr("10.244.1.2") {
		t.Errorf("got %s and %s", Gateway(s), Management(s))
	}
	if got := Reserved(s); len(got) != 4 || got[3] != addr("10.244.1.255") {
		t.Errorf("reserved: %v", got)
	}
	if got := Reserved(prefix("fd00::/64")); len(got) != 3 || got[0] != addr("fd00::") {
		t.Errorf("reserved: %v", got)
	}
	for text, want := range map[string]string{
		"10.244.1.0/24": "", "10.244.1.0/30": "", "fd00::/64": "", "fd00::/126": "",
		"10.244.1.0/31": "at least a /30", "fd00::/127": "at least a /126", "10.244.1.4/24": "host bits",
	} {
		err := CheckNodeSubnet(prefix(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	if CheckNodeSubnet(netip.Prefix{}) == nil {
		t.Error("the zero prefix is no subnet")
	}
}

func TestNodeAddresses(t *testing.T) {
	t.Parallel()
	join := []netip.Prefix{prefix("100.64.0.0/16"), prefix("fd98::/64")}
	got, err := JoinGatewayRouter(join, 2)
	if err != nil || got[0] != prefix("100.64.0.2/16") || got[1] != prefix("fd98::2/64") {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := JoinClusterRouter(join); err != nil || got[0] != prefix("100.64.0.1/16") {
		t.Errorf("got %v, %v", got, err)
	}
	for _, id := range []int{-1, 0, 1, MaxNodeID + 1} {
		if _, err := Transit(join, id); err == nil {
			t.Errorf("id %d should be refused", id)
		}
	}
	small := []netip.Prefix{prefix("100.64.0.0/29")}
	if Capacity(small) != 6 || Capacity(join) != MaxNodeID || Capacity([]netip.Prefix{prefix("fd00::/125")}) != 7 {
		t.Errorf("capacities %d %d", Capacity(small), Capacity(join))
	}
	for id := FirstNodeID; id < 10; id++ {
		if _, err := Transit(small, id); (err == nil) != (id <= 6) {
			t.Errorf("id %d: %v", id, err)
		}
	}
}

func TestMasquerade(t *testing.T) {
	t.Parallel()
	if a, ok := MasqueradeAddr(prefix("169.254.0.0/17"), MasqueradeNextHop); !ok || a != addr("169.254.0.4") {
		t.Errorf("got %s, %v", a, ok)
	}
	if _, ok := MasqueradeAddr(prefix("169.254.0.0/30"), MasqueradeNextHop); ok {
		t.Error("a /30 has no fifth address")
	}
}
