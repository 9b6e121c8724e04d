//go:build linux

package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ovnkctl/ovnkctl/internal/cni/history"
	"github.com/ovnkctl/ovnkctl/internal/cni/plumb"
	"github.com/ovnkctl/ovnkctl/internal/cni/port"
	"github.com/ovnkctl/ovnkctl/internal/cni/wire"
)

// Reasons of the events on pods.
const (
	// ReasonAddFailed: a pod could not be attached to the network.
	ReasonAddFailed = "PodNetworkFailed"
	// ReasonNotPoliced: what a pod sends is not limited though it should be.
	ReasonNotPoliced = "EgressBandwidthNotEnforced"
)

// adding is one ADD under way.
type adding struct {
	c      *call
	cancel context.CancelCauseFunc
	stages *stages
	err    error // why it failed
	// What this call made, and would take back.
	veth, port bool
}

var errDefect = errors.New("the node's CNI server has a defect: see the log of container ovnkube-controller")

var errDelForAdd = errors.New("the container runtime sent DEL for the same sandbox meanwhile")

// errGone are the reasons that are no fault: nobody waits for the pod any more.
type errGone struct{ error }

func (e errGone) Unwrap() error { return e.error }

// add attaches a pod.
func (s *Server) add(ctx context.Context, c *call) (json.RawMessage, *wire.Error) {
	ctx, cancel := context.WithTimeoutCause(ctx, wire.Limit, errTimeout)
	defer cancel()
	a, ctx, done := s.begin(ctx, c)
	defer done()
	var unlock func()
	err := a.stages.run(ctx, stageTurn, func(ctx context.Context) (err error) {
		unlock, err = s.sandboxes.Lock(ctx, c.sandbox)
		return err
	})
	if err != nil {
		return nil, s.failed(a, err)
	}
	defer unlock()
	i, p, err := s.attach(ctx, a)
	if err != nil {
		s.rollback(ctx, a)
		return nil, s.failed(a, err)
	}
	out, failure := result(c, i)
	if failure != nil {
		a.err = failure
		s.rollback(ctx, a)
		return nil, failure
	}
	a.err = nil
	s.log.Debug("pod attached", "pod", c.pod, "sandbox", c.sandbox, "stages", a.stages)
	s.checkPolicing(p)
	return out, nil
}

// begin enlists an ADD and ends those for older sandboxes of the pod: the newest wins.
func (s *Server) begin(ctx context.Context, c *call) (a *adding, own context.Context, done func()) {
	own, cancel := context.WithCancelCause(ctx)
	a = &adding{c: c, cancel: cancel, stages: newStages(s.cfg.Metrics)}
	a.stages.uid = c.pod.UID // maybe not the one that the API has
	a.err = errDefect        // until it ends otherwise
	s.mu.Lock()
	defer s.mu.Unlock()
	for other := range s.adds {
		o := other.c
		if o.sandbox != c.sandbox && o.ifName == c.ifName && o.pod.Namespace == c.pod.Namespace && o.pod.Name == c.pod.Name {
			other.cancel(errGone{fmt.Errorf("a newer sandbox of the pod, %s, was started", c.sandbox)})
		}
	}
	s.adds[a] = true
	return a, own, func() {
		cancel(nil)
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.adds, a)
		s.cfg.History.Answered(a.answered(time.Now()))
	}
}

// answered is the record of an ADD that is over.
func (a *adding) answered(now time.Time) history.Add {
	h := a.stages.record(a.c)
	h.Ended, h.Failed = now, a.err != nil
	if at := (*stageError)(nil); a.err != nil && !errors.As(a.err, &at) {
		h.Error = history.Cut(oneLine(a.err))
	}
	return h
}

// remembered is what the node remembers of its pods, with the ADDs that are under way.
func (s *Server) remembered() (json.RawMessage, *wire.Error) {
	s.mu.Lock() // an ADD that ends meanwhile is in one of both
	d := s.cfg.History.Document()
	for a := range s.adds {
		d.Adds = append(d.Adds, a.stages.record(a.c))
	}
	s.mu.Unlock()
	slices.SortStableFunc(d.Adds, func(a, b history.Add) int { return a.Began.Compare(b.Began) })
	data, err := json.Marshal(d)
	if err != nil {
		return nil, wire.Errorf(wire.CodeIO, "encode what is remembered of pods: %v", err)
	}
	return data, nil
}

// adding tells whether an ADD for the sandbox is under way.
func (s *Server) adding(sandbox string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for a := range s.adds {
		if a.c.sandbox == sandbox {
			return true
		}
	}
	return false
}

// attach does the stages that make the interface and the port.
func (s *Server) attach(ctx context.Context, a *adding) (plumb.Interface, port.Port, error) {
	c := a.c
	i := plumb.Interface{Host: plumb.HostName(c.sandbox), Name: c.ifName, MTU: s.cfg.MTU}
	var att Attachment
	first, firstCtx := errgroup.WithContext(ctx)
	first.Go(func() error {
		return a.stages.run(firstCtx, stageAddress, func(ctx context.Context) (err error) {
			att, err = s.cfg.Networks.Attachment(ctx, c.pod)
			return err
		})
	})
	first.Go(func() error {
		// The MAC comes later: the pair need not wait for the pod's addresses.
		return a.stages.run(firstCtx, stageVeth, func(context.Context) (err error) {
			a.veth, err = s.cfg.Links.Connect(c.netns, i)
			return err
		})
	})
	if err := first.Wait(); err != nil {
		return i, port.Port{}, err
	}
	i.Network = att.Network
	c.pod.UID = att.UID
	a.stages.identify(att.UID)
	cancel := s.cfg.Networks.OnGone(c.pod, func(why error) { a.cancel(errGone{why}) })
	defer cancel()
	p := port.Port{
		Name: i.Host, Sandbox: c.sandbox, IfName: c.ifName,
		Namespace: c.pod.Namespace, Pod: c.pod.Name, UID: att.UID,
		MAC: att.Network.MAC, Addresses: att.Network.Addresses,
		IngressRate: att.IngressRate, EgressRate: att.EgressRate,
	}
	return i, p, s.connect(ctx, a, i, p)
}

// connect does the second group of stages.
func (s *Server) connect(ctx context.Context, a *adding, i plumb.Interface, p port.Port) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return a.stages.run(ctx, stageInterface, func(context.Context) error {
			return s.cfg.Links.Configure(a.c.netns, i)
		})
	})
	group.Go(func() error {
		return a.stages.run(ctx, stageNB, func(ctx context.Context) error {
			return s.cfg.Networks.Programmed(ctx, a.c.pod)
		})
	})
	group.Go(func() error {
		err := a.stages.run(ctx, stagePort, func(ctx context.Context) (err error) {
			a.port, err = s.cfg.Ports.Attach(ctx, p, a.veth)
			return err
		})
		if err != nil {
			return err
		}
		return a.stages.run(ctx, stageFlows, func(ctx context.Context) error {
			return s.cfg.Ports.WaitInstalled(ctx, p)
		})
	})
	return group.Wait()
}

// rollback takes back what a failed ADD made itself. What an earlier ADD of the same
// sandbox made stays: that one succeeded.
func (s *Server) rollback(ctx context.Context, a *adding) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	c := a.c
	var problems []error
	if a.port {
		_, err := s.cfg.Ports.Detach(ctx, "cni ADD taken back: "+c.pod.String(), port.Ref{Sandbox: c.sandbox, IfName: c.ifName})
		problems = append(problems, err)
	}
	if a.veth {
		problems = append(problems, s.cfg.Links.Disconnect(c.netns, plumb.HostName(c.sandbox), c.ifName))
	}
	if err := errors.Join(problems...); err != nil {
		s.log.Warn("failed ADD not taken back in full; DEL or the next sweep will", "pod", c.pod, "sandbox", c.sandbox, "error", err)
	}
}

// failed makes the error of an ADD: one line for the pod's events and the kubelet's log.
func (s *Server) failed(a *adding, err error) *wire.Error {
	a.err = err
	e := &wire.Error{
		Code:    wire.CodeStageFailed,
		Msg:     fmt.Sprintf("pod %s is not attached to the network: %v", a.c.pod, err),
		Details: "stages: " + a.stages.String(),
	}
	var gone errGone
	switch {
	case errors.As(err, &gone), errors.Is(err, port.ErrTakenOver), errors.Is(err, errDelForAdd):
		s.log.Info("pod not attached", "pod", a.c.pod, "sandbox", a.c.sandbox, "error", err, "stages", a.stages)
		return e
	case errors.Is(err, errShutdown), errors.Is(err, errClientGone):
		e.Code = wire.CodeTryAgain
	}
	s.log.Warn("pod not attached", "pod", a.c.pod, "sandbox", a.c.sandbox, "error", err, "stages", a.stages)
	s.cfg.Event(a.c.pod.ref(), ReasonAddFailed, e.Error())
	return e
}

// checkPolicing says once for each pod, and logs once for the node, that the kernel
// cannot limit what pods send. OVS tries when it opens the interface, and only logs.
func (s *Server) checkPolicing(p port.Port) {
	if p.EgressRate == 0 || s.cfg.Policed == nil {
		return
	}
	policed, err := s.cfg.Policed(p.Name)
	if err != nil {
		s.log.Warn("egress bandwidth not checked", "pod", p.Namespace+"/"+p.Pod, "error", err)
		return
	}
	if policed {
		return
	}
	const why = "the node's kernel lacks traffic policing (act_police with cls_matchall or cls_basic): load these modules"
	s.unpoliced.Do(func() { s.log.Warn("egress bandwidth of pods is not limited", "reason", why) })
	s.cfg.Event(Pod{p.Namespace, p.Pod, p.UID}.ref(), ReasonNotPoliced,
		fmt.Sprintf("kubernetes.io/egress-bandwidth (%d bit/s) is not enforced: %s", p.EgressRate, why))
}
