// Package healthcheck serves the healthCheckNodePort of services with external traffic
// policy Local: it tells load balancers whether this node has a ready backend, in the words
// of kube-proxy, so that they need not know who serves.
package healthcheck

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// retryInterval is how often a port is tried again that somebody else has.
const retryInterval = 10 * time.Second

// What a client may take: the ports are open to everybody who reaches the node.
const (
	headerTimeout = 5 * time.Second
	writeTimeout  = 10 * time.Second
	idleTimeout   = time.Minute // more than load balancers wait between two checks
	headerBytes   = 8 << 10
)

// PortTaken is the code of the report that a service's health check port cannot be opened.
const PortTaken = "HealthCheckPortTaken"

// Service is one service with a health check port.
type Service struct {
	Ref  world.ObjectRef
	Port uint16
	// Ready4 and Ready6 are how many ready backends this node has, by family.
	Ready4, Ready6 int
}

func (s Service) key() world.ServiceKey {
	return world.ServiceKey{Namespace: s.Ref.Namespace, Name: s.Ref.Name}
}

// Config is what Servers need.
type Config struct {
	// Healthy tells whether the node programs services; while it does not, it has no
	// backends to speak of.
	Healthy func() bool
	// Report tells the owner of a service what is wrong. It must not block.
	Report func(ref world.ObjectRef, code, message, remedy string)
	Logger *slog.Logger
	// Listen is net.Listen unless a test says otherwise.
	Listen func(network, address string) (net.Listener, error)
}

// Servers are the health check ports of this node.
type Servers struct {
	cfg Config

	mu   sync.Mutex
	open map[world.ServiceKey]*server
	done bool
}

// server is one port; its listener is nil while it could not be opened.
type server struct {
	cfg      Config
	listener net.Listener
	http     *http.Server

	mu      sync.Mutex
	service Service
}

// New makes servers that have no port yet.
func New(c Config) *Servers {
	if c.Listen == nil {
		c.Listen = net.Listen
	}
	return &Servers{cfg: c, open: map[world.ServiceKey]*server{}}
}

// Run tries ports again that could not be opened, and closes all when ctx ends.
func (s *Servers) Run(ctx context.Context) error {
	tick := time.NewTicker(retryInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.close()
			return nil
		case <-tick.C:
			s.retry()
		}
	}
}

// Set says which services there are; the ports of others are closed.
func (s *Servers) Set(services []Service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return
	}
	wanted := make(map[world.ServiceKey]Service, len(services))
	for _, v := range services {
		wanted[v.key()] = v
	}
	for key, have := range s.open { // first, as a port may change hands
		if w, ok := wanted[key]; !ok || w.Port != have.service.Port || w.Ref != have.service.Ref {
			have.close()
			delete(s.open, key)
		}
	}
	for key, w := range wanted {
		if have, ok := s.open[key]; ok {
			have.set(w)
			s.tryAgain(key, have)
			continue
		}
		n := &server{cfg: s.cfg, service: w}
		s.open[key] = n
		if err := n.listen(); err != nil {
			s.cfg.Report(w.Ref, PortTaken, fmt.Sprintf("health check port %d cannot be opened: %v; load balancers take the node for one without backends", w.Port, err),
				"find who has the port with `ss -ltnp` on the node, or give the service another spec.healthCheckNodePort")
		}
	}
}

func (s *Servers) retry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, v := range s.open {
		s.tryAgain(key, v)
	}
}

// tryAgain opens a port that could not be opened before.
func (s *Servers) tryAgain(key world.ServiceKey, v *server) {
	if v.listener != nil {
		return
	}
	if err := v.listen(); err == nil {
		s.cfg.Logger.Info("health check port opened at last", "key", key.String(), "port", v.service.Port)
	}
}

func (s *Servers) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = true
	for _, v := range s.open {
		v.close()
	}
	clear(s.open)
}

func (v *server) listen() error {
	l, err := v.cfg.Listen("tcp", net.JoinHostPort("", strconv.Itoa(int(v.service.Port))))
	if err != nil {
		return err
	}
	v.listener = l
	v.http = newHTTP(v)
	go func() {
		if err := v.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			v.cfg.Logger.Warn("health check port ended", "key", v.service.key(), "error", err)
		}
	}()
	return nil
}

func (v *server) close() {
	if v.http != nil {
		_ = v.http.Close() // nobody waits for an answer that is older than the service
		// A server that has not begun to serve does not know its listener, and the port may
		// be another service's at once.
		_ = v.listener.Close()
	}
}

func (v *server) set(w Service) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.service = w
}

// answer is what load balancers, and people, read.
type answer struct {
	Service struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"service"`
	LocalEndpoints      int  `json:"localEndpoints"`
	ServiceProxyHealthy bool `json:"serviceProxyHealthy"`
}

// ServeHTTP answers with the backends of the family that the client uses.
func (v *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	s := v.service
	v.mu.Unlock()
	var a answer
	a.Service.Namespace, a.Service.Name = s.Ref.Namespace, s.Ref.Name
	a.LocalEndpoints = s.Ready6
	if is4(r) {
		a.LocalEndpoints = s.Ready4
	}
	a.ServiceProxyHealthy = v.cfg.Healthy()
	status := http.StatusOK
	if a.LocalEndpoints == 0 || !a.ServiceProxyHealthy {
		status = http.StatusServiceUnavailable
	}
	w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.Itoa(a.LocalEndpoints))
	write(w, status, a)
}

func newHTTP(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: headerBytes,
	}
}

// is4 tells whether a request came in by IPv4.
func is4(r *http.Request) bool {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if local == nil {
		return true
	}
	a, err := netip.ParseAddrPort(local.String())
	return err == nil && a.Addr().Unmap().Is4()
}

func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client has gone
}
