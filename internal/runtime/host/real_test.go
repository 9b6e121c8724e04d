//go:build ovn && linux

package host_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host"
)

// snapshot is what `ip` shows of the node, without what differs from moment to moment:
// indexes, link-local addresses (which the kernel makes anew) and the router's neighbours.
func (l *lab) snapshot() string {
	l.t.Helper()
	var b strings.Builder
	var addrs []string
	for line := range strings.Lines(l.ip("-o", "addr", "show")) {
		if f := strings.Fields(line); !strings.HasPrefix(f[3], "fe80:") && !strings.HasPrefix(f[1], "ovs-netdev") {
			addrs = append(addrs, strings.Join(f[1:], " "))
		}
	}
	slices.Sort(addrs)
	fmt.Fprintln(&b, strings.Join(addrs, "\n"))
	var routes []string
	for _, family := range []string{"-4", "-6"} {
		for line := range strings.Lines(l.ip(family, "route", "show", "table", "all")) {
			if !strings.Contains(line, "fe80:") && !strings.Contains(line, "multicast") && !strings.Contains(line, "anycast") {
				routes = append(routes, strings.Join(strings.Fields(line), " "))
			}
		}
	}
	slices.Sort(routes) // the next hops of an IPv6 route have no order
	return b.String() + strings.Join(routes, "\n")
}

// The host keeps its connections through the move and the way back, and looks as before.
func TestRealMoveAndCleanup(t *testing.T) {
	for _, test := range []struct {
		name, cluster, service string
	}{
		{"dual", "10.244.0.0/16/24,fd00:10:244::/48/64", "10.96.0.0/16,fd00:10:96::/112"},
		{"IPv4", "10.244.0.0/16/24", "10.96.0.0/16"},
		{"IPv6", "fd00:10:244::/48/64", "fd00:10:96::/112"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t)
			l.j.Config.Network.ClusterSubnets, l.j.Config.Network.ServiceSubnets = test.cluster, test.service
			l.configure()
			l.startOVS()
			before := l.snapshot()
			tr := l.traffic(labPeer4, labPeer6)
			l.connectWhenMade()
			p, writes := l.agent()
			t.Logf("ready after %d writes: %s", writes, l.in("ip", "-br", "addr"))
			for _, word := range []string{labNode4, labNode6} {
				if !strings.Contains(l.ip("addr", "show", "br-ex"), word) || strings.Contains(l.ip("addr", "show", "eth0"), word) {
					t.Errorf("%s is not on br-ex alone", word)
				}
			}
			p.end(t)
			if again, writes := l.agent(); writes != 0 {
				t.Errorf("a new process wrote %d times\n%s", writes, again.log)
			} else {
				again.end(t)
			}
			l.start(l.node, "cleanup", l.j).wait(t)
			tr.end(t)
			if d := cmp.Diff(before, l.snapshot()); d != "" {
				t.Errorf("the host is not as before (-want +got)\n%s", d)
			}
			if tables := l.in("nft", "list", "tables"); tables != "" {
				t.Errorf("tables left: %s", tables)
			}
			l.start(l.node, "cleanup", l.j).wait(t)
		})
	}
}

// connectWhenMade plays an ovn-controller that connects the bridges once they are made.
func (l *lab) connectWhenMade() {
	go func() {
		for l.t.Context().Err() == nil {
			if strings.Contains(l.vsctl("list-br"), "br-int") {
				l.connect()
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
}

// One connection lives through a process that is killed after each of its writes, there
// and back.
func TestRealKilledAtEveryWrite(t *testing.T) {
	l := newLab(t)
	l.configure()
	l.startOVS()
	l.serve()
	before := l.snapshot()
	tr := l.traffic(labPeer4, labPeer6)
	l.connectWhenMade()
	kill := func(mode string) (kills int) {
		for n := 1; ; n++ {
			j := l.j
			j.KillAfter = 1
			if mode == "run" {
				// The next one gets one write further than this one, so that the writes that
				// only follow from others in the same process are killed, too.
				j.KillAfter = 1 + n%3
			}
			p := l.start(l.node, mode, j)
			ready := false
			for line := range p.lines {
				if strings.HasPrefix(line, "ready") {
					ready = true
					_ = p.cmd.Process.Signal(syscall.SIGTERM)
				}
			}
			err := p.cmd.Wait()
			if ready || err == nil {
				return n - 1
			}
			if s := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !s.Signaled() || s.Signal() != syscall.SIGKILL {
				// `ip netns exec` executes in place, so the signal is the helper's.
				t.Fatalf("%s ended by itself: %v\n%s", mode, err, p.log)
			}
			l.reach()
			if n > 200 {
				t.Fatalf("%s never ends\n%s", mode, p.log)
			}
		}
	}
	t.Logf("move: killed %d times", kill("run"))
	t.Logf("cleanup: killed %d times", kill("cleanup"))
	tr.end(t)
	if d := cmp.Diff(before, l.snapshot()); d != "" {
		t.Errorf("the host is not as before (-want +got)\n%s", d)
	}
}

// A reboot: the database is kept, everything else is as the distribution leaves it.
func TestRealReboot(t *testing.T) {
	l := newLab(t)
	l.configure()
	l.startOVS()
	l.serve()
	l.connectWhenMade()
	p, _ := l.agent()
	p.end(t)
	l.stop("ovs-vswitchd", syscall.SIGKILL)
	l.stop("ovsdb-server", syscall.SIGKILL)
	for _, dev := range []string{"br-ex", host.ManagementPort, "br-int", "ovs-netdev"} {
		_ = l.in("sh", "-c", "ip link del "+dev+" || true")
	}
	l.in("nft", "flush", "ruleset")
	l.in("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=0", "net.ipv4.conf.eth0.arp_ignore=0", "net.ipv4.conf.all.arp_ignore=0", "net.ipv6.conf.all.forwarding=0")
	l.configure()
	l.startOVS()
	p, writes := l.agent()
	t.Logf("ready after %d writes", writes)
	l.reach()
	if s := l.ip("addr", "show", "eth0"); strings.Contains(s, labNode4) || strings.Contains(s, labNode6) {
		t.Errorf("addresses are still on the NIC: %s", s)
	}
	p.end(t)
}

// What others break comes back while the program runs.
func TestRealHeals(t *testing.T) {
	l := newLab(t)
	l.configure()
	l.startOVS()
	l.serve()
	l.connectWhenMade()
	p, _ := l.agent()
	before := l.snapshot()
	tables := func() string {
		return l.in("sh", "-c", "nft -s list table inet ovn-kubernetes; nft -s list table netdev ovnkctl-guard; nft list tables | wc -l")
	}
	flows := func() string { return l.ofctl("--no-stats", "--names", "dump-flows", l.bridge("br-ex")) }
	wantFlows, wantTables := flows(), tables()
	mended := func() error {
		if s := l.snapshot(); s != before {
			return errors.New("network stack: " + cmp.Diff(before, s))
		}
		if s := tables(); s != wantTables {
			return errors.New("tables: " + cmp.Diff(wantTables, s))
		}
		if err := exists(l.dir + "/br-ex.mgmt"); err != nil {
			return err
		}
		if s := flows(); s != wantFlows {
			return errors.New("flows: " + cmp.Diff(wantFlows, s))
		}
		return nil
	}
	for _, harm := range []struct {
		name string
		do   func()
		most time.Duration
	}{
		{"flows deleted", func() { l.ofctl("del-flows", l.bridge("br-ex")) }, 2 * time.Second},
		{"one flow deleted", func() {
			l.ofctl("--strict", "del-flows", l.bridge("br-ex"), "table=1,priority=10,dl_dst=02:00:00:00:09:11")
		}, 2 * time.Second},
		{"flow added", func() { l.ofctl("add-flow", l.bridge("br-ex"), "cookie=0xdeff105,priority=1000,actions=drop") }, 2 * time.Second},
		{"flow taken over", func() {
			l.ofctl("add-flow", l.bridge("br-ex"), "cookie=0x77,table=1,priority=10,dl_dst=02:00:00:00:09:11,actions=drop")
		}, 2 * time.Second},
		{"tables flushed", func() { l.in("nft", "flush", "ruleset") }, 2 * time.Second},
		{"rule edited", func() {
			l.in("sh", "-c", `nft -a list chain inet ovn-kubernetes mgmtport-snat | sed -n 's/.*\(comment "pods answer.*\) # handle \(.*\)/nft replace rule inet ovn-kubernetes mgmtport-snat handle \2 ip saddr 9.9.9.9 drop \x27\1\x27/p' | head -1 | sh`)
		}, 2 * time.Second},
		{"rule added", func() { l.in("nft", "add", "rule", "inet", "ovn-kubernetes", "mgmtport-snat", "drop") }, 2 * time.Second},
		{"address deleted", func() { l.ip("addr", "del", labNode4+"/24", "dev", "br-ex") }, 5 * time.Second},
		{"addresses flushed", func() { l.ip("addr", "flush", "dev", "br-ex") }, 5 * time.Second},
		{"another address first", func() {
			l.ip("addr", "flush", "dev", "br-ex", "to", "172.31.9.0/24")
			l.ip("addr", "replace", "172.31.9.12/24", "dev", "br-ex", "label", "br-ex:vip")
			l.ip("addr", "replace", labNode4+"/24", "brd", "+", "dev", "br-ex")
		}, 5 * time.Second},
		{"routes flushed", func() { l.ip("route", "flush", "dev", "br-ex") }, 5 * time.Second},
		{"link down", func() { l.ip("link", "set", "br-ex", "down") }, 5 * time.Second},
		{"management link down", func() { l.ip("link", "set", host.ManagementPort, "down") }, 5 * time.Second},
		{"NIC's port deleted", func() { l.vsctl("del-port", "br-ex", "eth0") }, 5 * time.Second},
		{"management port deleted", func() { l.vsctl("del-port", "br-int", host.ManagementPort) }, 5 * time.Second},
		{"bridge deleted", func() { l.vsctl("del-br", "br-ex"); l.connectWhenMade2() }, 10 * time.Second},
		{"vswitchd killed", func() { l.stop("ovs-vswitchd", syscall.SIGKILL); l.startVswitchd() }, 15 * time.Second},
		{"database server killed", func() { l.stop("ovsdb-server", syscall.SIGKILL); l.startOVSDB() }, 15 * time.Second},
	} {
		t.Run(harm.name, func(t *testing.T) {
			l.t = t
			said := len(p.log.String())
			harm.do()
			took := eventually(t, "not mended", mended)
			if len(p.log.String()) == said && harm.name != "database server killed" {
				t.Error("nothing was harmed")
			}
			t.Logf("mended after %s", took.Round(time.Millisecond))
			if took > harm.most {
				t.Errorf("mended after %s, more than %s\n%s", took, harm.most, p.log)
			}
			l.reach()
		})
	}
	l.t = t
	p.end(t)
	if again, writes := l.agent(); writes != 0 {
		t.Errorf("a new process wrote %d times\n%s", writes, again.log)
	} else {
		again.end(t)
	}
}

func (l *lab) connectWhenMade2() {
	eventually(l.t, "br-ex", func() error {
		if !strings.Contains(l.vsctl("list-br"), "br-ex") {
			return os.ErrNotExist
		}
		return nil
	})
	l.connect()
}
