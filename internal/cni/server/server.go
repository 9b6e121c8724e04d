//go:build linux

// Package server is the CNI server of the node process. It attaches pods to the network:
//
//	ADD   address ─┬─ interface ────────────┬─> result
//	      veth ────┼─ nb ───────────────────┤
//	               └─ port ── flows ────────┘
//
// The left and the right group of stages run side by side; flows, the last, ends when
// ovn-controller reports that the pod's flows are in place. An ADD that fails takes back
// what it made and says at which stage, why, and how long each took.
//
// DEL finds everything by the sandbox's id, so it needs neither the pod nor its network
// namespace. What a DEL could not reach, because this process was down, the sweep at the
// next start and every GC finds.
package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovnkctl/ovnkctl/internal/cni/history"
	"github.com/ovnkctl/ovnkctl/internal/cni/keylock"
	"github.com/ovnkctl/ovnkctl/internal/cni/port"
	"github.com/ovnkctl/ovnkctl/internal/cni/wire"
	"github.com/ovnkctl/ovnkctl/internal/runtime/repair"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Config is what the server needs.
type Config struct {
	Socket   string
	MTU      int // of pods, in bytes
	Networks Networks
	Ports    *port.Ports
	Links    Links
	// Ready returns why the node cannot take pods; nil when it can. For STATUS.
	Ready func() error
	// Event tells the owner of a pod about it; nil tells nobody.
	Event func(pod world.ObjectRef, reason, note string)
	// Policed tells whether packets from the pod behind an interface of the node pass a
	// policer; nil if that cannot be known.
	Policed func(hostName string) (bool, error)
	// Repair looks again at what somebody has seen to be wrong; nil refuses.
	Repair func(context.Context, repair.Request) repair.Answer
	// History remembers ADDs, for who asks later; nil remembers none.
	History *history.Log
	Logger  *slog.Logger
	Metrics *Metrics
}

const (
	// readTimeout is how long a client may take to say what it wants.
	readTimeout = 10 * time.Second
	// writeTimeout is how long it may take to read the answer.
	writeTimeout = 10 * time.Second
	// maxCalls bounds the calls at a time. A node has 110 pods by default, 500 at most.
	maxCalls = 1024
	// grace is how long calls may go on when the process is told to end.
	grace = 5 * time.Second
	// rollbackTimeout bounds the taking back of a failed ADD.
	rollbackTimeout = 15 * time.Second
)

// Server is the CNI server of one node.
type Server struct {
	cfg       Config
	log       *slog.Logger
	sandboxes keylock.Locks
	unpoliced sync.Once

	mu sync.Mutex
	// adds are the ADDs under way: a newer sandbox of a pod ends those for older ones,
	// and a DEL those for its own.
	adds map[*adding]bool
}

// New makes a server, which serves once Serve runs.
func New(c Config) *Server {
	s := &Server{cfg: c, log: c.Logger, adds: map[*adding]bool{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.cfg.Event == nil {
		s.cfg.Event = func(world.ObjectRef, string, string) {}
	}
	if s.cfg.Ready == nil {
		s.cfg.Ready = func() error { return nil }
	}
	return s
}

// Serve listens until ctx ends. Calls under way may then go on for a moment; after it
// they are given up and taken back, and the runtime repeats them.
func (s *Server) Serve(ctx context.Context) error {
	listener, err := listen(s.cfg.Socket)
	if err != nil {
		return err
	}
	// The calls outlive ctx by the grace.
	working, giveUp := context.WithCancelCause(context.WithoutCancel(ctx))
	defer giveUp(nil)
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	var calls sync.WaitGroup
	slots := make(chan struct{}, maxCalls)
	for {
		conn, err := listener.Accept()
		if err != nil {
			if ctx.Err() == nil {
				err = fmt.Errorf("CNI server: %w", err)
			} else {
				err = nil
			}
			timer := time.AfterFunc(grace, func() { giveUp(errShutdown) })
			calls.Wait()
			timer.Stop()
			return err
		}
		slots <- struct{}{}
		calls.Go(func() {
			defer func() { <-slots }()
			s.serve(working, conn.(*net.UnixConn))
		})
	}
}

var errShutdown = errors.New("the node process is ending; the runtime will try again")

// listen makes the socket anew, in a directory for root alone.
func listen(path string) (*net.UnixListener, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("CNI server: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("CNI server: %w", err)
	}
	// Under its name it is only for root from the first moment.
	made := path + ".new"
	if err := os.Remove(made); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("CNI server: %w", err)
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("CNI server: %w", err)
	}
	// A successor may have made its own socket by the time this one is closed.
	listener.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(made, 0o600), os.Rename(made, path)); err != nil {
		_ = listener.Close()
		return nil, fmt.Errorf("CNI server: %w", err)
	}
	return listener, nil
}

// serve handles one connection, which is one call.
func (s *Server) serve(ctx context.Context, conn *net.UnixConn) {
	defer func() { _ = conn.Close() }()
	if err := checkPeer(conn); err != nil {
		s.log.Warn("CNI client refused", "error", err)
		return
	}
	_ = conn.SetReadDeadline(time.Now().Add(readTimeout))
	var request wire.Request
	var response wire.Response
	if err := wire.Read(conn, &request); err != nil {
		response.Error = wire.Errorf(wire.CodeDecoding, "the request to the node's CNI server is not understood: %v", err)
	} else {
		_ = conn.SetReadDeadline(time.Time{})
		// The shim says nothing more; when it goes away, the runtime has given up.
		ctx, gone := context.WithCancelCause(ctx)
		go func() {
			var one [1]byte
			if _, err := conn.Read(one[:]); err != nil {
				gone(errClientGone)
			}
		}()
		response = s.handle(ctx, request)
		gone(nil)
	}
	_ = conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err := wire.Write(conn, response); err != nil {
		s.log.Warn("CNI answer not delivered", "command", request.Command, "sandbox", request.ContainerID, "error", err)
	}
}

var errClientGone = errors.New("the container runtime has given up")

// checkPeer lets root and the user of this process in. The file modes say the same; this
// holds even if somebody passes the socket on.
func checkPeer(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var failure error
	if err := raw.Control(func(fd uintptr) {
		peer, failure = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if failure != nil {
		return failure
	}
	if peer.Uid != 0 && int(peer.Uid) != os.Geteuid() {
		return fmt.Errorf("process %d runs as user %d; the container runtime runs as root", peer.Pid, peer.Uid)
	}
	return nil
}

// handle answers one request. It never panics.
func (s *Server) handle(ctx context.Context, request wire.Request) (response wire.Response) {
	start, command, counted := time.Now(), request.Command, false
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("CNI request failed", "command", command, "panic", p, "stack", string(debug.Stack()))
			response = wire.Response{Error: wire.Errorf(wire.CodeStageFailed, "%s: the node's CNI server has a defect: %v", command, p)}
		}
		if counted {
			s.cfg.Metrics.request(command, response.Error == nil, time.Since(start))
		}
	}()
	switch request.Command { // no calls of a container runtime
	case wire.History:
		response.Result, response.Error = s.remembered()
		return response
	case wire.Repair:
		response.Result, response.Error = s.repair(ctx, request.Config)
		return response
	}
	command, counted = "invalid", true // until it is understood
	c, failure := parse(request)
	if failure == nil {
		command = c.command
	}
	if failure != nil {
		s.log.Warn("CNI request refused", "command", request.Command, "sandbox", request.ContainerID, "error", failure)
		return wire.Response{Error: failure}
	}
	response.Result, response.Error = s.dispatch(ctx, c)
	return response
}

func (s *Server) dispatch(ctx context.Context, c *call) (json.RawMessage, *wire.Error) {
	switch c.command {
	case wire.Add:
		return s.add(ctx, c)
	case wire.Check:
		return nil, s.check(ctx, c)
	case wire.Status:
		return nil, s.status()
	}
	// DEL and GC are finished even if nobody waits for them any more.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), wire.Limit)
	defer cancel()
	if c.command == wire.GC {
		return nil, s.gc(ctx, c)
	}
	return nil, s.del(ctx, c)
}

func (s *Server) status() *wire.Error {
	if err := s.cfg.Ready(); err != nil {
		return wire.Errorf(wire.CodeNotAvailable, "not ready: %v", err)
	}
	return nil
}

// repair has the node's program look again.
func (s *Server) repair(ctx context.Context, text []byte) (json.RawMessage, *wire.Error) {
	var r repair.Request
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, wire.Errorf(wire.CodeDecoding, "what to repair: %v", err)
	}
	if s.cfg.Repair == nil {
		return nil, wire.Errorf(wire.CodeNotAvailable, "this program repairs nothing")
	}
	s.log.Info("asked to look again", "keys", len(r.Keys), "host", r.Host)
	data, err := json.Marshal(s.cfg.Repair(ctx, r))
	if err != nil {
		return nil, wire.Errorf(wire.CodeIO, "encode what was repaired: %v", err)
	}
	return data, nil
}
