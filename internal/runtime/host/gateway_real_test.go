//go:build ovn && linux

package host_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

const labMAC = "02:00:00:00:09:11" // of the node's NIC

// pod makes a namespace whose eth0 is on br-int, which switches like any bridge here.
func (l *lab) pod(name, mac string, addrs ...string) (ns string) {
	l.t.Helper()
	ns = l.node + name
	l.run("ip", "netns", "add", ns)
	l.t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", ns).Run() })
	l.run("ip", "-n", ns, "link", "set", "lo", "up")
	l.run("ip", "-n", ns, "link", "add", "eth0", "address", mac, "type", "veth", "peer", "name", "v"+name, "netns", l.node)
	l.in("sysctl", "-qw", "net.ipv6.conf.v"+name+".disable_ipv6=1")
	l.ip("link", "set", "v"+name, "up")
	l.run("ip", "-n", ns, "link", "set", "eth0", "up")
	for _, a := range addrs {
		l.run("ip", "-n", ns, "addr", "add", a, "dev", "eth0")
	}
	l.vsctl("add-port", "br-int", "v"+name)
	l.ofctl("add-flow", l.bridge("br-int"), "priority=1,actions=NORMAL")
	return ns
}

// router makes a namespace that plays the gateway router, with the node's own MAC and
// addresses. OVN's br-int does not learn addresses, so the two ports are tied together.
func (l *lab) router() (ns string) {
	l.t.Helper()
	ns = l.pod("gr", labMAC, labNode4+"/24", labNode6+"/64")
	number := func(port string) string {
		return strings.TrimSpace(l.vsctl("get", "Interface", port, "ofport"))
	}
	patch, veth := number("patch-br-int-to-br-ex_n1"), number("vgr")
	l.ofctl("add-flow", l.bridge("br-int"), "priority=10,in_port="+patch+",actions=output:"+veth)
	l.ofctl("add-flow", l.bridge("br-int"), "priority=10,in_port="+veth+",actions=output:"+patch)
	// IPv6 addresses go through duplicate address detection, which the host must not hear.
	eventually(l.t, "the router's addresses", func() error {
		if s := l.run("ip", "-n", ns, "addr"); strings.Contains(s, "tentative") || strings.Contains(s, "dadfailed") {
			return errors.New(s)
		}
		return nil
	})
	return ns
}

// server answers in a namespace and tells who asked.
func (l *lab) server(ns, address string) *process {
	l.t.Helper()
	j := l.j
	j.Address = net.JoinHostPort(address, "9100")
	p := l.start(ns, "server", j)
	p.await(l.t, "ready")
	return p
}

func (l *lab) dial(ns, source, address string) {
	l.t.Helper()
	j := l.j
	j.Source, j.Address = source, net.JoinHostPort(address, "9100")
	l.start(ns, "dial", j).wait(l.t)
}

// The host and the gateway router share MAC and addresses: each gets the answers to what
// it asked, new connections from outside are the host's, and neither finds the other a
// duplicate.
func TestRealSharedGateway(t *testing.T) {
	l := newLab(t)
	l.configure()
	l.startOVS()
	l.serve()
	l.connectWhenMade()
	p, _ := l.agent()
	tr := l.traffic(labPeer4, labPeer6)
	router := l.router()
	for _, a := range []struct{ node, peer string }{{labNode4, labPeer4}, {labNode6, labPeer6}} {
		outside, host := l.server(l.peer, a.peer), l.server(l.node, a.node)
		for range 3 {
			l.dial(router, "", a.peer)
			if from := outside.await(t, "from"); from != a.node {
				t.Errorf("the router came as %s", from)
			}
			l.dial(l.node, "", a.peer)
			if from := outside.await(t, "from"); from != a.node {
				t.Errorf("the host came as %s", from)
			}
			l.dial(l.peer, "", a.node)
			if from := host.await(t, "from"); from != a.peer {
				t.Errorf("the outside came as %s", from)
			}
		}
	}
	// The other way round: the host's detection must not hear the router.
	l.ip("addr", "add", "fd31:9::77/64", "dev", "br-ex")
	eventually(t, "the host's address", func() error {
		if s := l.ip("-6", "addr", "show", "dev", "br-ex"); strings.Contains(s, "tentative") || strings.Contains(s, "dadfailed") {
			return errors.New(s)
		}
		return nil
	})
	tr.end(t)
	p.end(t)
}

// The host reaches services through OVN, and OVN reaches the host when it chose the host
// as the end point of a service: both by masquerade addresses.
func TestRealServices(t *testing.T) {
	l := newLab(t)
	l.configure()
	l.startOVS()
	l.connectWhenMade()
	p, _ := l.agent()
	router := l.router()
	for _, a := range []struct{ node, service, host, ovn, hop string }{
		{labNode4, "10.96.0.10", "169.254.0.2", "169.254.0.1", "169.254.0.4"},
		{labNode6, "fd00:10:96::10", "fd69::2", "fd69::1", "fd69::4"},
	} {
		// What the topology gives the gateway router: a route to the masquerade addresses by
		// a next hop whose MAC it knows without asking.
		l.run("ip", "-n", router, "addr", "add", a.service, "dev", "lo")
		l.run("ip", "-n", router, "route", "add", a.hop, "dev", "eth0")
		l.run("ip", "-n", router, "route", "add", a.host, "via", a.hop)
		l.run("ip", "-n", router, "neigh", "add", a.hop, "lladdr", "0a:58:a9:fe:00:04", "dev", "eth0")
		service, host := l.server(router, a.service), l.server(l.node, a.node)
		for _, source := range []string{"", a.node} {
			l.dial(l.node, source, a.service)
			if from := service.await(t, "from"); from != a.host {
				t.Errorf("the host (%q) came to the service as %s, not %s", source, from, a.host)
			}
		}
		l.dial(router, a.node, a.host)
		if from := host.await(t, "from"); from != a.ovn {
			t.Errorf("OVN came to the host as %s, not %s", from, a.ovn)
		}
	}
	p.end(t)
}

// In local gateway mode pods leave by the host's routing as their node, and what the host
// sends into the pod network comes from the management port.
func TestRealLocalGateway(t *testing.T) {
	l := newLab(t)
	l.j.Config.Gateway.Mode = string(world.GatewayLocal)
	l.configure()
	l.startOVS()
	l.connectWhenMade()
	p, _ := l.agent()
	pod := l.pod("pod", "0a:58:0a:f4:01:05", "10.244.1.5/24", "fd00:10:244:1::5/64")
	l.run("ip", "-n", pod, "route", "add", "default", "via", "10.244.1.2")
	l.run("ip", "-n", pod, "-6", "route", "add", "default", "via", "fd00:10:244:1::2")
	eventually(t, "the pod's address", func() error {
		if strings.Contains(l.run("ip", "-n", pod, "addr"), "tentative") {
			return errors.New("tentative")
		}
		return nil
	})
	for _, a := range []struct{ node, peer, pod, management string }{
		{labNode4, labPeer4, "10.244.1.5", "10.244.1.2"},
		{labNode6, labPeer6, "fd00:10:244:1::5", "fd00:10:244:1::2"},
	} {
		outside, inside := l.server(l.peer, a.peer), l.server(pod, a.pod)
		l.dial(pod, "", a.peer)
		if from := outside.await(t, "from"); from != a.node {
			t.Errorf("the pod left as %s, not %s", from, a.node)
		}
		for _, source := range []string{"", a.node} {
			l.dial(l.node, source, a.pod)
			if from := inside.await(t, "from"); from != a.management {
				t.Errorf("the host (%q) came to the pod as %s, not %s", source, from, a.management)
			}
		}
	}
	p.end(t)
}

// A NIC configured by router advertisements: the bridge goes on listening to them, though
// forwarding is on, and so does the NIC after a cleanup.
func TestRealRouterAdvertisements(t *testing.T) {
	l := newLab(t)
	l.ip("addr", "add", labNode4+"/24", "dev", "eth0")
	l.ip("route", "add", "default", "via", labPeer4)
	l.run("ip", "-n", l.peer, "addr", "add", "fd31:a::1/64", "dev", "p0", "nodad")
	j := l.j
	j.Address = "fd31:a::/64"
	l.start(l.peer, "router", j)
	const eui64 = "fd31:a::ff:fe00:911"
	l.j.Zone.InternalIPs = []netip.Addr{netip.MustParseAddr(labNode4), netip.MustParseAddr(eui64)}
	configured := func(dev string) func() error {
		return func() error {
			addrs, routes := l.ip("-6", "addr", "show", "dev", dev, "scope", "global"), l.ip("-6", "route", "show", "default")
			if !strings.Contains(addrs, eui64) || strings.Contains(addrs, "tentative") || !strings.Contains(routes, "dev "+dev+" proto ra") {
				return errors.New(addrs + routes)
			}
			return nil
		}
	}
	eventually(t, "autoconfiguration", configured("eth0"))
	l.startOVS()
	l.connectWhenMade()
	tr := l.traffic("fd31:a::1")
	p, _ := l.agent()
	if err := configured("br-ex")(); err != nil {
		t.Error(err)
	}
	l.ip("-6", "route", "flush", "default", "dev", "br-ex")
	eventually(t, "the next advertisement", configured("br-ex"))
	p.end(t)
	l.start(l.node, "cleanup", l.j).wait(t)
	if err := configured("eth0")(); err != nil {
		t.Error(err)
	}
	tr.end(t)
	l.ip("-6", "route", "flush", "default", "dev", "eth0")
	eventually(t, "the next advertisement on the NIC", configured("eth0"))
}

// Without Open vSwitch, Cleanup gives the NIC its addresses back and says what is left.
func TestRealCleanupWithoutSwitch(t *testing.T) {
	l := newLab(t)
	l.configure()
	l.startOVS()
	l.connectWhenMade()
	before := l.snapshot()
	p, _ := l.agent()
	p.end(t)
	for _, name := range []string{"ovs-vswitchd", "ovsdb-server"} {
		l.stop(name, 9)
	}
	for _, f := range []string{l.j.Config.CNI.ConfDir + "/10-ovn-kubernetes.conflist", l.j.Config.CNI.BinDir + "/ovn-k8s-cni-overlay"} {
		l.run("install", "-D", "/dev/null", f)
	}
	c := l.start(l.node, "cleanup", l.j)
	for range c.lines {
	}
	if err := c.cmd.Wait(); err == nil || !strings.Contains(c.log.String(), "start ovsdb-server and repeat") {
		t.Errorf("%v\n%s", err, c.log)
	}
	// That the address was added without duplicate detection is known to the database only.
	before = strings.ReplaceAll(before, "nodad ", "")
	if d := cmp.Diff(before, l.snapshot()); d != "" {
		t.Errorf("the host is not as before (-want +got)\n%s", d)
	}
	l.serve()
	l.reach()
	for _, dir := range []string{l.j.Config.CNI.ConfDir, l.j.Config.CNI.BinDir} {
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%s still has %v", dir, left)
		}
	}
	l.startOVS()
	l.start(l.node, "cleanup", l.j).wait(t)
	if s := l.vsctl("list-br"); strings.Contains(s, "br-") {
		t.Errorf("bridges left: %s", s)
	}
	if d := cmp.Diff(before, l.snapshot()); d != "" {
		t.Errorf("the host is not as before (-want +got)\n%s", d)
	}
}
