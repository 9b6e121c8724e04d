//go:build linux

package box

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ovnkctl/ovnkctl/test/sandbox/netspace"
)

// multicastHops is enough for two routers; sockets have one hop if nobody asks for more.
const multicastHops = 4

// Listener is a member of a group.
type Listener struct {
	mu    sync.Mutex
	heard map[string]netip.Addr // what, and who sent it last
	more  chan struct{}
}

// Join makes an interface of a namespace a member of a group until the test ends.
func Join(t testing.TB, ns, device string, group netip.AddrPort) *Listener {
	t.Helper()
	l := &Listener{heard: map[string]netip.Addr{}, more: make(chan struct{}, 1)}
	var c *net.UDPConn
	err := netspace.Do(ns, func() error {
		dev, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		c, err = net.ListenMulticastUDP("udp", dev, net.UDPAddrFromAddrPort(group))
		return err
	})
	if err != nil {
		t.Fatalf("join %s in %s: %v", group, ns, err)
	}
	t.Cleanup(func() { c.Close() }) //nolint:errcheck // the end of a test
	go l.listen(c)
	return l
}

func (l *Listener) listen(c *net.UDPConn) {
	buffer := make([]byte, 2048)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		l.mu.Lock()
		l.heard[string(buffer[:n])] = from.Addr().Unmap()
		l.mu.Unlock()
		select {
		case l.more <- struct{}{}:
		default:
		}
	}
}

// Heard tells whether the text was heard, and from whom.
func (l *Listener) Heard(text string) (netip.Addr, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	from, ok := l.heard[text]
	return from, ok
}

// Await waits until the text is heard.
func (l *Listener) Await(ctx context.Context, text string) (netip.Addr, error) {
	for {
		if from, ok := l.Heard(text); ok {
			return from, nil
		}
		select {
		case <-l.more:
		case <-ctx.Done():
			return netip.Addr{}, fmt.Errorf("%q was not heard: %w", text, ctx.Err())
		}
	}
}

// Broadcast sends a text to a group at a steady pace, as a radio does, at least a number of
// times and until ended is called.
type Broadcast struct {
	From  string // namespace
	Group netip.AddrPort
	Text  string
	Least int
}

// broadcastPace is the time between two packets.
const broadcastPace = 50 * time.Millisecond

// Start begins to send; stop returns when the least number is sent.
func (b Broadcast) Start(t testing.TB) (stop func()) {
	t.Helper()
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		level, option := syscall.IPPROTO_IP, syscall.IP_MULTICAST_TTL
		if b.Group.Addr().Is6() {
			level, option = syscall.IPPROTO_IPV6, syscall.IPV6_MULTICAST_HOPS
		}
		if e := raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), level, option, multicastHops) }); e != nil {
			return e
		}
		return err
	}}
	var c net.Conn
	err := netspace.Do(b.From, func() (err error) {
		c, err = dialer.DialContext(t.Context(), "udp", b.Group.String())
		return err
	})
	if err != nil {
		t.Fatalf("send to %s from %s: %v", b.Group, b.From, err)
	}
	end, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- b.send(c, end) }()
	var once sync.Once
	return func() {
		once.Do(func() {
			close(end)
			if err := <-ended; err != nil {
				t.Errorf("send to %s from %s: %v", b.Group, b.From, err)
			}
		})
	}
}

func (b Broadcast) send(c net.Conn, end <-chan struct{}) error {
	defer c.Close() //nolint:errcheck // nothing is expected
	pace := time.NewTicker(broadcastPace)
	defer pace.Stop()
	for n := 1; ; n++ {
		if _, err := c.Write([]byte(b.Text)); err != nil {
			return err
		}
		<-pace.C
		select {
		case <-end:
			if n >= b.Least {
				return nil
			}
		default:
		}
	}
}

// Members are the groups that a zone knows members of on a switch.
func (z *Zone) Members(logicalSwitch string) []string {
	z.box.t.Helper()
	datapath := strings.TrimSpace(z.Run("ovn-sbctl", "--bare", "--columns=_uuid", "find", "Datapath_Binding", "external_ids:name="+logicalSwitch))
	return strings.Fields(z.Run("ovn-sbctl", "--bare", "--columns=address", "find", "IGMP_Group", "datapath="+datapath))
}

// Types of messages that ask who listens to what (RFC 2236, 3810).
const (
	membershipQuery4 = 0x11
	membershipQuery6 = 130
)

// AwaitQuery waits until a namespace is asked who listens to what, and returns by whom.
func AwaitQuery(ctx context.Context, ns string, is4 bool) (netip.Addr, error) {
	network, local, kind := "ip6:ipv6-icmp", "::", byte(membershipQuery6)
	if is4 {
		network, local, kind = "ip4:igmp", "0.0.0.0", membershipQuery4
	}
	var c net.PacketConn
	err := netspace.Do(ns, func() (err error) {
		c, err = net.ListenPacket(network, local)
		return err
	})
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close() //nolint:errcheck // only read
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.SetReadDeadline(deadline); err != nil {
			return netip.Addr{}, err
		}
	}
	buffer := make([]byte, 2048)
	for {
		n, from, err := c.ReadFrom(buffer)
		if err != nil {
			return netip.Addr{}, err
		}
		if n > 0 && buffer[0] == kind {
			a, _ := netip.AddrFromSlice(from.(*net.IPAddr).IP)
			return a.Unmap(), nil
		}
	}
}
