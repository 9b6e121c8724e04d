package engine

import (
	"testing"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
)

// TestRepairOfQueued asks for a key that is in the queue already: all of its rows are looked at
// nevertheless.
func TestRepairOfQueued(t *testing.T) {
	t.Parallel()
	q := queue{keys: map[keyID]*keyState{}}
	s := q.state(keyID{"ports", feature.Key{Name: "a"}})
	q.add(s, live, causeChange)
	q.add(s, live, causeRepair)
	q.add(s, live, causeDrift)
	if got := q.take(2, time.Time{}); len(got) != 1 || got[0].cause != causeRepair {
		t.Errorf("got %d keys, the first for %q", len(got), s.cause)
	}
}
