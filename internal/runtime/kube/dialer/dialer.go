// Package dialer connects to the API server at whichever of its addresses answers. The
// network agent cannot rely on one: the Service `kubernetes` is made by itself, and the
// addresses that an installation found change when API servers do.
//
//	Dial ─> last one that answered ─┐
//	        endpoints, live or       │  each gets a short start over the next;
//	        from the node's disk     ├─ the first with a good certificate wins,
//	        the Service              │  and is the first to be tried next time
//	        bootstrap addresses     ─┘
//
// An address counts only when a TLS handshake with it succeeds: an address that was an
// API server's may be another machine's by now, and a server that hangs still accepts.
package dialer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// stagger is the start that an address has over the next one: the Connection Attempt
	// Delay that RFC 8305 recommends.
	stagger = 250 * time.Millisecond
	// patience bounds one attempt, the handshake included. A loaded API server answers a
	// handshake within a second; SYNs are repeated after 1 and 3 s.
	patience = 5 * time.Second
	// keepAlive is client-go's own period of TCP keep-alives.
	keepAlive = 30 * time.Second
)

// Config is what a Dialer needs.
type Config struct {
	// Service is the host:port of the Service `kubernetes`; empty for none.
	Service string
	// Bootstrap are host:port of API servers, or of their load balancer, that were found
	// when the network was installed. They need no Service.
	Bootstrap []string
	// TLS is what verifies an address before it is used; it is asked each time, because
	// certificates of authorities are renewed. Nil for servers without TLS.
	TLS func() (*tls.Config, error)
	// File remembers the endpoints for the next boot of the node; empty for not at all.
	File string
	Log  *slog.Logger // nil for none
	// Connect makes one TCP connection; nil for a net.Dialer.
	Connect func(ctx context.Context, network, address string) (net.Conn, error)
}

// Dialer connects to the API server. It is safe for concurrent use.
type Dialer struct {
	Config
	seed uint64 // of this process's order of endpoints

	mu        sync.Mutex
	endpoints []netip.AddrPort // sorted
	last      string           // the address that answered last

	// saving keeps writers of the file in the order of their endpoints.
	saving sync.Mutex
}

// New makes a Dialer that knows the endpoints that were remembered. A file that cannot be
// read is no error: there are other addresses.
func New(c Config) *Dialer {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Connect == nil {
		c.Connect = (&net.Dialer{KeepAlive: keepAlive}).DialContext
	}
	d := &Dialer{Config: c, seed: rand.Uint64()}
	if c.File != "" {
		endpoints, err := load(c.File)
		if err != nil {
			c.Log.Warn("remembered API servers are of no use", "err", err)
		}
		d.endpoints = endpoints
	}
	return d
}

// SetEndpoints tells the present endpoints of the Service `kubernetes`, and remembers them
// when they are others than before. No endpoints at all are not believed: whoever says so
// has just heard it from an API server.
//
// A nil Dialer, which a client with a named API server has, takes no interest.
func (d *Dialer) SetEndpoints(endpoints []netip.AddrPort) error {
	endpoints = usable(endpoints)
	if d == nil || len(endpoints) == 0 {
		return nil
	}
	d.saving.Lock()
	defer d.saving.Unlock()
	d.mu.Lock()
	same := slices.Equal(d.endpoints, endpoints)
	d.endpoints = endpoints
	d.mu.Unlock()
	if same || d.File == "" {
		return nil
	}
	if err := save(d.File, endpoints); err != nil {
		return fmt.Errorf("remember the API servers: %w", err)
	}
	return nil
}

// usable are the endpoints that lead out of this host, sorted, each once.
func usable(endpoints []netip.AddrPort) []netip.AddrPort {
	var out []netip.AddrPort
	for _, e := range endpoints {
		a := e.Addr().Unmap()
		if a.IsValid() && e.Port() != 0 && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() {
			out = append(out, netip.AddrPortFrom(a, e.Port()))
		}
	}
	slices.SortFunc(out, netip.AddrPort.Compare)
	return slices.Compact(out)
}

// Candidates are all addresses, in the order in which they are tried.
func (d *Dialer) Candidates() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []string
	add := func(addresses ...string) {
		for _, a := range addresses {
			if a != "" && !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	add(d.last)
	// Nodes spread over the API servers, and each keeps its order.
	endpoints := slices.Clone(d.endpoints)
	rand.New(rand.NewPCG(d.seed, 0)).Shuffle(len(endpoints), func(i, j int) { //nolint:gosec // no secret
		endpoints[i], endpoints[j] = endpoints[j], endpoints[i]
	})
	for _, e := range endpoints {
		add(e.String())
	}
	add(d.Service)
	add(d.Bootstrap...)
	return out
}

// attempt is the end of one try.
type attempt struct {
	address string
	conn    net.Conn
	err     error
}

// Dial connects to the API server. The address that the caller names is one of its
// candidates already, so that only the network is looked at. Its signature is that of
// rest.Config.Dial.
func (d *Dialer) Dial(ctx context.Context, network, _ string) (net.Conn, error) {
	candidates := d.Candidates()
	if len(candidates) == 0 {
		return nil, errors.New("no address of the API server is known: set kubernetes.bootstrapServers")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan attempt)
	next := time.NewTimer(0)
	defer next.Stop()
	var failures []error
	for started, running := 0, 0; ; {
		select {
		case <-next.C:
			if ctx.Err() != nil && running == 0 {
				return nil, &unreachableError{append(failures, ctx.Err())}
			}
			if started < len(candidates) && ctx.Err() == nil {
				go d.try(ctx, network, candidates[started], results)
				started++
				running++
				next.Reset(stagger)
			}
		case r := <-results:
			running--
			if r.err == nil {
				go drop(results, running)
				d.won(r.address, failures)
				return r.conn, nil
			}
			failures = append(failures, fmt.Errorf("%s: %w", r.address, r.err))
			if running == 0 && (started == len(candidates) || ctx.Err() != nil) {
				return nil, &unreachableError{failures}
			}
			next.Reset(0) // no use in waiting
		}
	}
}

// unreachableError has one line for all addresses: client-go logs it again and again.
type unreachableError struct{ failures []error }

func (e *unreachableError) Error() string {
	lines := make([]string, len(e.failures))
	for i, f := range e.failures {
		lines[i] = f.Error()
	}
	return "no address of the API server answers: " + strings.Join(lines, "; ")
}

func (e *unreachableError) Unwrap() []error { return e.failures }

// won keeps the address that answered.
func (d *Dialer) won(address string, failures []error) {
	d.mu.Lock()
	before := d.last
	d.last = address
	d.mu.Unlock()
	if before != "" && before != address {
		d.Log.Warn("connected to another API server", "address", address, "before", before, "err", errors.Join(failures...))
	} else if before == "" {
		d.Log.Info("connected to the API server", "address", address)
	}
}

// drop closes the connections of those that came later.
func drop(results <-chan attempt, running int) {
	for range running {
		if r := <-results; r.err == nil {
			_ = r.conn.Close()
		}
	}
}

func (d *Dialer) try(ctx context.Context, network, address string, results chan<- attempt) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := d.verified(ctx, network, address)
	results <- attempt{address, conn, err}
}

// verified is a new connection to an address at which a handshake has just succeeded. The
// handshake has a connection of its own: that of the result belongs to the HTTP client,
// which makes its own handshake.
func (d *Dialer) verified(ctx context.Context, network, address string) (net.Conn, error) {
	if d.TLS != nil {
		if err := d.handshake(ctx, network, address); err != nil {
			return nil, err
		}
	}
	return d.Connect(ctx, network, address)
}

func (d *Dialer) handshake(ctx context.Context, network, address string) error {
	conn, err := d.Connect(ctx, network, address)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // it has served its purpose
	config, err := d.TLS()
	if err != nil {
		return err
	}
	if err := tls.Client(conn, config).HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	return nil
}
