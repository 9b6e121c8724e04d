package ovn

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"
)

// Committer lets many goroutines write small transactions: what arrives while one is on
// its way goes together in the next. A database takes about as long for fifty ports as
// for one.
type Committer struct {
	db *DB

	mu      sync.Mutex
	waiting []*group
	busy    bool
}

// group is what one caller wants to write: all of it or nothing.
type group struct {
	comment string
	ops     []ovsdb.Operation
	results []ovsdb.OperationResult
	err     error
	done    chan struct{}
}

// maxGroups is the number of callers that share a transaction.
const maxGroups = 100

// NewCommitter makes a committer for db.
func NewCommitter(db *DB) *Committer { return &Committer{db: db} }

// Transact is DB.Transact, perhaps together with what others write at the same time. The
// outcome is the caller's own: if the common transaction is refused, everybody's part is
// tried alone. Named UUIDs need to be unique in ops only.
func (c *Committer) Transact(ctx context.Context, comment string, ops ...ovsdb.Operation) ([]ovsdb.OperationResult, error) {
	g := &group{comment: comment, ops: ops, done: make(chan struct{})}
	c.mu.Lock()
	c.waiting = append(c.waiting, g)
	if !c.busy {
		c.busy = true
		go c.run()
	}
	c.mu.Unlock()
	select {
	case <-g.done:
		return g.results, g.err
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), errors.New("the transaction may still be committed"))
	}
}

// run commits until nobody waits.
func (c *Committer) run() {
	for {
		c.mu.Lock()
		n := min(len(c.waiting), maxGroups)
		groups := c.waiting[:n:n]
		c.waiting = c.waiting[n:]
		if n == 0 {
			c.waiting, c.busy = nil, false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		c.commit(groups)
	}
}

func (c *Committer) commit(groups []*group) {
	ctx := context.Background() // Transact has a time limit of its own
	if len(groups) > 1 {
		var refused *TxnError
		err := c.together(ctx, groups)
		if errors.As(err, &refused) {
			for _, g := range groups {
				c.commit([]*group{g})
			}
			return
		}
		for _, g := range groups {
			g.err = err
			close(g.done)
		}
		return
	}
	g := groups[0]
	g.results, g.err = c.db.Transact(ctx, g.comment, g.ops...)
	close(g.done)
}

func (c *Committer) together(ctx context.Context, groups []*group) error {
	var ops []ovsdb.Operation
	var comments []string
	for i, g := range groups {
		prefix := "c" + strconv.Itoa(i) + "_"
		for _, op := range g.ops {
			ops = append(ops, prefixed(op, prefix))
		}
		if g.comment != "" {
			comments = append(comments, g.comment)
		}
	}
	results, err := c.db.Transact(ctx, strings.Join(comments, ", "), ops...)
	if err != nil {
		return err
	}
	for _, g := range groups {
		g.results, results = results[:len(g.ops):len(g.ops)], results[len(g.ops):]
	}
	return nil
}

// prefixed is op with another name for each row that the transaction inserts.
func prefixed(op ovsdb.Operation, prefix string) ovsdb.Operation {
	if op.UUIDName != "" {
		op.UUIDName = prefix + op.UUIDName
	}
	if len(op.Row) > 0 {
		row := make(ovsdb.Row, len(op.Row))
		for name, v := range op.Row {
			row[name] = prefixedValue(v, prefix)
		}
		op.Row = row
	}
	if len(op.Mutations) > 0 {
		mutations := make([]ovsdb.Mutation, len(op.Mutations))
		for i, m := range op.Mutations {
			m.Value = prefixedValue(m.Value, prefix)
			mutations[i] = m
		}
		op.Mutations = mutations
	}
	return op
}

func prefixedValue(v any, prefix string) any {
	switch v := v.(type) {
	case ovsdb.UUID:
		if ovsdb.IsNamedUUID(v.GoUUID) {
			return ovsdb.UUID{GoUUID: prefix + v.GoUUID}
		}
	case ovsdb.OvsSet:
		out := make([]any, len(v.GoSet))
		for i, e := range v.GoSet {
			out[i] = prefixedValue(e, prefix)
		}
		return ovsdb.OvsSet{GoSet: out}
	case ovsdb.OvsMap:
		out := make(map[any]any, len(v.GoMap))
		for k, e := range v.GoMap {
			out[prefixedValue(k, prefix)] = prefixedValue(e, prefix)
		}
		return ovsdb.OvsMap{GoMap: out}
	}
	return v
}
