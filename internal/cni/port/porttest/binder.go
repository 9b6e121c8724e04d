package porttest

import (
	"context"
	"sync"
	"testing"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
)

// Bind starts a stand-in for ovs-vswitchd and ovn-controller, with a connection of its
// own: it gives each new Interface that allow approves of (nil is all) an OpenFlow port
// and marks it installed, one transaction for all that came meanwhile.
func Bind(t testing.TB, of *Database, allow func(ifaceID string) bool) {
	t.Helper()
	b := &binder{db: of.Server.Connect(t), wake: make(chan struct{}, 1), todo: map[string]bool{}, allow: allow}
	t.Cleanup(ovn.Watch(b.db, func(old, now *vswitch.Interface) {
		if old == nil && now.ExternalIDs["iface-id"] != "" {
			b.add(now)
		}
	}))
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
}

type binder struct {
	db    *ovn.DB
	wake  chan struct{}
	allow func(ifaceID string) bool

	mu   sync.Mutex
	todo map[string]bool // UUIDs
}

func (b *binder) add(i *vswitch.Interface) {
	if b.allow != nil && !b.allow(i.ExternalIDs["iface-id"]) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.todo[i.UUID] = true
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *binder) run(ctx context.Context) {
	t, _ := ovn.OpenVSwitch().Table(vswitch.InterfaceTable)
	ids, _ := t.Column("external_ids")
	seven := 7
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
			ops = append(ops,
				ovn.Update(&vswitch.Interface{Ofport: &seven}, uuid, "ofport"),
				ovn.Mutate(t, uuid, ovn.Mutation{Column: ids, Put: map[string]string{"ovn-installed": "true"}}))
		}
		// An Interface that is gone meanwhile is no error: nothing is changed.
		_, _ = b.db.Transact(ctx, "", ops...)
	}
}
