package dns

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/proxy"
)

// server is a DNS server on loopback, UDP and TCP at the same port.
type server struct {
	at netip.AddrPort

	mu sync.Mutex
	// answer makes the response to a query; nil does not answer.
	answer func(protocol world.Protocol, query []byte) []byte
	asked  [][]byte
}

func newServer(t *testing.T, answer func(world.Protocol, []byte) []byte) *server {
	t.Helper()
	s := &server{answer: answer}
	packets, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s.at = packets.LocalAddr().(*net.UDPAddr).AddrPort()
	streams, err := net.Listen("tcp4", s.at.String())
	if err != nil {
		t.Fatal(err)
	}
	var loops sync.WaitGroup
	loops.Go(func() {
		buffer := make([]byte, maxMessage)
		for {
			n, from, err := packets.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			if response := s.handle(world.UDP, buffer[:n]); response != nil {
				_, _ = packets.WriteToUDPAddrPort(response, from)
			}
		}
	})
	loops.Go(func() {
		for {
			conn, err := streams.Accept()
			if err != nil {
				return
			}
			loops.Go(func() { s.stream(conn) })
		}
	})
	t.Cleanup(func() {
		_ = packets.Close()
		_ = streams.Close()
		loops.Wait()
	})
	return s
}

func (s *server) handle(protocol world.Protocol, query []byte) []byte {
	query = append([]byte(nil), query...)
	s.mu.Lock()
	answer := s.answer
	s.asked = append(s.asked, query)
	s.mu.Unlock()
	return answer(protocol, query)
}

func (s *server) stream(conn net.Conn) {
	defer conn.Close()
	for {
		query, err := readMessage(conn)
		if err != nil {
			return
		}
		response := s.handle(world.TCP, query)
		if response == nil {
			return
		}
		if q, _ := questionOf(query); q.kind == typeAXFR { // the responses come with their sizes
			_, _ = conn.Write(response)
			return
		}
		if writeMessage(conn, response) != nil {
			return
		}
	}
}

// set has the server answer otherwise from now on.
func (s *server) set(answer func(world.Protocol, []byte) []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *server) queries() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([][]byte(nil), s.asked...)
}

func (s *server) both() []proxy.DNSServer {
	return []proxy.DNSServer{{Protocol: world.UDP, At: s.at}, {Protocol: world.TCP, At: s.at}}
}

// record is one record of an answer: text of an address or, of an alias, a name.
type record struct {
	name, value string
	ttl         uint32
}

// zone answers with those records whatever is asked, as far as the type of question fits.
func zone(records ...record) func(world.Protocol, []byte) []byte {
	return func(_ world.Protocol, query []byte) []byte { return response(query, records...) }
}

func response(query []byte, records ...record) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil {
		panic(err)
	}
	q, err := p.Question()
	if err != nil {
		panic(err)
	}
	h.Response, h.RecursionAvailable = true, true
	m := dnsmessage.Message{Header: h, Questions: []dnsmessage.Question{q}}
	for _, r := range records {
		o := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(r.name), Class: dnsmessage.ClassINET, TTL: r.ttl}}
		addr, err := netip.ParseAddr(r.value)
		switch {
		case err != nil:
			o.Body = &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(r.value)}
		case addr.Is4() && q.Type == dnsmessage.TypeA:
			o.Body = &dnsmessage.AResource{A: addr.As4()}
		case addr.Is6() && q.Type == dnsmessage.TypeAAAA:
			o.Body = &dnsmessage.AAAAResource{AAAA: addr.As16()}
		default:
			continue
		}
		m.Answers = append(m.Answers, o)
	}
	out, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return out
}

// query makes a query of a client.
func query(name string, kind dnsmessage.Type) []byte {
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 0xbeef, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}},
	}
	out, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return out
}

// exchangeUDP asks as a client does.
func exchangeUDP(t *testing.T, at netip.AddrPort, q []byte) []byte {
	t.Helper()
	conn, err := net.Dial("udp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(q); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, maxMessage)
	n, err := conn.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	return buffer[:n]
}

// exchangeTCP asks several things over one connection.
func exchangeTCP(t *testing.T, at netip.AddrPort, queries ...[]byte) [][]byte {
	t.Helper()
	conn, err := net.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var all []byte
	for _, q := range queries {
		all = append(binary.BigEndian.AppendUint16(all, uint16(len(q))), q...)
	}
	if _, err := conn.Write(all); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for {
		m, err := readMessage(conn)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, m)
	}
}

func rcode(t *testing.T, m []byte) dnsmessage.RCode {
	t.Helper()
	var p dnsmessage.Parser
	h, err := p.Start(m)
	if err != nil {
		t.Fatal(err)
	}
	return h.RCode
}

// mixed is a name in mixed case, as resolvers write it that defend against forged answers.
func mixed(name string) string {
	var b strings.Builder
	for i, c := range name {
		if i%2 == 0 {
			b.WriteString(strings.ToUpper(string(c)))
		} else {
			b.WriteRune(c)
		}
	}
	return b.String()
}
