package dialer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// network is a network in memory: what happens to a connection to each address.
type network struct {
	mu     sync.Mutex
	at     map[string]func(context.Context) (net.Conn, error)
	dialed []string
}

func (n *network) connect(ctx context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	n.dialed = append(n.dialed, address)
	answer := n.at[address]
	n.mu.Unlock()
	if answer == nil {
		return silent(ctx)
	}
	return answer(ctx)
}

func (n *network) set(address string, answer func(context.Context) (net.Conn, error)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.at[address] = answer
}

// asked are the addresses since the last question, each once.
func (n *network) asked() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := slices.Compact(n.dialed)
	n.dialed = nil
	return out
}

// named is a connection that knows where it leads.
type named struct {
	net.Conn
	address string
}

func answers(address string) func(context.Context) (net.Conn, error) {
	return func(context.Context) (net.Conn, error) {
		a, b := net.Pipe()
		_ = b.Close()
		return named{a, address}, nil
	}
}

func refuses(context.Context) (net.Conn, error) { return nil, syscall.ECONNREFUSED }

func silent(ctx context.Context) (net.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func endpoints(list ...string) []netip.AddrPort {
	var out []netip.AddrPort
	for _, s := range list {
		out = append(out, netip.MustParseAddrPort(s))
	}
	return out
}

const (
	service   = "10.96.0.1:443"
	bootstrap = "192.0.2.1:6443"
	server2   = "192.0.2.2:6443"
	server3   = "[2001:db8::3]:6443"
)

func dial(t *testing.T, d *Dialer) string {
	t.Helper()
	conn, err := d.Dial(t.Context(), "tcp", "ignored:1")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // a pipe
	return conn.(named).address
}

// TestFirstBoot: the Service answers nobody yet, and the bootstrap address is found long
// before the attempt at the Service ends.
func TestFirstBoot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &network{at: map[string]func(context.Context) (net.Conn, error){bootstrap: answers(bootstrap)}}
		d := New(Config{Service: service, Bootstrap: []string{bootstrap}, Connect: n.connect})
		start := time.Now()
		if got := dial(t, d); got != bootstrap {
			t.Errorf("connected to %s", got)
		}
		if took := time.Since(start); took != stagger {
			t.Errorf("it took %s, not %s", took, stagger)
		}
		n.asked()
		// It sticks to what works, and does not even ask the others.
		n.set(service, answers(service))
		if got := dial(t, d); got != bootstrap || !slices.Equal(n.asked(), []string{bootstrap}) {
			t.Errorf("connected to %s", got)
		}
	})
}

func TestFailOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &network{at: map[string]func(context.Context) (net.Conn, error){bootstrap: answers(bootstrap), server2: answers(server2)}}
		d := New(Config{Bootstrap: []string{bootstrap, server2}, Connect: n.connect})
		if got := dial(t, d); got != bootstrap {
			t.Fatalf("connected to %s", got)
		}
		n.set(bootstrap, silent) // its machine has lost power
		start := time.Now()
		if got := dial(t, d); got != server2 || time.Since(start) != stagger {
			t.Errorf("connected to %s after %s", got, time.Since(start))
		}
		n.set(server2, refuses) // and then this one's process ends
		n.set(bootstrap, answers(bootstrap))
		start = time.Now()
		if got := dial(t, d); got != bootstrap || time.Since(start) != 0 {
			t.Errorf("connected to %s after %s: nobody waits for the others when one refuses", got, time.Since(start))
		}
	})
}

func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &network{at: map[string]func(context.Context) (net.Conn, error){server2: refuses}}
		d := New(Config{Service: service, Bootstrap: []string{server2}, Connect: n.connect})
		_, err := d.Dial(t.Context(), "tcp", "")
		if !errors.Is(err, syscall.ECONNREFUSED) || !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		start := time.Now()
		if _, err := d.Dial(ctx, "tcp", ""); !errors.Is(err, context.Canceled) || time.Since(start) != time.Millisecond {
			t.Errorf("a cancelled call ended after %s with %v", time.Since(start), err)
		}
		if _, err := d.Dial(ctx, "tcp", ""); !errors.Is(err, context.Canceled) {
			t.Errorf("a call that was cancelled before it began: %v", err)
		}
		if _, err := New(Config{Connect: n.connect}).Dial(t.Context(), "tcp", ""); err == nil || !strings.Contains(err.Error(), "kubernetes.bootstrapServers") {
			t.Errorf("no address at all: %v", err)
		}
	})
}

func TestCandidates(t *testing.T) {
	t.Parallel()
	d := New(Config{Service: service, Bootstrap: []string{bootstrap, server2}})
	check := func(what string, want ...string) {
		t.Helper()
		got := d.Candidates()
		slices.Sort(got[:max(0, len(got)-2)]) // endpoints have no order
		slices.Sort(want[:max(0, len(want)-2)])
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	check("nothing is known", service, bootstrap, server2)
	if err := d.SetEndpoints(endpoints(server3, server2, server2, "127.0.0.1:6443", "0.0.0.0:6443", "[::ffff:192.0.2.2]:6443", "192.0.2.9:0")); err != nil {
		t.Fatal(err)
	}
	check("endpoints", server2, server3, service, bootstrap)
	if err := d.SetEndpoints(nil); err != nil {
		t.Fatal(err)
	}
	check("no endpoints are not believed", server2, server3, service, bootstrap)
	if err := (*Dialer)(nil).SetEndpoints(endpoints(server2)); err != nil {
		t.Error(err)
	}
}

// TestNodesSpread: that all nodes took the lowest address would be one API server's end.
func TestNodesSpread(t *testing.T) {
	t.Parallel()
	first := map[string]int{}
	for range 300 {
		d := New(Config{})
		if err := d.SetEndpoints(endpoints(bootstrap, server2, server3)); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(d.Candidates(), d.Candidates()) {
			t.Fatal("the order of a node changes")
		}
		first[d.Candidates()[0]]++
	}
	for _, address := range []string{bootstrap, server2, server3} {
		if first[address] < 50 { // of 100 expected; less comes by chance once in 10^10 runs
			t.Errorf("of 300 nodes %d took %s first", first[address], address)
		}
	}
}

// TestVerified: an address that is another machine's by now, and one whose server hangs,
// are passed over.
func TestVerified(t *testing.T) {
	t.Parallel()
	good := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	t.Cleanup(good.Close)
	stranger := httptest.NewUnstartedServer(http.NotFoundHandler())
	stranger.TLS = &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}}
	stranger.StartTLS()
	t.Cleanup(stranger.Close)
	hung, err := net.Listen("tcp", "127.0.0.1:0") // it accepts by its backlog, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hung.Close() })

	roots := x509.NewCertPool()
	roots.AddCert(good.Certificate())
	config := &tls.Config{RootCAs: roots, ServerName: "example.com"} // in httptest's certificate
	var tried sync.Map
	d := New(Config{
		Bootstrap: []string{stranger.Listener.Addr().String(), hung.Addr().String(), good.Listener.Addr().String()},
		TLS:       func() (*tls.Config, error) { return config.Clone(), nil },
		Connect: func(ctx context.Context, network, address string) (net.Conn, error) {
			tried.Store(address, true)
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	})
	client := &http.Client{Transport: &http.Transport{DialContext: d.Dial, TLSClientConfig: config}}
	resp, err := client.Get("https://10.96.0.1:443/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	if resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
	for _, address := range d.Bootstrap {
		if _, ok := tried.Load(address); !ok {
			t.Errorf("%s was not tried", address)
		}
	}
	if got := d.Candidates()[0]; got != good.Listener.Addr().String() {
		t.Errorf("it would begin with %s next time", got)
	}
	d.TLS = func() (*tls.Config, error) { return nil, errors.New("no certificates") }
	if _, err := d.Dial(t.Context(), "tcp", ""); err == nil || !strings.Contains(err.Error(), "no certificates") {
		t.Errorf("%v", err)
	}
}
