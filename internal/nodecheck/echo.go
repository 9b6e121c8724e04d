package nodecheck

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sync/errgroup"
)

const (
	// Bytes of headers before the data of an echo.
	headers4 = 20 + 8
	headers6 = 40 + 8
	// smallData is how many bytes of data a small echo has.
	smallData = 16
	// again is after how long an echo that is not answered is asked for once more: the
	// first one may wait for a neighbour's address, and one may get lost.
	again = 250 * time.Millisecond
	// IANA's numbers of ICMP and ICMP for IPv6.
	icmp4, icmp6 = 1, 58
)

// question is an echo that is asked for. Its sequence number is its index in the family.
type question struct {
	to     netip.Addr
	data   int
	answer *bool
	done   bool
}

// family are the questions of one family of addresses.
type family struct {
	network, any string
	protocol     int
	ask, reply   icmp.Type
	headers      int
	questions    []*question
}

// echoes asks for echoes, small ones and such as fill a packet of mtu bytes.
func echoes(ctx context.Context, targets []netip.Addr, mtu int) ([]Peer, error) {
	v4 := &family{network: "ip4:icmp", any: "0.0.0.0", protocol: icmp4, ask: ipv4.ICMPTypeEcho, reply: ipv4.ICMPTypeEchoReply, headers: headers4}
	v6 := &family{network: "ip6:ipv6-icmp", any: "::", protocol: icmp6, ask: ipv6.ICMPTypeEchoRequest, reply: ipv6.ICMPTypeEchoReply, headers: headers6}
	out := make([]Peer, len(targets))
	for i, a := range targets {
		out[i] = Peer{Address: a, Bytes: mtu}
		f := v6
		if a.Is4() {
			f = v4
		}
		f.questions = append(f.questions,
			&question{to: a, data: smallData, answer: &out[i].Small},
			&question{to: a, data: max(smallData, mtu-f.headers), answer: &out[i].Large})
	}
	var g errgroup.Group
	for _, f := range []*family{v4, v6} {
		if len(f.questions) > 0 {
			g.Go(func() error { return f.run(ctx) })
		}
	}
	return out, g.Wait()
}

// run asks until all is answered or the time is over.
func (f *family) run(ctx context.Context) error {
	conn, err := (&net.ListenConfig{}).ListenPacket(ctx, f.network, f.any)
	if err != nil {
		return fmt.Errorf("no echo can be asked for: %w", err)
	}
	defer conn.Close() //nolint:errcheck // nothing is lost
	id := os.Getpid() & 0xffff
	end := time.Now().Add(echoTime)
	for left := len(f.questions); left > 0 && time.Now().Before(end); {
		for seq, q := range f.questions {
			if !q.done {
				f.send(conn, id, seq, q)
			}
		}
		next := time.Now().Add(again)
		for left > 0 && f.receive(conn, id, next, &left) {
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// send asks once. That a packet cannot be sent shows by its answer, which does not come.
func (f *family) send(conn net.PacketConn, id, seq int, q *question) {
	m := icmp.Message{Type: f.ask, Body: &icmp.Echo{ID: id, Seq: seq, Data: make([]byte, q.data)}}
	packet, err := m.Marshal(nil) // the kernel adds the checksum of IPv6
	if err != nil {
		return
	}
	conn.WriteTo(packet, &net.IPAddr{IP: q.to.AsSlice()}) //nolint:errcheck // see above
}

// receive waits for one packet until a time; false says that it has come.
func (f *family) receive(conn net.PacketConn, id int, until time.Time, left *int) bool {
	if conn.SetReadDeadline(until) != nil {
		return false
	}
	buffer := make([]byte, 1<<16)
	n, from, err := conn.ReadFrom(buffer)
	if err != nil {
		return !errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(until)
	}
	m, err := icmp.ParseMessage(f.protocol, buffer[:n])
	if err != nil || m.Type != f.reply {
		return true
	}
	echo, ok := m.Body.(*icmp.Echo)
	if !ok || echo.ID != id || echo.Seq >= len(f.questions) {
		return true
	}
	q := f.questions[echo.Seq]
	sender, ok := from.(*net.IPAddr)
	if a, valid := netip.AddrFromSlice(sender.IP); !ok || !valid || a.Unmap() != q.to || q.done || len(echo.Data) != q.data {
		return true
	}
	q.done, *q.answer = true, true
	*left--
	return true
}
