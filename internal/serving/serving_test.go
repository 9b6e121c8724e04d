package serving

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/ovnkctl/ovnkctl/internal/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// start runs a server and returns its addresses; the end of the test stops it.
func start(t *testing.T, c Config) (*Server, []string) {
	t.Helper()
	c.Log = quiet()
	ctx, cancel := context.WithCancel(context.Background())
	s, err := New(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	var addrs []string
	for _, a := range s.Addresses() {
		addrs = append(addrs, "http://"+a.String())
	}
	return s, addrs
}

func request(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestServer(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "ovnk_test_total", Help: "A test."})
	registry.MustRegister(counter)
	counter.Add(3)
	level := &slog.LevelVar{}
	s, addrs := start(t, Config{Address: "127.0.0.1:0", Pprof: "127.0.0.1:0", Metrics: registry, Level: level})
	public, debug := addrs[0], addrs[1]

	nb := errors.New("northbound database: nobody listens\non /run/ovn/ovnnb_db.sock")
	s.Ready.Add("northbound", func(context.Context) error { return nb })
	s.Ready.Add("cache", func(context.Context) error { return nil })

	wantReply(t, "GET "+public+"/metrics", 200, "ovnk_test_total 3")
	wantReply(t, "GET "+public+"/livez", 200, "ok")
	wantReply(t, "GET "+public+"/readyz", 503,
		"[-]northbound failed: northbound database: nobody listens; on /run/ovn/ovnnb_db.sock\n[+]cache ok\nreadyz check failed\n")
	wantReply(t, "GET "+public+"/readyz?exclude=northbound", 200, "ok")
	s.Ready.Add("northbound", func(context.Context) error { return nil })
	wantReply(t, "GET "+public+"/readyz", 200, "ok")
	wantReply(t, "GET "+public+"/readyz?verbose", 200, "[+]northbound ok\n[+]cache ok\nreadyz check passed\n")

	wantReply(t, "GET "+debug+"/debug/pprof/goroutine?debug=1", 200, "goroutine profile")
	wantReply(t, "GET "+debug+"/debug/log-level", 200, "info")
	wantReply(t, "PUT "+debug+"/debug/log-level debug\n", 200, "debug")
	if level.Level() != slog.LevelDebug {
		t.Errorf("level is %v", level.Level())
	}
	wantReply(t, "PUT "+debug+"/debug/log-level loud", 400, `log level "loud"`)
	wantReply(t, "POST "+debug+"/debug/log-level info", 405, "GET or PUT")
	wantReply(t, "GET "+public+"/debug/pprof/", 404, "")
	wantReply(t, "PUT "+public+"/debug/log-level debug", 404, "")
}

// wantReply makes the request "METHOD URL BODY" and wants a reply that contains a text.
func wantReply(t *testing.T, line string, status int, contains string) {
	t.Helper()
	method, rest, _ := strings.Cut(line, " ")
	url, body, _ := strings.Cut(rest, " ")
	gotStatus, got := request(t, method, url, body)
	if gotStatus != status || !strings.Contains(got, contains) {
		t.Errorf("%s: %d %q, want %d with %q", line, gotStatus, got, status, contains)
	}
}

// One collector that fails must not hide the metrics of the others.
func TestMetricsSurviveABadCollector(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	registry.MustRegister(badCollector{prometheus.NewDesc("bad", "Bad.", nil, nil)})
	registry.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "good", Help: "Good."}))
	_, addrs := start(t, Config{Address: "127.0.0.1:0", Metrics: registry})
	wantReply(t, "GET "+addrs[0]+"/metrics", 200, "good 0")
}

type badCollector struct{ desc *prometheus.Desc }

func (b badCollector) Describe(ch chan<- *prometheus.Desc) { ch <- b.desc }
func (b badCollector) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.NewInvalidMetric(b.desc, errors.New("broken"))
}

func TestAddressesThatAreRefused(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, test := range map[string]struct {
		config    Config
		why, next string
	}{
		"pprof for all":       {Config{Address: "127.0.0.1:0", Pprof: ":6060"}, "not a loopback address", "127.0.0.1:PORT"},
		"pprof on the node":   {Config{Pprof: "192.0.2.1:6060"}, "not a loopback address", "127.0.0.1:PORT"},
		"pprof by name":       {Config{Pprof: "example:6060"}, "not a loopback address", "127.0.0.1:PORT"},
		"no port":             {Config{Pprof: "127.0.0.1"}, "missing port", ""},
		"address is in use":   {Config{Address: taken.Addr().String()}, "in use by another process", "ss -ltnp"},
		"pprof is in use":     {Config{Address: "127.0.0.1:0", Pprof: taken.Addr().String()}, "in use by another process", "ss -ltnp"},
		"not an address":      {Config{Address: "127.0.0.1:http2"}, "serving address", ""},
		"not our own address": {Config{Address: "192.0.2.1:9410"}, "serving address", ""},
	} {
		test.config.Log = quiet()
		s, err := New(t.Context(), test.config)
		if err == nil {
			s.close()
			t.Errorf("%s: accepted", name)
			continue
		}
		if !strings.Contains(err.Error(), test.why) {
			t.Errorf("%s: %v, want %q", name, err, test.why)
		}
		var h hinted
		if errors.As(err, &h); !strings.Contains(h.Hint(), test.next) {
			t.Errorf("%s: the hint is %q, want %q", name, h.Hint(), test.next)
		}
	}
}

// A request in flight ends before Run returns.
func TestShutdownIsGraceful(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	s, err := New(ctx, Config{Address: "127.0.0.1:0", Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	entered, leave := make(chan struct{}), make(chan struct{})
	s.Live.Add("slow", func(context.Context) error { close(entered); <-leave; return nil })
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	status := make(chan int)
	go func() {
		code, _ := request(t, "GET", "http://"+s.Addresses()[0].String()+"/livez", "")
		status <- code
	}()
	<-entered
	cancel()
	select {
	case err := <-done:
		t.Fatalf("Run returned %v with a request in flight", err)
	default:
	}
	close(leave)
	if code := <-status; code != 200 {
		t.Errorf("the request in flight got %d", code)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestRunWithoutAddressesWaits(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	s, err := New(ctx, Config{Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	select {
	case err := <-done:
		t.Fatalf("Run returned %v before its context ended", err)
	default:
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestNewLogger(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	log, level, err := NewLogger(&b, config.Log{Level: "warn", Format: "json"})
	if err != nil {
		t.Fatal(err)
	}
	log.Info("not seen")
	level.Set(slog.LevelDebug)
	log.Debug("seen", "node", "n1")
	if got := b.String(); strings.Contains(got, "not seen") || !strings.Contains(got, `"msg":"seen","node":"n1"`) {
		t.Errorf("log is %s", got)
	}
	b.Reset()
	if log, _, err = NewLogger(&b, config.Log{Level: "info", Format: "text"}); err != nil {
		t.Fatal(err)
	}
	log.Info("seen", "node", "n1")
	if got := b.String(); !strings.Contains(got, "msg=seen node=n1") {
		t.Errorf("log is %s", got)
	}
	if _, _, err := NewLogger(&b, config.Log{Level: "loud"}); err == nil {
		t.Error("an unknown level was accepted")
	}
}

// Checks may be added while others are asked.
func TestChecksAreReplaced(t *testing.T) {
	t.Parallel()
	var c Checks
	for range 2 {
		c.Add("one", func(context.Context) error { return nil })
	}
	w := httptest.NewRecorder()
	c.ServeHTTP(w, httptest.NewRequest("GET", "/livez?verbose", nil))
	if got := w.Body.String(); got != "[+]one ok\nlivez check passed\n" {
		t.Errorf("body is %q", got)
	}
}
