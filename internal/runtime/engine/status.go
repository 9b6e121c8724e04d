package engine

import (
	"slices"
	"strings"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
)

// Status is what an operator asks of an engine.
type Status struct {
	// Synced is true once the start is over.
	Synced bool `json:"synced"`
	// Offline names the databases that are not connected.
	Offline []string `json:"offline,omitempty"`
	// Keys is the number of keys known, Queued of those to be looked at now.
	Keys   int `json:"keys"`
	Queued int `json:"queued"`
	// Problems are the keys that are not in order.
	Problems []Problem `json:"problems,omitempty"`
}

// Problem is one key that is not in order.
type Problem struct {
	Feature string           `json:"feature"`
	Key     string           `json:"key"`
	Reasons []feature.Reason `json:"reasons"`
	// RetryAt is when it is tried again by itself; zero when it waits for a change.
	RetryAt time.Time `json:"retryAt,omitzero"`
}

// Status tells how things are.
func (e *Engine) Status() Status {
	var st Status
	select {
	case <-e.synced:
		st.Synced = true
	default:
	}
	for _, db := range e.dbs {
		if db != nil && !db.Online() {
			st.Offline = append(st.Offline, db.Database().Name)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	st.Keys, st.Queued = len(e.queue.keys), e.queue.depth()
	for _, s := range e.queue.keys {
		if len(s.reasons) == 0 {
			continue
		}
		p := Problem{Feature: s.id.feature, Key: s.id.key.String(), Reasons: s.reasons}
		if s.heapAt >= 0 {
			p.RetryAt = s.retryAt
		}
		st.Problems = append(st.Problems, p)
	}
	slices.SortFunc(st.Problems, func(a, b Problem) int {
		return strings.Compare(a.Feature+"/"+a.Key, b.Feature+"/"+b.Key)
	})
	return st
}

// Behind are the keys of a feature whose newest state is not in the databases yet.
func (e *Engine) Behind(featureName string) []feature.Key {
	e.mu.Lock()
	defer e.mu.Unlock()
	var keys []feature.Key
	for id, s := range e.queue.keys {
		if id.feature == featureName && s.done < s.asked {
			keys = append(keys, id.key)
		}
	}
	return keys
}

// Reasons tells why a key is not in order; nothing when it is.
func (e *Engine) Reasons(featureName string, key feature.Key) []feature.Reason {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s := e.queue.keys[keyID{featureName, key}]; s != nil {
		return s.reasons
	}
	return nil
}
