package port

import (
	"context"
	"errors"
	"fmt"

	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
)

// ErrTakenOver says that the port was removed or given to another sandbox meanwhile.
var ErrTakenOver = errors.New("port was taken over")

// WaitInstalled returns once ovn-controller reports that the port's flows are in place.
// It looks only when the database reports a change. When ctx ends it says how far the
// port has come and which daemon to look at.
func (s *Ports) WaitInstalled(ctx context.Context, p Port) error {
	changed := make(chan struct{}, 1)
	s.enlist(p.Name, changed)
	defer s.dismiss(p.Name, changed)
	for {
		i := s.current(p)
		switch {
		case i == nil:
			return fmt.Errorf("%w: %s", ErrTakenOver, s.successor(p))
		case refOf(i.ExternalIDs) != p.Ref() || i.ExternalIDs[idIfaceID] != p.IfaceID():
			return fmt.Errorf("%w: interface %s of Open vSwitch has iface-id %q and sandbox %q now", ErrTakenOver, p.Name, i.ExternalIDs[idIfaceID], i.ExternalIDs[idSandbox])
		case i.ExternalIDs[idInstalled] == "true":
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return &NotBoundError{Cause: context.Cause(ctx), State: explain(p, i)}
		}
	}
}

// NotBoundError says how far a port has come that was not bound in time.
type NotBoundError struct {
	Cause error
	State string
}

func (e *NotBoundError) Error() string { return e.State }

// Unwrap is why the waiting ended.
func (e *NotBoundError) Unwrap() error { return e.Cause }

// explain says how far a port has come that is not installed yet.
func explain(p Port, i *vswitch.Interface) string {
	switch {
	case i.Error != nil && *i.Error != "":
		return fmt.Sprintf("ovs-vswitchd cannot use interface %s: %s", p.Name, *i.Error)
	case i.Ofport == nil || *i.Ofport <= 0:
		return fmt.Sprintf("ovs-vswitchd has not opened interface %s: check container ovs-daemons of pod ovs-node", p.Name)
	}
	return fmt.Sprintf("ovn-controller has not bound port %s (OpenFlow port %d): check containers ovn-controller and ovn-northd of pod ovnkube-node, and `ovn-sbctl find Port_Binding logical_port=%s` for its chassis", p.IfaceID(), *i.Ofport, p.IfaceID())
}

// successor names what came in the place of a port that is gone.
func (s *Ports) successor(p Port) string {
	for _, other := range s.List() {
		if other.IfaceID() == p.IfaceID() {
			return fmt.Sprintf("a newer sandbox of the pod, %s, has replaced interface %s", other.Sandbox, p.Name)
		}
	}
	return fmt.Sprintf("interface %s was removed from Open vSwitch", p.Name)
}

func (s *Ports) enlist(name string, c chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiters[name] == nil {
		s.waiters[name] = map[chan struct{}]bool{}
	}
	s.waiters[name][c] = true
}

func (s *Ports) dismiss(name string, c chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiters[name], c)
	if len(s.waiters[name]) == 0 {
		delete(s.waiters, name)
	}
}
