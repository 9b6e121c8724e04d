//go:build ovn && linux

package host_test

import (
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// port adds a port that the node serves.
func (l *lab) port(at string, p world.Protocol, to string, change ...func(*host.Outside)) {
	l.t.Helper()
	a, b := netip.MustParseAddrPort(at), netip.MustParseAddrPort(to)
	o := &host.Outside{Owner: "test/" + strconv.Itoa(len(l.j.Services.Outside)), Addr: a.Addr(), Port: a.Port(), Protocol: p, To: []netip.AddrPort{b}}
	for _, f := range change {
		f(o)
	}
	l.j.Services.Outside = append(l.j.Services.Outside, o)
}

func toLocal(list ...string) func(*host.Outside) {
	return func(o *host.Outside) {
		o.Local = true
		for _, s := range list {
			o.ToLocal = append(o.ToLocal, netip.MustParseAddrPort(s))
		}
	}
}

func byHost(o *host.Outside) { o.ByHost = true }

func from(list ...string) func(*host.Outside) {
	return func(o *host.Outside) {
		o.Restricted = true
		for _, s := range list {
			o.Sources = append(o.Sources, netip.MustParsePrefix(s))
		}
	}
}

// listen answers at an address and port of a namespace.
func (l *lab) listen(ns string, p world.Protocol, address string) *process {
	l.t.Helper()
	j := l.j
	j.Address = address
	mode := "server"
	if p == world.UDP {
		mode = "answer"
	}
	s := l.start(ns, mode, j)
	s.await(l.t, "ready")
	return s
}

// contact makes one connection, or one question of so many bytes and its answer.
func (l *lab) contact(ns string, p world.Protocol, address string, size int) error {
	l.t.Helper()
	j := l.j
	j.Address, j.Size = address, size
	mode := "dial"
	if p == world.UDP {
		mode = "ask"
	}
	c := l.start(ns, mode, j)
	for range c.lines {
	}
	if err := c.cmd.Wait(); err != nil {
		return &exec.Error{Name: strings.TrimSpace(c.log.String()), Err: err}
	}
	return nil
}

// secondNIC gives the node eth1 and a client behind it, and returns the client's namespace.
func (l *lab) secondNIC() (ns string) {
	l.t.Helper()
	ns = l.node + "c"
	l.run("ip", "netns", "add", ns)
	l.t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", ns).Run() })
	l.run("ip", "-n", ns, "link", "set", "lo", "up")
	l.run("ip", "-n", ns, "link", "add", "c0", "type", "veth", "peer", "name", "eth1", "netns", l.node)
	l.run("ip", "-n", ns, "link", "set", "c0", "up")
	l.ip("link", "set", "eth1", "up")
	l.run("ip", "-n", ns, "addr", "add", "172.31.8.1/24", "dev", "c0")
	l.run("ip", "-n", ns, "addr", "add", "fd31:8::1/64", "dev", "c0", "nodad")
	l.ip("addr", "add", "172.31.8.11/24", "dev", "eth1")
	l.ip("addr", "add", "fd31:8::11/64", "dev", "eth1", "nodad")
	l.in("sysctl", "-qw", "net.ipv4.conf.eth1.forwarding=1")
	return ns
}

// service gives the router an address of a service, and what the topology gives it to
// reach the host.
func (l *lab) service(router string, addrs ...string) {
	l.t.Helper()
	for _, a := range []struct{ host, hop string }{{"169.254.0.2", "169.254.0.4"}, {"fd69::2", "fd69::4"}} {
		l.run("ip", "-n", router, "route", "add", a.hop, "dev", "eth0")
		l.run("ip", "-n", router, "route", "add", a.host, "via", a.hop)
		l.run("ip", "-n", router, "neigh", "add", a.hop, "lladdr", "0a:58:a9:fe:00:04", "dev", "eth0")
	}
	for _, a := range addrs {
		l.run("ip", "-n", router, "addr", "add", a, "dev", "lo")
	}
}

// In shared gateway mode what comes by the bridge goes to the gateway router as it came,
// and what the host's own stack gets goes to the service, or to this node's backends.
func TestRealOutsideShared(t *testing.T) {
	l := newLab(t)
	l.configure()
	client2 := l.secondNIC()
	for _, a := range []struct{ every, node, node2, external, service, peer, peer2 string }{
		{"0.0.0.0", labNode4, "172.31.8.11", "192.0.2.80", "10.96.0.10", labPeer4 + "/32", "172.31.8.0/24"},
		{"::", labNode6, "fd31:8::11", "2001:db8::80", "fd00:10:96::10", labPeer6 + "/128", "fd31:8::/64"},
	} {
		at := net.JoinHostPort
		l.port(at(a.every, "30080"), world.TCP, at(a.service, "80"))
		l.port(at(a.every, "30053"), world.UDP, at(a.service, "53"))
		l.port(at(a.external, "80"), world.TCP, at(a.service, "80"))
		l.port(at(a.external, "81"), world.TCP, at(a.service, "80"), from(a.peer))
		l.port(at(a.external, "82"), world.TCP, at(a.service, "80"), from(a.peer2))
		l.port(at(a.every, "30084"), world.TCP, at(a.service, "80"), toLocal(at(a.node, "8080")), byHost)
		l.port(at(a.every, "30085"), world.TCP, at(a.service, "80"), toLocal())
	}
	l.startOVS()
	l.connectWhenMade()
	p, _ := l.agent()
	router := l.router()
	l.service(router, "10.96.0.10", "fd00:10:96::10", "192.0.2.80", "2001:db8::80")
	for _, a := range []struct{ node, node2, external, service, peer, host, client2 string }{
		{labNode4, "172.31.8.11", "192.0.2.80", "10.96.0.10", labPeer4, "169.254.0.2", "172.31.8.1"},
		{labNode6, "fd31:8::11", "2001:db8::80", "fd00:10:96::10", labPeer6, "fd69::2", "fd31:8::1"},
	} {
		at := net.JoinHostPort
		l.run("ip", "-n", l.peer, "route", "add", a.external, "via", a.node)
		l.run("ip", "-n", client2, "route", "add", a.external, "via", a.node2)
		nodePort, udpPort := l.listen(router, world.TCP, at(a.node, "30080")), l.listen(router, world.UDP, at(a.node, "30053"))
		external, ranges := l.listen(router, world.TCP, at(a.external, "80")), l.listen(router, world.TCP, at(a.external, "81"))
		l.listen(router, world.TCP, at(a.external, "82"))
		service, udpService := l.listen(router, world.TCP, at(a.service, "80")), l.listen(router, world.UDP, at(a.service, "53"))
		hostBackend := l.listen(l.node, world.TCP, at(a.node, "8080"))
		l.try(t,
			contact{"node port", l.peer, world.TCP, at(a.node, "30080"), nodePort, a.peer, 0},
			contact{"UDP node port", l.peer, world.UDP, at(a.node, "30053"), udpPort, a.peer, 100},
			contact{"UDP node port in fragments", l.peer, world.UDP, at(a.node, "30053"), udpPort, a.peer, 5000},
			contact{"external address", l.peer, world.TCP, at(a.external, "80"), external, a.peer, 0},
			contact{"within the source ranges", l.peer, world.TCP, at(a.external, "81"), ranges, a.peer, 0},
			contact{"beyond the source ranges", l.peer, world.TCP, at(a.external, "82"), nil, "", 0},
			contact{"backend on the host", l.peer, world.TCP, at(a.node, "30084"), hostBackend, a.peer, 0},
			contact{"the host to its node port", l.node, world.TCP, at(a.node, "30080"), service, a.host, 0},
			contact{"the host to its other address", l.node, world.TCP, at(a.node2, "30080"), service, a.host, 0},
			contact{"the host to its UDP node port", l.node, world.UDP, at(a.node, "30053"), udpService, a.host, 3000},
			contact{"the host to an external address", l.node, world.TCP, at(a.external, "80"), service, a.host, 0},
			contact{"the host under policy Local", l.node, world.TCP, at(a.node, "30085"), service, a.host, 0},
			contact{"by another NIC", client2, world.TCP, at(a.node2, "30080"), service, a.host, 0},
			contact{"UDP by another NIC", client2, world.UDP, at(a.node2, "30053"), udpService, a.host, 1000},
			contact{"external address by another NIC", client2, world.TCP, at(a.external, "80"), service, a.host, 0},
			contact{"beyond the source ranges by another NIC", client2, world.TCP, at(a.external, "81"), nil, "", 0},
			contact{"within the source ranges by another NIC", client2, world.TCP, at(a.external, "82"), service, a.host, 0},
			contact{"backend on the host by another NIC", client2, world.TCP, at(a.node2, "30084"), hostBackend, a.client2, 0},
			contact{"no local backend by another NIC", client2, world.TCP, at(a.node2, "30085"), nil, "", 0},
		)
	}
	p.end(t)
	if again, writes := l.agent(); writes != 0 {
		t.Errorf("a new process wrote %d times\n%s", writes, again.log)
	} else {
		again.end(t)
	}
}

// webPod is a pod that answers to what comes by the management port.
func (l *lab) webPod() (ns string) {
	l.t.Helper()
	ns = l.pod("pod", "0a:58:0a:f4:01:05", "10.244.1.5/24", "fd00:10:244:1::5/64")
	l.run("ip", "-n", ns, "route", "add", "default", "via", "10.244.1.2")
	l.run("ip", "-n", ns, "-6", "route", "add", "default", "via", "fd00:10:244:1::2")
	eventually(l.t, "the pod's address", func() error {
		if s := l.run("ip", "-n", ns, "addr"); strings.Contains(s, "tentative") {
			return errors.New(s)
		}
		return nil
	})
	return ns
}

// contact is one attempt to reach somebody.
type contact struct {
	what, ns string
	protocol world.Protocol
	to       string
	server   *process // nil when nobody must answer
	as       string   // whom the server sees
	size     int      // bytes of a datagram
}

func (l *lab) try(t *testing.T, all ...contact) {
	t.Helper()
	for _, c := range all {
		err := l.contact(c.ns, c.protocol, c.to, c.size)
		switch {
		case c.server == nil && (err == nil || !strings.Contains(err.Error(), "timeout")):
			t.Errorf("%s %s: %v, not a silence", c.what, c.to, err)
		case c.server == nil:
		case err != nil:
			t.Errorf("%s %s: %v", c.what, c.to, err)
		default:
			if as := c.server.await(t, "from"); as != c.as {
				t.Errorf("%s %s: came as %s, not %s", c.what, c.to, as, c.as)
			}
		}
	}
}

// A host port is open to the host itself, on its loopback address, too.
func TestRealHostPorts(t *testing.T) {
	l := newLab(t)
	l.configure()
	client2 := l.secondNIC()
	for _, p := range []world.Protocol{world.TCP, world.UDP} {
		l.port("0.0.0.0:8000", p, "10.244.1.5:80")
		l.port("127.0.0.1:8000", p, "10.244.1.5:80")
		l.port("[::]:8000", p, "[fd00:10:244:1::5]:80")
		l.port("127.0.0.1:8001", p, "10.244.1.5:81")
		l.port(labNode4+":8001", p, "10.244.1.5:82")
	}
	l.startOVS()
	l.connectWhenMade()
	p, _ := l.agent()
	pod := l.webPod()
	for _, p := range []world.Protocol{world.TCP, world.UDP} {
		all4, all6 := l.listen(pod, p, "10.244.1.5:80"), l.listen(pod, p, "[fd00:10:244:1::5]:80")
		loopback, node := l.listen(pod, p, "10.244.1.5:81"), l.listen(pod, p, "10.244.1.5:82")
		const mp4, mp6 = "10.244.1.2", "fd00:10:244:1::2"
		l.try(t,
			contact{"the host by its loopback address", l.node, p, "127.0.0.1:8000", all4, mp4, 100},
			contact{"the host by its address", l.node, p, labNode4 + ":8000", all4, mp4, 100},
			contact{"the host by its IPv6 address", l.node, p, "[" + labNode6 + "]:8000", all6, mp6, 100},
			contact{"only on the loopback address", l.node, p, "127.0.0.1:8001", loopback, mp4, 100},
			contact{"only on the node's address", l.node, p, labNode4 + ":8001", node, mp4, 100},
			contact{"by another NIC", client2, p, "172.31.8.11:8000", all4, mp4, 100},
			contact{"IPv6 by another NIC", client2, p, "[fd31:8::11]:8000", all6, mp6, 100},
		)
	}
	// Others do not reach what the host serves on its loopback address.
	l.listen(l.node, world.UDP, "127.0.0.1:9999")
	l.run("ip", "-n", pod, "addr", "flush", "dev", "lo")
	l.run("ip", "netns", "exec", pod, "sysctl", "-qw", "net.ipv4.conf.eth0.route_localnet=1")
	l.run("ip", "-n", pod, "route", "add", "127.0.0.1", "via", "10.244.1.2", "src", "10.244.1.5")
	l.try(t, contact{"a pod", pod, world.UDP, "127.0.0.1:9999", nil, "", 100})
	p.end(t)
}

// In local gateway mode all that comes from outside goes through the host's own stack,
// which keeps the client's address for backends on this node.
func TestRealOutsideLocal(t *testing.T) {
	l := newLab(t)
	l.j.Config.Gateway.Mode = string(world.GatewayLocal)
	l.configure()
	client2 := l.secondNIC()
	for _, a := range []struct{ every, external, service, pod string }{
		{"0.0.0.0", "192.0.2.80", "10.96.0.10", "10.244.1.5"}, {"::", "2001:db8::80", "fd00:10:96::10", "fd00:10:244:1::5"},
	} {
		at := net.JoinHostPort
		l.port(at(a.every, "30080"), world.TCP, at(a.service, "80"))
		l.port(at(a.every, "30053"), world.UDP, at(a.service, "53"))
		l.port(at(a.external, "80"), world.TCP, at(a.service, "80"))
		l.port(at(a.every, "30081"), world.TCP, at(a.service, "80"), toLocal(at(a.pod, "80")))
		l.port(at(a.every, "30054"), world.UDP, at(a.service, "53"), toLocal(at(a.pod, "53"), at(a.pod, "53")))
		l.port(at(a.every, "30082"), world.TCP, at(a.service, "80"), toLocal())
		l.port(at(a.every, "8000"), world.TCP, at(a.pod, "80"))
	}
	l.startOVS()
	l.connectWhenMade()
	p, _ := l.agent()
	router, pod := l.router(), l.webPod()
	l.service(router, "10.96.0.10", "fd00:10:96::10")
	for _, a := range []struct{ node, node2, external, service, pod, peer, client2, host, mp string }{
		{labNode4, "172.31.8.11", "192.0.2.80", "10.96.0.10", "10.244.1.5", labPeer4, "172.31.8.1", "169.254.0.2", "10.244.1.2"},
		{labNode6, "fd31:8::11", "2001:db8::80", "fd00:10:96::10", "fd00:10:244:1::5", labPeer6, "fd31:8::1", "fd69::2", "fd00:10:244:1::2"},
	} {
		at := net.JoinHostPort
		l.run("ip", "-n", l.peer, "route", "add", a.external, "via", a.node)
		service, udpService := l.listen(router, world.TCP, at(a.service, "80")), l.listen(router, world.UDP, at(a.service, "53"))
		web, dns := l.listen(pod, world.TCP, at(a.pod, "80")), l.listen(pod, world.UDP, at(a.pod, "53"))
		for ns, c := range map[string]struct{ node, as string }{l.peer: {a.node, a.peer}, client2: {a.node2, a.client2}} {
			l.try(t,
				contact{"node port", ns, world.TCP, at(c.node, "30080"), service, a.host, 100},
				contact{"UDP node port", ns, world.UDP, at(c.node, "30053"), udpService, a.host, 100},
				contact{"local node port", ns, world.TCP, at(c.node, "30081"), web, c.as, 100},
				contact{"local UDP node port", ns, world.UDP, at(c.node, "30054"), dns, c.as, 100},
				contact{"no local backend", ns, world.TCP, at(c.node, "30082"), nil, "", 100},
				contact{"host port", ns, world.TCP, at(c.node, "8000"), web, c.as, 100},
			)
		}
		l.try(t,
			contact{"external address", l.peer, world.TCP, at(a.external, "80"), service, a.host, 100},
			contact{"the host", l.node, world.TCP, at(a.node, "30080"), service, a.host, 100},
			contact{"the host under policy Local", l.node, world.TCP, at(a.node, "30081"), service, a.host, 100},
			contact{"the host to an external address", l.node, world.TCP, at(a.external, "80"), service, a.host, 100},
			contact{"the host to a host port", l.node, world.TCP, at(a.node, "8000"), web, a.mp, 100},
		)
	}
	p.end(t)
}

// A UDP client that always sends from the same port is led to the backend there is, not to
// the one there was.
func TestRealUDPBackendChanges(t *testing.T) {
	l := newLab(t)
	l.j.Config.Gateway.Mode = string(world.GatewayLocal)
	l.configure()
	l.startOVS()
	l.connectWhenMade()
	var pod string
	for i, backend := range []string{"10.244.1.5:53", "10.244.1.5:54"} {
		l.j.Services = host.TestServices()
		l.port("0.0.0.0:30054", world.UDP, "10.96.0.10:53", toLocal(backend))
		p, _ := l.agent()
		if i == 0 {
			pod = l.webPod()
		}
		server := l.listen(pod, world.UDP, backend)
		j := l.j
		j.Source, j.Address, j.Size = labPeer4+":40000", labNode4+":30054", 100
		l.start(l.peer, "ask", j).wait(t)
		if as := server.await(t, "from"); as != labPeer4 {
			t.Errorf("came as %s", as)
		}
		p.end(t)
	}
}

// Every kind of service is taken by the switch and by all versions of nft that there are,
// and is seen to be there by a new process.
func TestRealServicesOfEveryKind(t *testing.T) {
	l := newLab(t)
	l.j.Services = host.TestAllServices()
	l.configure()
	l.startOVS()
	l.connectWhenMade()
	p, _ := l.agent()
	p.end(t)
	p, writes := l.agent()
	if writes != 0 {
		t.Errorf("a new process wrote %d times\n%s", writes, p.log)
	}
	for _, harm := range []struct {
		what string
		args []string
		mend func() string
	}{
		{"element", []string{"nft", "delete", "element", "inet", "ovn-kubernetes", "nodeports-v4", "{ tcp . 30080 }"},
			func() string { return l.in("nft", "list", "map", "inet", "ovn-kubernetes", "nodeports-v4") }},
		{"flow", []string{l.j.Ofctl, "--strict", "del-flows", l.bridge("br-ex"), "priority=110,in_port=1,dl_dst=02:00:00:00:09:11,tcp,nw_dst=172.31.9.11,tp_dst=30080"},
			func() string { return l.ofctl("--no-stats", "dump-flows", l.bridge("br-ex"), "tcp") }},
	} {
		before := harm.mend()
		l.in(harm.args...)
		took := eventually(t, harm.what, func() error {
			if now := harm.mend(); now != before || !strings.Contains(now, "30080") {
				return errors.New(now)
			}
			return nil
		})
		if took > 2*time.Second {
			t.Errorf("%s: mended after %s", harm.what, took)
		}
	}
	nic, patch := l.number("eth0"), l.number("patch-br-ex_n1-to-br-int")
	for _, c := range []struct{ what, flow, want string }{
		{"too big for a service's address", "icmp,icmp_type=3,icmp_code=4,nw_dst=192.0.2.80", "output:" + patch},
		{"too big for the node's address", "icmp,icmp_type=3,icmp_code=4,nw_dst=" + labNode4, "output:" + patch + "\nLOCAL"},
		{"IPv6 too big for the node's address", "icmp6,icmpv6_type=2,ipv6_dst=" + labNode6, "output:" + patch + "\nLOCAL"},
		{"an echo to a service's address", "icmp,icmp_type=8,nw_dst=192.0.2.80", "LOCAL"},
		{"a node port of nobody", "tcp,tp_dst=30099,nw_dst=" + labNode4, "LOCAL"},
		{"a question for a service's MAC", "arp,arp_op=1,arp_tpa=192.0.2.80,dl_dst=ff:ff:ff:ff:ff:ff", "NORMAL"},
	} {
		flow := "in_port=" + nic + "," + c.flow
		if !strings.Contains(flow, "dl_dst") {
			flow += ",dl_dst=" + labMAC
		}
		trace := l.appctl("ofproto/trace", "br-ex", flow)
		var actions []string
		for line := range strings.Lines(trace) {
			if line = strings.TrimSpace(line); strings.HasPrefix(line, "output:") || line == "LOCAL" || line == "NORMAL" {
				actions = append(actions, line)
			}
		}
		if got := strings.Join(actions, "\n"); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %q, want %q\n%s", c.what, got, c.want, trace)
		}
	}
	p.end(t)
	l.in("nft", "flush", "ruleset")
	nft, err := l.programs.Argv("nft", "-f", "testdata/tables/services.txt")
	if err != nil {
		t.Skip(err)
	}
	l.in(nft...)
}

func (l *lab) number(port string) string {
	l.t.Helper()
	return strings.TrimSpace(l.vsctl("get", "Interface", port, "ofport"))
}

func (l *lab) appctl(args ...string) string {
	l.t.Helper()
	argv, err := l.programs.Argv("ovs-appctl", append([]string{"-t", l.dir + "/vs.ctl"}, args...)...)
	if err != nil {
		l.t.Fatal(err)
	}
	return l.run(argv[0], argv[1:]...)
}
