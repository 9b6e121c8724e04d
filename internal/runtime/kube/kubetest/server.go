// Package kubetest is a small API server in memory for tests: objects of every built-in
// kind with list, watch (also as a streaming list), get, create, update, patch and delete
// over the real wire formats, JSON and protobuf. It has no admission, validation,
// defaults or garbage collection.
//
// Requests reach it through an http.RoundTripper instead of a socket, so that tests of
// timers run in a testing/synctest bubble.
package kubetest

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// Server is an API server in memory.
type Server struct {
	mu        sync.Mutex
	version   int64
	compacted int64 // watches from before this version are too old
	objects   map[key]runtime.Object
	log       []event
	wake      chan struct{} // closed and replaced at each change
	hangUp    chan struct{} // closed and replaced to end all watches
	intercept func(*http.Request) *metav1.Status
	requests  []string
	noStream  bool
}

// key names one object.
type key struct{ resource, namespace, name string }

// event is one change; object is its state after the change, or before a deletion. old is
// what was there before, nil for nothing.
type event struct {
	version     int64
	kind        watch.EventType
	key         key
	object, old runtime.Object
}

// New makes an empty server.
func New() *Server {
	return &Server{objects: map[key]runtime.Object{}, wake: make(chan struct{}), hangUp: make(chan struct{})}
}

// Config is how to reach the server, with the content types of the runtime's clients.
func (s *Server) Config() *rest.Config {
	return &rest.Config{
		Host:      "http://kubetest",
		Transport: s,
		QPS:       -1,
		ContentConfig: rest.ContentConfig{
			ContentType:        runtime.ContentTypeProtobuf,
			AcceptContentTypes: runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON,
		},
	}
}

// Client is a client of the server.
func (s *Server) Client(t testing.TB) kubernetes.Interface {
	t.Helper()
	c, err := kubernetes.NewForConfig(s.Config())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Put creates or replaces an object as it stands. UID, creation time and kind are
// filled in where missing.
func (s *Server) Put(objects ...runtime.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range objects {
		o = o.DeepCopyObject()
		s.set(keyOf(o), o)
	}
}

// Delete removes an object; it is fine if there is none.
func (s *Server) Delete(o runtime.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(keyOf(o))
}

// Node returns the node of that name as it is now, nil if there is none.
func (s *Server) Node(name string) *corev1.Node { return get[corev1.Node](s, key{"nodes", "", name}) }

// Pod returns the pod of that name as it is now, nil if there is none.
func (s *Server) Pod(namespace, name string) *corev1.Pod {
	return get[corev1.Pod](s, key{"pods", namespace, name})
}

func get[T any](s *Server, k key) *T {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, ok := s.objects[k]; ok {
		if typed, ok := o.DeepCopyObject().(any).(*T); ok {
			return typed
		}
	}
	return nil
}

// List returns all objects of a resource, e.g. "events", in order of their names.
func (s *Server) List(resource string) []runtime.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []runtime.Object
	for _, o := range s.list(resource, func(key, runtime.Object) bool { return true }) {
		list = append(list, o.DeepCopyObject())
	}
	return list
}

// Intercept has f look at each request first; a status it returns is the answer. It may
// also block, to hold a request up.
func (s *Server) Intercept(f func(*http.Request) *metav1.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = f
}

// NoStreamingLists makes the server refuse streaming lists, as old ones do.
func (s *Server) NoStreamingLists() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noStream = true
}

// Disconnect ends all watches. With compact, what happened up to now can no longer be
// watched, so that clients must list again.
func (s *Server) Disconnect(compact bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if compact {
		s.log = nil
		s.compacted = s.version
	}
	close(s.hangUp)
	s.hangUp = make(chan struct{})
}

// Requests counts the requests so far that begin with a text such as "PATCH /api/v1/nodes".
func (s *Server) Requests(begin string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.requests {
		if strings.HasPrefix(r, begin) {
			n++
		}
	}
	return n
}

// awaitTimeout bounds how long Await waits for what should come at once.
const awaitTimeout = time.Minute

// Await returns once done does; it is asked after each request and change. It fails the
// test when that takes too long.
func (s *Server) Await(t testing.TB, what string, done func() bool) {
	t.Helper()
	timeout := time.NewTimer(awaitTimeout)
	defer timeout.Stop()
	for {
		s.mu.Lock()
		wake := s.wake
		s.mu.Unlock()
		if done() {
			return
		}
		select {
		case <-wake:
		case <-timeout.C:
			t.Fatalf("%s did not happen in %s", what, awaitTimeout)
		}
	}
}

func keyOf(o runtime.Object) key {
	m, err := meta.Accessor(o)
	if err != nil {
		panic(err)
	}
	kinds, _, err := scheme.Scheme.ObjectKinds(o)
	if err != nil {
		panic(err)
	}
	resource, _ := meta.UnsafeGuessKindToResource(kinds[0])
	return key{resource.Resource, m.GetNamespace(), m.GetName()}
}

// set stores an object that the caller gives away. The lock is held.
func (s *Server) set(k key, o runtime.Object) {
	kinds, _, err := scheme.Scheme.ObjectKinds(o)
	if err != nil {
		panic(err)
	}
	o.GetObjectKind().SetGroupVersionKind(kinds[0])
	m, err := meta.Accessor(o)
	if err != nil {
		panic(err)
	}
	s.version++
	m.SetResourceVersion(strconv.FormatInt(s.version, 10))
	kind := watch.Modified
	old, exists := s.objects[k]
	if !exists {
		kind = watch.Added
	}
	if m.GetUID() == "" {
		m.SetUID(types.UID(fmt.Sprintf("uid-%d", s.version)))
		if exists {
			if was, err := meta.Accessor(old); err == nil {
				m.SetUID(was.GetUID())
			}
		}
	}
	if created := m.GetCreationTimestamp(); created.IsZero() {
		m.SetCreationTimestamp(metav1.NewTime(time.Now().Truncate(time.Second)))
	}
	s.objects[k] = o
	s.record(event{s.version, kind, k, o, old})
}

// remove deletes an object, if it is there. The lock is held.
func (s *Server) remove(k key) {
	old, ok := s.objects[k]
	if !ok {
		return
	}
	delete(s.objects, k)
	s.version++
	o := old.DeepCopyObject()
	if m, err := meta.Accessor(o); err == nil {
		m.SetResourceVersion(strconv.FormatInt(s.version, 10))
	}
	s.record(event{s.version, watch.Deleted, k, o, old})
}

// keepEvents bounds the log; older events cannot be watched any more.
const keepEvents = 100_000

func (s *Server) record(e event) {
	s.log = append(s.log, e)
	if len(s.log) > 2*keepEvents {
		s.compacted = s.log[keepEvents-1].version
		s.log = slices.Clone(s.log[keepEvents:])
	}
	s.wakeUp()
}

// wakeUp lets watches and Await look again. The lock is held.
func (s *Server) wakeUp() {
	close(s.wake)
	s.wake = make(chan struct{})
}

// list returns the objects of a resource in order of their names. The lock is held.
func (s *Server) list(resource string, match func(key, runtime.Object) bool) []runtime.Object {
	var keys []key
	for k, o := range s.objects {
		if k.resource == resource && match(k, o) {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b key) int { return strings.Compare(a.namespace+"/"+a.name, b.namespace+"/"+b.name) })
	objects := make([]runtime.Object, len(keys))
	for i, k := range keys {
		objects[i] = s.objects[k]
	}
	return objects
}

// Apimachinery's last error handler slows down errors that come in quick succession, and
// remembers the time of the last in a variable of the process: a synctest bubble, whose
// clock is another, would sleep for years.
func init() {
	utilruntime.ErrorHandlers = utilruntime.ErrorHandlers[:1]
}
