package ovn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ovn-kubernetes/libovsdb/client"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"
)

// Config says which database to connect to and what of it to watch.
type Config struct {
	// Endpoint of the server, e.g. "unix:/run/ovn/ovnnb_db.sock".
	Endpoint string
	Database *Database
	// Tables to watch; nil watches all. Tables that the server lacks are left out.
	Tables []string
	// Columns to watch of tables where not all are wanted; e.g. without Interface's
	// statistics, which change every few seconds.
	Columns map[string][]string
	Logger  *slog.Logger // nil for none
	Metrics *Metrics     // nil for none
}

const (
	// connectTimeout bounds one attempt to connect and to read the whole content.
	connectTimeout = time.Minute
	// transactTimeout bounds a transaction, for a server that has stopped answering.
	transactTimeout = 30 * time.Second
	// probeInterval is how often a silent server is asked whether it is there.
	probeInterval = 10 * time.Second
	// The pause between attempts to connect doubles from minPause to maxPause: a unix
	// socket costs nothing to try, and pods wait for it.
	minPause, maxPause = 20 * time.Millisecond, time.Second
)

// ErrDisconnected is returned by transactions whose connection broke: whether they were
// committed is not known, the cache tells after the next connection.
var ErrDisconnected = errors.New("connection to the database lost")

// DB is a connection to one database that lasts: when it breaks it is made again, with
// the schema that the server has then, and what changed meanwhile arrives as changes.
type DB struct {
	cfg  Config
	log  *slog.Logger
	stop context.CancelFunc
	done chan struct{}

	// deliver is held while changes are applied and told, so that subscribers see them in
	// order and none twice. It is taken before mu.
	deliver     sync.Mutex
	subscribers []*subscriber

	mu      sync.RWMutex
	cache   *cache
	watched map[*Table]ColumnSet
	schema  ovsdb.DatabaseSchema
	client  client.Client // nil while disconnected
	online  chan struct{} // closed while connected
	awaited map[string][]*awaited
	lastErr error
	// generation counts the changes of watched.
	generation int
}

type subscriber struct{ f func([]Change) }

// Open connects and returns when the cache holds the database's content. It tries until
// ctx ends. The connection itself lasts until Close.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	db := &DB{
		cfg: cfg, log: cfg.Logger, done: make(chan struct{}),
		cache: newCache(), online: make(chan struct{}), awaited: map[string][]*awaited{},
	}
	if db.log == nil {
		db.log = slog.New(slog.DiscardHandler)
	}
	db.log = db.log.With("db", cfg.Database.Short)
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	db.stop = cancel
	go db.run(run)
	if err := db.WaitOnline(ctx); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// Close ends the connection.
func (db *DB) Close() {
	db.stop()
	<-db.done
}

// Database is the description of the database.
func (db *DB) Database() *Database { return db.cfg.Database }

// Has tells whether the server's schema has the table and, unless it is empty, the column.
func (db *DB) Has(table, column string) bool {
	db.mu.RLock()
	defer db.mu.RUnlock()
	t := db.schema.Table(table)
	return t != nil && (column == "" || t.Column(column) != nil)
}

// SchemaVersion is the version of the server's schema.
func (db *DB) SchemaVersion() string {
	db.mu.RLock()
	defer db.mu.RUnlock()
	return db.schema.Version
}

// Generation changes when a new connection finds other tables or columns than the last.
func (db *DB) Generation() int {
	db.mu.RLock()
	defer db.mu.RUnlock()
	return db.generation
}

// Online tells whether the database is connected.
func (db *DB) Online() bool {
	db.mu.RLock()
	defer db.mu.RUnlock()
	return db.client != nil
}

// WaitOnline returns when the database is connected.
func (db *DB) WaitOnline(ctx context.Context) error {
	db.mu.RLock()
	online := db.online
	db.mu.RUnlock()
	select {
	case <-online:
		return nil
	case <-ctx.Done():
		db.mu.RLock()
		defer db.mu.RUnlock()
		return fmt.Errorf("database %s at %s is not there: %w", db.cfg.Database.Name, db.cfg.Endpoint, errors.Join(ctx.Err(), db.lastErr))
	}
}

// Read calls f with the cache as it is; nothing changes while f runs.
func (db *DB) Read(f func(View)) {
	db.mu.RLock()
	defer db.mu.RUnlock()
	f(View{db})
}

// Subscribe calls f with all rows there are, as new, and then with each change in order,
// until cancel is called. f must be quick and must not call Subscribe, Watch or Transact.
func (db *DB) Subscribe(f func([]Change)) (cancel func()) {
	db.deliver.Lock()
	defer db.deliver.Unlock()
	db.mu.RLock()
	all := make([]Change, 0, len(db.cache.rows))
	for uuid, r := range db.cache.rows {
		all = append(all, Change{Table: r.Table, UUID: uuid, New: r.Model, Columns: ^ColumnSet(0)})
	}
	db.mu.RUnlock()
	if len(all) > 0 {
		f(all)
	}
	return db.follow(f)
}

// Follow is Subscribe without the rows there are.
func (db *DB) Follow(f func([]Change)) (cancel func()) {
	db.deliver.Lock()
	defer db.deliver.Unlock()
	return db.follow(f)
}

func (db *DB) follow(f func([]Change)) (cancel func()) {
	s := &subscriber{f}
	db.subscribers = append(db.subscribers, s)
	return func() {
		db.deliver.Lock()
		defer db.deliver.Unlock()
		db.subscribers = slices.DeleteFunc(slices.Clone(db.subscribers), func(o *subscriber) bool { return o == s })
	}
}

// Transact sends one transaction and returns when it is committed and the cache holds
// what it did, so that whoever looks next sees his own writes. It waits for the
// connection. The comment goes into the database's log.
func (db *DB) Transact(ctx context.Context, comment string, ops ...ovsdb.Operation) ([]ovsdb.OperationResult, error) {
	ctx, cancel := context.WithTimeout(ctx, transactTimeout)
	defer cancel()
	start := time.Now()
	results, err := db.transact(ctx, comment, ops)
	db.cfg.Metrics.transaction(db.cfg.Database.Short, len(ops), time.Since(start), err)
	return results, err
}

func (db *DB) transact(ctx context.Context, comment string, ops []ovsdb.Operation) ([]ovsdb.OperationResult, error) {
	if err := db.WaitOnline(ctx); err != nil {
		return nil, err
	}
	db.mu.RLock()
	c, schema := db.client, db.schema
	db.mu.RUnlock()
	if c == nil {
		return nil, ErrDisconnected
	}
	send := make([]ovsdb.Operation, 0, len(ops)+1)
	for _, op := range ops {
		send = append(send, fit(op, &schema))
	}
	if comment != "" {
		send = append(send, ovsdb.Operation{Op: ovsdb.OperationComment, Comment: &comment})
	}
	if !schema.ValidateOperations(send...) {
		return nil, &TxnError{Database: schema.Name, Op: -1, Reason: "schema mismatch",
			Details: fmt.Sprintf("the transaction names a table that schema %s of the server lacks", schema.Version)}
	}
	results, err := c.Transact(ctx, send...)
	if err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("transaction on %s not answered: %w", schema.Name, ctx.Err())
		}
		return nil, fmt.Errorf("%w: %w", ErrDisconnected, err)
	}
	if err := checkResults(schema.Name, send, results); err != nil {
		return results, err
	}
	return results[:len(ops)], db.settle(ctx, c, ops, results)
}

// run keeps the connection until ctx ends.
func (db *DB) run(ctx context.Context) {
	defer close(db.done)
	pause := minPause
	for ctx.Err() == nil {
		was, err := db.connection(ctx)
		if ctx.Err() != nil {
			return
		}
		db.mu.Lock()
		news := db.lastErr == nil || db.lastErr.Error() != err.Error()
		db.lastErr = err
		db.mu.Unlock()
		switch {
		case was:
			db.log.Warn("database connection lost", "err", err)
			pause = minPause
		case news:
			db.log.Warn("database not there yet", "endpoint", db.cfg.Endpoint, "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, maxPause)
	}
}

// connection makes one connection and returns when it is gone; was tells whether it had
// been usable.
func (db *DB) connection(ctx context.Context) (was bool, err error) {
	starting, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	schema, err := fetchSchema(starting, db.cfg)
	if err != nil {
		return false, err
	}
	p, err := adapt(db.cfg, schema)
	if err != nil {
		return false, err
	}
	loss := newLossDetector(db.log)
	c, err := client.NewOVSDBClient(p.models, client.WithEndpoint(db.cfg.Endpoint), client.WithLogger(loss.logger()))
	if err != nil {
		return false, err
	}
	lost := make(chan struct{})
	over := make(chan struct{})
	defer close(over)
	go func() { // listens before there is a connection: libovsdb tells once, and only who listens
		select {
		case <-c.DisconnectNotify():
			close(lost)
		case <-loss.detected:
			close(lost)
		case <-over:
		}
	}()
	if err := c.Connect(starting); err != nil {
		return false, err
	}
	defer c.Close()
	content := c.Cache()
	if content == nil {
		return false, ErrDisconnected
	}
	s := newSession(db, c, p)
	defer db.offline()
	defer s.end()
	content.AddEventHandler(s)
	if _, err := c.Monitor(starting, p.monitor()); err != nil {
		return false, fmt.Errorf("watch: %w", err)
	}
	if err := s.wait(starting, lost); err != nil {
		return false, err
	}
	return true, db.serve(ctx, c, lost)
}

// serve waits for the end of the connection.
func (db *DB) serve(ctx context.Context, c client.Client, lost <-chan struct{}) error {
	probe := time.NewTicker(probeInterval)
	defer probe.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-lost:
			return ErrDisconnected
		case <-probe.C:
			asking, cancel := context.WithTimeout(ctx, probeInterval)
			err := c.Echo(asking)
			cancel()
			if err != nil {
				return fmt.Errorf("server does not answer: %w", err)
			}
		}
	}
}

// setOnline is called with mu held.
func (db *DB) setOnline(c client.Client, p plan) {
	if !maps.Equal(db.watched, p.watched) {
		db.generation++
	}
	db.client, db.schema, db.watched, db.lastErr = c, p.schema, p.watched, nil
	close(db.online)
	db.cfg.Metrics.connection(db.cfg.Database.Short, true)
	db.log.Info("database connected", "endpoint", db.cfg.Endpoint, "schema", p.schema.Version)
}

func (db *DB) offline() {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.client == nil {
		return // it was lost before it was usable
	}
	db.client, db.online = nil, make(chan struct{})
	for uuid, waiting := range db.awaited {
		for _, a := range waiting {
			a.finish(ErrDisconnected)
		}
		delete(db.awaited, uuid)
	}
	db.cfg.Metrics.connection(db.cfg.Database.Short, false)
}

func (c Config) watches(t *Table) bool {
	return c.Tables == nil || slices.Contains(c.Tables, t.Name)
}

func (c Config) watchesColumn(col *Column) bool {
	names, ok := c.Columns[col.Table.Name]
	return !ok || slices.Contains(names, col.Name)
}
