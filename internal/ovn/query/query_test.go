package query_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
	"github.com/ovnkctl/ovnkctl/internal/ovn/query"
)

// connect opens a connection to a server.
func connect(t *testing.T, s *ovntest.Server) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", s.Endpoint()[len("unix:"):])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestReadGivesWhatTheServerHolds(t *testing.T) {
	t.Parallel()
	s := ovntest.NB(t)
	db := s.Connect(t)
	if _, err := db.Transact(t.Context(), "",
		ovn.Insert(&nb.LogicalSwitch{Name: "node1", OtherConfig: map[string]string{"subnet": "10.244.0.0/24", "mcast_snoop": "true"}, ExternalIDs: map[string]string{"a": "b"}}, "ls"),
		ovn.Insert(&nb.AddressSet{Name: "as", Addresses: []string{"10.0.0.1", "10.0.0.2"}}, "as"),
	); err != nil {
		t.Fatal(err)
	}
	a, err := query.Read(t.Context(), connect(t, s), query.Request{Database: ovn.Northbound()})
	if err != nil {
		t.Fatal(err)
	}
	got, err := a.Content(ovn.Northbound())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ovn.List[nb.LogicalSwitch](db), ovn.RowsOf[nb.LogicalSwitch](got), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("switches (-followed +asked):\n%s", diff)
	}
	if diff := cmp.Diff(ovn.List[nb.AddressSet](db), ovn.RowsOf[nb.AddressSet](got), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("address sets (-followed +asked):\n%s", diff)
	}
	if !got.Has(nb.ACLTable, "match") || got.Has("Nonsense", "") {
		t.Error("the tables of the server are not known")
	}
}

func TestTablesThatAreAskedFor(t *testing.T) {
	t.Parallel()
	s := ovntest.NB(t)
	a, err := query.Read(t.Context(), connect(t, s), query.Request{Database: ovn.Northbound(), Tables: []string{nb.ACLTable, "Of_Tomorrow"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Rows) != 1 || a.Rows[nb.ACLTable] == nil {
		t.Errorf("tables %v", a.Rows)
	}
}

// An older server lacks what a newer program knows: it is empty, and known to be.
func TestOlderServer(t *testing.T) {
	t.Parallel()
	schema := ovntest.Schema(ovn.Northbound())
	delete(schema.Tables, nb.SampleTable)
	delete(schema.Tables[nb.ACLTable].Columns, "sample_new")
	delete(schema.Tables[nb.ACLTable].Columns, "sample_est")
	a, err := query.Read(t.Context(), connect(t, ovntest.MemorySchema(t, ovn.Northbound(), schema)), query.Request{Database: ovn.Northbound()})
	if err != nil {
		t.Fatal(err)
	}
	c, err := a.Content(ovn.Northbound())
	if err != nil {
		t.Fatal(err)
	}
	if c.Has(nb.SampleTable, "") || c.Has(nb.ACLTable, "sample_new") || !c.Has(nb.ACLTable, "match") {
		t.Error("what the server lacks is not known")
	}
}

func TestServerThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	here, there := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, there) }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := query.Read(ctx, here, query.Request{Database: ovn.Northbound()}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v", err)
	}
	there.Close()
	here, there = net.Pipe()
	there.Close()
	if _, err := query.Read(t.Context(), here, query.Request{Database: ovn.Northbound()}); err == nil {
		t.Error("no error from a server that is gone")
	}
}

// A server that asks whether we are there gets its answer, in the middle of ours.
func TestEchoIsAnswered(t *testing.T) {
	t.Parallel()
	here, there := net.Pipe()
	go func() {
		d, e := json.NewDecoder(there), json.NewEncoder(there)
		var m map[string]any
		_ = d.Decode(&m)
		_ = e.Encode(map[string]any{"id": "echo", "method": "echo", "params": []any{"x"}})
		var answer map[string]any
		_ = d.Decode(&answer)
		_ = e.Encode(map[string]any{"id": m["id"], "result": nil, "error": map[string]any{"answer": answer}})
	}()
	_, err := query.Read(t.Context(), here, query.Request{Database: ovn.Northbound()})
	if err == nil || !strings.Contains(err.Error(), `"result":["x"]`) {
		t.Errorf("error = %v", err)
	}
}
