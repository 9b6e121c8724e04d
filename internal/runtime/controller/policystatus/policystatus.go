// Package policystatus says on each policy whether it is in force as it is written, and if
// not, which rule is not and what to do.
//
//	API server ──watch──> Keeper ──what features need──> world.Store ──Desired──> reasons
//	                        │ <──── zone problems of Nodes                           │
//	                        └──> status.conditions, status.messages; events <────────┘
//
// What is wrong with a policy's content is the same on every node: it is computed here once,
// by the code that makes the nodes' rows. A policy has one condition, however many nodes there
// are. The API server's objects are all memory that there is: a new leader that finds the
// statuses right writes nothing.
package policystatus

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/workqueue"

	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/policy"
	"github.com/ovnkctl/ovnkctl/internal/runtime/kube"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/live"
)

const (
	// workers bounds the statuses written at a time.
	workers = 4
	// timeout bounds one request.
	timeout = 30 * time.Second
	// How a status that could not be written is tried again, for as long as it is wrong.
	firstRetry = 200 * time.Millisecond
	lastRetry  = time.Minute
	// complainEvery bounds the log while the API server is away.
	complainEvery = 10 * time.Second
	// action is what events say was attempted.
	action = "Programming"
)

// Config is what New needs.
type Config struct {
	Client   kubernetes.Interface
	Policies *live.PolicyClient
	Network  world.Network
	// Events gets one event for each policy that begins to have a problem.
	Events     interface{ Record(kube.Event) }
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Keeper keeps the statuses of all policies.
type Keeper struct {
	c       Config
	feature policy.Feature
	store   *world.Store
	written *prometheus.CounterVec
	// missing is what is not known yet of what was there at the start: policies, and nodes.
	// Until then nothing is said, or a new leader would take back what is true.
	missing atomic.Int32

	mu         sync.Mutex
	queue      workqueue.TypedRateLimitingInterface[world.PolicyKey] // while running
	objects    map[world.PolicyKey]*object
	zones      zones
	namespaces map[string]string // what was told of namespaces that have a problem
	complained time.Time
}

// New makes a Keeper, which works while Run runs.
func New(c Config) (*Keeper, error) {
	k := &Keeper{
		c:       c,
		store:   world.New(world.Config{Networks: []world.Network{c.Network}}),
		objects: map[world.PolicyKey]*object{}, zones: newZones(), namespaces: map[string]string{},
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[world.PolicyKey](firstRetry, lastRetry)),
		written: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ovnk_controller_policy_statuses_total",
			Help: "Statuses of policies by kind and result: written, or retried.",
		}, []string{"kind", "result"}),
	}
	k.missing.Store(2)
	k.store.Subscribe(k.onWorld)
	for _, m := range []prometheus.Collector{k.written, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "ovnk_controller_policies_not_ready",
		Help: "Policies that are not in force as they are written.",
	}, k.notReady)} {
		if err := c.Registerer.Register(m); err != nil {
			return nil, fmt.Errorf("metrics of policies: %w", err)
		}
	}
	return k, nil
}

// Run works until the context ends. It may run once.
func (k *Keeper) Run(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() {
		live.ReflectPolicies(ctx, live.PolicyReflection[*object]{
			Client: k.c.Client, Policies: k.c.Policies, Logger: k.c.Logger,
			Convert: newObject, Sink: func(kind world.Kind) live.Sink[*object] { return sink{k, kind} },
			Synced: k.known,
		})
	})
	running.Go(func() {
		live.Reflect(ctx, k.c.Client.CoreV1().Namespaces(), live.Reflection[*corev1.Namespace, *world.Namespace]{
			Kind: "Namespace", Example: &corev1.Namespace{}, Convert: world.FromNamespace,
			Sink: namespaces{k}, Logger: k.c.Logger, Synced: func() {},
		})
	})
	for range workers {
		running.Go(func() {
			for {
				key, done := k.queue.Get()
				if done {
					return
				}
				k.settle(ctx, key)
				k.queue.Done(key)
			}
		})
	}
	<-ctx.Done()
	k.queue.ShutDown()
	running.Wait()
}

// NodesKnown says that SetNode was called for all nodes that were there at the start.
func (k *Keeper) NodesKnown() { k.known() }

// known counts off what is known, and once all is has all policies looked at.
func (k *Keeper) known() {
	if k.missing.Add(-1) > 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for key := range k.objects {
		k.queue.Add(key)
	}
	k.c.Logger.Info("all policies known", "policies", len(k.objects))
}

// touch has a policy looked at.
func (k *Keeper) touch(key world.PolicyKey) {
	if k.missing.Load() == 0 {
		k.queue.Add(key)
	}
}

// onWorld is called under the world's lock: policies that others have an effect on, such as
// those of the same priority.
func (k *Keeper) onWorld(v world.View, c world.Change) {
	if k.missing.Load() > 0 {
		return // all will be looked at
	}
	for _, fk := range k.feature.Keys(v, c) {
		if key, ok := policy.Of(fk); ok {
			k.queue.Add(key)
		}
	}
}

// settle brings the status of one policy in order.
func (k *Keeper) settle(ctx context.Context, key world.PolicyKey) {
	k.mu.Lock()
	there := k.objects[key]
	if there == nil {
		k.mu.Unlock()
		k.queue.Forget(key)
		return
	}
	o := *there // as it is now
	k.mu.Unlock()
	want := k.judge(&o)
	switch {
	case key.Kind == world.KindNetworkPolicy: // it has no status
		k.tell(&o, want, o.told)
		k.note(&o, want, "")
	case o.shows(want):
		k.note(&o, want, "")
	default:
		k.write(ctx, &o, want)
		return
	}
	k.queue.Forget(key)
}

// judge is what is to be said of a policy.
func (k *Keeper) judge(o *object) status {
	var reasons []feature.Reason
	k.store.Read(func(v world.View) { _, reasons = k.feature.Desired(v, policy.KeyOf(o.key())) })
	k.mu.Lock()
	defer k.mu.Unlock()
	return o.status(reasons, k.zones.of(o.key()))
}

// write writes the status, and an event if it has a problem that the one before had not.
func (k *Keeper) write(ctx context.Context, o *object, want status) {
	patch, err := o.patch(want, time.Now())
	if err != nil {
		k.c.Logger.Error("status of a policy not written", "kind", o.policy.Kind, "namespace", o.policy.Namespace, "name", o.policy.Name, "error", err)
		return
	}
	request, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	version, err := k.c.Policies.PatchStatus(request, o.key(), patch)
	switch {
	case err == nil:
		k.queue.Forget(o.key())
		k.written.WithLabelValues(string(o.policy.Kind), "written").Inc()
		k.tell(o, want, o.said.text())
		k.note(o, want, version)
	case apierrors.IsNotFound(err):
		k.queue.Forget(o.key()) // the watch will say so
	case ctx.Err() != nil:
	default:
		// Also after a conflict: what we have seen is not the newest version, or we will see.
		k.queue.AddRateLimited(o.key())
		k.written.WithLabelValues(string(o.policy.Kind), "retried").Inc()
		k.complain(o, err)
	}
}

// tell reports a problem that was not told before.
func (k *Keeper) tell(o *object, want status, before string) {
	if want.ready || want.text() == before {
		return
	}
	k.c.Logger.Warn("policy not as asked for", "kind", o.policy.Kind, "namespace", o.policy.Namespace, "name", o.policy.Name,
		"code", want.reason, "reason", want.message)
	k.c.Events.Record(kube.Event{
		Object: o.policy.Ref(), Warning: true, Reason: want.reason, Action: action, Note: want.message, Once: fmt.Sprint(o.generation),
	})
}

// note remembers what is said of the incarnation.
func (k *Keeper) note(o *object, want status, version string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.objects[o.key()]
	if now == nil || now.policy.UID != o.policy.UID {
		return
	}
	now.bad, now.told = !want.ready, want.text()
	if version != "" {
		now.wrote, now.wroteAt = &want, version
	}
}

// complain logs a failure, but not thousands of them while the API server is away.
func (k *Keeper) complain(o *object, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	if apierrors.IsConflict(err) || now.Sub(k.complained) < complainEvery {
		return
	}
	k.complained = now
	k.c.Logger.Warn("status of a policy not written, retrying", "kind", o.policy.Kind, "namespace", o.policy.Namespace, "name", o.policy.Name, "error", err)
}

// notReady counts for the metric.
func (k *Keeper) notReady() float64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	for _, o := range k.objects {
		if o.bad {
			n++
		}
	}
	return float64(n)
}
