package engine

import (
	"container/heap"
	"slices"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/ovn/owner"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
)

// keyID names a key among those of all features.
type keyID struct {
	feature string
	key     feature.Key
}

// cause is why a key was put into the queue; it goes into the comment of transactions.
type cause string

const (
	causeStart  cause = "start"
	causeChange cause = "change"
	causeDrift  cause = "drift"
	causeRetry  cause = "retry"
	causeArrive cause = "arrived" // a row that the key waited for
	causeResync cause = "resync"
	causeClean  cause = "clean"
	causeRepair cause = "repair" // somebody asked for it
)

// lane is the priority of a key in the queue.
type lane int

const (
	none lane = iota
	low
	live
)

// keyState is what the engine knows of one key. What the key wants is computed anew each
// time; only what cannot be found in the databases is kept.
type keyState struct {
	id    keyID
	owner string // as external_ids have it

	// Guarded by Engine.mu.
	queued
	reasons []feature.Reason
	problem *feature.Reason // the engine's own: waiting, refused
	alone   bool            // is tried alone after a refusal

	// Of the engine's goroutine.
	live     bool // wants anything at all
	scrub    bool // look for elements that nobody contributes
	failures int  // refused transactions in a row
	awaits   []place
	shares
	drift
}

// queued is a key's place in the queue.
type queued struct {
	lane    lane
	cause   cause
	asked   uint64 // counts how often the key was put into the queue
	done    uint64 // what asked was when the last committed state was computed
	waiters []waiter
	retryAt time.Time
	heapAt  int // position among the delayed, -1 when not there
}

// shares is what a key has in rows of others and in tables without external_ids: it
// cannot be found by the owner's mark.
type shares struct {
	members   [sides][]contribution // what it contributes to shared rows
	dropped   [sides][]contribution // what it no longer does, until that is committed
	loose     [sides][]place        // its rows in tables without external_ids
	looseGone [sides][]place        // those it no longer wants, until that is committed
	wishes    []slot                // where it would contribute, while it cannot be planned
}

// drift is how often a key had to be put in order though nothing that it is computed from
// had changed.
type drift struct {
	drifts   int // in the last driftWindow
	driftAt  time.Time
	evidence string // what made us look
}

type waiter struct {
	asked uint64
	done  chan struct{}
}

// queue holds the keys to look at: live changes first, then those of the start and of
// resyncs; keys whose transaction was refused are tried one at a time in between.
type queue struct {
	keys    map[keyID]*keyState
	lanes   [live + 1][]*keyState
	alone   []*keyState
	delayed delayed
	count   int
	turn    bool // the next batch is one key of alone
}

func (q *queue) state(id keyID) *keyState {
	s := q.keys[id]
	if s == nil {
		s = &keyState{id: id, owner: owner.ID{Feature: id.feature, Key: id.key.String()}.String(), queued: queued{heapAt: -1}}
		q.keys[id] = s
	}
	return s
}

// add puts a key into the queue, or moves it forward.
func (q *queue) add(s *keyState, l lane, c cause) {
	s.asked++
	if s.heapAt >= 0 {
		heap.Remove(&q.delayed, s.heapAt)
	}
	if l <= s.lane {
		if c == causeRepair {
			s.cause = c // it has all of the key's rows looked at
		}
		return
	}
	if s.lane == none {
		q.count++
	}
	s.lane, s.cause = l, c
	if s.alone {
		q.alone = append(q.alone, s)
		return
	}
	q.lanes[l] = append(q.lanes[l], s)
}

// delay puts a key into the queue at a later time. A change brings it forward.
func (q *queue) delay(s *keyState, at time.Time, c cause) {
	if s.lane != none {
		return
	}
	s.asked++
	s.retryAt, s.cause = at, c
	if s.heapAt >= 0 {
		heap.Fix(&q.delayed, s.heapAt)
		return
	}
	heap.Push(&q.delayed, s)
}

// take returns the next keys to look at.
func (q *queue) take(most int, now time.Time) []*keyState {
	for len(q.delayed) > 0 && !q.delayed[0].retryAt.After(now) {
		s := heap.Pop(&q.delayed).(*keyState)
		c := s.cause
		s.asked-- // add counts it
		q.add(s, live, c)
	}
	q.turn = !q.turn
	if len(q.alone) > 0 && (q.turn || len(q.lanes[live])+len(q.lanes[low]) == 0) {
		if batch := q.pop(&q.alone, none, 1); len(batch) > 0 {
			return batch
		}
	}
	if batch := q.pop(&q.lanes[live], live, most); len(batch) > 0 {
		return batch
	}
	if batch := q.pop(&q.lanes[low], low, most); len(batch) > 0 {
		return batch
	}
	return q.pop(&q.alone, none, 1)
}

// pop takes keys from the front of a lane; keys that have moved to another lane since, or
// were taken from it, are passed over.
func (q *queue) pop(from *[]*keyState, l lane, most int) []*keyState {
	var out []*keyState
	for len(*from) > 0 && len(out) < most {
		s := (*from)[0]
		(*from)[0] = nil
		*from = (*from)[1:]
		if s.lane == none || l != none && s.lane != l {
			continue
		}
		if s.alone && l != none {
			q.alone = append(q.alone, s)
			continue
		}
		s.lane = none
		q.count--
		out = append(out, s)
	}
	if len(*from) == 0 {
		*from = nil // lets the memory of a burst go
	}
	return out
}

// withdraw takes a key out of the queue, if it is in it, because it is to be looked at now;
// false if it has to be tried alone or later.
func (q *queue) withdraw(s *keyState) bool {
	if s.alone || s.heapAt >= 0 {
		return false
	}
	if s.lane == none {
		s.cause = causeArrive
		return true
	}
	s.lane = none // pop passes over it
	q.count--
	return true
}

func (q *queue) depth() int { return q.count }

func (q *queue) nextRetry() (time.Time, bool) {
	if len(q.delayed) == 0 {
		return time.Time{}, false
	}
	return q.delayed[0].retryAt, true
}

// expect has somebody wait until what has been asked so far is committed.
func (s *keyState) expect() waiter {
	w := waiter{asked: s.asked, done: make(chan struct{})}
	s.waiters = append(s.waiters, w)
	return w
}

// finish records that what was asked up to then is committed.
func (s *keyState) finish(asked uint64) {
	s.done = max(s.done, asked)
	s.waiters = slices.DeleteFunc(s.waiters, func(w waiter) bool {
		if w.asked > s.done {
			return false
		}
		close(w.done)
		return true
	})
}

// delayed is a heap by time.
type delayed []*keyState

func (d delayed) Len() int           { return len(d) }
func (d delayed) Less(i, j int) bool { return d[i].retryAt.Before(d[j].retryAt) }
func (d delayed) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].heapAt, d[j].heapAt = i, j
}

// Push implements heap.Interface.
func (d *delayed) Push(x any) {
	s := x.(*keyState)
	s.heapAt = len(*d)
	*d = append(*d, s)
}

// Pop implements heap.Interface.
func (d *delayed) Pop() any {
	last := len(*d) - 1
	s := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	s.heapAt = -1
	return s
}
