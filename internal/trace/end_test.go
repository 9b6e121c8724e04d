package trace

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// small is a cluster of two nodes.
func small(t *testing.T) *facts {
	t.Helper()
	f, err := readFacts(smallWorld())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func smallWorld() *world.Store {
	s := world.New(world.Config{Networks: []world.Network{{
		Name: world.DefaultNetwork, GatewayMode: world.GatewayShared,
		ClusterSubnets: []world.ClusterSubnet{{Prefix: netip.MustParsePrefix("10.244.0.0/16"), HostLength: 24}, {Prefix: netip.MustParsePrefix("fd00:10:244::/48"), HostLength: 64}},
		ServiceSubnets: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")},
		JoinSubnets:    []netip.Prefix{netip.MustParsePrefix("100.64.0.0/16")},
		Masquerade:     []netip.Prefix{netip.MustParsePrefix("169.254.0.0/17")},
	}}})
	for i, name := range []string{"n1", "n2"} {
		a := netip.MustParseAddr("172.30.0.11")
		sub := "10.244.1.0/24"
		if i == 1 {
			a, sub = a.Next(), "10.244.2.0/24"
		}
		s.SetNode(&world.Node{
			Name: name, ID: i + 2, InternalIPs: []netip.Addr{a}, Subnets: map[string][]netip.Prefix{world.DefaultNetwork: {netip.MustParsePrefix(sub)}},
			Gateway: &world.Gateway{BridgeID: "br-ex", InterfaceID: "br-ex_" + name, MAC: "0a:58:ac:1e:00:0b"},
		})
	}
	pod := func(name, node string, host bool, list ...string) {
		s.SetPod(&world.Pod{Namespace: "shop", Name: name, Node: node, HostNetwork: host, IPs: addrs(list...), Ports: []world.PodPort{{Name: "http", Protocol: world.TCP, Port: 8080}}})
	}
	pod("a", "n1", false, "10.244.1.5")
	pod("b", "n2", false, "10.244.2.5", "fd00:10:244:2::5")
	pod("same", "n1", false, "10.244.1.6")
	pod("host", "n1", true)
	pod("pending", "", false)
	s.SetPod(&world.Pod{Namespace: "shop", Name: "done", Node: "n1", Finished: true})
	s.SetService(&world.Service{Namespace: "shop", Name: "web", ClusterIPs: addrs("10.96.0.10"), ExternalIPs: addrs("192.0.2.9"), Ports: []world.ServicePort{
		{Name: "http", Protocol: world.TCP, Port: 80, NodePort: 30080}, {Name: "dns", Protocol: world.UDP, Port: 53},
	}})
	s.SetService(&world.Service{Namespace: "shop", Name: "same", ClusterIPs: addrs("10.96.0.11"), Ports: []world.ServicePort{{Protocol: world.UDP, Port: 53}}})
	return s
}

func TestParseEnd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want, port, err string }{
		{"a", "Pod shop/a", "", ""},
		{"shop/a:8080", "Pod shop/a", "8080", ""},
		{"pod/shop/a", "Pod shop/a", "", ""},
		{"po/a:http", "Pod shop/a", "http", ""},
		{"web", "Service shop/web", "", ""},
		{"svc/web:80", "Service shop/web", "80", ""},
		{"n1", "Node n1", "", ""},
		{"node/n2", "Node n2", "", ""},
		{"10.244.1.5", "Pod shop/a", "", ""},
		{"10.244.1.5:80", "Pod shop/a", "80", ""},
		{"[fd00:10:244:2::5]:80", "Pod shop/b", "80", ""},
		{"fd00:10:244:2::5", "Pod shop/b", "", ""},
		{"10.96.0.10", "Service shop/web", "", ""},
		{"192.0.2.9", "Service shop/web", "", ""},
		{"172.30.0.12", "Node n2", "", ""},
		{"10.244.2.2", "Node n2", "", ""}, // the management port
		{"203.0.113.1:443", "203.0.113.1", "443", ""},
		{"same", "", "", "ambiguous: it is Pod shop/same and Service shop/same"},
		{"pod/same", "Pod shop/same", "", ""},
		{"nobody", "", "", "no pod or service of that name in namespace shop"},
		{"other/a", "", "", "no pod or service of that name"},
		{"shop/n1", "", "", "no pod or service of that name"},
		{"done", "", "", "the pod has finished"},
		{"a/b/c/d", "", "", "not a name"},
		{"", "", "", "not a name"},
	} {
		e, err := small(t).parseEnd("shop", c.text)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q: error %v, want %q", c.text, err, c.err)
			}
			continue
		}
		if err != nil || e.String() != c.want || e.Port != c.port {
			t.Errorf("%q: %s port %q, %v; want %s port %q", c.text, e, e.Port, err, c.want, c.port)
		}
	}
}

func TestPort(t *testing.T) {
	t.Parallel()
	f := small(t)
	for _, c := range []struct {
		end      string
		protocol Protocol
		explicit string
		want     Protocol
		port     uint16
		err      string
	}{
		{"a", "", "", ICMP, 0, ""},
		{"a:80", "", "", TCP, 80, ""},
		{"a", UDP, "53", UDP, 53, ""},
		{"a:http", "", "", TCP, 8080, ""},
		{"a:http", UDP, "", "", 0, "no udp port of Pod shop/a; it has http (8080/tcp)"},
		{"a", TCP, "", "", 0, "needs a port"},
		{"a:0", "", "", "", 0, "no tcp port"},
		{"n1:ssh", "", "", "", 0, "not the number of a port"},
		{"a:80", ICMP, "", "", 0, "has no ports"},
		{"web", "", "", "", 0, "which port? The service has http 80/tcp, dns 53/udp"},
		{"web", UDP, "", UDP, 53, ""},
		{"web:http", "", "", TCP, 80, ""},
		{"web:99", "", "", TCP, 99, ""},
		{"svc/same", "", "", UDP, 53, ""},
		{"web", ICMP, "", ICMP, 0, ""},
		{"web:80", ICMP, "", "", 0, "services have TCP, UDP and SCTP alone, not icmp 80"},
		{"web", ARP, "", "", 0, "services have TCP, UDP and SCTP alone, not arp"},
	} {
		e, err := f.parseEnd("shop", c.end)
		if err != nil {
			t.Fatal(err)
		}
		protocol, port, err := f.port(e, c.protocol, c.explicit)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s %s: error %v, want %q", c.end, c.protocol, err, c.err)
			}
			continue
		}
		if err != nil || protocol != c.want || port != c.port {
			t.Errorf("%s %s %s: %s/%d, %v; want %s/%d", c.end, c.protocol, c.explicit, protocol, port, err, c.want, c.port)
		}
	}
}

// TestStart: where packets enter OVN.
func TestStart(t *testing.T) {
	t.Parallel()
	f := small(t)
	for _, c := range []struct {
		src, dst        string
		protocol        Protocol
		port            uint16
		inport, arrived string
		microflow, err  string
	}{
		{src: "a", dst: "10.244.2.5", protocol: TCP, port: 80, inport: "shop_a", microflow: `inport == "shop_a" && eth.src == 0a:58:0a:f4:01:05 && eth.dst == 0a:58:0a:f4:01:01 && ip4.src == 10.244.1.5 && ip4.dst == 10.244.2.5 && ip.ttl == 64 && tcp && tcp.src == 0 && tcp.dst == 80`},
		{src: "a", dst: "10.244.1.6", protocol: ICMP, inport: "shop_a", microflow: `inport == "shop_a" && eth.src == 0a:58:0a:f4:01:05 && eth.dst == 0a:58:0a:f4:01:06 && ip4.src == 10.244.1.5 && ip4.dst == 10.244.1.6 && ip.ttl == 64 && icmp4.type == 8 && icmp4.code == 0`},
		{src: "a", dst: "10.244.1.6", protocol: ARP, inport: "shop_a", microflow: `inport == "shop_a" && eth.src == 0a:58:0a:f4:01:05 && eth.dst == ff:ff:ff:ff:ff:ff && arp.op == 1 && arp.sha == 0a:58:0a:f4:01:05 && arp.spa == 10.244.1.5 && arp.tpa == 10.244.1.6`},
		{src: "a", dst: "10.244.1.5", protocol: TCP, port: 80, inport: "shop_a", arrived: "Pod shop/a itself, without leaving it"},
		{src: "a", dst: "10.244.1.99", protocol: TCP, err: "no pod has that address"},
		{src: "a", dst: "fd00::1", protocol: TCP, err: "it has no IPv6 address"},
		{src: "pending", dst: "10.244.1.6", protocol: TCP, err: "it has no IPv4 address"},
		{src: "web", dst: "10.244.1.6", protocol: TCP, err: "a service does not send packets"},
		{src: "n1", dst: "10.244.2.5", protocol: TCP, port: 80, inport: "k8s-n1", microflow: `inport == "k8s-n1" && eth.src == 0a:58:0a:f4:01:02 && eth.dst == 0a:58:0a:f4:01:01 && ip4.src == 10.244.1.2 && ip4.dst == 10.244.2.5 && ip.ttl == 64 && tcp && tcp.src == 0 && tcp.dst == 80`},
		{src: "host", dst: "10.244.1.5", protocol: UDP, port: 53, inport: "k8s-n1", microflow: `inport == "k8s-n1" && eth.src == 0a:58:0a:f4:01:02 && eth.dst == 0a:58:0a:f4:01:05 && ip4.src == 10.244.1.2 && ip4.dst == 10.244.1.5 && ip.ttl == 64 && udp && udp.src == 0 && udp.dst == 53`},
		{src: "n1", dst: "10.96.0.10", protocol: TCP, port: 80, inport: "br-ex_n1", microflow: `inport == "br-ex_n1" && eth.src == 0a:58:a9:fe:00:04 && eth.dst == 0a:58:ac:1e:00:0b && ip4.src == 169.254.0.2 && ip4.dst == 10.96.0.10 && ip.ttl == 64 && tcp && tcp.src == 0 && tcp.dst == 80`},
		{src: "n1", dst: "172.30.0.11", protocol: TCP, port: 30080, inport: "br-ex_n1", microflow: `inport == "br-ex_n1" && eth.src == 0a:58:a9:fe:00:04 && eth.dst == 0a:58:ac:1e:00:0b && ip4.src == 169.254.0.2 && ip4.dst == 10.96.0.10 && ip.ttl == 64 && tcp && tcp.src == 0 && tcp.dst == 80`},
		{src: "n1", dst: "172.30.0.12", protocol: TCP, port: 30080, inport: "br-ex_n2", microflow: `inport == "br-ex_n2" && eth.src == 0a:58:00:00:00:01 && eth.dst == 0a:58:ac:1e:00:0b && ip4.src == 172.30.0.11 && ip4.dst == 172.30.0.12 && ip.ttl == 64 && tcp && tcp.src == 0 && tcp.dst == 30080`},
		{src: "n1", dst: "172.30.0.12", protocol: TCP, port: 22, arrived: "the host of node n2, without OVN"},
		{src: "n1", dst: "10.244.1.2", protocol: TCP, port: 22, arrived: "the host of node n1"},
		{src: "203.0.113.9", dst: "172.30.0.12", protocol: TCP, port: 30080, inport: "br-ex_n2", microflow: `inport == "br-ex_n2" && eth.src == 0a:58:00:00:00:01 && eth.dst == 0a:58:ac:1e:00:0b && ip4.src == 203.0.113.9 && ip4.dst == 172.30.0.12 && ip.ttl == 64 && tcp && tcp.src == 0 && tcp.dst == 30080`},
		{src: "203.0.113.9", dst: "192.0.2.9", protocol: TCP, port: 80, inport: "br-ex_n1", microflow: `inport == "br-ex_n1" && eth.src == 0a:58:00:00:00:01 && eth.dst == 0a:58:ac:1e:00:0b && ip4.src == 203.0.113.9 && ip4.dst == 192.0.2.9 && ip.ttl == 64 && tcp && tcp.src == 0 && tcp.dst == 80`},
		{src: "203.0.113.9", dst: "172.30.0.12", protocol: TCP, port: 22, arrived: "the host of node n2"},
		{src: "203.0.113.9", dst: "10.244.1.5", protocol: TCP, port: 22, err: "not known outside of the cluster"},
		{src: "203.0.113.9", dst: "198.51.100.1", protocol: TCP, port: 22, err: "neither a node nor a service"},
	} {
		src, err := f.parseEnd("shop", c.src)
		if err != nil {
			t.Fatal(err)
		}
		s, err := f.start(Options{}, src, Packet{Protocol: c.protocol, Dst: netip.MustParseAddr(c.dst), DstPort: c.port})
		if c.err != "" {
			var unknown *UnknownError
			if err == nil || !strings.Contains(err.Error(), c.err) || !errors.As(err, &unknown) || unknown.Hint() == "" {
				t.Errorf("%s → %s: error %v, want %q and what to do next", c.src, c.dst, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s → %s: %v", c.src, c.dst, err)
			continue
		}
		if s.inport != c.inport || s.arrived != c.arrived || c.microflow != "" && s.packet.microflow(s.inport) != c.microflow {
			t.Errorf("%s → %s: inport %q, arrived %q\n got %s\nwant %s", c.src, c.dst, s.inport, s.arrived, s.packet.microflow(s.inport), c.microflow)
		}
	}
}

// TestNearEnds: a name that nobody has is answered with those that are like it.
func TestNearEnds(t *testing.T) {
	t.Parallel()
	f := small(t)
	for text, want := range map[string]string{
		"pod/other/pending": "do you mean pod/shop/pending?", "pend": "do you mean pod/shop/pending?", "node/n": "do you mean node/n1, or node/n2?",
		"zzzz": "write pod/NAMESPACE/NAME, service/NAMESPACE/NAME, node/NAME or an address",
	} {
		_, err := f.parseEnd("shop", text)
		var unknown *UnknownError
		if !errors.As(err, &unknown) || unknown.Hint() != want {
			t.Errorf("%s: %v, hint %q, want %q", text, err, unknown.Hint(), want)
		}
	}
}
