//go:build linux

package box

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/ovnkctl/ovnkctl/test/sandbox/netspace"
)

// Serve starts a server on all addresses of a namespace, TCP and UDP, that answers with the
// address that it sees as the client's; it ends with the test.
func Serve(t testing.TB, ns string, port uint16) {
	t.Helper()
	var tcp net.Listener
	var udp []net.PacketConn
	t.Cleanup(func() {
		if tcp != nil {
			tcp.Close() //nolint:errcheck // the end of a test
		}
		for _, c := range udp {
			c.Close() //nolint:errcheck // the end of a test
		}
	})
	err := netspace.Do(ns, func() (err error) {
		if tcp, err = net.Listen("tcp", fmt.Sprintf("[::]:%d", port)); err != nil {
			return err
		}
		addrs, err := net.InterfaceAddrs()
		if err != nil {
			return err
		}
		for _, a := range addrs {
			ip := a.(*net.IPNet).IP
			if !ip.IsGlobalUnicast() {
				continue
			}
			// One socket per address: the answer to a packet must come from where it went.
			c, err := net.ListenPacket("udp", net.JoinHostPort(ip.String(), fmt.Sprint(port)))
			if err != nil {
				return err
			}
			udp = append(udp, c)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("serve in %s: %v", ns, err)
	}
	go serveTCP(tcp)
	for _, c := range udp {
		go serveUDP(c)
	}
}

func serveTCP(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close() //nolint:errcheck // the client sees it
			// Read up to the client's end, then answer: a large request proves the path MTU.
			n, err := io.Copy(io.Discard, c)
			if err == nil {
				fmt.Fprintf(c, "%s %d", client(c.RemoteAddr()), n) //nolint:errcheck // the client sees it
			}
		}()
	}
}

func serveUDP(c net.PacketConn) {
	buffer := make([]byte, 2048)
	for {
		n, from, err := c.ReadFrom(buffer)
		if err != nil {
			return
		}
		c.WriteTo(fmt.Appendf(nil, "%s %d", client(from), n), from) //nolint:errcheck // the client sees it
	}
}

// client is the other end of a connection, IPv4 as IPv4.
func client(a net.Addr) netip.AddrPort {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// bulk is how many bytes a TCP request has: some hundred full segments.
const bulk = 300_000

// Request asks a server and returns the address that it saw.
type Request struct {
	From    string // namespace
	Network string // "tcp" or "udp"
	To      netip.AddrPort
	// Port is the client's own port; any when zero.
	Port int
	// Timeout is ten seconds when zero.
	Timeout time.Duration
}

// Do makes the request.
func (r Request) Do(ctx context.Context) (seen netip.AddrPort, err error) {
	timeout := r.Timeout
	if timeout == 0 {
		timeout = packetPatience
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	dialer := net.Dialer{FallbackDelay: -1} // one address, dialled on this thread
	switch {
	case r.Port != 0 && r.Network == "tcp":
		dialer.LocalAddr = &net.TCPAddr{Port: r.Port}
	case r.Port != 0:
		dialer.LocalAddr = &net.UDPAddr{Port: r.Port}
	}
	var c net.Conn
	if err := netspace.Do(r.From, func() (err error) {
		c, err = dialer.DialContext(ctx, r.Network, r.To.String())
		return err
	}); err != nil {
		return seen, err
	}
	defer c.Close() //nolint:errcheck // the answer is here
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return seen, err
	}
	size := 100
	if r.Network == "tcp" {
		size = bulk
	}
	if _, err := c.Write(make([]byte, size)); err != nil {
		return seen, err
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		if err := tcp.CloseWrite(); err != nil {
			return seen, err
		}
	}
	buffer := make([]byte, 100)
	n, err := c.Read(buffer)
	if err != nil {
		return seen, err
	}
	var text string
	var got int
	if _, err := fmt.Sscanf(string(buffer[:n]), "%s %d", &text, &got); err != nil {
		return seen, fmt.Errorf("answer %q: %w", buffer[:n], err)
	}
	if got != size {
		return seen, fmt.Errorf("the server got %d of %d bytes", got, size)
	}
	return netip.ParseAddrPort(text)
}

// Check makes the request and checks the address that the server saw.
func (r Request) Check(t testing.TB, want netip.Addr) {
	t.Helper()
	seen, err := r.Do(t.Context())
	if err != nil {
		t.Errorf("%s %s → %s: %v", r.Network, r.From, r.To, err)
	} else if seen.Addr() != want {
		t.Errorf("%s %s → %s: the server saw %s, want %s", r.Network, r.From, r.To, seen.Addr(), want)
	}
}

// CheckSilence checks that nothing comes back within a short time.
func (r Request) CheckSilence(t testing.TB) {
	t.Helper()
	r.Timeout = time.Second
	seen, err := r.Do(t.Context())
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("%s %s → %s: got %s, %v; want no answer", r.Network, r.From, r.To, seen, err)
	}
}

// Echo is one ICMP echo request.
type Echo struct {
	From string // namespace
	To   netip.Addr
	// Size of the payload in bytes.
	Size int
}

// Types of ICMP messages.
const (
	echoRequest4, echoReply4 = 8, 0
	echoRequest6, echoReply6 = 128, 129
)

// Check sends one request and waits for its reply.
func (e Echo) Check(t testing.TB) {
	t.Helper()
	if err := e.send(); err != nil {
		t.Errorf("ping %s → %s: %v", e.From, e.To, err)
	}
}

func (e Echo) send() error {
	network, local, request, reply := "ip4:icmp", "0.0.0.0", byte(echoRequest4), byte(echoReply4)
	if e.To.Is6() {
		network, local, request, reply = "ip6:ipv6-icmp", "::", echoRequest6, echoReply6
	}
	var c net.PacketConn
	err := netspace.Do(e.From, func() (err error) {
		c, err = net.ListenPacket(network, local)
		return err
	})
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // the reply is here
	message := make([]byte, 8+e.Size)
	message[0] = request
	id := uint16(time.Now().UnixNano()) // the namespace's other pings have others
	binary.BigEndian.PutUint16(message[4:], id)
	if e.To.Is4() { // the kernel fills in ICMPv6's, which covers addresses
		binary.BigEndian.PutUint16(message[2:], checksum(message))
	}
	if _, err := c.WriteTo(message, &net.IPAddr{IP: e.To.AsSlice()}); err != nil {
		return err
	}
	if err := c.SetReadDeadline(time.Now().Add(packetPatience)); err != nil {
		return err
	}
	buffer := make([]byte, 65536)
	for {
		n, from, err := c.ReadFrom(buffer)
		if err != nil {
			return err
		}
		if n >= 8 && buffer[0] == reply && binary.BigEndian.Uint16(buffer[4:]) == id && from.String() == e.To.String() {
			if n != len(message) {
				return fmt.Errorf("the reply has %d bytes, want %d", n, len(message))
			}
			return nil
		}
	}
}

// checksum is the Internet checksum (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
