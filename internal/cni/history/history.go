// Package history is what a node remembers of how its pods got their network: when it heard
// of them, gave them addresses and wrote their ports, and the stages of each CNI ADD. It is
// in memory alone and bounded, and lasts as long as the node's program.
package history

import (
	"sync"
	"time"
)

const (
	// Kept is how many pods, and how many ADDs, are remembered: more than a node has pods, so
	// that after a reboot all are there.
	Kept = 512
	// maxError bounds the text of one error, in bytes: all that is remembered fits one answer
	// of the CNI server.
	maxError = 480
)

// Document is all that a node remembers, the oldest first.
type Document struct {
	// Since is when the node's program started: it remembers nothing of before.
	Since time.Time `json:"since"`
	Pods  []Pod     `json:"pods"`
	Adds  []Add     `json:"adds"`
}

// Pod is when the node's program did what needs no ADD. What was done before it started has
// no time.
type Pod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
	// Heard is when the API server told of the pod, Address when it had addresses, and Port
	// when its port was in the Northbound database.
	Heard   time.Time `json:"heard,omitzero"`
	Address time.Time `json:"address,omitzero"`
	Port    time.Time `json:"port,omitzero"`
}

// Add is one CNI ADD.
type Add struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// UID is the pod's; empty if the runtime passes none and the pod was not found.
	UID     string    `json:"uid,omitempty"`
	Sandbox string    `json:"sandbox"`
	Began   time.Time `json:"began"`
	// Ended is when it was answered; zero while it is under way.
	Ended  time.Time `json:"ended,omitzero"`
	Stages []Stage   `json:"stages"`
	// Failed is true if it was answered with an error, which is that of a stage unless Error
	// says something else.
	Failed bool   `json:"failed,omitempty"`
	Error  string `json:"error,omitempty"`
}

// Stage is one stage of an ADD. Some overlap.
type Stage struct {
	Name string `json:"stage"`
	// At is when it began, and Took how long it took, in microseconds; At counts from the
	// beginning of the ADD.
	At   int64 `json:"at"`
	Took int64 `json:"took,omitempty"`
	// Running is true while it is not over.
	Running bool `json:"running,omitempty"`
	// Error is why it failed; GivenUp says that it was another stage that did.
	Error   string `json:"error,omitempty"`
	GivenUp bool   `json:"givenUp,omitempty"`
}

// Log is the memory. Its methods may be called by many at once, and of a nil Log.
type Log struct {
	now   func() time.Time
	since time.Time

	mu   sync.Mutex
	pods ring[Pod]
	byID map[string]int // of pods, where they are
	adds ring[Add]
}

// New makes a memory; nil is the real clock.
func New(now func() time.Time) *Log {
	if now == nil {
		now = time.Now
	}
	return &Log{now: now, since: now(), byID: map[string]int{}}
}

// ring has the last ones that were put into it.
type ring[T any] struct {
	all  []T
	next int
}

// put returns where it is, and what was there before.
func (r *ring[T]) put(v T) (at int, was T) {
	if len(r.all) < Kept {
		r.all = append(r.all, v)
		return len(r.all) - 1, was
	}
	at, was = r.next, r.all[r.next]
	r.all[at] = v
	r.next = (at + 1) % Kept
	return at, was
}

// list is a copy, the oldest first.
func (r *ring[T]) list() []T {
	return append(append(make([]T, 0, len(r.all)), r.all[r.next:]...), r.all[:r.next]...)
}

// Heard notes that the node heard of a pod. Only what is noted of these pods is remembered.
func (l *Log) Heard(namespace, name, uid string) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.byID[uid]; known {
		return
	}
	at, was := l.pods.put(Pod{Namespace: namespace, Name: name, UID: uid, Heard: l.now()})
	delete(l.byID, was.UID)
	l.byID[uid] = at
}

// HasAddress notes that a pod has addresses.
func (l *Log) HasAddress(uid string) { l.note(uid, func(p *Pod) *time.Time { return &p.Address }) }

// HasPort notes that a pod's port is in the Northbound database.
func (l *Log) HasPort(uid string) { l.note(uid, func(p *Pod) *time.Time { return &p.Port }) }

func (l *Log) note(uid string, field func(*Pod) *time.Time) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if at, known := l.byID[uid]; known {
		if t := field(&l.pods.all[at]); t.IsZero() {
			*t = l.now()
		}
	}
}

// Answered remembers an ADD that is over.
func (l *Log) Answered(a Add) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.adds.put(a)
}

// Document is a copy of the memory.
func (l *Log) Document() *Document {
	if l == nil {
		return &Document{Pods: []Pod{}, Adds: []Add{}}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return &Document{Since: l.since, Pods: l.pods.list(), Adds: l.adds.list()}
}

// Cut bounds the text of an error.
func Cut(text string) string {
	if len(text) <= maxError {
		return text
	}
	const more = " …"
	return string([]rune(text[:maxError-len(more)])) + more
}
