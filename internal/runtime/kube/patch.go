package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/workqueue"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// How a patch is tried again: for as long as the object is there.
const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = time.Minute
	// patchWorkers bounds the patches under way at a time.
	patchWorkers = 8
	// patchTimeout bounds one request; the API server itself gives up after a minute.
	patchTimeout = 30 * time.Second
	// complainEvery bounds the log while the API server is away.
	complainEvery = 10 * time.Second
)

// Patcher writes annotations and conditions of Nodes and Pods beside the work that needs
// them written: what is asked for is merged by object, sent when a worker is free, and
// tried again forever, with back-off, until it succeeds or the object is gone. It touches
// only the keys it is given, and only the incarnation (UID) it is given.
type Patcher struct {
	client kubernetes.Interface
	log    *slog.Logger
	queue  workqueue.TypedRateLimitingInterface[world.ObjectRef]
	total  *prometheus.CounterVec

	mu         sync.Mutex
	pending    map[world.ObjectRef]change
	sending    map[world.ObjectRef]change
	complained time.Time
}

// change is what is still to be written to one object.
type change struct {
	annotations map[string]string // an empty value removes
	condition   *corev1.NodeCondition
}

// PatcherConfig is what NewPatcher needs.
type PatcherConfig struct {
	Client     kubernetes.Interface
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// NewPatcher makes a Patcher, which works once Run runs.
func NewPatcher(c PatcherConfig) (*Patcher, error) {
	p := &Patcher{
		client: c.Client,
		log:    c.Logger,
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[world.ObjectRef](firstRetry, lastRetry)),
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ovnk_kube_patches_total",
			Help: "Patches of Kubernetes objects by kind and result: written, retried, or dropped because the object was gone.",
		}, []string{"kind", "result"}),
		pending: map[world.ObjectRef]change{},
		sending: map[world.ObjectRef]change{},
	}
	waiting := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "ovnk_kube_patches_pending",
		Help: "Kubernetes objects with patches that are not written yet.",
	}, func() float64 { return float64(p.Pending()) })
	for _, m := range []prometheus.Collector{p.total, waiting} {
		if err := c.Registerer.Register(m); err != nil {
			return nil, fmt.Errorf("metrics of patches: %w", err)
		}
	}
	return p, nil
}

// Annotate has annotations written; an empty value removes the key. It returns at once.
func (p *Patcher) Annotate(o world.ObjectRef, annotations map[string]string) {
	p.add(o, change{annotations: annotations})
}

// SetNodeCondition has a condition of a Node written. It returns at once.
func (p *Patcher) SetNodeCondition(o world.ObjectRef, c corev1.NodeCondition) {
	p.add(o, change{condition: &c})
}

// Forget drops what is still to be written to an object, because it is gone.
func (p *Patcher) Forget(o world.ObjectRef) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pending, o)
}

// Pending is how many objects have something that is not written yet.
func (p *Patcher) Pending() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.pending)
	for o := range p.sending {
		if _, ok := p.pending[o]; !ok {
			n++
		}
	}
	return n
}

// Run writes until the context ends. What is not written by then is not written: its
// source says it again after a restart.
func (p *Patcher) Run(ctx context.Context) {
	var workers sync.WaitGroup
	for range patchWorkers {
		workers.Go(func() {
			for {
				o, done := p.queue.Get()
				if done {
					return
				}
				p.send(ctx, o)
				p.queue.Done(o)
			}
		})
	}
	<-ctx.Done()
	p.queue.ShutDown()
	workers.Wait()
}

func (p *Patcher) add(o world.ObjectRef, c change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s, ok := p.sending[o]; ok && s.covers(c) && p.pending[o].empty() {
		return // on its way
	}
	p.pending[o] = p.pending[o].with(c)
	p.queue.Add(o)
}

func (p *Patcher) send(ctx context.Context, o world.ObjectRef) {
	p.mu.Lock()
	c, ok := p.pending[o]
	delete(p.pending, o)
	if ok {
		p.sending[o] = c
	}
	p.mu.Unlock()
	if !ok {
		p.queue.Forget(o)
		return
	}
	err := p.write(ctx, o, c)
	gone := err != nil && p.gone(ctx, o, err)

	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.sending, o)
	switch {
	case err == nil:
		p.queue.Forget(o)
		p.total.WithLabelValues(string(o.Kind), "written").Inc()
	case gone:
		p.queue.Forget(o)
		delete(p.pending, o)
		p.total.WithLabelValues(string(o.Kind), "dropped").Inc()
	case ctx.Err() != nil:
	default:
		p.pending[o] = c.with(p.pending[o])
		p.queue.AddRateLimited(o)
		p.total.WithLabelValues(string(o.Kind), "retried").Inc()
		p.complain(o, err)
	}
}

// complain logs a failure, but not thousands of them while the API server is away. The
// lock is held.
func (p *Patcher) complain(o world.ObjectRef, err error) {
	now := time.Now()
	if now.Sub(p.complained) < complainEvery {
		return
	}
	p.complained = now
	p.log.Warn("object not written, retrying", "kind", o.Kind, "namespace", o.Namespace, "name", o.Name,
		"waiting", len(p.pending), "error", err)
}

func (p *Patcher) write(ctx context.Context, o world.ObjectRef, c change) error {
	ctx, cancel := context.WithTimeout(ctx, patchTimeout)
	defer cancel()
	if len(c.annotations) > 0 {
		if err := p.patch(ctx, o, types.MergePatchType, c.annotationPatch(o.UID), ""); err != nil {
			return err
		}
	}
	if c.condition != nil {
		return p.patch(ctx, o, types.StrategicMergePatchType, c.conditionPatch(o.UID), "status")
	}
	return nil
}

func (p *Patcher) patch(ctx context.Context, o world.ObjectRef, how types.PatchType, patch any, subresource string) error {
	data, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	var subresources []string
	if subresource != "" {
		subresources = []string{subresource}
	}
	switch o.Kind {
	case world.KindNode:
		_, err = p.client.CoreV1().Nodes().Patch(ctx, o.Name, how, data, metav1.PatchOptions{}, subresources...)
	case world.KindPod:
		_, err = p.client.CoreV1().Pods(o.Namespace).Patch(ctx, o.Name, how, data, metav1.PatchOptions{}, subresources...)
	default:
		err = fmt.Errorf("no patches of %s", o.Kind)
	}
	return err
}

// gone tells whether the object, or the incarnation of it that was meant, is no more. A
// patch with another UID is refused as a conflict or as invalid, which can have other
// reasons.
func (p *Patcher) gone(ctx context.Context, o world.ObjectRef, err error) bool {
	switch {
	case apierrors.IsNotFound(err):
		return true
	case !apierrors.IsConflict(err) && !apierrors.IsInvalid(err):
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, patchTimeout)
	defer cancel()
	var m metav1.Object
	switch o.Kind {
	case world.KindNode:
		m, err = p.client.CoreV1().Nodes().Get(ctx, o.Name, metav1.GetOptions{})
	default:
		m, err = p.client.CoreV1().Pods(o.Namespace).Get(ctx, o.Name, metav1.GetOptions{})
	}
	return apierrors.IsNotFound(err) || err == nil && string(m.GetUID()) != o.UID
}

func (c change) empty() bool { return len(c.annotations) == 0 && c.condition == nil }

// with is the change followed by another.
func (c change) with(next change) change {
	merged := change{annotations: maps.Clone(c.annotations), condition: c.condition}
	if merged.annotations == nil {
		merged.annotations = map[string]string{}
	}
	maps.Copy(merged.annotations, next.annotations)
	if next.condition != nil {
		merged.condition = next.condition
	}
	return merged
}

// covers tells whether another change would add nothing to this one.
func (c change) covers(other change) bool {
	for k, v := range other.annotations {
		if mine, ok := c.annotations[k]; !ok || mine != v {
			return false
		}
	}
	return other.condition == nil || c.condition != nil && sameCondition(*c.condition, *other.condition)
}

// sameCondition compares conditions but for their times.
func sameCondition(a, b corev1.NodeCondition) bool {
	return a.Type == b.Type && a.Status == b.Status && a.Reason == b.Reason && a.Message == b.Message
}

type metadata struct {
	UID         string             `json:"uid,omitempty"` // a precondition
	Annotations map[string]*string `json:"annotations,omitempty"`
}

func (c change) annotationPatch(uid string) any {
	values := make(map[string]*string, len(c.annotations))
	for k, v := range c.annotations {
		if v == "" {
			values[k] = nil
		} else {
			values[k] = &v
		}
	}
	return struct {
		Metadata metadata `json:"metadata"`
	}{metadata{uid, values}}
}

func (c change) conditionPatch(uid string) any {
	type status struct {
		Conditions []corev1.NodeCondition `json:"conditions"`
	}
	return struct {
		Metadata metadata `json:"metadata"`
		Status   status   `json:"status"`
	}{metadata{UID: uid}, status{[]corev1.NodeCondition{*c.condition}}}
}
