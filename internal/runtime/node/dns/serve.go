package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

const (
	// idleLimit is how long a TCP client may be silent (RFC 7766, 6.2.3: some seconds).
	idleLimit = 10 * time.Second
	// maxQueries and maxConns bound what is under way at once, UDP and TCP.
	maxQueries = 4096
	maxConns   = 1024
	// socketBuffer holds a burst of queries while the program does not run, in bytes.
	socketBuffer = 4 << 20
)

// Sockets are where queries arrive.
type Sockets struct {
	udp []*net.UDPConn
	tcp []*net.TCPListener
}

// Listen opens a port for UDP and TCP at each of the addresses, which the host need not
// have yet.
func Listen(ctx context.Context, addrs []netip.Addr, port uint16) (s *Sockets, err error) {
	s = &Sockets{}
	defer func() {
		if err != nil {
			s.Close()
			s = nil
		}
	}()
	config := net.ListenConfig{Control: freeBind}
	for _, a := range addrs {
		at := netip.AddrPortFrom(a, port).String()
		packets, err := config.ListenPacket(ctx, "udp", at)
		if err != nil {
			return s, fmt.Errorf("DNS at %s: %w", at, err)
		}
		conn := packets.(*net.UDPConn)
		s.udp = append(s.udp, conn)
		_ = conn.SetReadBuffer(socketBuffer) // the kernel may allow less
		stream, err := config.Listen(ctx, "tcp", conn.LocalAddr().String())
		if err != nil {
			return s, fmt.Errorf("DNS at %s: %w", at, err)
		}
		s.tcp = append(s.tcp, stream.(*net.TCPListener))
	}
	return s, nil
}

// Addrs are the addresses of the sockets, which have the same port for UDP and TCP.
func (s *Sockets) Addrs() []netip.AddrPort {
	var out []netip.AddrPort
	for _, c := range s.udp {
		out = append(out, c.LocalAddr().(*net.UDPAddr).AddrPort())
	}
	return out
}

// Close closes them.
func (s *Sockets) Close() {
	for _, c := range s.udp {
		_ = c.Close()
	}
	for _, l := range s.tcp {
		_ = l.Close()
	}
}

// Serve answers queries until ctx ends, and closes the sockets.
func (p *Proxy) Serve(ctx context.Context, s *Sockets) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, s.Close)
	defer stop()
	var loops sync.WaitGroup
	queries, conns := make(chan struct{}, maxQueries), make(chan struct{}, maxConns)
	fail := func(err error) {
		if err != nil && !errors.Is(err, net.ErrClosed) {
			cancel(err)
		}
	}
	for _, c := range s.udp {
		loops.Go(func() { fail(p.packets(ctx, c, queries)) })
	}
	for _, l := range s.tcp {
		loops.Go(func() { fail(p.streams(ctx, l, conns)) })
	}
	<-ctx.Done()
	s.Close()
	loops.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("DNS queries of pods: %w", err)
	}
	return nil
}

// packets answers queries by UDP.
func (p *Proxy) packets(ctx context.Context, conn *net.UDPConn, slots chan struct{}) error {
	var under sync.WaitGroup
	defer under.Wait()
	buffer := make([]byte, maxMessage)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return err
		}
		if n < headerSize {
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			p.metrics.query(string(world.UDP), outcomeDropped)
			continue
		}
		query := slices.Clone(buffer[:n])
		under.Go(func() {
			defer func() { <-slots }()
			if response := p.pass(ctx, world.UDP, query); response != nil {
				// A client that is gone is no fault of ours.
				_, _ = conn.WriteToUDPAddrPort(response, from)
			}
		})
	}
}

// streams answers queries by TCP.
func (p *Proxy) streams(ctx context.Context, l *net.TCPListener, slots chan struct{}) error {
	var under sync.WaitGroup
	defer under.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		select {
		case slots <- struct{}{}:
		default:
			p.metrics.query(string(world.TCP), outcomeDropped)
			_ = conn.Close()
			continue
		}
		under.Go(func() {
			defer func() { <-slots }()
			defer conn.Close()
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			p.stream(ctx, conn)
		})
	}
}

// stream answers the queries of one connection, one after the other, until it is idle.
func (p *Proxy) stream(ctx context.Context, conn net.Conn) {
	for {
		if err := conn.SetReadDeadline(time.Now().Add(idleLimit)); err != nil {
			return
		}
		query, err := readMessage(conn)
		if err != nil || len(query) < headerSize {
			return
		}
		if q, ok := questionOf(query); ok && (q.kind == typeAXFR || q.kind == typeIXFR) {
			if err := p.upstream.transfer(ctx, conn, query); err != nil {
				p.log.Debug("zone transfer not passed on", "error", err)
			}
			return
		}
		response := p.pass(ctx, world.TCP, query)
		if response == nil || conn.SetWriteDeadline(time.Now().Add(idleLimit)) != nil || writeMessage(conn, response) != nil {
			return
		}
	}
}
