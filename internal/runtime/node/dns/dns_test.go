package dns

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/proxy"
	"github.com/ovnkctl/ovnkctl/internal/world/selector"
)

// rig is a proxy on loopback with a world in which one policy speaks of some names.
type rig struct {
	*Proxy
	store *world.Store
	at    netip.AddrPort
	stop  func()

	mu      sync.Mutex
	install func(context.Context, []world.DomainName) error
	waited  []string
}

type options struct {
	domains []string
	servers []proxy.DNSServer
	journal string
}

func newRig(t *testing.T, o options) *rig {
	t.Helper()
	r := &rig{store: newWorld(o.domains...)}
	var err error
	r.Proxy, err = New(Config{
		Store: r.store, Servers: func() []proxy.DNSServer { return o.servers },
		Learnable: func(a netip.Addr) bool { return !netip.MustParsePrefix("10.244.0.0/16").Contains(a) },
		Installed: func(ctx context.Context, domains []world.DomainName) error {
			r.mu.Lock()
			f := r.install
			for _, d := range domains {
				r.waited = append(r.waited, d.String())
			}
			r.mu.Unlock()
			if f == nil {
				return nil
			}
			return f(ctx, domains)
		},
		Journal: o.journal, Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	sockets, err := Listen(ctx, []netip.Addr{netip.MustParseAddr("127.0.0.1")}, 0)
	if err != nil {
		t.Fatal(err)
	}
	r.at = sockets.Addrs()[0]
	var parts sync.WaitGroup
	parts.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	parts.Go(func() {
		if err := r.Serve(ctx, sockets); err != nil {
			t.Error(err)
		}
	})
	r.stop = sync.OnceFunc(func() {
		cancel()
		parts.Wait()
	})
	t.Cleanup(r.stop)
	return r
}

// newWorld has a pod of the node that one policy with the domain names is for.
func newWorld(domains ...string) *world.Store {
	s := world.New(world.Config{LocalNode: "n1"})
	s.SetPod(&world.Pod{Namespace: "web", Name: "a", UID: "a", Node: "n1"})
	s.SetPolicy(policyOf(domains...))
	return s
}

func policyOf(domains ...string) *world.Policy {
	p := &world.Policy{Kind: world.KindEgressFirewall, Namespace: "web", Name: "default", Subject: world.PodsIn("web", selector.Labels{})}
	for _, d := range domains {
		p.Rules = append(p.Rules, world.PolicyRule{Direction: world.Egress, Peers: []world.Peer{{Domain: &world.DomainName{Name: d}}}})
	}
	return p
}

func (r *rig) setInstall(f func(context.Context, []world.DomainName) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.install = f
}

func (r *rig) known(domain string) []string { return known(r.store, domain) }

func known(s *world.Store, domain string) (out []string) {
	s.Read(func(v world.View) {
		for _, a := range v.DomainAddrs(world.DomainName{Name: domain}) {
			out = append(out, a.String())
		}
	})
	return out
}

func (r *rig) wantKnown(t *testing.T, domain string, want ...string) {
	t.Helper()
	if got := r.known(domain); !slices.Equal(got, want) {
		t.Errorf("%s has the addresses %v, want %v", domain, got, want)
	}
}

// What pods ask and get is what they would without the proxy, bit by bit.
func TestMessagesPassUnchanged(t *testing.T) {
	t.Parallel()
	large := bytes.Repeat([]byte{0xa5}, 60_000)
	s := newServer(t, func(p world.Protocol, q []byte) []byte {
		// Header and question of the query, then what no parser understands.
		r := append([]byte(nil), q...)
		r[2] |= 0x80
		if p == world.TCP {
			return append(r, large...)
		}
		r[2] |= 0x02 // truncated
		return append(r, 1, 2, 3)
	})
	r := newRig(t, options{domains: []string{"*.example.com"}, servers: s.both()})
	for _, name := range []string{mixed("www.example.com."), "other.test.", "a b\\.c.test."} {
		for _, kind := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeMX, 65280} {
			q := append(query(name, kind), 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0) // EDNS with 1232 bytes
			q[11] = 1
			before := len(s.queries())
			udp := exchangeUDP(t, r.at, q)
			tcp := exchangeTCP(t, r.at, q, q)
			for i, got := range s.queries()[before:] {
				if !bytes.Equal(got, q) && !isRefresh(got) {
					t.Errorf("query %d of %q type %d came as\n%x, sent was\n%x", i, name, kind, got, q)
				}
			}
			if want := s.answer(world.UDP, q); !bytes.Equal(udp, want) {
				t.Errorf("UDP answer for %q type %d is\n%x, want\n%x", name, kind, udp, want)
			}
			if want := s.answer(world.TCP, q); len(tcp) != 2 || !bytes.Equal(tcp[0], want) || !bytes.Equal(tcp[1], want) {
				t.Errorf("%d TCP answers for %q type %d, want 2 of %d bytes", len(tcp), name, kind, len(want))
			}
		}
	}
}

// isRefresh tells queries of the program's own.
func isRefresh(q []byte) bool { return [2]byte(q) != [2]byte{0xbe, 0xef} }

// An answer with addresses for a policy comes after they are in force, and not before.
func TestAnswerIsHeld(t *testing.T) {
	t.Parallel()
	s := newServer(t, zone(record{"www.example.com.", "192.0.2.1", 10}, record{"www.example.com.", "192.0.2.2", 10}))
	r := newRig(t, options{domains: []string{"*.example.com"}, servers: s.both()})
	looking, inForce := make(chan struct{}, 1), make(chan struct{})
	r.setInstall(func(ctx context.Context, _ []world.DomainName) error {
		r.wantKnown(t, "*.example.com", "192.0.2.1", "192.0.2.2")
		looking <- struct{}{}
		select {
		case <-inForce:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	answered := make(chan []byte)
	go func() { answered <- exchangeUDP(t, r.at, query(mixed("www.example.com."), dnsmessage.TypeA)) }()
	<-looking
	select {
	case <-answered:
		t.Fatal("the answer came before its addresses were in force")
	default:
	}
	close(inForce)
	if m := <-answered; rcode(t, m) != dnsmessage.RCodeSuccess {
		t.Errorf("answer %x", m)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.waited, []string{"*.example.com"}) {
		t.Errorf("waited for %v", r.waited)
	}
}

// What is in force already is not waited for.
func TestKnownAddressesAreNotHeld(t *testing.T) {
	t.Parallel()
	s := newServer(t, zone(record{"www.example.com.", "192.0.2.1", 10}))
	r := newRig(t, options{domains: []string{"*.example.com"}, servers: s.both()})
	exchangeUDP(t, r.at, query("www.example.com.", dnsmessage.TypeA))
	r.setInstall(func(ctx context.Context, _ []world.DomainName) error {
		<-ctx.Done()
		return ctx.Err()
	})
	for range 20 {
		exchangeUDP(t, r.at, query("www.example.com.", dnsmessage.TypeA))
		exchangeTCP(t, r.at, query("www.example.com.", dnsmessage.TypeA))
	}
	if n := testutil.ToFloat64(r.metrics.late); n != 0 {
		t.Errorf("%v answers were late", n)
	}
}

// When the databases do not work, an answer comes late rather than never, and is counted.
func TestHoldIsBounded(t *testing.T) {
	t.Parallel()
	s := newServer(t, zone(record{"www.example.com.", "192.0.2.1", 10}))
	r := newRig(t, options{domains: []string{"*.example.com"}, servers: s.both()})
	r.setInstall(func(context.Context, []world.DomainName) error { return errors.New("no database") })
	start := time.Now()
	exchangeUDP(t, r.at, query("www.example.com.", dnsmessage.TypeA))
	if d := time.Since(start); d < holdLimit {
		t.Errorf("answered after %v, want %v", d, holdLimit)
	}
	if n := testutil.ToFloat64(r.metrics.late); n != 1 {
		t.Errorf("%v late answers counted, want 1", n)
	}
	r.wantKnown(t, "*.example.com", "192.0.2.1")
}

func TestLearnsOnlyWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	s := newServer(t, zone(
		record{"evil.test.", "www.example.com.", 10}, // an alias for a name of the policy
		record{"www.example.com.", "192.0.2.66", 10},
		record{"api.example.com.", "cdn.test.", 10},
		record{"cdn.test.", "edge.cdn.test.", 10},
		record{"edge.cdn.test.", "192.0.2.1", 10},
		record{"edge.cdn.test.", "2001:db8::1", 10},
		record{"edge.cdn.test.", "10.244.0.7", 10}, // a pod's
	))
	r := newRig(t, options{domains: []string{"*.example.com"}, servers: s.both()})
	exchangeUDP(t, r.at, query("evil.test.", dnsmessage.TypeA))
	r.wantKnown(t, "*.example.com")
	exchangeUDP(t, r.at, query("api.example.com.", dnsmessage.TypeA))
	r.wantKnown(t, "*.example.com", "192.0.2.1")
	exchangeTCP(t, r.at, query("api.example.com.", dnsmessage.TypeAAAA))
	r.wantKnown(t, "*.example.com", "192.0.2.1", "2001:db8::1")
	exchangeUDP(t, r.at, query("a.b.example.com.", dnsmessage.TypeA))
	r.wantKnown(t, "*.example.com", "192.0.2.1", "2001:db8::1")
}

// Servers that do not answer, answer something else or are not there do not matter while
// one does.
func TestFailOver(t *testing.T) {
	t.Parallel()
	silent := newServer(t, func(world.Protocol, []byte) []byte { return nil })
	wrong := newServer(t, func(_ world.Protocol, q []byte) []byte {
		r := response(q, record{"www.example.com.", "192.0.2.66", 10})
		r[0] ^= 1
		return r
	})
	good := newServer(t, zone(record{"www.example.com.", "192.0.2.1", 10}))
	r := newRig(t, options{domains: []string{"*.example.com"}, servers: slices.Concat(silent.both(), wrong.both(), good.both())})
	for range 6 {
		for _, m := range append(exchangeTCP(t, r.at, query("www.example.com.", dnsmessage.TypeA)), exchangeUDP(t, r.at, query("www.example.com.", dnsmessage.TypeA))) {
			if rcode(t, m) != dnsmessage.RCodeSuccess {
				t.Errorf("answer %x", m)
			}
		}
	}
	r.wantKnown(t, "*.example.com", "192.0.2.1")
	asked := slices.DeleteFunc(slices.Concat(silent.queries(), wrong.queries()), isRefresh)
	if n := len(asked); n > 4 {
		t.Errorf("servers that do not answer were asked %d times, want each once by protocol", n)
	}
}

func TestNoServer(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{domains: []string{"www.example.com"}})
	q := query("www.example.com.", dnsmessage.TypeA)
	m := exchangeUDP(t, r.at, q)
	if !answers(q, m) || rcode(t, m) != dnsmessage.RCodeServerFailure {
		t.Errorf("answer %x, want a server failure to the same question", m)
	}
	if n := testutil.ToFloat64(r.metrics.queries.WithLabelValues("udp", outcomeFailed)); n != 1 {
		t.Errorf("%v failures counted, want 1", n)
	}
}

// A zone transfer is many messages.
func TestTransfer(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(_ world.Protocol, q []byte) []byte {
		var out []byte
		for i := range 3 {
			m := response(q, record{"example.com.", "192.0.2.1", uint32(i)})
			out = append(binary.BigEndian.AppendUint16(out, uint16(len(m))), m...)
		}
		return out
	})
	r := newRig(t, options{servers: s.both()})
	if got := exchangeTCP(t, r.at, query("example.com.", typeAXFR)); len(got) != 3 {
		t.Errorf("%d messages, want 3", len(got))
	}
}

// Names of policies are asked for without any pod asking, as soon as a policy has them.
func TestRefreshOfNewPolicy(t *testing.T) {
	t.Parallel()
	s := newServer(t, zone(record{"www.example.com.", "192.0.2.1", 10}, record{"www.example.com.", "2001:db8::1", 10}))
	r := newRig(t, options{servers: s.both()})
	changed := make(chan struct{}, 10)
	r.store.Subscribe(func(_ world.View, c world.Change) {
		if c.Ref.Kind == world.KindDomain {
			changed <- struct{}{}
		}
	})
	r.store.SetPolicy(policyOf("www.example.com"))
	<-changed
	r.wantKnown(t, "www.example.com", "192.0.2.1", "2001:db8::1")
	for _, q := range s.queries() {
		if _, ok := questionOf(q); !ok {
			t.Errorf("asked %x", q)
		}
	}
}

// A truncated answer to the program's own query is asked for again by TCP.
func TestRefreshOfLongAnswer(t *testing.T) {
	t.Parallel()
	full := zone(record{"www.example.com.", "192.0.2.1", 10})
	s := newServer(t, func(p world.Protocol, q []byte) []byte {
		if p == world.TCP {
			return full(p, q)
		}
		m := response(q)
		m[2] |= 0x02
		return m
	})
	r := newRig(t, options{servers: s.both()})
	ttl, ok := r.refreshName(t.Context(), "www.example.com")
	if !ok || ttl != 10*time.Second {
		t.Errorf("TTL %v, %v", ttl, ok)
	}
}

// A program that starts again knows what it knew.
func TestRestart(t *testing.T) {
	t.Parallel()
	s := newServer(t, zone(record{"www.example.com.", "192.0.2.1", 10}))
	journal := filepath.Join(t.TempDir(), "run", "names")
	r := newRig(t, options{domains: []string{"*.example.com"}, servers: s.both(), journal: journal})
	exchangeUDP(t, r.at, query("www.example.com.", dnsmessage.TypeA))
	s.set(zone(record{"www.example.com.", "192.0.2.2", 10}))
	exchangeUDP(t, r.at, query("www.example.com.", dnsmessage.TypeA))
	want := r.known("*.example.com")
	r.stop()
	store := newWorld("*.example.com")
	if _, err := New(Config{Store: store, Learnable: func(netip.Addr) bool { return true }, Journal: journal}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, known(store, "*.example.com")); diff != "" || len(want) != 2 {
		t.Errorf("known after a restart (-want +got):\n%s", diff)
	}
}
