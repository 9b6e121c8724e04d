//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// peerLimit is longer than any part of the benchmark takes.
const peerLimit = 20 * time.Minute

// stopLimit is how long a peer lets its node's program be stopped: who asked may have died.
const stopLimit = 30 * time.Second

// command makes the floor's change of a load balancer on this node.
func command(ctx context.Context, at, to netip.AddrPort) error {
	return runIn(ctx, "ovn-northd", "/usr/bin/ovn-nbctl", "--wait=hv", "set", "load_balancer", changeBalancer,
		fmt.Sprintf(`vips={"%s"="%s"}`, at, to))
}

// peer is the benchmark on another node of the sandbox: there, too, it stops the node's
// program and makes the floor's change, for a node's program does it on all nodes.
type peer struct {
	agent int // PID of the node's program
	end   func()

	mu    sync.Mutex
	timer *time.Timer
}

// servePeer answers until it is told to end.
func servePeer(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bench peer", flag.ContinueOnError)
	listen := flags.String("listen", "", "address and port on the nodes' network")
	if err := flags.Parse(args); err != nil {
		return err
	}
	agent, err := find("ovnkctl", "node")
	if err != nil {
		return err
	}
	ctx, end := context.WithTimeout(ctx, peerLimit)
	defer end()
	p := &peer{agent: agent, end: end}
	server := &http.Server{Addr: *listen, Handler: p, ReadHeaderTimeout: time.Minute}
	context.AfterFunc(ctx, func() { _ = server.Shutdown(context.Background()) })
	err = server.ListenAndServe()
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, p.signal(syscall.SIGCONT))
}

// ServeHTTP does what the path says: stop, continue, change, or end itself.
func (p *peer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var err error
	switch r.URL.Path {
	case "/stop":
		err = p.signal(syscall.SIGSTOP)
	case "/continue":
		err = p.signal(syscall.SIGCONT)
	case "/change":
		at, problem := netip.ParseAddrPort(r.FormValue("at"))
		to, another := netip.ParseAddrPort(r.FormValue("to"))
		if err = errors.Join(problem, another); err == nil {
			err = command(r.Context(), at, to)
		}
	case "/end":
		p.end()
	default:
		err = fmt.Errorf("no such request: %s", r.URL.Path)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// signal stops the node's program, or has it go on.
func (p *peer) signal(s syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	if s == syscall.SIGSTOP {
		p.timer = time.AfterFunc(stopLimit, func() { _ = syscall.Kill(p.agent, syscall.SIGCONT) })
	}
	return syscall.Kill(p.agent, s)
}

// peers are the benchmarks on the other nodes, by address and port.
type peers []string

// all asks each peer for something and returns when all have done it.
func (p peers) all(ctx context.Context, what string, form url.Values) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, at := range p {
		g.Go(func() error {
			request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+at+"/"+what, strings.NewReader(form.Encode()))
			if err != nil {
				return err
			}
			request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			answer, err := http.DefaultClient.Do(request)
			if err != nil {
				return fmt.Errorf("the benchmark of another node: %w", err)
			}
			defer answer.Body.Close() //nolint:errcheck // only read
			text, err := io.ReadAll(answer.Body)
			if err == nil && answer.StatusCode != http.StatusOK {
				err = fmt.Errorf("%s at %s: %s", what, at, strings.TrimSpace(string(text)))
			}
			return err
		})
	}
	return g.Wait()
}

// change makes the floor's change on all nodes at once.
func (p peers) change(ctx context.Context, at, to netip.AddrPort) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return command(ctx, at, to) })
	g.Go(func() error { return p.all(ctx, "change", url.Values{"at": {at.String()}, "to": {to.String()}}) })
	return g.Wait()
}
