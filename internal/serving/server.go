// Package serving is what a long-running program shows of itself: metrics, health,
// profiles and its log.
//
//	address   /metrics /livez /readyz      plain HTTP, reachable from the network
//	loopback  /debug/pprof/ /debug/log-level
package serving

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
)

// Time limits.
const (
	// headerTimeout keeps idle connections of strangers from piling up.
	headerTimeout = 5 * time.Second
	// writeTimeout is for a scrape; profiles, which take as long as asked, have none.
	writeTimeout = 30 * time.Second
	// shutdownTimeout lets a scrape in flight end; kubelets wait 30 s for the whole pod.
	shutdownTimeout = 3 * time.Second
)

// Config is what a Server shows and where.
type Config struct {
	// Address of /metrics, /livez and /readyz; empty for none.
	Address string
	// Pprof is a loopback address for profiles and the log level; empty for none.
	Pprof string
	// Metrics are shown at /metrics.
	Metrics prometheus.Gatherer
	Log     *slog.Logger
	// Level is the level of the log, which /debug/log-level changes; may be nil.
	Level *slog.LevelVar
}

// Server serves until its context ends. Live and Ready may be added to at any time.
type Server struct {
	// Live decides about a restart: add only what a restart can heal.
	Live Checks
	// Ready tells whether the program does its work now.
	Ready Checks

	config    Config
	listeners []listener
}

// listener is one socket that is open and not served yet.
type listener struct {
	net.Listener
	server *http.Server
}

// New opens the sockets, so that an address in use is an error at start.
func New(ctx context.Context, c Config) (*Server, error) {
	s := &Server{config: c}
	if err := s.listen(ctx, "serving address", c.Address, s.public(), writeTimeout); err != nil {
		return nil, err
	}
	if c.Pprof == "" {
		return s, nil
	}
	err := requireLoopback(c.Pprof)
	if err == nil {
		err = s.listen(ctx, "pprof address", c.Pprof, s.debug(), 0)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *Server) listen(ctx context.Context, what, address string, handler http.Handler, write time.Duration) error {
	if address == "" {
		return nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return hinted{fmt.Errorf("%s %s is in use by another process: %w", what, address, err), "`ss -ltnp` shows which; stop it, or choose another address with the serving.* keys"}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	s.listeners = append(s.listeners, listener{l, &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTimeout, WriteTimeout: write,
		ErrorLog: slog.NewLogLogger(s.config.Log.Handler(), slog.LevelWarn),
	}})
	return nil
}

// Addresses are where it listens, for addresses that were given with port 0.
func (s *Server) Addresses() []net.Addr {
	var addrs []net.Addr
	for _, l := range s.listeners {
		addrs = append(addrs, l.Addr())
	}
	return addrs
}

// Run serves until the context ends, and then lets requests in flight finish.
func (s *Server) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { <-ctx.Done(); return nil }) // also when nothing is to be served
	for _, l := range s.listeners {
		group.Go(func() error {
			if err := l.server.Serve(l.Listener); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve %s: %w", l.Addr(), err)
			}
			return nil
		})
		group.Go(func() error {
			<-ctx.Done()
			// The context has ended: the shutdown needs one of its own.
			grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
			defer cancel()
			if err := l.server.Shutdown(grace); err != nil {
				return l.server.Close()
			}
			return nil
		})
	}
	return group.Wait()
}

func (s *Server) close() {
	for _, l := range s.listeners {
		l.Close()
	}
}

func (s *Server) public() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/livez", &s.Live)
	mux.Handle("/readyz", &s.Ready)
	if s.config.Metrics != nil {
		mux.Handle("/metrics", promhttp.HandlerFor(s.config.Metrics, promhttp.HandlerOpts{
			ErrorLog:      slog.NewLogLogger(s.config.Log.Handler(), slog.LevelError),
			ErrorHandling: promhttp.ContinueOnError, // one bad collector must not hide the others
		}))
	}
	return mux
}

func (s *Server) debug() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	if s.config.Level != nil {
		mux.Handle("/debug/log-level", levelHandler(s.config.Level, s.config.Log))
	}
	return mux
}

// requireLoopback refuses addresses that others can reach: profiles show memory, and the
// log level is not theirs to change.
func requireLoopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("pprof address: %w", err)
	}
	if ip, err := netip.ParseAddr(host); host == "localhost" || (err == nil && ip.IsLoopback()) {
		return nil
	}
	return hinted{
		fmt.Errorf("pprof address %s is not a loopback address: it would show the program's memory to the network", address),
		"use 127.0.0.1:PORT, and reach it with `kubectl port-forward` or `kubectl exec`",
	}
}

// hinted is an error that knows what to do next.
type hinted struct {
	err  error
	next string
}

func (h hinted) Error() string { return h.err.Error() }
func (h hinted) Unwrap() error { return h.err }

// Hint is what to do next.
func (h hinted) Hint() string { return h.next }
