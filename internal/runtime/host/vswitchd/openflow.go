package vswitchd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Of OpenFlow 1.3 (section A.1) and of Open vSwitch's extensions (nicira-ext.h).
const (
	ofVersion = 4
	ofHeader  = 8 // version, type, length, transaction

	ofHello          = 0
	ofError          = 1
	ofEchoRequest    = 2
	ofEchoReply      = 3
	ofExperimenter   = 4
	ofBarrierRequest = 20
	ofBarrierReply   = 21

	ofBadRequest      = 1 // type of an error
	ofBadExperimenter = 3
	ofBadExpType      = 4

	nxVendor  = 0x00002320
	nxCTFlush = 32 // since Open vSwitch 3.1

	// Properties of nxCTFlush, and of the tuples in it.
	nxOrigTuple, nxReplyTuple             = 0, 1
	nxTupleSrc, nxTupleDst                = 0, 1
	nxTupleSrcPort, nxTupleDstPort        = 2, 3
	nxPropertyHeader, nxPropertyAlignment = 4, 8
)

// chunk is how many requests are sent before they are waited for: what waits in a socket
// is the daemon's memory.
const chunk = 100

// ErrRefused says that ovs-vswitchd does not do what it was asked for.
var ErrRefused = errors.New("ovs-vswitchd refused")

// ForgetUDP ends the UDP connections of each pair, in all zones, and returns when they have
// ended. The daemon looks through all connections there are for each pair.
func (c Client) ForgetUDP(ctx context.Context, pairs []Pair) error {
	if len(pairs) == 0 {
		return nil
	}
	conn, closeConn, err := dial(ctx, filepath.Join(c.RunDir, c.Bridge+".mgmt"))
	if err != nil {
		return err
	}
	defer closeConn()
	s := session{conn: conn}
	if err := s.send(ofHello, nil); err != nil {
		return err
	}
	for len(pairs) > 0 {
		n := min(len(pairs), chunk)
		for _, p := range pairs[:n] {
			if err := s.send(ofExperimenter, ctFlush(p)); err != nil {
				return err
			}
		}
		if err := s.barrier(); err != nil {
			return err
		}
		pairs = pairs[n:]
	}
	return nil
}

// session is an OpenFlow connection.
type session struct {
	conn net.Conn
	xid  uint32
}

func (s *session) send(kind uint8, body []byte) error {
	s.xid++
	return s.sendAs(kind, s.xid, body)
}

func (s *session) sendAs(kind uint8, xid uint32, body []byte) error {
	m := make([]byte, ofHeader, ofHeader+len(body))
	m[0], m[1] = ofVersion, kind
	binary.BigEndian.PutUint16(m[2:], uint16(ofHeader+len(body)))
	binary.BigEndian.PutUint32(m[4:], xid)
	if _, err := s.conn.Write(append(m, body...)); err != nil {
		return fmt.Errorf("talk OpenFlow with ovs-vswitchd: %w", err)
	}
	return nil
}

// barrier waits until all that was sent is done, and tells the first error.
func (s *session) barrier() error {
	if err := s.send(ofBarrierRequest, nil); err != nil {
		return err
	}
	want := s.xid
	var refused error
	for {
		var h [ofHeader]byte
		if _, err := io.ReadFull(s.conn, h[:]); err != nil {
			return fmt.Errorf("talk OpenFlow with ovs-vswitchd: %w", errors.Join(refused, err))
		}
		length, xid := int(binary.BigEndian.Uint16(h[2:])), binary.BigEndian.Uint32(h[4:])
		body := make([]byte, max(0, length-ofHeader))
		if _, err := io.ReadFull(s.conn, body); err != nil {
			return fmt.Errorf("talk OpenFlow with ovs-vswitchd: %w", err)
		}
		switch h[1] {
		case ofError:
			if refused == nil {
				refused = asError(body)
			}
		case ofEchoRequest:
			if err := s.sendAs(ofEchoReply, xid, body); err != nil {
				return err
			}
		case ofBarrierReply:
			if xid == want {
				return refused
			}
		}
	}
}

func asError(body []byte) error {
	if len(body) < 4 {
		return fmt.Errorf("%w without saying why", ErrRefused)
	}
	kind, code := binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:])
	if kind == ofBadRequest && (code == ofBadExperimenter || code == ofBadExpType) {
		return fmt.Errorf("%w to end connections: it is older than 3.1; upgrade Open vSwitch", ErrRefused)
	}
	return fmt.Errorf("%w with OpenFlow error type %d code %d; its log says why", ErrRefused, kind, code)
}

// ctFlush is the body of a request to end the connections of p.
func ctFlush(p Pair) []byte {
	b := binary.BigEndian.AppendUint32(nil, nxVendor)
	b = binary.BigEndian.AppendUint32(b, nxCTFlush)
	b = append(b, unix.IPPROTO_UDP, 0, 0, 0, 0, 0, 0, 0)
	to, backend := p.To.Addr().As16(), p.Backend.Addr().As16()
	b = appendTuple(b, nxOrigTuple, property{nxTupleDst, to[:]}, property{nxTupleDstPort, port(p.To.Port())})
	return appendTuple(b, nxReplyTuple, property{nxTupleSrc, backend[:]}, property{nxTupleSrcPort, port(p.Backend.Port())})
}

// port has two bytes more that count as its own.
func port(p uint16) []byte { return append(binary.BigEndian.AppendUint16(nil, p), 0, 0) }

// property is a part of a message: its kind, and what it is.
type property struct {
	kind  uint16
	value []byte
}

// appendTuple appends a property that has others in it, which begin aligned.
func appendTuple(b []byte, kind uint16, of ...property) []byte {
	inner := make([]byte, nxPropertyAlignment-nxPropertyHeader)
	for _, p := range of {
		inner = appendProperty(inner, p)
	}
	return appendProperty(b, property{kind, inner})
}

// appendProperty appends a property. The padding to the next is no part of its length.
func appendProperty(b []byte, p property) []byte {
	length := nxPropertyHeader + len(p.value)
	b = binary.BigEndian.AppendUint16(b, p.kind)
	b = binary.BigEndian.AppendUint16(b, uint16(length))
	b = append(b, p.value...)
	return append(b, make([]byte, (nxPropertyAlignment-length%nxPropertyAlignment)%nxPropertyAlignment)...)
}
