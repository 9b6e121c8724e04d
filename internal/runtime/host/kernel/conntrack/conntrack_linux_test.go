package conntrack

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// inNamespace runs f on a thread with a network namespace of its own, which ends with it.
func inNamespace(t testing.TB, f func()) {
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

// connection is one in the kernel's table: sent from client to to, answered by backend.
type connection struct {
	protocol            uint8
	client, to, backend string
	zone                uint16
}

func (c connection) flow() *netlink.ConntrackFlow {
	client, to, backend := netip.MustParseAddrPort(c.client), netip.MustParseAddrPort(c.to), netip.MustParseAddrPort(c.backend)
	f := &netlink.ConntrackFlow{
		FamilyType: family(to), TimeOut: 600,
		Forward: netlink.IPTuple{Protocol: c.protocol, SrcIP: ip(client), SrcPort: client.Port(), DstIP: ip(to), DstPort: to.Port()},
		Reverse: netlink.IPTuple{Protocol: c.protocol, SrcIP: ip(backend), SrcPort: backend.Port(), DstIP: ip(client), DstPort: client.Port()},
	}
	if c.protocol == unix.IPPROTO_TCP {
		const established = 3
		f.ProtoInfo = &netlink.ProtoInfoTCP{State: established}
	}
	return f
}

func family(a netip.AddrPort) uint8 {
	if a.Addr().Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func ip(a netip.AddrPort) net.IP { return a.Addr().AsSlice() }

// add puts it into the namespace's table.
func (c connection) add() error {
	f := c.flow()
	if c.zone == 0 {
		return netlink.ConntrackCreate(netlink.ConntrackTable, netlink.InetFamily(f.FamilyType), f)
	}
	r := request(f.FamilyType, nl.IPCTNL_MSG_CT_NEW, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	for kind, t := range map[int]netlink.IPTuple{nl.CTA_TUPLE_ORIG: f.Forward, nl.CTA_TUPLE_REPLY: f.Reverse} {
		r.AddData(tupleAttr(kind, t))
	}
	r.AddData(nl.NewRtAttr(nl.CTA_TIMEOUT, binary.BigEndian.AppendUint32(nil, 600)))
	r.AddData(nl.NewRtAttr(nl.CTA_ZONE, binary.BigEndian.AppendUint16(nil, c.zone)))
	_, err := r.Execute(unix.NETLINK_NETFILTER, 0)
	return err
}

func tupleAttr(kind int, t netlink.IPTuple) *nl.RtAttr {
	src, dst := nl.CTA_IP_V6_SRC, nl.CTA_IP_V6_DST
	if t.SrcIP.To4() != nil {
		src, dst = nl.CTA_IP_V4_SRC, nl.CTA_IP_V4_DST
	}
	out := nl.NewRtAttr(unix.NLA_F_NESTED|kind, nil)
	addrs := nl.NewRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_IP, nil)
	addrs.AddRtAttr(src, t.SrcIP)
	addrs.AddRtAttr(dst, t.DstIP)
	ports := nl.NewRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_PROTO, nil)
	ports.AddRtAttr(nl.CTA_PROTO_NUM, []byte{t.Protocol})
	ports.AddRtAttr(nl.CTA_PROTO_SRC_PORT, binary.BigEndian.AppendUint16(nil, t.SrcPort))
	ports.AddRtAttr(nl.CTA_PROTO_DST_PORT, binary.BigEndian.AppendUint16(nil, t.DstPort))
	out.AddChild(addrs)
	out.AddChild(ports)
	return out
}

// clients are the sources of all connections of the namespace, sorted.
func clients(t testing.TB) (out []string) {
	t.Helper()
	for _, f := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, f)
		if err != nil {
			t.Error(err)
		}
		for _, flow := range flows {
			a, _ := netip.AddrFromSlice(flow.Forward.SrcIP)
			out = append(out, netip.AddrPortFrom(a, flow.Forward.SrcPort).String())
		}
	}
	slices.Sort(out)
	return out
}

const (
	udp = unix.IPPROTO_UDP
	tcp = unix.IPPROTO_TCP
)

func backends(m map[string][]string) Backends {
	out := Backends{}
	for at, list := range m {
		to := []netip.AddrPort{}
		for _, b := range list {
			to = append(to, netip.MustParseAddrPort(b))
		}
		out[netip.MustParseAddrPort(at)] = to
	}
	return out
}

func TestForgetUDP(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, to, alive, alive2, gone, other string
		client                               func(int) string
	}{
		{"IPv4", "192.0.2.1:30053", "10.244.1.5:53", "10.244.1.6:53", "10.244.1.7:53", "192.0.2.1:30054", func(i int) string { return fmt.Sprintf("203.0.113.9:%d", i) }},
		{"IPv6", "[2001:db8::1]:30053", "[fd00::5]:53", "[fd00::6]:53", "[fd00::7]:53", "[2001:db8::2]:30053", func(i int) string { return fmt.Sprintf("[2001:db8:9::9]:%d", i) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			inNamespace(t, func() {
				for _, n := range []connection{
					{udp, c.client(40001), c.to, c.alive, 0},
					{udp, c.client(40002), c.to, c.alive2, 0},
					{udp, c.client(40003), c.to, c.gone, 0},    // removed end point
					{udp, c.client(40004), c.to, c.to, 0},      // began before there was one
					{tcp, c.client(40005), c.to, c.gone, 0},    // TCP ends by itself
					{udp, c.client(40006), c.to, c.gone, 7},    // Open vSwitch's
					{udp, c.client(40007), c.other, c.gone, 0}, // nobody's
				} {
					if err := n.add(); err != nil {
						t.Errorf("%+v: %v", n, err)
						return
					}
				}
				zones := Own
				check := func(want map[string][]string, removed int, left ...int) {
					t.Helper()
					n, err := ForgetUDP(context.Background(), zones, backends(want))
					if err != nil || n != removed {
						t.Errorf("removed %d, %v; want %d", n, err, removed)
					}
					var names []string
					for _, l := range left {
						names = append(names, c.client(l))
					}
					if diff := cmp.Diff(names, clients(t)); diff != "" {
						t.Errorf("clients left (-want +got):\n%s", diff)
					}
				}
				check(nil, 0, 40001, 40002, 40003, 40004, 40005, 40006, 40007)
				both := map[string][]string{c.to: {c.alive, c.alive2}}
				check(both, 2, 40001, 40002, 40005, 40006, 40007)
				check(both, 0, 40001, 40002, 40005, 40006, 40007)
				check(map[string][]string{c.to: {c.alive2}}, 1, 40002, 40005, 40006, 40007)
				check(map[string][]string{c.to: nil}, 1, 40005, 40006, 40007) // no backends
				zones = Others
				check(map[string][]string{c.to: {c.gone}}, 0, 40005, 40006, 40007)
				check(both, 1, 40005, 40007)
			})
		})
	}
}

func TestForgetUDPEndsWithItsContext(t *testing.T) {
	t.Parallel()
	inNamespace(t, func() {
		if err := (connection{udp, "203.0.113.9:4000", "192.0.2.1:53", "192.0.2.1:53", 0}).add(); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		n, err := ForgetUDP(ctx, Own, backends(map[string][]string{"192.0.2.1:53": nil}))
		if n != 0 || !errors.Is(err, context.Canceled) || len(clients(t)) != 1 {
			t.Errorf("removed %d, %v", n, err)
		}
	})
}

// TestSuccessorsLive replaces a connection by one with the same addresses after it was
// listed: the new one follows the new rules and must stay.
func TestSuccessorsLive(t *testing.T) {
	t.Parallel()
	inNamespace(t, func() {
		c := connection{udp, "203.0.113.9:4000", "192.0.2.1:53", "10.244.1.7:53", 0}
		if err := c.add(); err != nil {
			t.Error(err)
			return
		}
		want := backends(map[string][]string{c.to: {"10.244.1.5:53"}})
		stale, err := staleOf(unix.AF_INET, Own, want)
		if err != nil || len(stale) != 1 {
			t.Errorf("stale: %v, %v", stale, err)
			return
		}
		if err := netlink.ConntrackTableFlush(netlink.ConntrackTable); err != nil {
			t.Error(err)
		}
		c.backend = "10.244.1.5:53"
		if err := c.add(); err != nil {
			t.Error(err)
		}
		if err := stale[0].remove(unix.AF_INET); !errors.Is(err, unix.ENOENT) {
			t.Errorf("remove: %v, want that it is gone", err)
		}
		if left := clients(t); len(left) != 1 {
			t.Errorf("the successor was removed, left are %v", left)
		}
	})
}

// FuzzParse has messages that no kernel sends.
func FuzzParse(f *testing.F) {
	f.Add([]byte{unix.AF_INET, 0, 0, 0, 8, 0, 1, 0x80, 4, 0, 1, 0x80})
	f.Add([]byte{unix.AF_INET6, 0, 0, 0, 3, 0, 1, 0})
	f.Fuzz(func(t *testing.T, m []byte) {
		if e, ok := parse(m); ok && (!e.to.IsValid() || len(e.reply) == 0) {
			t.Errorf("%v is taken for %+v", m, e)
		}
	})
}

// BenchmarkForgetUDP has a busy node's table, of which nothing is to be removed. "library" is
// the same by the netlink library, which copies and parses the whole table.
func BenchmarkForgetUDP(b *testing.B) {
	const to, backend = "192.0.2.1:30053", "10.244.1.5:53"
	want := backends(map[string][]string{to: {backend}})
	for name, f := range map[string]func() (int, error){
		"own": func() (int, error) { return ForgetUDP(context.Background(), Own, want) },
		"library": func() (int, error) {
			n, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, nothing{})
			return int(n), err
		},
	} {
		b.Run(name, func(b *testing.B) {
			inNamespace(b, func() {
				if err := fill(to, backend); err != nil {
					b.Error(err)
					return
				}
				b.ReportAllocs()
				for b.Loop() {
					if n, err := f(); n != 0 || err != nil {
						b.Errorf("removed %d, %v", n, err)
					}
				}
			})
		})
	}
}

// fill adds many TCP connections and some of UDP.
func fill(to, backend string) error {
	const tcpCount, udpCount = 50_000, 1_000
	for i := range tcpCount + udpCount {
		client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}), 40000)
		c := connection{tcp, client.String(), to, backend, 0}
		if i >= tcpCount {
			c.protocol = udp
		}
		if err := c.add(); err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
	}
	return nil
}

// nothing matches no connection.
type nothing struct{}

func (nothing) MatchConntrackFlow(*netlink.ConntrackFlow) bool { return false }
