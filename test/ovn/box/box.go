//go:build linux

// Package box is a small OVN on one machine for tests: every node is a network namespace
// with its own NB, SB, northd, OVS (userspace datapath) and ovn-controller, as a zone has
// them in a cluster; pods are further namespaces. A bridge joins the nodes, and beyond it
// is an outside host.
//
//	outside ── fabric bridge ── eth0 │ br-ex ── br-int ── pod
//	              (namespace)        │        (one namespace per node)
//
// The engine programs each zone from one world: what the tests prove, they prove of the
// rows that the features make. Names carry the process id, so test programs can run side
// by side, and what a killed one left behind is removed by the next.
package box

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/test/sandbox/netspace"
)

// Patience bounds each wait for OVN; a busy machine needs seconds where an idle one needs
// milliseconds.
const Patience = 90 * time.Second

// packetPatience bounds each exchange of packets. TCP repeats a lost SYN after one and three
// seconds; more is a fault.
const packetPatience = 10 * time.Second

// Family is the address families of a box.
type Family string

// The families.
const (
	Dual Family = "dual"
	IPv4 Family = "ipv4"
	IPv6 Family = "ipv6"
)

// Has tells whether addresses like a are used.
func (f Family) Has(a netip.Addr) bool { return f == Dual || (f == IPv4) == a.Is4() }

// Options choose what kind of box to make.
type Options struct {
	Zones  int
	Family Family
	Mode   world.GatewayMode
	// BareRows leaves out what load balancers need in userspace, for the test of what happens
	// without.
	BareRows bool
	// Multicast is on.
	Multicast bool
}

// The underlay and what is beyond it. All boxes use the same addresses: each has its own
// namespaces.
var (
	underlay = []netip.Prefix{netip.MustParsePrefix("172.30.0.0/24"), netip.MustParsePrefix("fd30::/64")}
	routers  = []netip.Addr{netip.MustParseAddr("172.30.0.1"), netip.MustParseAddr("fd30::1")}
	// Outside are the addresses of the host beyond the nodes' router (documentation ranges).
	Outside = []netip.Addr{netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("2001:db8:9::9")}
)

// plans are the addresses of the clusters.
var plans = map[Family][2]string{
	Dual: {"10.244.0.0/16/24,fd00:10:244::/48/64", "10.96.0.0/16,fd00:10:96::/112"},
	IPv4: {"10.244.0.0/16/24", "10.96.0.0/16"},
	IPv6: {"fd00:10:244::/48/64", "fd00:10:96::/112"},
}

// Box is one small OVN.
type Box struct {
	Zones   []*Zone
	Network world.Network

	t        testing.TB
	ctx      context.Context
	options  Options
	programs *Programs
	prefix   string // of the names of namespaces
	dir      string
	config   *config.Config
	fabric   string // namespace
}

// The first thread keeps to the main goroutine: /proc/PID/ns is that thread's, and one that
// a goroutine took into a namespace would make the whole test look like a process there.
func init() { runtime.LockOSThread() }

const namePrefix = "ovnt"

var boxes atomic.Int32

// New makes a box and starts its daemons; the test's end removes it all.
func New(t testing.TB, o Options) *Box {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("the tests with real OVN make network namespaces: run them as root")
	}
	programs, err := FindPrograms()
	if err != nil {
		t.Fatal(err)
	}
	if err := removeLeftovers(); err != nil {
		t.Fatalf("what a killed run left: %v", err)
	}
	// Unix sockets have paths of at most 107 bytes: t.TempDir is too long.
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", namePrefix, os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	b := &Box{
		t: t, ctx: t.Context(), options: o, programs: programs, dir: dir,
		prefix: fmt.Sprintf("%s%d-%d-", namePrefix, os.Getpid(), boxes.Add(1)),
	}
	t.Cleanup(b.remove)
	b.plan()
	b.makeFabric()
	for i := range o.Zones {
		b.newZone(i + 1)
	}
	return b
}

// Program has the engine of every zone make the features' rows, and waits until OVN and
// the hosts have done what follows.
func (b *Box) Program(features ...feature.Feature) {
	b.t.Helper()
	for _, z := range b.Zones {
		z.program(features)
	}
	for _, z := range b.Zones {
		z.Sync()
		z.waitHost()
	}
	b.introduce()
}

// introduce tells every node the MACs of the others: the userspace datapath drops the
// packets for a tunnel until it knows the other end's, where the kernel's keeps them.
func (b *Box) introduce() {
	b.t.Helper()
	for _, z := range b.Zones {
		for _, other := range b.Zones {
			if z != other {
				z.Run("ovs-appctl", "-t", "ovs-vswitchd", "tnl/neigh/set", "br-ex", other.Addrs[0].Addr().String(), other.MAC)
			}
		}
	}
}

func (b *Box) plan() {
	b.t.Helper()
	c := config.Default()
	c.Network.ClusterSubnets, c.Network.ServiceSubnets = plans[b.options.Family][0], plans[b.options.Family][1]
	c.Network.EnableMulticast = b.options.Multicast
	c.Gateway.Mode = string(b.options.Mode)
	c.Datapath = config.DatapathNetdev
	if err := c.Validate(); err != nil {
		b.t.Fatal(err)
	}
	n, err := c.DefaultNetwork()
	if err != nil {
		b.t.Fatal(err)
	}
	n.UserspaceDatapath = !b.options.BareRows
	b.config, b.Network = c, n
}

// makeFabric makes the network between the nodes, with a router that is the outside host,
// too.
func (b *Box) makeFabric() {
	b.t.Helper()
	b.fabric = b.namespace("fabric")
	b.sysctl(b.fabric, "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
	b.ip(b.fabric, "link add fabric type bridge")
	b.ip(b.fabric, "link set fabric up")
	for i, r := range b.ofFamily(routers) {
		b.ip(b.fabric, "addr add "+netip.PrefixFrom(r, b.prefixes(underlay)[i].Bits()).String()+" dev fabric"+nodad(r))
	}
	for _, a := range b.ofFamily(Outside) {
		b.ip(b.fabric, "addr add "+netip.PrefixFrom(a, a.BitLen()).String()+" dev lo"+nodad(a))
	}
}

// OutsideNS is the namespace of the outside host.
func (b *Box) OutsideNS() string { return b.fabric }

// OutsideAddrs are the outside host's addresses.
func (b *Box) OutsideAddrs() []netip.Addr { return b.ofFamily(Outside) }

// RouterAddrs are the addresses that the outside host's own connections to nodes come from.
func (b *Box) RouterAddrs() []netip.Addr { return b.ofFamily(routers) }

func (b *Box) ofFamily(list []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range list {
		if b.options.Family.Has(a) {
			out = append(out, a)
		}
	}
	return out
}

func (b *Box) prefixes(list []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range list {
		if b.options.Family.Has(p.Addr()) {
			out = append(out, p)
		}
	}
	return out
}

// namespace makes a network namespace of the box.
func (b *Box) namespace(name string) string {
	b.t.Helper()
	ns := b.prefix + name
	if err := netspace.Ensure(ns); err != nil {
		b.t.Fatal(err)
	}
	return ns
}

// ip runs an ip command in a namespace.
func (b *Box) ip(ns, command string) {
	b.t.Helper()
	b.run("ip", append([]string{"-n", ns}, strings.Fields(command)...)...)
}

// sysctl writes settings, "key=value", in a namespace.
func (b *Box) sysctl(ns string, settings ...string) {
	b.t.Helper()
	err := netspace.Do(ns, func() error {
		for _, s := range settings {
			key, value, _ := strings.Cut(s, "=")
			if err := os.WriteFile("/proc/sys/"+strings.ReplaceAll(key, ".", "/"), []byte(value), 0o644); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *Box) run(name string, args ...string) {
	b.t.Helper()
	if out, err := exec.CommandContext(b.ctx, name, args...).CombinedOutput(); err != nil {
		b.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func nodad(a netip.Addr) string {
	if a.Is4() {
		return ""
	}
	return " nodad"
}

// remove ends the daemons and removes the namespaces and files. Logs stay when the test
// failed.
func (b *Box) remove() {
	for _, z := range b.Zones {
		z.stop()
	}
	if err := removeNamespaces(b.prefix); err != nil {
		b.t.Error(err)
	}
	if b.t.Failed() {
		b.t.Logf("logs and databases are in %s", b.dir)
		return
	}
	if err := os.RemoveAll(b.dir); err != nil {
		b.t.Error(err)
	}
}

// removeNamespaces ends the processes in the namespaces of that prefix and removes them.
func removeNamespaces(prefix string) error {
	names, err := netspace.List(prefix)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := removeNamespace(name); err != nil {
			return err
		}
	}
	return nil
}

func removeNamespace(name string) error {
	pids, err := netspace.Processes(name)
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("process %d of namespace %s: %w", pid, name, err)
		}
	}
	return netspace.Delete(name)
}

// removeLeftovers removes the boxes of test programs that were killed.
func removeLeftovers() error {
	names, err := netspace.List(namePrefix)
	if err != nil {
		return err
	}
	for _, name := range names {
		owner, _, ok := strings.Cut(strings.TrimPrefix(name, namePrefix), "-")
		pid, err := strconv.Atoi(owner)
		if !ok || err != nil || syscall.Kill(pid, 0) == nil {
			continue
		}
		if err := removeNamespaces(namePrefix + owner + "-"); err != nil {
			return err
		}
	}
	return nil
}
