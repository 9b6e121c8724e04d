package live

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// Name names an object of a kind.
type Name struct{ Namespace, Name string }

// Sink is where converted objects go. Calls never overlap.
type Sink[T any] interface {
	Set(T)
	Delete(Name)
	// Names are the objects that the sink has: those not in a new list are deleted.
	Names() []Name
}

// Lister lists and watches one kind; typed clients satisfy it.
type Lister[L runtime.Object] interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// Reflection copies one kind of object from the API server into a sink, converting
// each when it comes in, so that the Kubernetes object is garbage at once: not even a
// whole list of them is ever held, where the API server streams lists.
type Reflection[O metav1.Object, T any] struct {
	Kind          string // for the log, e.g. "Node"
	FieldSelector string // empty for all objects
	LabelSelector string // empty for all objects
	Example       O      // any value of the type
	Convert       func(O) T
	Sink          Sink[T]
	Logger        *slog.Logger
	// MostRecent refuses first lists from an API server's cache that may lag behind.
	MostRecent bool
	// Synced is called once, after the first complete list went into the sink.
	Synced func()
}

// Reflect runs until the context ends. It lists and watches again, forever and with
// back-off, whatever goes wrong.
func Reflect[L runtime.Object, O metav1.Object, T any](ctx context.Context, from Lister[L], r Reflection[O, T]) {
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector, o.LabelSelector = r.FieldSelector, r.LabelSelector
			if r.MostRecent && o.ResourceVersion == "0" { // "any version will do"
				o.ResourceVersion = ""
			}
			return from.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector, o.LabelSelector = r.FieldSelector, r.LabelSelector
			return from.Watch(ctx, o)
		},
	}
	logger := logr.FromSlogHandler(r.Logger.Handler())
	reflector := cache.NewReflectorWithOptions(lw, r.Example, &store[O, T]{r: r}, cache.ReflectorOptions{
		Name: r.Kind, TypeDescription: r.Kind, Logger: &logger,
	})
	reflector.RunWithContext(logr.NewContext(ctx, logger))
}

// store is the reflector's store; it keeps no objects.
type store[O metav1.Object, T any] struct {
	r      Reflection[O, T]
	synced sync.Once
}

// entry is an object that was converted early: the reflector collects a streaming list
// before it hands it over, and has each object converted first (Transformer).
type entry[T any] struct {
	name  Name
	value T
}

// GetObjectMeta lets the reflector know the entry's name.
func (e *entry[T]) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{Namespace: e.name.Namespace, Name: e.name.Name}
}

// Transformer implements cache.TransformingStore.
func (s *store[O, T]) Transformer() cache.TransformFunc {
	return func(o any) (any, error) { return s.entry(o) }
}

func (s *store[O, T]) entry(o any) (*entry[T], error) {
	switch o := o.(type) {
	case *entry[T]:
		return o, nil
	case O:
		return &entry[T]{Name{o.GetNamespace(), o.GetName()}, s.r.Convert(o)}, nil
	}
	return nil, fmt.Errorf("watch of %s: unexpected object %T", s.r.Kind, o)
}

// Add implements cache.ReflectorStore.
func (s *store[O, T]) Add(o any) error {
	e, err := s.entry(o)
	if err != nil {
		return err
	}
	s.r.Sink.Set(e.value)
	return nil
}

// Update implements cache.ReflectorStore.
func (s *store[O, T]) Update(o any) error { return s.Add(o) }

// Delete implements cache.ReflectorStore.
func (s *store[O, T]) Delete(o any) error {
	e, err := s.entry(o)
	if err != nil {
		return err
	}
	s.r.Sink.Delete(e.name)
	return nil
}

// Replace implements cache.ReflectorStore. What vanished goes first: its addresses may
// be in use again.
func (s *store[O, T]) Replace(list []any, _ string) error {
	entries := make([]*entry[T], len(list))
	there := make(map[Name]bool, len(list))
	for i, o := range list {
		e, err := s.entry(o)
		if err != nil {
			return err
		}
		entries[i], list[i] = e, nil
		there[e.name] = true
	}
	for _, name := range s.r.Sink.Names() {
		if !there[name] {
			s.r.Sink.Delete(name)
		}
	}
	for _, e := range entries {
		s.r.Sink.Set(e.value)
	}
	s.synced.Do(s.r.Synced)
	return nil
}

// Resync implements cache.ReflectorStore; it is never asked for.
func (s *store[O, T]) Resync() error { return nil }
