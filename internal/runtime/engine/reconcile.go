package engine

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/owner"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

const (
	// The pause before a refused key is tried again doubles from minRetry to maxRetry.
	minRetry, maxRetry = 100 * time.Millisecond, time.Minute
)

// reconcile makes the databases what a batch of keys wants.
func (e *Engine) reconcile(ctx context.Context, batch []*keyState) {
	start := e.clock.Now()
	var items []*item
	taken := make(map[*keyState]bool, len(batch))
	e.cfg.World.Read(func(v world.View) {
		for len(batch) > 0 {
			from := len(items)
			e.mu.Lock()
			for _, s := range batch {
				taken[s] = true
				s.scrub = s.scrub || s.cause == causeRepair
				items = append(items, &item{keyState: s, seen: s.asked, why: s.cause})
			}
			e.mu.Unlock()
			for _, it := range items[from:] {
				it.out, it.reasons = e.features[it.id.feature].Desired(v, it.id.key)
			}
			batch = e.expecting(items[from:], taken)
		}
	})
	e.commit(ctx, items)
	e.metrics.reconciled(items, e.clock.Now().Sub(start))
}

// expecting takes out of the queue the keys that wait for rows which the items want, but for
// those that have been taken: they come along, so that a row is never there without what waited for it. A pod's
// port is not to be seen outside of the groups that protect the pod.
func (e *Engine) expecting(items []*item, taken map[*keyState]bool) []*keyState {
	if len(e.waiters) == 0 {
		return nil
	}
	var out []*keyState
	for _, it := range items {
		for n := range e.dbs {
			for _, r := range it.set(n).Rows {
				t, ok := ovn.TableOf(r.Model)
				if !ok || !named(t) {
					continue
				}
				for s := range e.waiters[place{n, rows.Target{Table: t.Name, Name: t.NameOf(r.Model)}}] {
					if !taken[s] {
						taken[s] = true
						out = append(out, s)
					}
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b *keyState) int { return strings.Compare(a.owner, b.owner) })
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.DeleteFunc(out, func(s *keyState) bool { return !e.queue.withdraw(s) })
}

// commit plans and writes items together; when the server refuses, it finds out which of
// them is to blame and writes the others.
func (e *Engine) commit(ctx context.Context, items []*item) {
	for _, it := range items {
		e.forgetWaiting(it.keyState)
	}
	var txns [sides]txn
	e.planned(items, func(p *plan) {
		for n, s := range p.sides {
			if s != nil {
				txns[n] = s.txn
			}
		}
	})
	var writing []*item
	for _, it := range items {
		switch {
		case it.problem != nil:
			e.postpone(it)
		case it.changes == 0:
			e.committed(it)
		default:
			writing = append(writing, it)
		}
	}
	if len(writing) == 0 {
		return
	}
	why := comment(writing)
	for _, n := range []int{sbSide, nbSide} {
		if len(txns[n].ops) == 0 {
			continue
		}
		e.log.Debug("transaction", "db", e.dbs[n].Database().Short, "ops", len(txns[n].ops), "for", why)
		if _, err := e.dbs[n].Transact(ctx, why, txns[n].ops...); err != nil {
			e.failed(ctx, writing, &txns[n], err)
			return
		}
	}
	e.mu.Lock()
	for _, it := range writing {
		if it.why == causeDrift {
			e.repaired(it.keyState)
		}
	}
	e.mu.Unlock()
	e.readInbox(writing)
	e.verify(writing)
}

// verify looks whether the databases now hold what was wanted. They do not if somebody
// else wrote the same rows meanwhile. It comes after the changes told so far have been
// read, and so stands for all of them.
func (e *Engine) verify(items []*item) {
	e.planned(items, func(*plan) {})
	for _, it := range items {
		if it.problem == nil && it.changes == 0 {
			e.committed(it)
			continue
		}
		e.mu.Lock()
		it.evidence = "something while it was written"
		e.again(it.keyState)
		e.mu.Unlock()
	}
}

// failed deals with a refused transaction: the key whose operation broke it is left out,
// or, when that is not known, the batch is halved.
func (e *Engine) failed(ctx context.Context, items []*item, t *txn, err error) {
	var refused *ovn.TxnError
	if !errors.As(err, &refused) {
		// Not the keys' fault: the database is away. They go back into the queue, which
		// stands still until it is there again.
		e.mu.Lock()
		for _, it := range items {
			e.queue.delay(it.keyState, e.clock.Now().Add(minRetry), it.why)
		}
		e.mu.Unlock()
		if ctx.Err() == nil {
			e.log.Warn("transaction lost", "err", err, "keys", len(items))
		}
		return
	}
	if len(items) == 1 {
		e.refused(items[0], refused)
		return
	}
	if i := refused.Op; i >= 0 && i < len(t.by) && len(t.by[i]) == 1 {
		bad := t.by[i][0]
		e.refused(bad, refused)
		e.commit(ctx, slices.DeleteFunc(slices.Clone(items), func(it *item) bool { return it == bad }))
		return
	}
	// Those that others lean on come first, so that nobody waits for a row that is only in
	// the other half.
	items = slices.Clone(items)
	slices.SortStableFunc(items, func(a, b *item) int { return rank(a) - rank(b) })
	half := len(items) / 2
	e.commit(ctx, items[:half])
	e.commit(ctx, items[half:])
}

func rank(it *item) int {
	if it.leans {
		return 1
	}
	return 0
}

// refused puts a key aside to try it alone later.
func (e *Engine) refused(it *item, err *ovn.TxnError) {
	e.metrics.failed(it.id.feature, err.Reason)
	it.failures++
	pause := maxRetry
	if it.failures < 10 {
		pause = min(maxRetry, minRetry<<(it.failures-1))
	}
	it.problem = &feature.Reason{
		Code: "TransactionRefused", Message: err.Error(),
		Remedy: "mend the object if the message names a value of it; it is tried again by itself",
	}
	e.mu.Lock()
	it.alone = true
	e.queue.delay(it.keyState, e.clock.Now().Add(pause), causeRetry)
	e.mu.Unlock()
	e.settle(it)
}

// postpone is for a key that cannot be planned: it comes back when what it waits for
// arrives, or when its object changes.
func (e *Engine) postpone(it *item) {
	for _, p := range it.awaits {
		if e.waiters[p] == nil {
			e.waiters[p] = map[*keyState]struct{}{}
		}
		e.waiters[p][it.keyState] = struct{}{}
	}
	it.keyState.awaits = it.awaits
	e.settle(it)
}

func (e *Engine) forgetWaiting(s *keyState) {
	for _, p := range s.awaits {
		delete(e.waiters[p], s)
		if len(e.waiters[p]) == 0 {
			delete(e.waiters, p)
		}
	}
	s.awaits = nil
}

// committed is for a key whose rows are as it wants them.
func (e *Engine) committed(it *item) {
	it.failures = 0
	it.scrub = it.later
	it.dropped, it.looseGone = [sides][]contribution{}, [sides][]place{}
	it.live = len(it.out.NB.Rows)+len(it.out.NB.Members)+len(it.out.SB.Rows)+len(it.out.SB.Members) > 0
	e.mu.Lock()
	it.alone = false
	e.mu.Unlock()
	e.settle(it)
	e.mu.Lock()
	defer e.mu.Unlock()
	it.finish(it.seen)
	if !it.live && len(it.keyState.reasons) == 0 && it.lane == none && it.heapAt < 0 && it.asked == it.seen && !it.scrub {
		delete(e.queue.keys, it.id)
	}
}

// settle publishes the reasons of a key where they have changed.
func (e *Engine) settle(it *item) {
	reasons := slices.Concat(it.reasons, it.lacks)
	if it.problem != nil {
		reasons = append(reasons, *it.problem)
	}
	e.mu.Lock()
	was, old := it.keyState.reasons, it.keyState.problem
	it.keyState.reasons, it.keyState.problem = reasons, it.problem
	e.mu.Unlock()
	if slices.EqualFunc(was, reasons, sameReason) {
		return
	}
	e.metrics.reasons(it.id.feature, was, reasons)
	log := e.log.With("feature", it.id.feature, "key", it.id.key.String())
	switch {
	case it.problem != nil && it.problem.Code == WaitingForRow:
		log.Info("key waits", "why", it.problem.Message)
	case it.problem != nil:
		log.Warn("key is not programmed", "code", it.problem.Code, "why", it.problem.Message)
	case old != nil:
		log.Info("key is programmed now")
	}
	if e.cfg.OnReasons != nil {
		e.cfg.OnReasons(it.id.feature, it.id.key, reasons)
	}
}

// sameReason ignores the UUIDs in a server's words: they are those of rows that it did not
// make, new with each attempt.
func sameReason(a, b feature.Reason) bool {
	if a.Code != b.Code || a.Object != b.Object {
		return false
	}
	return a.Message == b.Message || uuids.ReplaceAllLiteralString(a.Message, "") == uuids.ReplaceAllLiteralString(b.Message, "")
}

var uuids = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// alive tells whether an owner is a key that wants something.
func (e *Engine) alive(who string) bool {
	id, ok := e.parse(who)
	if !ok {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.queue.keys[id]
	return s != nil && s.live
}

// parse takes apart the owner of a row; ok is false if it is none of our features.
func (e *Engine) parse(who string) (keyID, bool) {
	id, ok := owner.Parse(who)
	if !ok || e.features[id.Feature] == nil {
		return keyID{}, false
	}
	return keyID{id.Feature, feature.ParseKey(id.Key)}, true
}

// comment says in the database's log what a transaction is for.
func comment(items []*item) string {
	const most = 8
	var b strings.Builder
	for i, it := range items {
		if i == most {
			fmt.Fprintf(&b, " and %d more", len(items)-most)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s (%s)", it.owner, it.why)
	}
	return b.String()
}
