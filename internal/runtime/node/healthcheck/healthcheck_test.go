package healthcheck

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// host has ports of its own: what is asked to listen on them listens on free ones of the
// loopback addresses.
type host struct {
	t       *testing.T
	taken   map[string]bool
	at      map[string]string // real address by wanted
	network string
}

func (h *host) listen(_, address string) (net.Listener, error) {
	if h.taken[address] {
		return nil, errors.New("address already in use")
	}
	loopback := map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0"}[h.network]
	l, err := net.Listen(h.network, loopback)
	if err != nil {
		h.t.Fatal(err)
	}
	h.at[address] = l.Addr().String()
	return l, nil
}

type reply struct {
	Status    int
	Weight    string
	Endpoints int
	Healthy   bool
}

func (h *host) ask(port string) (reply, error) {
	r, err := http.Get("http://" + h.at[port] + "/anything")
	if err != nil {
		return reply{}, err
	}
	defer r.Body.Close()
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return reply{}, err
	}
	var a answer
	if err := json.Unmarshal(raw, &a); err != nil {
		return reply{}, err
	}
	return reply{r.StatusCode, r.Header.Get("X-Load-Balancing-Endpoint-Weight"), a.LocalEndpoints, a.ServiceProxyHealthy}, nil
}

func (h *host) want(port string, want reply) {
	h.t.Helper()
	got, err := h.ask(port)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		h.t.Errorf("port %s: %v (-want +got):\n%s", port, err, diff)
	}
}

func service(name string, port uint16, ready4, ready6 int) Service {
	return Service{Ref: world.ObjectRef{Kind: world.KindService, Namespace: "ns", Name: name, UID: name}, Port: port, Ready4: ready4, Ready6: ready6}
}

func start(t *testing.T, h *host) (s *Servers, healthy *atomic.Bool, reports *[]string) {
	healthy, reports = new(atomic.Bool), new([]string)
	healthy.Store(true)
	s = New(Config{
		Healthy: healthy.Load, Logger: slog.New(slog.DiscardHandler), Listen: h.listen,
		Report: func(ref world.ObjectRef, code, _, _ string) { *reports = append(*reports, ref.Name+" "+code) },
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for port := range h.at {
			if _, err := h.ask(port); err == nil {
				t.Errorf("port %s still answers at the end", port)
			}
		}
	})
	return s, healthy, reports
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	for network, counts := range map[string][2]int{"tcp4": {2, 0}, "tcp6": {0, 2}} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			h := &host{t: t, at: map[string]string{}, network: network}
			s, healthy, _ := start(t, h)
			s.Set([]Service{service("a", 30001, counts[0], counts[1]), service("b", 30002, counts[1], counts[0])})
			h.want(":30001", reply{200, "2", 2, true})
			h.want(":30002", reply{503, "0", 0, true}) // backends of the other family only

			s.Set([]Service{service("a", 30001, 0, 0), service("b", 30002, 1, 1)})
			h.want(":30001", reply{503, "0", 0, true})
			h.want(":30002", reply{200, "1", 1, true})

			healthy.Store(false)
			h.want(":30002", reply{503, "1", 1, false})
		})
	}
}

func TestPortsComeGoAndChangeHands(t *testing.T) {
	t.Parallel()
	h := &host{t: t, at: map[string]string{}, network: "tcp4", taken: map[string]bool{":30009": true}}
	s, _, reports := start(t, h)
	s.Set([]Service{service("a", 30001, 1, 0), service("blocked", 30009, 1, 0)})
	h.want(":30001", reply{200, "1", 1, true})
	if diff := cmp.Diff([]string{"blocked " + PortTaken}, *reports); diff != "" {
		t.Errorf("reports (-want +got):\n%s", diff)
	}
	first := h.at[":30001"]
	s.Set([]Service{service("b", 30001, 3, 0), service("blocked", 30009, 1, 0)})
	if h.at[":30001"] == first {
		t.Error("the port was not opened anew for its new owner")
	}
	h.want(":30001", reply{200, "3", 3, true})

	delete(h.taken, ":30009")
	s.retry()
	h.want(":30009", reply{200, "1", 1, true})
	if len(*reports) != 1 {
		t.Errorf("reported again: %v", *reports)
	}

	s.Set(nil)
	for port := range h.at {
		if _, err := h.ask(port); err == nil {
			t.Errorf("port %s still answers without a service", port)
		}
	}
}

// TestSetTriesAgain has a change open what could not be opened before, without a timer.
func TestSetTriesAgain(t *testing.T) {
	t.Parallel()
	h := &host{t: t, at: map[string]string{}, network: "tcp4", taken: map[string]bool{":30009": true}}
	s, _, reports := start(t, h)
	s.Set([]Service{service("blocked", 30009, 1, 0)})
	s.Set([]Service{service("blocked", 30009, 2, 0)})
	delete(h.taken, ":30009")
	s.Set([]Service{service("blocked", 30009, 3, 0)})
	h.want(":30009", reply{200, "3", 3, true})
	if diff := cmp.Diff([]string{"blocked " + PortTaken}, *reports); diff != "" {
		t.Errorf("reports (-want +got):\n%s", diff)
	}
}

// TestPortChangesHandsAtOnce gives one real port from service to service, faster than their
// servers come up.
func TestPortChangesHandsAtOnce(t *testing.T) {
	t.Parallel()
	free, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	s := New(Config{
		Healthy: func() bool { return true }, Logger: slog.New(slog.DiscardHandler),
		Listen: func(string, string) (net.Listener, error) { return net.Listen("tcp4", address) },
		Report: func(ref world.ObjectRef, _, message, _ string) { t.Errorf("%s: %s", ref.Name, message) },
	})
	defer s.close()
	for i := range 200 {
		s.Set([]Service{service(strconv.Itoa(i), 30001, 1, 0)})
	}
}

// TestBody checks the answer as load balancers parse it.
func TestBody(t *testing.T) {
	t.Parallel()
	h := &host{t: t, at: map[string]string{}, network: "tcp4"}
	s, _, _ := start(t, h)
	s.Set([]Service{service("web", 30001, 2, 0)})
	r, err := http.Get("http://" + h.at[":30001"])
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var got map[string]any
	if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"service":        map[string]any{"namespace": "ns", "name": "web"},
		"localEndpoints": 2.0, "serviceProxyHealthy": true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if r.Header.Get("Content-Type") != "application/json" || r.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers %v", r.Header)
	}
}
