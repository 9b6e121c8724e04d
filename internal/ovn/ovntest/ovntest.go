// Package ovntest starts databases for tests: libovsdb's server in the test's own memory,
// or a real ovsdb-server. Each test has its own, on a socket in its own directory.
package ovntest

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ovn-kubernetes/libovsdb/database"
	"github.com/ovn-kubernetes/libovsdb/database/inmemory"
	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"
	"github.com/ovn-kubernetes/libovsdb/server"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
)

// Server is a running database server behind a door that can be shut.
type Server struct {
	Database *ovn.Database
	dir      string
	backend  string // socket of the server proper

	mu     sync.Mutex
	door   net.Listener
	inside map[net.Conn]struct{}
}

// NB starts an empty OVN_Northbound in memory.
func NB(t testing.TB) *Server { return Memory(t, ovn.Northbound()) }

// SB starts an empty OVN_Southbound in memory.
func SB(t testing.TB) *Server { return Memory(t, ovn.Southbound()) }

// OVS starts an empty Open_vSwitch in memory.
func OVS(t testing.TB) *Server { return Memory(t, ovn.OpenVSwitch()) }

// Memory starts an empty database in memory, with the schema that the models were
// generated from.
func Memory(t testing.TB, d *ovn.Database) *Server {
	t.Helper()
	return MemorySchema(t, d, Schema(d))
}

// MemorySchema starts an empty database in memory with another version of the schema.
func MemorySchema(t testing.TB, d *ovn.Database, schema ovsdb.DatabaseSchema) *Server {
	t.Helper()
	s := newServer(t, d)
	s.StartMemory(t, schema)
	s.Open(t)
	return s
}

// Schema is the schema that the models of a database were generated from.
func Schema(d *ovn.Database) ovsdb.DatabaseSchema {
	switch d {
	case ovn.Northbound():
		return nb.Schema()
	case ovn.Southbound():
		return sb.Schema()
	}
	return vswitch.Schema()
}

// Endpoint is what clients connect to.
func (s *Server) Endpoint() string { return "unix:" + filepath.Join(s.dir, "db.sock") }

// Backend is the endpoint of the server proper, which Shut does not close.
func (s *Server) Backend() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return "unix:" + s.backend
}

// Connect opens a connection that lasts as long as the test.
func (s *Server) Connect(t testing.TB, tables ...string) *ovn.DB {
	t.Helper()
	return s.ConnectWith(t, ovn.Config{Tables: tables})
}

// ConnectWith is Connect with more to say; endpoint and database are filled in.
func (s *Server) ConnectWith(t testing.TB, cfg ovn.Config) *ovn.DB {
	t.Helper()
	cfg.Endpoint, cfg.Database = s.Endpoint(), s.Database
	db, err := ovn.Open(context.Background(), cfg)
	if err != nil {
		t.Fatalf("connect to the test's %s: %v", s.Database.Name, err)
	}
	t.Cleanup(db.Close)
	return db
}

func newServer(t testing.TB, d *ovn.Database) *Server {
	t.Helper()
	// t.TempDir's paths grow with the test's name; a socket's path has 108 bytes at most.
	dir, err := os.MkdirTemp("", "ovsdb")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Database: d, dir: dir, inside: map[net.Conn]struct{}{}}
	t.Cleanup(func() {
		s.Shut()
		_ = os.RemoveAll(dir)
	})
	return s
}

// Open lets clients in.
func (s *Server) Open(t testing.TB) {
	t.Helper()
	door, err := net.Listen("unix", filepath.Join(s.dir, "db.sock"))
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.door = door
	s.mu.Unlock()
	go func() {
		for {
			c, err := door.Accept()
			if err != nil {
				return
			}
			s.admit(c)
		}
	}()
}

// Shut ends all connections and lets nobody in until Open, as if the server were down.
func (s *Server) Shut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.door != nil {
		_ = s.door.Close()
		s.door = nil
	}
	for c := range s.inside {
		_ = c.Close()
		delete(s.inside, c)
	}
}

func (s *Server) admit(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := net.Dial("unix", s.backend)
	if err != nil || s.door == nil {
		_ = c.Close()
		return
	}
	s.inside[c], s.inside[b] = struct{}{}, struct{}{}
	pipe := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, x := range []net.Conn{to, from} {
			_ = x.Close()
			delete(s.inside, x)
		}
	}
	go pipe(b, c)
	go pipe(c, b)
}

// StartMemory starts another, empty database in memory behind the door: with Shut before
// and Open after it, a database that was wiped and made again.
func (s *Server) StartMemory(t testing.TB, schema ovsdb.DatabaseSchema) {
	t.Helper()
	models, err := s.Database.ModelFor(schema)
	if err != nil {
		t.Fatal(err)
	}
	db := patient{inmemory.NewDatabase(map[string]model.ClientDBModel{s.Database.Name: models}, nil)}
	m, errs := model.NewDatabaseModel(schema, models)
	if len(errs) > 0 {
		t.Fatal(errors.Join(errs...))
	}
	srv, err := server.NewOvsdbServer(db, nil, m)
	if err != nil {
		t.Fatal(err)
	}
	backend, err := os.CreateTemp(s.dir, "backend")
	if err != nil {
		t.Fatal(err)
	}
	_ = backend.Close()
	_ = os.Remove(backend.Name())
	s.mu.Lock()
	s.backend = backend.Name()
	s.mu.Unlock()
	go func() { _ = srv.Serve("unix", backend.Name()) }()
	waitForSocket(t, backend.Name(), nil)
	t.Cleanup(srv.Close)
}

// patient is a database that accepts comments, as every ovsdb-server does and libovsdb's
// does not.
type patient struct{ database.Database }

func (d patient) NewTransaction(name string) database.Transaction {
	return commented{d.Database.NewTransaction(name)}
}

type commented struct{ database.Transaction }

func (t commented) Transact(ops ...ovsdb.Operation) ([]*ovsdb.OperationResult, database.Update) {
	var rest []ovsdb.Operation
	for _, op := range ops {
		if op.Op != ovsdb.OperationComment {
			rest = append(rest, op)
		}
	}
	got, update := t.Transaction.Transact(rest...)
	if len(got) > len(rest) {
		return append(pad(ops, got[:len(rest)]), got[len(rest):]...), update
	}
	return pad(ops, got), update
}

// pad puts an empty result where a comment was.
func pad(ops []ovsdb.Operation, got []*ovsdb.OperationResult) []*ovsdb.OperationResult {
	out := make([]*ovsdb.OperationResult, 0, len(ops)+1)
	for _, op := range ops {
		if op.Op == ovsdb.OperationComment || len(got) == 0 {
			out = append(out, &ovsdb.OperationResult{})
			continue
		}
		out, got = append(out, got[0]), got[1:]
	}
	return out
}

// waitForSocket returns when somebody listens; gone is closed when nobody ever will.
func waitForSocket(t testing.TB, path string, gone <-chan struct{}) {
	t.Helper()
	for {
		c, err := net.Dial("unix", path)
		if err == nil {
			_ = c.Close()
			return
		}
		select {
		case <-gone:
			t.Fatal("the server ended at once")
		case <-time.After(time.Millisecond):
		}
	}
}
