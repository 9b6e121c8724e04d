package nodecheck

import (
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// One neighbour is at the other end of a pair of devices, the other one is nowhere: only for
// that one it takes the whole time.
func TestResolve(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for network namespaces")
	}
	runtime.LockOSThread() // and never unlocked: the thread ends with the test
	other, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	own, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	pair := netlink.NewVeth(netlink.LinkAttrs{Name: "here"})
	pair.PeerName, pair.PeerNamespace = "there", netlink.NsFd(other)
	if err := netlink.LinkAdd(pair); err != nil {
		t.Fatal(err)
	}
	up := func(name, address string) int {
		l, err := netlink.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		a, err := netlink.ParseAddr(address)
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.AddrAdd(l, a); err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetUp(l); err != nil {
			t.Fatal(err)
		}
		return l.Attrs().Index
	}
	device := up("here", "198.51.100.1/24")
	if err := netns.Set(other); err != nil {
		t.Fatal(err)
	}
	up("there", "198.51.100.2/24")
	if err := netns.Set(own); err != nil {
		t.Fatal(err)
	}
	there, nobody := netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("198.51.100.3")
	began := time.Now()
	got, err := resolve(t.Context(), device, []netip.Addr{there})
	if err != nil || len(got) != 1 || !got[0].Answers || got[0].State != "REACHABLE" {
		t.Errorf("%+v, %v", got, err)
	}
	if took := time.Since(began); took >= resolveTime {
		t.Errorf("a neighbour that answers took %s", took)
	}
	got, err = resolve(t.Context(), device, []netip.Addr{there, nobody})
	if err != nil || len(got) != 2 || !got[0].Answers || got[1].Answers || got[1].Address != nobody || got[1].State != "INCOMPLETE" && got[1].State != "FAILED" {
		t.Errorf("%+v, %v", got, err)
	}
}
