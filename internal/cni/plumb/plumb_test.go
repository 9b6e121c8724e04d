//go:build linux

package plumb_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovnkctl/ovnkctl/internal/cni/plumb"
	"github.com/ovnkctl/ovnkctl/internal/cni/plumb/plumbtest"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

const sandbox = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func dualStack() plumb.Interface {
	return plumb.Interface{
		Host: plumb.HostName(sandbox), Name: "eth0", MTU: 1400,
		Network: world.PodNetwork{
			Addresses: []netip.Prefix{netip.MustParsePrefix("10.244.1.5/24"), netip.MustParsePrefix("fd00:10:244:1::5/64")},
			MAC:       "0a:58:0a:f4:01:05",
			Gateways:  []netip.Addr{netip.MustParseAddr("10.244.1.1"), netip.MustParseAddr("fd00:10:244:1::1")},
			Routes: []world.Route{
				{Dest: netip.MustParsePrefix("10.244.0.0/16"), NextHop: netip.MustParseAddr("10.244.1.1")},
				{Dest: netip.MustParsePrefix("fd00:10:244::/48"), NextHop: netip.MustParseAddr("fd00:10:244:1::1")},
				{Dest: netip.MustParsePrefix("192.0.2.0/24")}, // on the link
				{Dest: netip.MustParsePrefix("2001:db8::/64")},
			},
		},
	}
}

// node is a namespace in the role of the node's and one in the role of a pod's.
func node(t testing.TB) (host *plumb.Host, hostNS, podNS *plumbtest.Netns) {
	t.Helper()
	hostNS, podNS = plumbtest.New(t), plumbtest.New(t)
	host, err := plumb.HostAt(hostNS.Path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(host.Close)
	return host, hostNS, podNS
}

func open(t testing.TB, ns *plumbtest.Netns) *plumb.Netns {
	t.Helper()
	n, err := plumb.Open(ns.Path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

func attach(t testing.TB, host *plumb.Host, pod *plumb.Netns, i plumb.Interface) (created bool) {
	t.Helper()
	created, err := host.Connect(pod, i)
	if err != nil {
		t.Fatal(err)
	}
	if err := pod.Configure(i); err != nil {
		t.Fatal(err)
	}
	return created
}

func TestAttach(t *testing.T) {
	t.Parallel()
	host, hostNS, podNS := node(t)
	pod, want := open(t, podNS), dualStack()
	if !attach(t, host, pod, want) {
		t.Error("a new pair was reported as an old one")
	}
	if err := host.Check(pod, want); err != nil {
		t.Errorf("check after attach: %v", err)
	}
	podNS.Do(t, func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		list, err := netlink.AddrList(link, netlink.FAMILY_V6)
		if err != nil {
			return err
		}
		if len(list) != 2 {
			t.Errorf("IPv6 addresses %v, want the global and the link-local one", list)
		}
		for _, a := range list {
			if a.Flags&unix.IFA_F_TENTATIVE != 0 {
				t.Errorf("address %s is tentative: duplicate address detection is not off", a)
			}
			if a.IP.IsLinkLocalUnicast() && a.IP.String() != "fe80::858:aff:fef4:105" {
				t.Errorf("link-local address %s is not the MAC's", a)
			}
		}
		return nil
	})
	hostNS.Do(t, func() error {
		link, err := netlink.LinkByName(want.Host)
		if err != nil {
			return err
		}
		list, err := netlink.AddrList(link, netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		if len(list) != 0 {
			t.Errorf("the node's end has addresses %v, want none", list)
		}
		if link.Attrs().MTU != want.MTU || link.Attrs().Flags&net.FlagUp == 0 {
			t.Errorf("the node's end has MTU %d, flags %s", link.Attrs().MTU, link.Attrs().Flags)
		}
		return nil
	})
}

// The pair may be made before the pod's allocation is known.
func TestAttachWithMACLater(t *testing.T) {
	t.Parallel()
	host, _, podNS := node(t)
	pod, want := open(t, podNS), dualStack()
	early := want
	early.Network = world.PodNetwork{}
	if _, err := host.Connect(pod, early); err != nil {
		t.Fatal(err)
	}
	if err := pod.Configure(want); err != nil {
		t.Fatal(err)
	}
	if err := host.Check(pod, want); err != nil {
		t.Error(err)
	}
}

func TestAttachAgainRepairs(t *testing.T) {
	t.Parallel()
	host, _, podNS := node(t)
	pod, want := open(t, podNS), dualStack()
	attach(t, host, pod, want)
	if attach(t, host, pod, want) {
		t.Error("second attach made a new pair")
	}
	podNS.Do(t, func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		wrong, _ := netlink.ParseAddr("192.0.2.7/24")
		return errors.Join(
			netlink.AddrAdd(link, wrong),
			netlink.LinkSetMTU(link, 1300),
			netlink.LinkSetHardwareAddr(link, net.HardwareAddr{2, 0, 0, 0, 0, 1}),
			netlink.LinkSetDown(link), // loses the IPv6 addresses and all routes
		)
	})
	err := host.Check(pod, want)
	for _, text := range []string{"is down", "MTU 1300, want 1400", "MAC 02:00:00:00:00:01", "lacks address fd00:10:244:1::5/64", "route 0.0.0.0/0 via 10.244.1.1 is missing"} {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("check does not report %q: %v", text, err)
		}
	}
	attach(t, host, pod, want)
	if err := host.Check(pod, want); err != nil {
		t.Errorf("check after repair: %v", err)
	}
	podNS.Do(t, func() error {
		link, _ := netlink.LinkByName("eth0")
		list, err := netlink.AddrList(link, netlink.FAMILY_V4)
		if len(list) != 1 {
			t.Errorf("IPv4 addresses %v, want the pod's alone", list)
		}
		return err
	})
}

func TestLeftOverHostEndIsReplaced(t *testing.T) {
	t.Parallel()
	host, hostNS, podNS := node(t)
	pod, want := open(t, podNS), dualStack()
	hostNS.Do(t, func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: want.Host}, PeerName: "stale"})
	})
	if !attach(t, host, pod, want) {
		t.Error("the left-over pair was taken for the pod's")
	}
	if err := host.Check(pod, want); err != nil {
		t.Error(err)
	}
}

func TestForeignInterfaceIsRefused(t *testing.T) {
	t.Parallel()
	host, hostNS, podNS := node(t)
	pod := open(t, podNS)
	podNS.Do(t, func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "other"})
	})
	_, err := host.Connect(pod, dualStack())
	if !errors.Is(err, plumb.ErrForeign) {
		t.Errorf("got %v, want ErrForeign", err)
	}
	names, err := host.Veths()
	if err != nil || len(names) != 0 {
		t.Errorf("veths on the node %v (%v), want none", names, err)
	}
	hostNS.Do(t, func() error {
		return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "0123456789abcde"}})
	})
	other := plumbtest.New(t)
	if _, err := host.Connect(open(t, other), dualStack()); !errors.Is(err, plumb.ErrForeign) {
		t.Errorf("bridge of the same name: got %v, want ErrForeign", err)
	}
}

func TestIPv6SwitchedOffInPodIsSwitchedOn(t *testing.T) {
	t.Parallel()
	host, _, podNS := node(t)
	podNS.Do(t, func() error {
		return os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
	})
	pod, want := open(t, podNS), dualStack()
	attach(t, host, pod, want)
	if err := host.Check(pod, want); err != nil {
		t.Error(err)
	}
}

func TestIPv4OnlyPodIsSilentOnIPv6(t *testing.T) {
	t.Parallel()
	host, _, podNS := node(t)
	pod, want := open(t, podNS), dualStack()
	want.Network.Addresses = want.Network.Addresses[:1]
	want.Network.Gateways = want.Network.Gateways[:1]
	want.Network.Routes = want.Network.Routes[:1]
	attach(t, host, pod, want)
	podNS.Do(t, func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		list, err := netlink.AddrList(link, netlink.FAMILY_V6)
		if len(list) != 0 {
			t.Errorf("IPv6 addresses %v on an IPv4-only pod", list)
		}
		return err
	})
}

func TestDisconnect(t *testing.T) {
	t.Parallel()
	host, _, podNS := node(t)
	pod, want := open(t, podNS), dualStack()
	attach(t, host, pod, want)
	for range 2 { // the second time there is nothing left
		if err := host.Disconnect(pod, want.Host, want.Name); err != nil {
			t.Fatal(err)
		}
		names, err := host.Veths()
		if err != nil || len(names) != 0 {
			t.Fatalf("veths %v (%v) after disconnect", names, err)
		}
	}
	if err := host.Disconnect(nil, want.Host, want.Name); err != nil {
		t.Errorf("without the pod's namespace: %v", err)
	}
	// The namespace outlives the pair: attach works again.
	if !attach(t, host, pod, want) {
		t.Error("pair was not made anew")
	}
	if err := host.Disconnect(nil, want.Host, want.Name); err != nil {
		t.Fatal(err)
	}
	podNS.Do(t, func() error {
		if _, err := netlink.LinkByName("eth0"); err == nil {
			t.Error("the pod's end survived")
		}
		return nil
	})
}

func TestPolicedSeesNoFilter(t *testing.T) {
	t.Parallel()
	host, _, podNS := node(t)
	pod, want := open(t, podNS), dualStack()
	attach(t, host, pod, want)
	policed, err := host.Policed(want.Host)
	if err != nil || policed {
		t.Errorf("Policed = %t, %v on a fresh veth", policed, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root to open namespaces")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "unmounted")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, path, want string
		gone             bool
	}{
		{"missing", filepath.Join(dir, "none"), "gone", true},
		{"unmounted", file, "gone", true},
		{"relative", "run/netns/x", "absolute", false},
		{"too long", "/" + strings.Repeat("x", 5000), "absolute", false},
		{"own", "/proc/thread-self/ns/net", "node's own", false},
		{"another kind", "/proc/self/ns/mnt", "not a network namespace", false},
		{"directory", dir, "gone", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			n, err := plumb.Open(test.path)
			if err == nil {
				n.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), test.want) || errors.Is(err, plumb.ErrGone) != test.gone {
				t.Errorf("got %v (gone %t), want %q (gone %t)", err, errors.Is(err, plumb.ErrGone), test.want, test.gone)
			}
		})
	}
}

func TestConfigureNamesWhatFailed(t *testing.T) {
	t.Parallel()
	host, _, podNS := node(t)
	pod := open(t, podNS)
	if _, err := host.Connect(pod, dualStack()); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*plumb.Interface){
		"find eth9 in the pod": func(i *plumb.Interface) { i.Name = "eth9" },
		`MAC "nonsense"`:       func(i *plumb.Interface) { i.Network.MAC = "nonsense" },
		"add route 0.0.0.0/0 via 192.0.2.1": func(i *plumb.Interface) {
			i.Network.Gateways = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
		},
		"set MTU 20": func(i *plumb.Interface) { i.MTU = 20 },
	} {
		i := dualStack()
		spoil(&i)
		if err := pod.Configure(i); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// BenchmarkAttach is the whole plumbing; BenchmarkFloor is the one netlink request that
// nothing can do without.
func BenchmarkAttach(b *testing.B) {
	host, _, podNS := node(b)
	want := dualStack()
	for b.Loop() {
		pod, err := plumb.Open(podNS.Path)
		if err != nil {
			b.Fatal(err)
		}
		attach(b, host, pod, want)
		b.StopTimer()
		if err := host.Disconnect(pod, want.Host, want.Name); err != nil {
			b.Fatal(err)
		}
		pod.Close()
		b.StartTimer()
	}
}

func BenchmarkFloor(b *testing.B) {
	_, hostNS, podNS := node(b)
	ns, err := os.Open(podNS.Path)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = ns.Close() }()
	hostNS.Do(b, func() error {
		handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		for b.Loop() {
			attrs := netlink.NewLinkAttrs()
			attrs.Name, attrs.MTU = "floor", 1400
			veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(ns.Fd()))}
			if err := handle.LinkAdd(veth); err != nil {
				return err
			}
			b.StopTimer()
			if err := handle.LinkDel(veth); err != nil {
				return err
			}
			b.StartTimer()
		}
		return nil
	})
}
