// Package porttest is an Open_vSwitch database in memory, behind a real unix socket and
// client, with stand-ins for ovs-vswitchd and ovn-controller.
package porttest

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/ovn-kubernetes/libovsdb/cache"
	"github.com/ovn-kubernetes/libovsdb/client"
	"github.com/ovn-kubernetes/libovsdb/database/inmemory"
	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"
	"github.com/ovn-kubernetes/libovsdb/server"

	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
)

// Bridge is the integration bridge of the database.
const Bridge = "br-int"

// Database is a client of a database server. It implements port.Database.
type Database struct {
	Client   client.Client
	endpoint string
	queue    chan transaction

	mu       sync.Mutex
	watchers map[int]func(old, now *vswitch.Interface)
	next     int
	// Transactions is how many were made, Merged how many calls of Commit they served.
	transactions, merged int
	fail                 error
}

type transaction struct {
	ops  []ovsdb.Operation
	done chan answer
}

type answer struct {
	results []ovsdb.OperationResult
	err     error
}

// New starts a database with an empty integration bridge.
func New(t testing.TB) *Database {
	t.Helper()
	dbModel, err := vswitch.FullDatabaseModel()
	if err != nil {
		t.Fatal(err)
	}
	full, errs := model.NewDatabaseModel(vswitch.Schema(), dbModel)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	quiet := logr.Discard()
	db := inmemory.NewDatabase(map[string]model.ClientDBModel{vswitch.Schema().Name: dbModel}, &quiet)
	srv, err := server.NewOvsdbServer(db, &quiet, full)
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "db.sock")
	go func() { _ = srv.Serve("unix", socket) }()
	t.Cleanup(srv.Close)
	for !srv.Ready() {
		time.Sleep(time.Millisecond) // the server has no way to be waited for
	}
	d := Connect(t, "unix:"+socket)
	d.Must(t,
		ovsdb.Operation{Op: ovsdb.OperationInsert, Table: vswitch.BridgeTable, UUIDName: "br", Row: ovsdb.Row{"name": Bridge}},
		ovsdb.Operation{Op: ovsdb.OperationInsert, Table: vswitch.OpenvSwitchTable, Row: ovsdb.Row{"bridges": ovsdb.UUID{GoUUID: "br"}}})
	return d
}

// Connect makes a client of a running server.
func Connect(t testing.TB, endpoint string) *Database {
	t.Helper()
	dbModel, err := vswitch.FullDatabaseModel()
	if err != nil {
		t.Fatal(err)
	}
	quiet := logr.Discard()
	c, err := client.NewOVSDBClient(dbModel, client.WithEndpoint(endpoint), client.WithLogger(&quiet))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.MonitorAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	d := &Database{Client: c, endpoint: endpoint, queue: make(chan transaction, 1024), watchers: map[int]func(old, now *vswitch.Interface){}}
	c.Cache().AddEventHandler(&cache.EventHandlerFuncs{
		AddFunc:    func(table string, m model.Model) { d.notify(table, nil, m) },
		UpdateFunc: func(table string, old, now model.Model) { d.notify(table, old, now) },
		DeleteFunc: func(table string, m model.Model) { d.notify(table, m, nil) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	committed := make(chan struct{})
	go func() {
		defer close(committed)
		d.commitGroups(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-committed
		c.Close()
	})
	return d
}

func (d *Database) notify(table string, old, now model.Model) {
	if table != vswitch.InterfaceTable {
		return
	}
	o, _ := old.(*vswitch.Interface)
	n, _ := now.(*vswitch.Interface)
	d.mu.Lock()
	watchers := make([]func(old, now *vswitch.Interface), 0, len(d.watchers))
	for _, f := range d.watchers {
		watchers = append(watchers, f)
	}
	d.mu.Unlock()
	for _, f := range watchers {
		f(o, n)
	}
}

// Rows implements port.Database.
func (d *Database) Rows(table string) []model.Model {
	rows := d.Client.Cache().Table(table).RowsShallow()
	list := make([]model.Model, 0, len(rows))
	for _, m := range rows {
		list = append(list, m)
	}
	return list
}

// Find implements port.Database.
func (d *Database) Find(table, name string) (model.Model, bool) {
	var like model.Model
	switch table {
	case vswitch.BridgeTable:
		like = &vswitch.Bridge{Name: name}
	case vswitch.PortTable:
		like = &vswitch.Port{Name: name}
	case vswitch.InterfaceTable:
		like = &vswitch.Interface{Name: name}
	default:
		panic("no index on the name of " + table)
	}
	_, m, err := d.Client.Cache().Table(table).RowByModel(like)
	return m, err == nil && m != nil
}

// Watch implements port.Database.
func (d *Database) Watch(f func(old, now *vswitch.Interface)) (cancel func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	id := d.next
	d.next++
	d.watchers[id] = f
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.watchers, id)
	}
}

// Commit implements port.Database: calls that meet share a transaction.
func (d *Database) Commit(ctx context.Context, _ string, ops []ovsdb.Operation) ([]ovsdb.OperationResult, error) {
	t := transaction{ops: ops, done: make(chan answer, 1)}
	d.queue <- t
	select {
	case a := <-t.done:
		return a.results, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (d *Database) commitGroups(ctx context.Context) {
	for {
		var group []transaction
		select {
		case t := <-d.queue:
			group = append(group, t)
		case <-ctx.Done():
			return
		}
		for more := true; more; {
			select {
			case t := <-d.queue:
				group = append(group, t)
			default:
				more = false
			}
		}
		d.commitGroup(ctx, group)
	}
}

func (d *Database) commitGroup(ctx context.Context, group []transaction) {
	var ops []ovsdb.Operation
	for _, t := range group {
		ops = append(ops, t.ops...)
	}
	d.mu.Lock()
	d.transactions++
	d.merged += len(group)
	err := d.fail
	d.mu.Unlock()
	var results []ovsdb.OperationResult
	if err == nil {
		results, err = d.transact(ctx, ops)
	}
	for _, t := range group {
		a := answer{err: err}
		if err == nil {
			a.results, results = results[:len(t.ops)], results[len(t.ops):]
		}
		t.done <- a
	}
}

func (d *Database) transact(ctx context.Context, ops []ovsdb.Operation) ([]ovsdb.OperationResult, error) {
	results, err := d.Client.Transact(ctx, ops...)
	if err != nil {
		return nil, err
	}
	if _, err := ovsdb.CheckOperationResults(results, ops); err != nil {
		return nil, fmt.Errorf("%w %v", err, results)
	}
	return results, nil
}

// FailWith makes every Commit fail, until it is called with nil.
func (d *Database) FailWith(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = err
}

// Count tells how many transactions were made, and for how many calls of Commit.
func (d *Database) Count() (transactions, calls int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.transactions, d.merged
}

// Must makes one transaction or ends the test.
func (d *Database) Must(t testing.TB, ops ...ovsdb.Operation) {
	t.Helper()
	if _, err := d.transact(t.Context(), ops); err != nil {
		t.Fatal(err)
	}
}
