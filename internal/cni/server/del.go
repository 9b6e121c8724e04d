//go:build linux

package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/ovnkctl/ovnkctl/internal/cni/plumb"
	"github.com/ovnkctl/ovnkctl/internal/cni/port"
	"github.com/ovnkctl/ovnkctl/internal/cni/wire"
)

// del detaches a sandbox. Whatever is not there (any more) is no error: runtimes repeat
// DEL, the last time without a network namespace.
func (s *Server) del(ctx context.Context, c *call) *wire.Error {
	s.mu.Lock()
	for a := range s.adds {
		if a.c.sandbox == c.sandbox && a.c.ifName == c.ifName {
			a.cancel(errDelForAdd)
		}
	}
	s.mu.Unlock()
	unlock, err := s.sandboxes.Lock(ctx, c.sandbox)
	if err != nil {
		return wire.Errorf(wire.CodeTryAgain, "DEL of sandbox %s: another call for it does not end: %v", c.sandbox, err)
	}
	defer unlock()
	// The port first: Open vSwitch complains about ports whose interface vanishes.
	_, portErr := s.cfg.Ports.Detach(ctx, "cni DEL "+c.pod.String()+" sandbox "+c.sandbox, port.Ref{Sandbox: c.sandbox, IfName: c.ifName})
	linkErr := s.cfg.Links.Disconnect(c.netns, plumb.HostName(c.sandbox), c.ifName)
	if err := errors.Join(portErr, linkErr); err != nil {
		s.log.Warn("pod not detached", "pod", c.pod, "sandbox", c.sandbox, "error", err)
		return wire.Errorf(wire.CodeTryAgain, "DEL of sandbox %s: %v", c.sandbox, err)
	}
	return nil
}

// gc removes the attachments that the runtime does not list, and what the sweep finds.
func (s *Server) gc(ctx context.Context, c *call) *wire.Error {
	var stale []port.Port
	for _, p := range s.cfg.Ports.List() {
		if !c.valid[p.Ref()] && !s.adding(p.Sandbox) {
			stale = append(stale, p)
		}
	}
	err := s.remove(ctx, "cni GC", stale)
	if _, sweepErr := s.Sweep(ctx); err == nil {
		err = sweepErr
	}
	if err != nil {
		return wire.Errorf(wire.CodeTryAgain, "GC: %v", err)
	}
	return nil
}

// remove takes ports and their interfaces away, all ports in one transaction.
func (s *Server) remove(ctx context.Context, cause string, stale []port.Port) error {
	if len(stale) == 0 {
		return nil
	}
	refs := make([]port.Ref, 0, len(stale))
	for _, p := range stale {
		refs = append(refs, p.Ref())
		s.log.Info("port of a sandbox that is gone removed", "cause", cause, "pod", p.Namespace+"/"+p.Pod, "sandbox", p.Sandbox, "interface", p.Name)
	}
	_, err := s.cfg.Ports.Detach(ctx, cause, refs...)
	problems := []error{err}
	for _, p := range stale {
		problems = append(problems, s.cfg.Links.Disconnect("", p.Name, p.IfName))
	}
	return errors.Join(problems...)
}

// Sweep removes ports of pods that exist no longer or whose interface is gone with its
// network namespace, and rows without a port; it tells how many ports. The node runs it
// when it starts, once the world is known: DELs that met no server have left these.
func (s *Server) Sweep(ctx context.Context) (int, error) {
	// In this order: an ADD makes the interface before the port.
	ports := s.cfg.Ports.List()
	veths, err := s.cfg.Links.Veths()
	if err != nil {
		return 0, fmt.Errorf("sweep: %w", err)
	}
	var stale []port.Port
	for _, p := range ports {
		if s.adding(p.Sandbox) {
			continue
		}
		exists, known := s.cfg.Networks.Exists(Pod{Namespace: p.Namespace, Name: p.Pod, UID: p.UID})
		if !veths[p.Name] || known && !exists {
			stale = append(stale, p)
		}
	}
	if err := s.remove(ctx, "sweep", stale); err != nil {
		return 0, fmt.Errorf("sweep: %w", err)
	}
	orphans := s.cfg.Ports.Orphans()
	if len(orphans) > 0 {
		if _, err := s.cfg.Ports.Detach(ctx, "sweep: QoS rows without a port", orphans...); err != nil {
			return len(stale), fmt.Errorf("sweep: %w", err)
		}
	}
	return len(stale), nil
}

// check compares what is there with what ADD made.
func (s *Server) check(ctx context.Context, c *call) *wire.Error {
	ctx, cancel := context.WithTimeoutCause(ctx, limits[stageAddress], errTimeout)
	defer cancel()
	unlock, err := s.sandboxes.Lock(ctx, c.sandbox)
	if err != nil {
		return wire.Errorf(wire.CodeTryAgain, "CHECK of pod %s: another call for its sandbox does not end: %v", c.pod, err)
	}
	defer unlock()
	att, err := s.cfg.Networks.Attachment(ctx, c.pod)
	if err != nil {
		return wire.Errorf(wire.CodeStageFailed, "CHECK of pod %s: %v", c.pod, err)
	}
	i := plumb.Interface{Host: plumb.HostName(c.sandbox), Name: c.ifName, MTU: s.cfg.MTU, Network: att.Network}
	p := port.Port{
		Name: i.Host, Sandbox: c.sandbox, IfName: c.ifName,
		Namespace: c.pod.Namespace, Pod: c.pod.Name, UID: att.UID,
		MAC: att.Network.MAC, Addresses: att.Network.Addresses,
		IngressRate: att.IngressRate, EgressRate: att.EgressRate,
	}
	if err := errors.Join(s.cfg.Links.Check(c.netns, i), s.cfg.Ports.Check(p)); err != nil {
		return wire.Errorf(wire.CodeStageFailed, "CHECK of pod %s: %s", c.pod, oneLine(err))
	}
	return nil
}
