// Package relay reaches a node's databases and programs through one stream, such as the
// standard input and output of a program that pods/exec started.
//
//	ovnkctl on a laptop ── pods/exec ──> ovnkctl run relay ──> ovnnb_db.sock, ovnsb_db.sock, db.sock
//	          Client        one HTTP/2         Serve      └──> ovn-trace, ovs-appctl, ip, nft, …
//	                        connection
//
// HTTP/2 has what such a stream needs: many conversations at once with flow control for
// each, and their ends. It gives nobody a right: who may use pods/exec may run any program
// there. It spares the node a process per question, which costs more than most answers.
package relay

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// protocolVersion changes when an older program would misunderstand a newer one.
const protocolVersion = "1"

// The paths that Serve answers, and the headers of answers.
const (
	pathHello  = "/hello"
	pathSocket = "/socket/"
	pathRun    = "/run"

	headerProtocol = "Relay-Protocol"
	headerVersion  = "Relay-Version"
	trailerCode    = "Relay-Exit-Code"
	trailerStderr  = "Relay-Stderr" // base64
)

// pipe is a stream of two halves as a network connection. Deadlines are not kept: each
// request has a context.
type pipe struct {
	io.Reader
	io.Writer
	once   sync.Once
	closed chan struct{}
	close  func() error
}

// newPipe makes a connection; close must end reads and writes.
func newPipe(r io.Reader, w io.Writer, end func() error) *pipe {
	return &pipe{Reader: r, Writer: w, closed: make(chan struct{}), close: end}
}

func (p *pipe) Close() error {
	err := net.ErrClosed
	p.once.Do(func() {
		close(p.closed)
		err = p.close()
	})
	return err
}

func (*pipe) LocalAddr() net.Addr              { return addr{} }
func (*pipe) RemoteAddr() net.Addr             { return addr{} }
func (*pipe) SetDeadline(time.Time) error      { return nil }
func (*pipe) SetReadDeadline(time.Time) error  { return nil }
func (*pipe) SetWriteDeadline(time.Time) error { return nil }

// addr is where a stream is from: nowhere.
type addr struct{}

func (addr) Network() string { return "relay" }
func (addr) String() string  { return "relay" }

// one is a listener of one connection.
type one struct {
	conn  chan net.Conn
	until <-chan struct{}
}

func listenOn(p *pipe) *one {
	l := &one{conn: make(chan net.Conn, 1), until: p.closed}
	l.conn <- p
	return l
}

func (l *one) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.until:
		return nil, io.EOF
	}
}

func (*one) Close() error   { return nil }
func (*one) Addr() net.Addr { return addr{} }

func plainHTTP2() *http.Protocols {
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	return &p
}

// errProtocol is another version's relay.
var errProtocol = errors.New("the node's relay is of another version than this program understands")
