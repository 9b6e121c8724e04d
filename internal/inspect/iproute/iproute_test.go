package iproute

import (
	"net/netip"
	"strings"
	"testing"
)

func TestRoutes(t *testing.T) {
	t.Parallel()
	routes, err := Routes(`[{"type":"unicast","dst":"default","gateway":"172.30.250.1","dev":"br-ex","table":"main","protocol":"boot","metric":5},
{"dst":"10.244.1.0/24","dev":"ovn-k8s-mp0","table":"main","protocol":"85","prefsrc":"172.30.250.12"},
{"dst":"192.0.2.0/24","via":{"family":"inet6","host":"fe80::1"},"dev":"eth0"},
{"dst":"198.51.100.0/24","nexthops":[{"gateway":"172.30.250.1","dev":"br-ex"},{"gateway":"172.30.250.2","dev":"br-ex"}]},
{"type":"blackhole","dst":"203.0.113.7","table":"100"}]`)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		text, prefix, next string
		main               bool
	}{
		{"default via 172.30.250.1 dev br-ex", "0.0.0.0/0", "172.30.250.1", true},
		{"10.244.1.0/24 dev ovn-k8s-mp0", "10.244.1.0/24", "192.0.2.9", true},
		{"192.0.2.0/24 via fe80::1 dev eth0", "192.0.2.0/24", "fe80::1", true},
		{"198.51.100.0/24 via 172.30.250.1 dev br-ex", "198.51.100.0/24", "172.30.250.1", true},
		{"blackhole 203.0.113.7", "203.0.113.7/32", "192.0.2.9", false},
	} {
		r := routes[i]
		prefix, ok := r.Prefix(true)
		next, _ := r.Next(netip.MustParseAddr("192.0.2.9"))
		if r.String() != want.text || !ok || prefix.String() != want.prefix || next != want.next || r.Main() != want.main {
			t.Errorf("%q: %s %v, next %s, main %v; want %+v", r, prefix, ok, next, r.Main(), want)
		}
	}
	if r := routes[1]; r.Protocol != "85" || r.PrefSrc != "172.30.250.12" || routes[0].Metric != 5 {
		t.Errorf("got %+v", r)
	}
	if p, ok := routes[1].Prefix(false); ok {
		t.Errorf("%s is no prefix of IPv6", p)
	}
}

func TestOthers(t *testing.T) {
	t.Parallel()
	links, err := Links(`[{"ifname":"br-ex","operstate":"UNKNOWN","mtu":1500,"address":"02:1e:fa:00:00:02","addr_info":[{"local":"172.30.250.12","prefixlen":24}]}]`)
	if err != nil || len(links) != 1 || links[0].IfName != "br-ex" || links[0].MTU != 1500 || links[0].Addresses[0] != (Address{"172.30.250.12", 24}) {
		t.Errorf("%+v, %v", links, err)
	}
	neighbours, err := Neighbours(`[{"dst":"fd69::4","dev":"br-ex","lladdr":"0a:58:1b:ac:71:41","router":null,"state":["PERMANENT"]}]`)
	if err != nil || len(neighbours) != 1 || neighbours[0].LLAddr != "0a:58:1b:ac:71:41" || neighbours[0].State[0] != "PERMANENT" {
		t.Errorf("%+v, %v", neighbours, err)
	}
	if none, err := Routes(" \n"); err != nil || len(none) != 0 {
		t.Errorf("an empty table: %v, %v", none, err)
	}
	if _, err := Routes("Error: what"); err == nil || !strings.Contains(err.Error(), "routes") {
		t.Errorf("garbage: %v", err)
	}
}
