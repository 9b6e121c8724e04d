package porttest

import (
	"context"
	"sync"
	"testing"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
)

// Binder stands in for ovs-vswitchd and ovn-controller, with a connection of its own: it
// gives each new Interface an OpenFlow port and marks it installed, one transaction for
// all that came meanwhile, as ovn-controller does.
type Binder struct {
	db   *Database
	wake chan struct{}

	mu    sync.Mutex
	todo  map[string]bool // UUIDs
	allow func(ifaceID string) bool
}

// Bind starts a Binder for the Interfaces that allow approves of; nil is all.
func Bind(t testing.TB, of *Database, allow func(ifaceID string) bool) *Binder {
	t.Helper()
	b := &Binder{db: Connect(t, of.endpoint), wake: make(chan struct{}, 1), todo: map[string]bool{}, allow: allow}
	b.db.Watch(func(old, now *vswitch.Interface) {
		if old == nil && now.ExternalIDs["iface-id"] != "" {
			b.add(now)
		}
	})
	for _, m := range b.db.Rows(vswitch.InterfaceTable) {
		if i := m.(*vswitch.Interface); i.ExternalIDs["iface-id"] != "" {
			b.add(i)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return b
}

func (b *Binder) add(i *vswitch.Interface) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.allow != nil && !b.allow(i.ExternalIDs["iface-id"]) {
		return
	}
	b.todo[i.UUID] = true
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *Binder) run(ctx context.Context) {
	for {
		select {
		case <-b.wake:
		case <-ctx.Done():
			return
		}
		b.mu.Lock()
		todo := b.todo
		b.todo = map[string]bool{}
		b.mu.Unlock()
		var ops []ovsdb.Operation
		for uuid := range todo {
			ops = append(ops, installed(uuid)...)
		}
		// An Interface that is gone meanwhile is no error: the update finds no row.
		_, _ = b.db.Client.Transact(ctx, ops...)
	}
}

func installed(uuid string) []ovsdb.Operation {
	where := []ovsdb.Condition{ovsdb.NewCondition("_uuid", ovsdb.ConditionEqual, ovsdb.UUID{GoUUID: uuid})}
	return []ovsdb.Operation{
		{Op: ovsdb.OperationUpdate, Table: vswitch.InterfaceTable, Where: where, Row: ovsdb.Row{"ofport": 7}},
		{Op: ovsdb.OperationMutate, Table: vswitch.InterfaceTable, Where: where, Mutations: []ovsdb.Mutation{{
			Column: "external_ids", Mutator: ovsdb.MutateOperationInsert,
			Value: ovsdb.OvsMap{GoMap: map[any]any{"ovn-installed": "true"}},
		}}},
	}
}
