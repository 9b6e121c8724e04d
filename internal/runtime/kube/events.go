package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Limits of the recorder: events are for people, and cost the API server writes.
const (
	eventsPerSecond = 5
	eventBurst      = 50
	eventQueue      = 512
	// seriesEvery is how often the count of an event that goes on is written.
	seriesEvery = 5 * time.Minute
	// forgetAfter is the quiet time after which the same event is a new one.
	forgetAfter = 15 * time.Minute
	// maxRemembered bounds the events that can be counted up rather than repeated.
	maxRemembered = 2048
	// maxNote is the longest note that the API server accepts, in bytes.
	maxNote = 1024
	// eventTries is how often one event is tried; then it is dropped.
	eventTries = 4
)

// Event is something that happened to an object and that its owner should know.
type Event struct {
	Object world.ObjectRef
	// Warning events ask for an action, others tell.
	Warning bool
	Reason  string // CamelCase, stable
	Action  string // CamelCase: what was done or attempted, e.g. "Allocating"
	Note    string // for a person; cut at 1,024 bytes
	// Once names the state of the object that the event tells of, such as its generation: then
	// the event has a name that follows from what it says, and is there once, whoever tells it
	// and however often. Empty for what happens at a time.
	Once string
}

// RecorderConfig is what NewRecorder needs.
type RecorderConfig struct {
	Client     kubernetes.Interface
	Component  string // reporting controller, e.g. "ovnkctl-controller"
	Instance   string // e.g. the pod's or the node's name
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Recorder writes events. The same event again is counted up and not written again at
// once; there is a limit on their rate, and what does not fit is dropped and counted:
// reporting never holds up the work.
type Recorder struct {
	c     RecorderConfig
	limit flowcontrol.RateLimiter
	total *prometheus.CounterVec
	queue chan Event

	mu   sync.Mutex
	seen map[Event]*series
}

// series is an event and how often it came.
type series struct {
	name    string // of the Event object; empty until it is written
	count   int32
	written int32
	last    time.Time
}

// NewRecorder makes a Recorder, which writes once Run runs.
func NewRecorder(c RecorderConfig) (*Recorder, error) {
	r := &Recorder{
		c:     c,
		limit: flowcontrol.NewTokenBucketRateLimiter(eventsPerSecond, eventBurst),
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ovnk_kube_events_total",
			Help: "Kubernetes events by result: written, repeated (counted up), or dropped.",
		}, []string{"result"}),
		queue: make(chan Event, eventQueue),
		seen:  map[Event]*series{},
	}
	if err := c.Registerer.Register(r.total); err != nil {
		return nil, fmt.Errorf("metrics of events: %w", err)
	}
	return r, nil
}

// Record reports an event. It returns at once.
func (r *Recorder) Record(e Event) {
	if len(e.Note) > maxNote {
		e.Note = strings.ToValidUTF8(e.Note[:maxNote-len("…")], "") + "…"
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if s, ok := r.seen[e]; ok && now.Sub(s.last) < forgetAfter {
		s.count++
		s.last = now
		r.total.WithLabelValues("repeated").Inc()
		return
	}
	if !r.limit.TryAccept() {
		r.total.WithLabelValues("dropped").Inc()
		return
	}
	select {
	case r.queue <- e:
		r.seen[e] = &series{count: 1, written: 1, last: now}
		r.makeRoom()
	default:
		r.total.WithLabelValues("dropped").Inc()
	}
}

// makeRoom forgets the events that were quiet the longest. The lock is held.
func (r *Recorder) makeRoom() {
	if len(r.seen) <= maxRemembered {
		return
	}
	byAge := slices.SortedFunc(maps.Keys(r.seen), func(a, b Event) int { return r.seen[a].last.Compare(r.seen[b].last) })
	for _, e := range byAge[:maxRemembered/2] {
		delete(r.seen, e)
	}
}

// Run writes events until the context ends.
func (r *Recorder) Run(ctx context.Context) {
	tick := time.NewTicker(seriesEvery)
	defer tick.Stop()
	for {
		select {
		case e := <-r.queue:
			r.create(ctx, e)
		case <-tick.C:
			r.countUp(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// create writes a new event; it is tried again a few times, for a short while: events are
// no record that anything relies on.
func (r *Recorder) create(ctx context.Context, e Event) {
	object := r.object(e, time.Now())
	err := r.try(ctx, func(ctx context.Context) error {
		_, err := r.c.Client.EventsV1().Events(object.Namespace).Create(ctx, object, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return nil // an earlier try got through
		}
		return err
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		delete(r.seen, e)
		r.total.WithLabelValues("dropped").Inc()
		r.c.Logger.Warn("event not written", "reason", e.Reason, "kind", e.Object.Kind, "name", e.Object.Name, "error", err)
		return
	}
	if s, ok := r.seen[e]; ok {
		s.name = object.Name
	}
	r.total.WithLabelValues("written").Inc()
}

// countUp writes the counts of events that go on, and forgets those that are over.
func (r *Recorder) countUp(ctx context.Context) {
	type update struct {
		namespace, name string
		count           int32
		last            time.Time
	}
	var updates []update
	r.mu.Lock()
	now := time.Now()
	for e, s := range r.seen {
		switch {
		case s.name != "" && s.count > s.written:
			updates = append(updates, update{eventNamespace(e.Object), s.name, s.count, s.last})
			s.written = s.count
		case now.Sub(s.last) >= forgetAfter:
			delete(r.seen, e)
		}
	}
	r.mu.Unlock()
	slices.SortFunc(updates, func(a, b update) int { return cmp.Compare(a.name, b.name) })
	for _, u := range updates {
		patch, err := json.Marshal(map[string]any{"series": eventsv1.EventSeries{Count: u.count, LastObservedTime: metav1.NewMicroTime(u.last)}})
		if err != nil {
			continue
		}
		err = r.try(ctx, func(ctx context.Context) error {
			_, err := r.c.Client.EventsV1().Events(u.namespace).Patch(ctx, u.name, types.MergePatchType, patch, metav1.PatchOptions{})
			if apierrors.IsNotFound(err) {
				return nil // events live for an hour
			}
			return err
		})
		if err != nil {
			r.c.Logger.Debug("event not counted up", "name", u.name, "error", err)
		}
	}
}

// try calls f until it succeeds, a few times.
func (r *Recorder) try(ctx context.Context, f func(context.Context) error) error {
	wait := time.Second
	for attempt := 1; ; attempt++ {
		request, cancel := context.WithTimeout(ctx, patchTimeout)
		err := f(request)
		cancel()
		if err == nil || attempt == eventTries || apierrors.IsForbidden(err) || apierrors.IsInvalid(err) {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
		wait *= 2
	}
}

// eventNamespace is where the event of an object lives: beside it, or in "default".
func eventNamespace(o world.ObjectRef) string {
	if o.Namespace == "" {
		return metav1.NamespaceDefault
	}
	return o.Namespace
}

// apiVersions are those of the kinds that are not in "v1".
var apiVersions = map[world.Kind]string{
	world.KindNetworkPolicy:              "networking.k8s.io/v1",
	world.KindAdminNetworkPolicy:         "policy.networking.k8s.io/v1alpha1",
	world.KindBaselineAdminNetworkPolicy: "policy.networking.k8s.io/v1alpha1",
	world.KindClusterNetworkPolicy:       "policy.networking.k8s.io/v1alpha2",
	world.KindEgressFirewall:             "k8s.ovn.org/v1",
}

func (r *Recorder) object(e Event, now time.Time) *eventsv1.Event {
	version, ok := apiVersions[e.Object.Kind]
	if !ok {
		version = "v1"
	}
	kind := corev1.EventTypeNormal
	if e.Warning {
		kind = corev1.EventTypeWarning
	}
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, e) // a hash does not fail
	// The name that client-go's recorders give: the object's and a time, with a hash so that
	// two events of one moment differ.
	name := fmt.Sprintf("%s.%x%08x", e.Object.Name, now.UnixNano(), uint32(h.Sum64()))
	if e.Once != "" {
		name = fmt.Sprintf("%s.%016x", e.Object.Name, h.Sum64())
	}
	return &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: eventNamespace(e.Object),
		},
		EventTime:           metav1.NewMicroTime(now),
		ReportingController: r.c.Component,
		ReportingInstance:   r.c.Instance,
		Action:              e.Action,
		Reason:              e.Reason,
		Type:                kind,
		Note:                e.Note,
		Regarding: corev1.ObjectReference{
			APIVersion: version, Kind: string(e.Object.Kind), Namespace: e.Object.Namespace,
			Name: e.Object.Name, UID: types.UID(e.Object.UID),
		},
	}
}
