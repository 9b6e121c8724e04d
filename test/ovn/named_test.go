//go:build ovn && linux

package ovn

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ovnkctl/ovnkctl/test/ovn/box"
	"github.com/ovnkctl/ovnkctl/test/sandbox/netspace"
)

// answer is what a named server said.
type answer struct {
	name string
	seen netip.Addr // the client's address
	took time.Duration
	err  error
}

func (a answer) String() string { return fmt.Sprintf("%s, who saw %s", a.name, a.seen) }

// serveNamed answers TCP connections and datagrams with a name and the client's address,
// from the address that they came to.
func serveNamed(t *testing.T, ns, name string, port uint16) {
	t.Helper()
	reply := func(a net.Addr) []byte {
		return fmt.Append(nil, name, " ", netip.MustParseAddrPort(a.String()).Addr().Unmap(), "\n")
	}
	var l net.Listener
	var sockets []net.PacketConn
	t.Cleanup(func() {
		if l != nil {
			l.Close() //nolint:errcheck // the end of a test
		}
		for _, c := range sockets {
			c.Close() //nolint:errcheck // the end of a test
		}
	})
	if err := netspace.Do(ns, func() (err error) {
		if l, err = net.Listen("tcp", fmt.Sprintf("[::]:%d", port)); err != nil {
			return err
		}
		addrs, err := net.InterfaceAddrs()
		if err != nil {
			return err
		}
		for _, a := range addrs {
			p := netip.MustParsePrefix(a.String())
			if !p.Addr().IsGlobalUnicast() {
				continue
			}
			c, err := net.ListenPacket("udp", netip.AddrPortFrom(p.Addr(), port).String())
			if err != nil {
				return err
			}
			sockets = append(sockets, c)
		}
		return nil
	}); err != nil {
		t.Fatalf("serve in %s: %v", ns, err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				c.Write(reply(c.RemoteAddr())) //nolint:errcheck // the client sees it
				// The client closes first, or the server would for a minute take no connection
				// from what NAT may give another client: the same address and port.
				io.Copy(io.Discard, c) //nolint:errcheck // ends with the client
				c.Close()              //nolint:errcheck // the client sees it
			}()
		}
	}()
	for _, c := range sockets {
		go func() {
			buffer := make([]byte, 100)
			for {
				_, from, err := c.ReadFrom(buffer)
				if err != nil {
					return
				}
				c.WriteTo(reply(from), from) //nolint:errcheck // the client sees it
			}
		}()
	}
}

// ask makes one connection, or with UDP sends from one socket, as TCP would, until there is
// an answer.
func ask(from, network string, to netip.AddrPort, patience time.Duration) (a answer) {
	start := time.Now()
	defer func() { a.took = time.Since(start) }()
	ctx, cancel := context.WithDeadline(context.Background(), start.Add(patience))
	defer cancel()
	c, err := dial(ctx, from, network, to)
	if err != nil {
		return answer{err: err}
	}
	defer c.Close() //nolint:errcheck // the answer is here
	if network == "udp" {
		done := make(chan struct{})
		defer close(done)
		go resend(c, done)
	}
	c.SetReadDeadline(start.Add(patience)) //nolint:errcheck // the read fails then, too
	a.name, a.seen, a.err = readAnswer(bufio.NewReader(c))
	return a
}

// resend sends a datagram every 200 ms.
func resend(c net.Conn, done <-chan struct{}) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		c.Write([]byte("?")) //nolint:errcheck // nothing comes back then
		select {
		case <-tick.C:
		case <-done:
			return
		}
	}
}

func dial(ctx context.Context, from, network string, to netip.AddrPort) (c net.Conn, err error) {
	err = netspace.Do(from, func() (err error) {
		d := net.Dialer{FallbackDelay: -1} // one address, dialled on this thread
		if network == "udp" {
			d.LocalAddr = &net.UDPAddr{Port: freshPort()}
		}
		c, err = d.DialContext(ctx, network, to.String())
		return err
	})
	return c, err
}

var ports atomic.Uint32

// freshPort is a source port that no other socket of the test has had, nor gets from the
// kernel (ip_local_port_range begins at 32768). To conntrack a UDP client with an old port is
// the old client, and goes where that one went.
func freshPort() int {
	const first, count = 20000, 10000
	return first + int(ports.Add(1)%count)
}

func readAnswer(r *bufio.Reader) (name string, seen netip.Addr, err error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", seen, err
	}
	var text string
	if _, err := fmt.Sscan(line, &name, &text); err != nil {
		return "", seen, fmt.Errorf("answer %q: %w", line, err)
	}
	seen, err = netip.ParseAddr(text)
	return name, seen, err
}

const (
	// queries is how many datagrams burst sends.
	queries = 3
	// silentPort is where nobody answers.
	silentPort = 8082
)

// burst sends datagrams from one socket that are not answered, as a resolver does that asks
// for both families at once, and counts whom the backend saw.
func burst(t *testing.T, from, backendNS string, to, backend netip.AddrPort) map[netip.Addr]int {
	t.Helper()
	var silent net.PacketConn
	if err := netspace.Do(backendNS, func() (err error) {
		silent, err = net.ListenPacket("udp", backend.String())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer silent.Close() //nolint:errcheck // all is read
	c, err := dial(t.Context(), from, "udp", to)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // all is sent
	seen := map[netip.Addr]int{}
	buffer := make([]byte, 100)
	// Each is sent when the one before has arrived: together they would all be first.
	for n := range queries {
		if _, err := c.Write([]byte("?")); err != nil {
			t.Fatal(err)
		}
		silent.SetReadDeadline(time.Now().Add(lostSYN)) //nolint:errcheck // the read fails then, too
		_, a, err := silent.ReadFrom(buffer)
		if err != nil {
			t.Errorf("query %d from %s to %s: %v", n, from, to, err)
			continue
		}
		seen[netip.MustParseAddrPort(a.String()).Addr().Unmap()]++
	}
	return seen
}

const echoPort = 8081

// openEcho opens a connection with a server that repeats lines, and returns a function that
// checks it.
func openEcho(t *testing.T, from, serverNS string, to netip.AddrPort) func(string) {
	t.Helper()
	var l net.Listener
	if err := netspace.Do(serverNS, func() (err error) {
		l, err = net.Listen("tcp", to.String())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	go func() {
		c, err := l.Accept()
		l.Close() //nolint:errcheck // one connection is all
		if err == nil {
			io.Copy(c, c) //nolint:errcheck // the client sees it
			c.Close()     //nolint:errcheck // the client sees it
		}
	}()
	c, err := dial(t.Context(), from, "tcp", to)
	if err != nil {
		l.Close() //nolint:errcheck // nobody came
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() }) //nolint:errcheck // the end of a test
	r := bufio.NewReader(c)
	return func(text string) {
		t.Helper()
		c.SetDeadline(time.Now().Add(box.Patience)) //nolint:errcheck // the read fails then, too
		fmt.Fprintln(c, text)                       //nolint:errcheck // the read fails then, too
		if line, err := r.ReadString('\n'); err != nil || line != text+"\n" {
			t.Fatalf("%s: got %q, %v", text, line, err)
		}
	}
}
