// Package controller is `ovnkctl controller`: the one process of a cluster that allocates.
// It gives each node its id, its pod subnets and what follows from them, as annotations of
// the Node, and never touches OVN. It also says on each policy whether it is in force, see
// package policystatus.
//
//	Lease ──leader──> watch of Nodes ──claims──> alloc ──results──> Patcher ─> annotations, condition
//	          │                                              └────> Recorder ─> events
//	          └──> policystatus ─> status of policies
//
// All state is the allocator's memory and the annotations. A new leader reads every Node
// before it decides anything: valid annotations stand, so taking over writes nothing.
// While it runs its memory stands: an annotation that is changed or removed by hand is
// put back.
package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/runtime/controller/policystatus"
	"github.com/ovnkctl/ovnkctl/internal/runtime/kube"
	"github.com/ovnkctl/ovnkctl/internal/world/live"
)

const (
	// LeaseName is the Lease that the leader holds; OVN-Kubernetes' cluster manager holds
	// the same, so that the two never allocate at the same time.
	LeaseName = "ovn-kubernetes-master"
	// DefaultNamespace is where the Lease is unless Options say otherwise.
	DefaultNamespace = "ovn-kubernetes"
	// component names the controller in events and in the user agent.
	component = "ovnkctl-controller"
	// releaseTimeout bounds how long a shutdown waits for the Lease to be given back; if it
	// cannot be, the next leader waits until it expires.
	releaseTimeout = 5 * time.Second
)

// ErrLeadershipLost ends Run when the Lease could not be renewed: another process may be
// the leader by now, so this one must go.
var ErrLeadershipLost = errors.New("leadership lost: the Lease could not be renewed in time; the process ends and its replacement stands for election")

// Options are what New needs.
type Options struct {
	Config     *config.Config
	Client     kubernetes.Interface
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Identity is unique among the processes that stand for election, e.g. the pod's name.
	Identity string
	// Namespace of the Lease; DefaultNamespace if empty.
	Namespace string
	// Policies is for the statuses of policies; without it there are none.
	Policies *live.PolicyClient
}

// Controller is one process that may become the leader.
type Controller struct {
	o        Options
	nodes    *nodes
	policies *policystatus.Keeper // nil without
	patcher  *kube.Patcher
	recorder *kube.Recorder
	phase    atomic.Int32
}

// The phases of a Controller.
const (
	starting int32 = iota // has not heard of a leader
	standby               // another process leads
	reading               // leads, has not read all nodes
	leading
)

// New makes a controller; Run runs it.
func New(o Options) (*Controller, error) {
	if o.Namespace == "" {
		o.Namespace = DefaultNamespace
	}
	network, err := o.Config.DefaultNetwork()
	if err != nil {
		return nil, err
	}
	c := &Controller{o: o}
	c.patcher, err = kube.NewPatcher(kube.PatcherConfig{Client: o.Client, Logger: o.Logger, Registerer: o.Registerer})
	if err != nil {
		return nil, err
	}
	c.recorder, err = kube.NewRecorder(kube.RecorderConfig{
		Client: o.Client, Component: component, Instance: o.Identity, Logger: o.Logger, Registerer: o.Registerer,
	})
	if err != nil {
		return nil, err
	}
	nodes := nodesConfig{network: network, writer: c.patcher, reporter: c.recorder, log: o.Logger, now: time.Now}
	if o.Policies != nil {
		c.policies, err = policystatus.New(policystatus.Config{
			Client: o.Client, Policies: o.Policies, Network: network, Events: c.recorder, Logger: o.Logger, Registerer: o.Registerer,
		})
		if err != nil {
			return nil, err
		}
		nodes.problems = c.policies
	}
	c.nodes = newNodes(nodes)
	if err := o.Registerer.Register(c.nodes.metrics); err != nil {
		return nil, fmt.Errorf("metrics of the controller: %w", err)
	}
	if err := o.Registerer.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "ovnk_controller_leader",
		Help: "Whether this process is the leader, which allocates.",
	}, c.leads)); err != nil {
		return nil, fmt.Errorf("metrics of the controller: %w", err)
	}
	return c, nil
}

func (c *Controller) leads() float64 {
	if c.phase.Load() >= reading {
		return 1
	}
	return 0
}

// Ready tells why the controller is not ready: it is once another process leads, or once
// it leads and has read all nodes.
func (c *Controller) Ready(context.Context) error {
	switch c.phase.Load() {
	case starting:
		return fmt.Errorf("no leader known yet: Lease %s/%s was not read", c.o.Namespace, LeaseName)
	case reading:
		return errors.New("leads, but has not read all nodes yet")
	}
	return nil
}

// Run stands for election and, as the leader, allocates until the context ends; then it
// gives the Lease back and returns nil. It returns ErrLeadershipLost when it was the leader
// and is no more.
func (c *Controller) Run(ctx context.Context) error {
	elected := make(chan struct{})
	elector, err := c.elector(elected)
	if err != nil {
		return err
	}
	// The election ends after the work, so that the next leader never meets this one.
	electing, endElection := context.WithCancel(kube.WithLogger(context.WithoutCancel(ctx), c.o.Logger))
	defer endElection()
	over := make(chan struct{})
	go func() {
		defer close(over)
		elector.Run(electing)
	}()

	select {
	case <-elected:
		if lost := c.lead(ctx, over); lost {
			return ErrLeadershipLost
		}
	case <-ctx.Done():
	}
	endElection()
	select {
	case <-over:
	case <-time.After(releaseTimeout):
		c.o.Logger.Warn("lease not given back in time: the next leader waits until it expires")
	}
	return nil
}

func (c *Controller) elector(elected chan<- struct{}) (*leaderelection.LeaderElector, error) {
	l := c.o.Config.Leader
	e, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Name: LeaseName,
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: c.o.Namespace, Name: LeaseName},
			Client:     c.o.Client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: c.o.Identity},
		},
		LeaseDuration:   time.Duration(l.LeaseSeconds) * time.Second,
		RenewDeadline:   time.Duration(l.RenewSeconds) * time.Second,
		RetryPeriod:     time.Duration(l.RetrySeconds) * time.Second,
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { close(elected) },
			OnStoppedLeading: func() {},
			OnNewLeader: func(identity string) {
				if identity == c.o.Identity {
					return
				}
				c.phase.CompareAndSwap(starting, standby)
				c.o.Logger.Info("another process leads", "leader", identity)
			},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("leaderElection: %w", err)
	}
	return e, nil
}

// lead allocates until the context ends, or until the election is over: then leadership
// is lost.
func (c *Controller) lead(ctx context.Context, over <-chan struct{}) (lost bool) {
	c.phase.Store(reading)
	defer c.phase.Store(starting)
	c.o.Logger.Info("leading", "identity", c.o.Identity)
	working, stop := context.WithCancel(ctx)
	defer stop()
	var work sync.WaitGroup
	work.Go(func() { c.patcher.Run(working) })
	work.Go(func() { c.recorder.Run(working) })
	if c.policies != nil {
		work.Go(func() { c.policies.Run(working) })
	}
	work.Go(func() {
		live.Reflect(working, c.o.Client.CoreV1().Nodes(), live.Reflection[*corev1.Node, *view]{
			Kind: "Node", Example: &corev1.Node{}, Convert: newView, Sink: c.nodes, Logger: c.o.Logger,
			// A list from a cache that lags behind would miss what the last leader wrote.
			MostRecent: true,
			Synced: func() {
				c.nodes.load()
				c.phase.Store(leading)
				if c.policies != nil {
					c.policies.NodesKnown()
				}
			},
		})
	})
	select {
	case <-over:
		lost = true
	case <-ctx.Done():
	}
	stop()
	work.Wait()
	return lost
}
