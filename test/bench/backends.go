//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovnkctl/ovnkctl/test/sandbox/netspace"
)

const (
	// backendPort is where backends listen, servicePort where services do.
	backendPort, servicePort = 8080, 80
	// askPause is the pause between the beginnings of two connections of a client.
	askPause = time.Millisecond
	// askPatience is when a connection without an answer counts as lost.
	askPatience = 200 * time.Millisecond
	// askLimit is when a client gives up.
	askLimit = 20 * time.Second
)

// serve has the pod tell its name to everybody who connects, until stop is called.
func (p *pod) serve() (stop func(), err error) {
	var listener net.Listener
	err = netspace.Do(p.netns, func() (err error) {
		listener, err = net.Listen("tcp", p.backend().String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen in pod %s: %w", p.name, err)
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close() //nolint:errcheck // the client has all it wants
				_, _ = io.WriteString(conn, p.name)
				_, _ = io.Copy(io.Discard, conn) // until the client goes, who resets: no TIME_WAIT stays
			}()
		}
	}()
	return func() { _ = listener.Close() }, nil
}

// backend is where the pod listens: its address of the cluster's first family.
func (p *pod) backend() netip.AddrPort { return netip.AddrPortFrom(p.addrs[0], backendPort) }

// client connects to services from a place.
type client struct {
	name  string
	netns string // empty for the node's own
}

// answers is what a client that connected again and again has seen.
type answers struct {
	first       time.Time // answer of the backend that was waited for
	asked, lost int       // connections since another backend had answered
	err         error
}

// follow makes connections, one every askPause, until the named backend answers. What it
// returns is told when another backend has answered first, so that the client runs at its
// pace when the change comes; with fresh, at once.
func (c client) follow(ctx context.Context, at netip.AddrPort, name string, fresh bool) (running <-chan struct{}, done <-chan answers) {
	begun, end := make(chan struct{}), make(chan answers, 1)
	go func() {
		f := &follower{at: at, name: name, begun: begun}
		if fresh {
			f.begin()
		}
		f.err = c.do(func() error { return f.run(ctx) })
		f.begin()
		f.drain()
		end <- f.answers
	}()
	return begun, end
}

func (c client) do(f func() error) error {
	if c.netns == "" {
		return f()
	}
	return netspace.Do(c.netns, f)
}

// follower is a client on one thread, in the network namespace of that. It does not wait
// for one connection before it makes the next: one whose packet is lost while flows change
// would hide what comes after it for a second.
type follower struct {
	answers
	at    netip.AddrPort
	name  string
	open  []connection
	begun chan struct{}
	told  bool
}

type connection struct {
	fd   int
	made time.Time
}

func (f *follower) begin() {
	if !f.told {
		f.told = true
		close(f.begun)
	}
}

func (f *follower) run(ctx context.Context) error {
	deadline := time.Now().Add(askLimit)
	for next := time.Now(); time.Now().Before(deadline) && ctx.Err() == nil; {
		if now := time.Now(); !now.Before(next) {
			if err := f.connect(now); err != nil {
				return err
			}
			next = now.Add(askPause)
		}
		if done, err := f.poll(time.Until(next)); done || err != nil {
			return err
		}
	}
	return errors.Join(fmt.Errorf("%s does not lead to %s within %s", f.at, f.name, askLimit), ctx.Err())
}

// drain waits for the connections that are still open.
func (f *follower) drain() {
	for len(f.open) > 0 {
		if _, err := f.poll(askPause); err != nil {
			for _, o := range f.open {
				f.end(o.fd, true)
			}
			return
		}
	}
}

func (f *follower) connect(now time.Time) error {
	family, port := unix.AF_INET6, int(f.at.Port())
	var to unix.Sockaddr = &unix.SockaddrInet6{Port: port, Addr: f.at.Addr().As16()}
	if f.at.Addr().Is4() {
		family, to = unix.AF_INET, &unix.SockaddrInet4{Port: port, Addr: f.at.Addr().As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	if f.told {
		f.asked++
	}
	if err := unix.Connect(fd, to); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		f.end(fd, true)
		return nil
	}
	f.open = append(f.open, connection{fd, now})
	return nil
}

// poll looks at the open connections for a while; done says that the backend has answered.
func (f *follower) poll(wait time.Duration) (done bool, err error) {
	fds := make([]unix.PollFd, len(f.open))
	for i, o := range f.open {
		fds[i] = unix.PollFd{Fd: int32(o.fd), Events: unix.POLLIN}
	}
	timeout := unix.NsecToTimespec(max(0, wait.Nanoseconds()))
	if _, err := unix.Ppoll(fds, &timeout, nil); err != nil && !errors.Is(err, unix.EINTR) {
		return false, fmt.Errorf("poll: %w", err)
	}
	now, open := time.Now(), f.open
	f.open = nil
	for i, o := range open {
		switch {
		case fds[i].Revents != 0:
			first, problem := f.read(o.fd, now)
			done, err = done || first, errors.Join(err, problem)
		case now.Sub(o.made) > askPatience:
			f.end(o.fd, true)
		default:
			f.open = append(f.open, o)
		}
	}
	return done, err
}

// read looks at who has answered on a connection.
func (f *follower) read(fd int, now time.Time) (done bool, err error) {
	who := make([]byte, 64)
	n, _ := unix.Read(fd, who)
	n = max(0, n)
	f.end(fd, n == 0)
	switch {
	case n == 0: // refused or ended
	case string(who[:n]) != f.name:
		f.begin()
	case !f.told:
		return false, fmt.Errorf("%s is answered by %s before it was changed to it", f.at, f.name)
	case f.first.IsZero():
		f.first = now
		return true, nil
	}
	return false, nil
}

func (f *follower) end(fd int, lost bool) {
	if lost && f.told {
		f.lost++
	}
	reset(fd)
}

// reset ends a connection so that nothing of it stays.
func reset(fd int) {
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	_ = unix.Close(fd)
}
