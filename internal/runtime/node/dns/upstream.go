package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/proxy"
)

const (
	// tryLimit is how long one server may take, and maxTries how many are tried: together
	// less than the 5 s after which resolvers ask again (resolv.conf(5)).
	tryLimit = 1500 * time.Millisecond
	maxTries = 3
	// sulk is how long a server that did not answer comes after the others.
	sulk = 10 * time.Second
	// maxMessage is the longest message (RFC 1035, 4.2.2).
	maxMessage = 65535
)

// errNoServer says that there is nobody to ask.
var errNoServer = errors.New("the cluster's DNS service has no ready end point of that protocol")

// upstream asks the servers of the cluster's DNS service.
type upstream struct {
	servers func() []proxy.DNSServer
	dial    func(ctx context.Context, network, address string) (net.Conn, error)

	mu  sync.Mutex
	bad map[proxy.DNSServer]time.Time // until when
}

func newUpstream(c Config) *upstream {
	u := &upstream{servers: c.Servers, dial: c.Dial, bad: map[proxy.DNSServer]time.Time{}}
	if u.dial == nil {
		u.dial = (&net.Dialer{}).DialContext
	}
	return u
}

// candidates are the servers to try, in random order, those that did not answer lately last.
func (u *upstream) candidates(protocol world.Protocol, now time.Time) []proxy.DNSServer {
	all := u.servers()
	u.mu.Lock()
	defer u.mu.Unlock()
	for s, until := range u.bad {
		if !until.After(now) {
			delete(u.bad, s)
		}
	}
	var good, bad []proxy.DNSServer
	for _, i := range rand.Perm(len(all)) {
		switch s := all[i]; {
		case s.Protocol != protocol:
		case u.bad[s].IsZero():
			good = append(good, s)
		default:
			bad = append(bad, s)
		}
	}
	good = append(good, bad...)
	return good[:min(len(good), maxTries)]
}

func (u *upstream) judge(s proxy.DNSServer, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err == nil {
		delete(u.bad, s)
	} else {
		u.bad[s] = time.Now().Add(sulk)
	}
}

// exchange sends a query as it is and returns the first server's answer as it is.
func (u *upstream) exchange(ctx context.Context, protocol world.Protocol, query []byte) ([]byte, error) {
	var errs []error
	for _, s := range u.candidates(protocol, time.Now()) {
		response, err := u.try(ctx, s, query)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		u.judge(s, err)
		if err == nil {
			return response, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", s.At, err))
	}
	if len(errs) == 0 {
		return nil, errNoServer
	}
	return nil, errors.Join(errs...)
}

func (u *upstream) try(ctx context.Context, s proxy.DNSServer, query []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, tryLimit)
	defer cancel()
	// A socket of its own gives each query a port that nobody can foresee, and has the
	// kernel report a port that is closed.
	conn, err := u.connect(ctx, s)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if s.Protocol == world.TCP {
		if err := writeMessage(conn, query); err != nil {
			return nil, err
		}
		response, err := readMessage(conn)
		if err == nil && !answers(query, response) {
			err = errors.New("the answer is to another question")
		}
		return response, err
	}
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	buffer := make([]byte, maxMessage)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return nil, err
		}
		if answers(query, buffer[:n]) {
			return slices.Clone(buffer[:n]), nil
		}
	}
}

// connect makes a connection that ends with ctx.
func (u *upstream) connect(ctx context.Context, s proxy.DNSServer) (net.Conn, error) {
	conn, err := u.dial(ctx, string(s.Protocol), s.At.String())
	if err != nil {
		return nil, err
	}
	if limit, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(limit); err != nil {
			_ = conn.Close()
			return nil, err
		}
	}
	return conn, nil
}

// transfer passes a zone transfer on until the server has no more to say.
func (u *upstream) transfer(ctx context.Context, client net.Conn, query []byte) error {
	errs := []error{errNoServer}
	for _, s := range u.candidates(world.TCP, time.Now()) {
		server, err := u.dial(ctx, string(s.Protocol), s.At.String())
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.At, err))
			continue
		}
		defer server.Close()
		stop := context.AfterFunc(ctx, func() { _ = server.Close() })
		defer stop()
		if err := writeMessage(server, query); err != nil {
			return err
		}
		for {
			if err := server.SetReadDeadline(time.Now().Add(idleLimit)); err != nil {
				return err
			}
			message, err := readMessage(server)
			if err != nil {
				return nil // the server has closed, or waits for more queries
			}
			if err := client.SetWriteDeadline(time.Now().Add(idleLimit)); err != nil {
				return err
			}
			if err := writeMessage(client, message); err != nil {
				return err
			}
		}
	}
	return errors.Join(errs...)
}

// readMessage reads one message of a stream (RFC 1035, 4.2.2).
func readMessage(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(r, message)
	return message, err
}

// writeMessage writes one message in one piece, as some clients need it (RFC 7766, 8).
func writeMessage(w io.Writer, message []byte) error {
	if len(message) > maxMessage {
		return fmt.Errorf("a message of %d bytes is too long", len(message))
	}
	_, err := w.Write(append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(message)), uint16(len(message))), message...))
	return err
}
