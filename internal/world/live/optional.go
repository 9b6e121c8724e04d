package live

import (
	"context"
	"log/slog"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	// askAgain is how often an API server without a kind is asked for it again, whatever it
	// tells: it may be upgraded while we run.
	askAgain = 10 * time.Minute
	// settling is what an API server gets to serve a kind after its definition has changed.
	settling = time.Second
)

// nowhere is the version of an empty list of a kind that does not exist.
const nowhere = "0"

// optional is a kind that the API server may not know: then there are no objects of it, and
// to watch them is to wait until it does.
type optional[T any, L list[T]] struct {
	Lister[L]
	kind   string
	logger *slog.Logger
	// appears returns when the API server may know the kind, or with ctx.
	appears func(context.Context)

	mu     sync.Mutex
	absent bool // so it said last; for the log
}

// list is a pointer to a list of Kubernetes objects.
type list[T any] interface {
	*T
	runtime.Object
	SetResourceVersion(string)
}

func newOptional[T any, L list[T]](kind string, from Lister[L], logger *slog.Logger, appears func(context.Context)) *optional[T, L] {
	return &optional[T, L]{Lister: from, kind: kind, logger: logger, appears: appears}
}

// List implements Lister.
func (o *optional[T, L]) List(ctx context.Context, options metav1.ListOptions) (L, error) {
	found, err := o.Lister.List(ctx, options)
	if !o.missing(err) {
		return found, err
	}
	none := L(new(T))
	none.SetResourceVersion(nowhere)
	return none, nil
}

// Watch implements Lister.
func (o *optional[T, L]) Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	w, err := o.Lister.Watch(ctx, options)
	switch {
	case !o.missing(err):
		return w, err
	case options.SendInitialEvents != nil && *options.SendInitialEvents:
		return nil, err // List has the answer to that
	case options.ResourceVersion != nowhere:
		// It was there, and so were objects. To list again says that they are gone.
		return nil, o.listAgain()
	}
	nothing := make(chan watch.Event, 1)
	go func() {
		defer close(nothing)
		o.appears(ctx)
		status := o.listAgain().Status()
		nothing <- watch.Event{Type: watch.Error, Object: &status}
	}()
	return watch.NewProxyWatcher(nothing), nil
}

// listAgain is what an API server says to a watch that it cannot continue.
func (o *optional[T, L]) listAgain() *apierrors.StatusError {
	return apierrors.NewResourceExpired("the API server begins or ceases to know " + o.kind)
}

// missing tells whether an answer says that the kind is not known.
func (o *optional[T, L]) missing(err error) bool {
	absent := apierrors.IsNotFound(err)
	if err != nil && !absent {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.absent != absent {
		o.absent = absent
		if absent {
			o.logger.Info("the API server does not know a kind of objects; it will be watched once it does", "kind", o.kind)
		} else {
			o.logger.Info("the API server knows a kind of objects now", "kind", o.kind)
		}
	}
	return absent
}

// later is how a kind appears whose coming nobody tells.
func later(ctx context.Context) { sleep(ctx, askAgain) }

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// definition is the CustomResourceDefinition of a kind, which is watched while the kind is
// not known.
type definition struct {
	name string
	from Lister[*metav1.PartialObjectMetadataList]
	// pause grows while the definition is there and the kind is not: a definition may lack our
	// version for good.
	pause time.Duration
}

// appears returns soon after the definition has changed. Its calls never overlap.
func (d *definition) appears(ctx context.Context) {
	options := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", d.name).String()}
	defined, err := d.from.List(ctx, options)
	if err != nil {
		d.wait(ctx)
		return
	}
	limit := askAgain
	if len(defined.Items) > 0 {
		limit = d.longer()
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	options.ResourceVersion = defined.ResourceVersion
	w, err := d.from.Watch(ctx, options)
	if err != nil {
		d.wait(ctx)
		return
	}
	defer w.Stop()
	select {
	case e, open := <-w.ResultChan():
		if !open || e.Type == watch.Error {
			d.wait(ctx)
			return
		}
		d.pause = 0
		sleep(ctx, settling)
	case <-ctx.Done():
	}
}

// wait is for when nothing can be said of the definition.
func (d *definition) wait(ctx context.Context) { sleep(ctx, d.longer()) }

func (d *definition) longer() time.Duration {
	d.pause = min(max(settling, 2*d.pause), askAgain)
	return d.pause
}
