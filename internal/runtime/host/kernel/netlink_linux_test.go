package kernel_test

import (
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/kernel"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/kernel/kerneltest"
)

// inNamespace runs f on a thread with a network namespace of its own, which ends with it.
func inNamespace(t *testing.T, f func()) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root for network namespaces")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("network namespace: %v", err)
			return
		}
		f()
	}()
	<-done
}

// nic makes a device that is up: one end of a pair.
func nic(t *testing.T, name string) {
	veth := netlink.NewVeth(netlink.LinkAttrs{Name: name})
	veth.PeerName = name + "-peer"
	if err := netlink.LinkAdd(veth); err != nil {
		t.Error(err)
	}
	for _, n := range []string{name, name + "-peer"} {
		if l, err := netlink.LinkByName(n); err != nil || netlink.LinkSetUp(l) != nil {
			t.Errorf("%s: %v", n, err)
		}
	}
}

func stack(prefix string, dev string) kernel.Addr {
	a := kernel.Addr{Dev: dev, Prefix: netip.MustParsePrefix(prefix), Valid: kernel.Forever, Preferred: kernel.Forever}
	if a.Prefix.Addr().Is4() {
		a.Label = dev
	}
	return a
}

func route(dst string, metric int, scope uint8, hops ...kernel.Hop) kernel.Route {
	return kernel.Route{
		Table: kernel.TableMain, Dst: netip.MustParsePrefix(dst), Type: kernel.TypeUnicast, Metric: metric,
		Protocol: 85, Scope: scope, Hops: hops,
	}
}

func via(dev, gw string) kernel.Hop { return kernel.Hop{Dev: dev, Via: netip.MustParseAddr(gw)} }

// script is a sequence of changes with every feature that a move uses. The table for
// tests has to end where the kernel does.
func script() []kernel.Change {
	noPrefixRoute := stack("10.3.0.2/24", "a")
	noPrefixRoute.NoPrefixRoute = true
	alias := stack("10.1.0.3/24", "a")
	alias.Label = "a:vip"
	broadcast := stack("10.2.0.2/24", "a")
	broadcast.Broadcast = netip.MustParseAddr("10.2.0.255")
	deprecated := stack("fd02::2/64", "a")
	deprecated.Preferred, deprecated.NoDAD = 0, true
	src := route("10.60.0.0/16", 5, 0, via("a", "10.1.0.1"))
	src.Src, src.Metrics = netip.MustParseAddr("10.1.0.2"), kernel.Metrics{MTU: 1400, AdvMSS: 1300, InitCwnd: 10, HopLimit: 9}
	table := route("10.61.0.0/16", 0, kernel.ScopeLink, kernel.Hop{Dev: "a"})
	table.Table = 77
	onlink := via("a", "203.0.113.1")
	onlink.Onlink = true
	weighted := via("b", "10.9.0.1")
	weighted.Weight = 3
	twice := route("0.0.0.0/0", 100, 0, via("a", "10.1.0.1"))
	return []kernel.Change{
		kernel.SetMTU{Dev: "a", MTU: 1450},
		kernel.PutAddr{Addr: stack("10.1.0.2/24", "a")}, kernel.PutAddr{Addr: alias}, kernel.PutAddr{Addr: broadcast},
		kernel.PutAddr{Addr: noPrefixRoute}, kernel.PutAddr{Addr: stack("10.9.0.2/24", "b")},
		kernel.PutAddr{Addr: stack("fd01::2/64", "a")}, kernel.PutAddr{Addr: deprecated},
		kernel.PutAddr{Addr: stack("fd03::2/64", "b")},
		kernel.AppendRoute{Route: twice}, kernel.AppendRoute{Route: twice},
		kernel.AppendRoute{Route: route("0.0.0.0/0", 100, 0, via("b", "10.9.0.1"))},
		kernel.AppendRoute{Route: src}, kernel.AppendRoute{Route: table},
		kernel.AppendRoute{Route: route("10.62.0.0/16", 0, 0, onlink)},
		kernel.AppendRoute{Route: route("10.63.0.0/16", 0, 0, via("a", "10.1.0.1"), weighted)},
		kernel.AppendRoute{Route: route("::/0", 1024, 0, via("a", "fd01::1"))},
		kernel.AppendRoute{Route: route("2001:db8::/32", 1024, 0, via("a", "fd01::1"))},
		kernel.AppendRoute{Route: route("2001:db8::/32", 1024, 0, via("b", "fd03::1"))},
		kernel.PutNeighbor{Neighbor: kernel.Neighbor{Dev: "a", Addr: netip.MustParseAddr("10.1.0.9"), MAC: "02:00:00:00:00:09"}},
		kernel.PutNeighbor{Neighbor: kernel.Neighbor{Dev: "a", Addr: netip.MustParseAddr("fd01::9"), MAC: "02:00:00:00:00:09"}},
		kernel.PutNeighbor{Neighbor: kernel.Neighbor{Dev: "a", Addr: netip.MustParseAddr("10.1.0.9"), MAC: "02:00:00:00:00:0a"}},
		kernel.DeleteRoute{Route: route("2001:db8::/32", 1024, 0, via("a", "fd01::1"))},
		kernel.DeleteRoute{Route: twice}, kernel.DeleteRoute{Route: twice},
		kernel.DeleteAddr{Addr: stack("10.2.0.2/24", "a")}, kernel.DeleteAddr{Addr: stack("10.2.0.2/24", "a")},
		kernel.DeleteAddr{Addr: stack("10.9.0.2/24", "b")}, // the last of b: its routes go
		kernel.DeleteNeighbor{Neighbor: kernel.Neighbor{Dev: "a", Addr: netip.MustParseAddr("fd01::9"), MAC: "02:00:00:00:00:09"}},
		kernel.SetSysctl{Key: "net/ipv4/conf/a/rp_filter", Value: "2"},
		kernel.SetSysctl{Key: "net/ipv6/conf/b/disable_ipv6", Value: "1"},
	}
}

func TestFakeIsLikeTheKernel(t *testing.T) {
	t.Parallel()
	fake := kerneltest.New()
	for _, name := range []string{"a", "b"} {
		fake.AddLink(kernel.Link{Name: name, Up: true, MTU: 1500})
	}
	inNamespace(t, func() {
		nic(t, "a")
		nic(t, "b")
		n, err := kernel.NewNetlink()
		if err != nil {
			t.Error(err)
			return
		}
		defer n.Close()
		for i, c := range script() {
			if err := n.Apply(t.Context(), c); err != nil {
				t.Errorf("kernel: %v", err)
			}
			if err := fake.Apply(t.Context(), c); err != nil {
				t.Errorf("fake: %v", err)
			}
			live, err := n.State(t.Context(), []string{"a", "b"})
			if err != nil {
				t.Error(err)
				return
			}
			table, _ := fake.State(t.Context(), []string{"a", "b"})
			if d := cmp.Diff(live, table, sameState...); d != "" {
				t.Errorf("change %d (%s): -kernel +fake\n%s", i, c, d)
				return
			}
		}
		for _, key := range []string{"net/ipv4/conf/a/rp_filter", "net/ipv6/conf/b/disable_ipv6"} {
			live, ok, err := n.Sysctl(key)
			if table, _, _ := fake.Sysctl(key); live != table || !ok || err != nil {
				t.Errorf("sysctl %s: kernel %s %v %v, fake %s", key, live, ok, err, table)
			}
		}
		if _, ok, err := n.Sysctl("net/ipv4/conf/none/rp_filter"); ok || err != nil {
			t.Errorf("sysctl of no device: %v %v", ok, err)
		}
	})
}

// sameState leaves out what only the kernel has: indexes, link-local and multicast
// addresses and routes, and the order in which it lists.
var sameState = []cmp.Option{
	cmp.Transformer("state", func(s *kernel.State) kernel.State {
		linkLocal := func(p netip.Prefix) bool { return p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() }
		out := kernel.State{Neighbors: s.Neighbors}
		for _, l := range s.Links {
			if l.Name == "a" || l.Name == "b" {
				out.Links = append(out.Links, kernel.Link{Name: l.Name, MTU: l.MTU, Up: l.Up})
			}
		}
		for _, a := range s.Addrs {
			if !linkLocal(a.Prefix) && a.Dev != "lo" {
				a.NotUsable = false
				out.Addrs = append(out.Addrs, a)
			}
		}
		for _, r := range s.Routes {
			if !linkLocal(r.Dst) && !r.Dst.Addr().IsMulticast() {
				out.Routes = append(out.Routes, r)
			}
		}
		return out
	}),
	cmpopts.SortSlices(func(a, b kernel.Addr) bool { return a.Dev+a.Prefix.String() < b.Dev+b.Prefix.String() }),
	cmpopts.SortSlices(func(a, b kernel.Route) bool { return a.String() < b.String() }),
	cmpopts.SortSlices(func(a, b kernel.Link) bool { return a.Name < b.Name }),
	cmpopts.SortSlices(func(a, b kernel.Neighbor) bool { return a.Addr.String() < b.Addr.String() }),
	cmpopts.EquateEmpty(),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
}
