package idle

import (
	"context"
	"log/slog"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Limits of a Teller: clients of services that sleep must not be able to flood the API
// server with events.
const (
	tellPerSecond = 5
	tellBurst     = 50
	tellTimeout   = 10 * time.Second
)

// Teller writes the events that services need pods. Those that wake services want a new
// event each time, which is why the events of everything else, which are counted up, have
// another writer.
type Teller struct {
	// Component and Node are whom the events are from.
	Component, Node string
	Client          kubernetes.Interface
	Logger          *slog.Logger

	queue chan world.ObjectRef
	limit flowcontrol.RateLimiter
}

// NewTeller makes a Teller, which writes once Run runs.
func NewTeller(client kubernetes.Interface, component, node string, logger *slog.Logger) *Teller {
	return &Teller{
		Component: component, Node: node, Client: client, Logger: logger,
		queue: make(chan world.ObjectRef, tellBurst),
		limit: flowcontrol.NewTokenBucketRateLimiter(tellPerSecond, tellBurst),
	}
}

// NeedPods tells that a service needs pods. It returns at once; what is too much is left
// out, and told when the service's clients try again.
func (t *Teller) NeedPods(service world.ObjectRef) {
	if t.limit.TryAccept() {
		select {
		case t.queue <- service:
			return
		default:
		}
	}
	t.Logger.Debug("too many sleeping services are wanted: an event is left out", "namespace", service.Namespace, "name", service.Name)
}

// Run writes events until ctx ends.
func (t *Teller) Run(ctx context.Context) error {
	for {
		select {
		case service := <-t.queue:
			t.tell(ctx, service)
		case <-ctx.Done():
			return nil
		}
	}
}

func (t *Teller) tell(ctx context.Context, service world.ObjectRef) {
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	e := NewEvent(service, t.Component, t.Node, time.Now())
	if _, err := t.Client.CoreV1().Events(e.Namespace).Create(ctx, e, metav1.CreateOptions{}); err != nil {
		t.Logger.Warn("nobody is told that a sleeping service is wanted; it is tried again with its clients' next packets",
			"namespace", service.Namespace, "name", service.Name, "err", err)
	}
}
