//go:build ovn && linux

package host_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host"
	"github.com/ovnkctl/ovnkctl/test/ovn/box"
)

// The tests of this tag run a real Open vSwitch (userspace datapath) in a network
// namespace that plays a node, with another that plays the next hop. The Reconciler runs
// there as a process of its own, which is this test's binary, so that it can be killed.

// lab is a node and its next hop.
type lab struct {
	t          *testing.T
	dir        string
	node, peer string // namespaces
	programs   *box.Programs
	daemons    map[string]*exec.Cmd
	j          job
}

// addresses of the lab's underlay.
const (
	labNode4, labPeer4 = "172.31.9.11", "172.31.9.1"
	labNode6, labPeer6 = "fd31:9::11", "fd31:9::1"
)

var labs int

func newLab(t *testing.T) *lab {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root for network namespaces")
	}
	programs, err := box.FindPrograms()
	if err != nil {
		t.Skip(err)
	}
	labs++
	name := fmt.Sprintf("ovnkhost-%d-%d", os.Getpid(), labs)
	l := &lab{t: t, dir: t.TempDir(), node: name + "n", peer: name + "p", programs: programs, daemons: map[string]*exec.Cmd{}}
	t.Cleanup(l.down)
	for _, ns := range []string{l.node, l.peer} {
		l.run("ip", "netns", "add", ns)
		l.run("ip", "-n", ns, "link", "set", "lo", "up")
	}
	l.run("ip", "-n", l.peer, "link", "add", "p0", "type", "veth", "peer", "name", "eth0", "netns", l.node)
	l.run("ip", "-n", l.peer, "link", "set", "p0", "up")
	l.run("ip", "-n", l.peer, "addr", "add", labPeer4+"/24", "dev", "p0")
	l.run("ip", "-n", l.peer, "addr", "add", labPeer6+"/64", "dev", "p0", "nodad")
	l.run("ip", "-n", l.node, "link", "set", "eth0", "address", "02:00:00:00:09:11")
	l.run("ip", "-n", l.node, "link", "set", "eth0", "up")
	l.wrapper("ovs-ofctl")
	cfg := config.Default()
	cfg.Datapath = config.DatapathNetdev
	cfg.Network.ClusterSubnets = "10.244.0.0/16/24,fd00:10:244::/48/64"
	cfg.Network.ServiceSubnets = "10.96.0.0/16,fd00:10:96::/112"
	cfg.CNI.ConfDir, cfg.CNI.BinDir = l.dir+"/net.d", l.dir+"/bin"
	l.j = job{Config: *cfg, Zone: host.TestZone(), Services: host.TestServices(), RunDir: l.dir, Ofctl: filepath.Join(l.dir, "ovs-ofctl")}
	l.j.Zone.InternalIPs = []netip.Addr{netip.MustParseAddr(labNode4), netip.MustParseAddr(labNode6)}
	return l
}

// configure is the distribution's part: it gives the NIC its addresses and routes.
func (l *lab) configure() {
	l.ip("addr", "add", labNode4+"/24", "brd", "+", "dev", "eth0")
	l.ip("addr", "add", "172.31.9.12/24", "dev", "eth0", "label", "eth0:vip")
	l.ip("addr", "add", labNode6+"/64", "dev", "eth0", "nodad")
	l.ip("route", "add", "default", "via", labPeer4, "dev", "eth0", "proto", "dhcp", "src", labNode4, "metric", "100")
	l.ip("route", "add", "192.0.2.0/24", "via", labPeer4, "dev", "eth0", "mtu", "1400")
	l.ip("route", "add", "198.51.100.0/24", "dev", "eth0", "scope", "link", "table", "77")
	l.ip("-6", "route", "add", "default", "via", labPeer6, "dev", "eth0")
	l.ip("-6", "route", "add", "2001:db8:9::/48", "nexthop", "via", labPeer6, "dev", "eth0", "nexthop", "via", "fd31:9::2", "dev", "eth0")
}

func (l *lab) down() {
	for name := range l.daemons {
		l.stop(name, syscall.SIGKILL)
	}
	for _, ns := range []string{l.node, l.peer} {
		_ = exec.Command("ip", "netns", "del", ns).Run()
	}
}

func (l *lab) run(name string, args ...string) string {
	l.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// ip runs the ip command on the node.
func (l *lab) ip(args ...string) string {
	l.t.Helper()
	return l.run("ip", append([]string{"-n", l.node}, args...)...)
}

// in runs a program on the node.
func (l *lab) in(args ...string) string {
	l.t.Helper()
	return l.run("ip", append([]string{"netns", "exec", l.node}, args...)...)
}

// wrapper makes a program of OVS callable by one path.
func (l *lab) wrapper(name string) {
	l.t.Helper()
	argv, err := l.programs.Argv(name)
	if err != nil {
		l.t.Fatal(err)
	}
	script := "#!/bin/sh\nexec '" + strings.Join(argv, "' '") + "' \"$@\"\n"
	if err := os.WriteFile(filepath.Join(l.dir, name), []byte(script), 0o755); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) vsctl(args ...string) string {
	l.t.Helper()
	argv, err := l.programs.Argv("ovs-vsctl", append([]string{"--db=unix:" + l.dir + "/db.sock"}, args...)...)
	if err != nil {
		l.t.Fatal(err)
	}
	return l.run(argv[0], argv[1:]...)
}

func (l *lab) ofctl(args ...string) string {
	l.t.Helper()
	return l.run(filepath.Join(l.dir, "ovs-ofctl"), args...)
}

func (l *lab) bridge(name string) string { return "unix:" + l.dir + "/" + name + ".mgmt" }

// startOVS starts the database, empty if there is none yet, and the daemon.
func (l *lab) startOVS() {
	l.t.Helper()
	conf := filepath.Join(l.dir, "conf.db")
	if _, err := os.Stat(conf); err != nil {
		argv, err := l.programs.Argv("ovsdb-tool", "create", conf, l.programs.Schema("vswitch"))
		if err != nil {
			l.t.Fatal(err)
		}
		l.run(argv[0], argv[1:]...)
	}
	l.startOVSDB()
	l.vsctl("--no-wait", "init")
	l.vsctl("--no-wait", "set", "Open_vSwitch", ".", "other_config:userspace-tso-enable=true", "other_config:n-handler-threads=1", "other_config:n-revalidator-threads=1")
	l.startVswitchd()
}

func (l *lab) startOVSDB() {
	l.t.Helper()
	_ = os.Remove(l.dir + "/db.sock")
	l.daemon("ovsdb-server", l.dir+"/conf.db", "--remote=punix:"+l.dir+"/db.sock", "--unixctl="+l.dir+"/db.ctl", "-vconsole:off")
	eventually(l.t, "the database", func() error { return exists(l.dir + "/db.sock") })
}

func (l *lab) startVswitchd() {
	l.t.Helper()
	l.daemon("ovs-vswitchd", "unix:"+l.dir+"/db.sock", "-vconsole:off", "--unixctl="+l.dir+"/vs.ctl", "--log-file="+l.dir+"/vswitchd.log")
}

func (l *lab) daemon(name string, args ...string) {
	l.t.Helper()
	argv, err := l.programs.Argv(name, args...)
	if err != nil {
		l.t.Fatal(err)
	}
	cmd := exec.Command("ip", append([]string{"netns", "exec", l.node}, argv...)...)
	cmd.Env = append(os.Environ(), "OVS_RUNDIR="+l.dir, "OVS_DBDIR="+l.dir, "OVS_LOGDIR="+l.dir)
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.daemons[name] = cmd
}

func (l *lab) stop(name string, s syscall.Signal) {
	if cmd := l.daemons[name]; cmd != nil {
		_ = cmd.Process.Signal(s)
		_ = cmd.Wait()
		delete(l.daemons, name)
	}
}

// connect plays ovn-controller: it connects br-ex with br-int.
func (l *lab) connect() {
	l.t.Helper()
	const patch, peer = "patch-br-ex_n1-to-br-int", "patch-br-int-to-br-ex_n1"
	l.vsctl("--no-wait", "--may-exist", "add-port", "br-ex", patch, "--", "set", "Interface", patch, "type=patch", "options:peer="+peer,
		"--", "--may-exist", "add-port", "br-int", peer, "--", "set", "Interface", peer, "type=patch", "options:peer="+patch)
}

// process is a helper process.
type process struct {
	cmd   *exec.Cmd
	lines chan string
	log   *lockedBuffer
}

// wait waits for a process that ends by itself.
func (p *process) wait(t *testing.T) {
	t.Helper()
	for range p.lines {
	}
	if err := p.cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, p.log)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// start runs a helper process in a namespace.
func (l *lab) start(ns, mode string, j job) *process {
	l.t.Helper()
	self, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	text, err := json.Marshal(j)
	if err != nil {
		l.t.Fatal(err)
	}
	p := &process{cmd: exec.Command("ip", "netns", "exec", ns, self, string(text)), lines: make(chan string, 1000), log: &lockedBuffer{}}
	p.cmd.Env = append(os.Environ(), helperVariable+"="+mode)
	p.cmd.Stderr = p.log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	l.t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	return p
}

// patience is how long the slowest of machines may take for anything here.
const patience = 30 * time.Second

// await reads lines until one begins with the word, and returns the rest of it.
func (p *process) await(t *testing.T, word string) string {
	t.Helper()
	limit := time.After(patience)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				t.Fatalf("ended before %q: %v\n%s", word, p.cmd.Wait(), p.log)
			}
			if rest, ok := strings.CutPrefix(line, word); ok {
				return strings.TrimSpace(rest)
			}
		case <-limit:
			t.Fatalf("no %q\n%s", word, p.log)
		}
	}
}

// end ends the process and returns what it said last; an error is fatal.
func (p *process) end(t *testing.T) string {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	var last string
	for line := range p.lines {
		last = line
	}
	if err := p.cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, p.log)
	}
	return last
}

// agent runs the Reconciler until everything is in place.
func (l *lab) agent() (p *process, writes int) {
	l.t.Helper()
	p = l.start(l.node, "run", l.j)
	n, err := strconv.Atoi(p.await(l.t, "ready"))
	if err != nil {
		l.t.Fatal(err)
	}
	return p, n
}

// traffic is one connection per family from the node to its next hop.
type traffic struct{ clients []*process }

func (l *lab) traffic(peers ...string) *traffic {
	l.t.Helper()
	tr := &traffic{}
	for i, peer := range peers {
		j := l.j
		j.Address = net.JoinHostPort(peer, strconv.Itoa(7000+i))
		l.start(l.peer, "server", j).await(l.t, "ready")
		c := l.start(l.node, "client", j)
		c.await(l.t, "ready")
		tr.clients = append(tr.clients, c)
	}
	return tr
}

// serve answers on the next hop.
func (l *lab) serve() {
	l.t.Helper()
	for _, peer := range []string{labPeer4, labPeer6} {
		j := l.j
		j.Address = net.JoinHostPort(peer, "9000")
		l.start(l.peer, "server", j).await(l.t, "ready")
	}
}

// reach makes a new connection with the next hop, for each family.
func (l *lab) reach() {
	l.t.Helper()
	for _, peer := range []string{labPeer4, labPeer6} {
		j := l.j
		j.Address = net.JoinHostPort(peer, "9000")
		l.start(l.node, "dial", j).wait(l.t)
	}
}

// end checks that no connection broke, and says how long an answer took at most.
func (tr *traffic) end(t *testing.T) {
	t.Helper()
	for _, c := range tr.clients {
		t.Log(c.cmd.Args[len(c.cmd.Args)-1][max(0, len(c.cmd.Args[len(c.cmd.Args)-1])-40):], c.end(t))
	}
}

func exists(path string) error {
	_, err := os.Stat(path)
	return err
}

// eventually looks again whenever a little time has passed, until the condition holds.
func eventually(t *testing.T, what string, f func() error) time.Duration {
	t.Helper()
	start := time.Now()
	for {
		err := f()
		if err == nil {
			return time.Since(start)
		}
		if time.Since(start) > patience {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
