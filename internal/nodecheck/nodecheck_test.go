package nodecheck

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
)

func route(prefix, node string) *nb.LogicalRouterStaticRoute {
	return &nb.LogicalRouterStaticRoute{IPPrefix: prefix, ExternalIDs: map[string]string{names.KeyRouteNode: node}}
}

// Each node asks those that follow it, so that all are asked.
func TestRouters(t *testing.T) {
	t.Parallel()
	bySource := nb.LogicalRouterStaticRoutePolicySrcIP
	own := &nb.LogicalRouterStaticRoute{IPPrefix: "10.244.1.0/24", Policy: &bySource}
	routes := []*nb.LogicalRouterStaticRoute{
		route("10.244.0.0/24", "a"), route("10.244.2.0/24", "c"), own, route("fd00:2::/64", "c"),
		route("100.64.0.2/32", "a"), route("10.244.3.0/24", "d"), {IPPrefix: "10.244.0.0/16"}, {IPPrefix: "nonsense"},
	}
	var got []string
	for _, a := range routers(routes) {
		got = append(got, a.String())
	}
	want := []string{"10.244.2.1", "10.244.3.1", "10.244.0.1"} // IPv6 is not used here
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestManyRouters(t *testing.T) {
	t.Parallel()
	bySource := nb.LogicalRouterStaticRoutePolicySrcIP
	routes := []*nb.LogicalRouterStaticRoute{{IPPrefix: "10.244.250.0/24", Policy: &bySource}}
	for i := range 250 {
		routes = append(routes, route(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(i), 0}), 24).String(), "n"))
	}
	got := routers(routes)
	if len(got) != mostPeers || got[0].String() != "10.244.0.1" {
		t.Errorf("%d peers, the first is %v", len(got), got[0])
	}
}

// An address of the machine itself answers, one for documentation does not.
func TestEchoes(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root: raw sockets")
	}
	local, nobody := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.255.255.255")
	got, err := echoes(t.Context(), []netip.Addr{local, nobody}, 1400)
	if err != nil {
		t.Fatal(err)
	}
	want := []Peer{{Address: local, Small: true, Large: true, Bytes: 1400}, {Address: nobody, Bytes: 1400}}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestSysctls(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, f := range []string{"ipv4/conf/br-ex/forwarding", "ipv4/conf/mp0/rp_filter", "ipv4/conf/veth1/forwarding", "ipv6/conf/all/forwarding"} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(f)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, f), []byte("1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]string{"ipv4/conf/br-ex/forwarding": "1", "ipv4/conf/mp0/rp_filter": "1", "ipv6/conf/all/forwarding": "1"}
	if diff := cmp.Diff(want, sysctls(Config{Device: "mp0", Proc: dir})); diff != "" {
		t.Error(diff)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	want := &Report{Daemons: []Daemon{{Name: "nb", Error: "gone"}}, Peers: []Peer{{Address: netip.MustParseAddr("10.244.0.1"), Small: true, Bytes: 1400}}}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, ok := Parse(string(text))
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); !ok || diff != "" {
		t.Error(ok, diff)
	}
	if _, ok := Parse("exec format error"); ok {
		t.Error("no report was read as one")
	}
}

// The next hops are where default routes by the external port lead.
func TestGatewayHops(t *testing.T) {
	t.Parallel()
	out, in := "rtoe-GR_a", "rtoj-GR_a"
	routes := []*nb.LogicalRouterStaticRoute{
		{IPPrefix: "::/0", Nexthop: "fe80::1", OutputPort: &out}, {IPPrefix: "0.0.0.0/0", Nexthop: "172.30.0.1", OutputPort: &out},
		{IPPrefix: "169.254.0.0/17", Nexthop: "169.254.0.4", OutputPort: &out}, {IPPrefix: "0.0.0.0/0", Nexthop: "100.64.0.1", OutputPort: &in},
		{IPPrefix: "10.244.0.0/16", Nexthop: "100.64.0.1"}, {IPPrefix: "0.0.0.0/0", Nexthop: "nonsense", OutputPort: &out},
	}
	want := []netip.Addr{netip.MustParseAddr("172.30.0.1"), netip.MustParseAddr("fe80::1")}
	if diff := cmp.Diff(want, gatewayHops(routes), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}
