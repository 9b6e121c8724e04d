package dbfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/dbfile"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
	"github.com/ovnkctl/ovnkctl/internal/ovn/query"
)

// realServer runs ovsdb-server on a file, and returns its socket.
func realServer(t *testing.T, file string) string {
	t.Helper()
	dir := t.TempDir()
	socket := filepath.Join(dir, "sock")
	cmd := ovntest.Command(t, "ovsdb-server", "--remote=punix:"+socket, "--unixctl="+filepath.Join(dir, "ctl"), "-vconsole:warn", file)
	var log bytes.Buffer
	cmd.Stderr, cmd.Env = &log, append(os.Environ(), "OVS_RUNDIR="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("ovsdb-server said:\n%s", log.String())
		}
	})
	return socket
}

func tool(t *testing.T, args ...string) {
	t.Helper()
	if out, err := ovntest.Command(t, "ovsdb-tool", args...).CombinedOutput(); err != nil {
		t.Fatalf("ovsdb-tool %v: %v\n%s", args, err, out)
	}
}

const schemaFile = "../schema/ovn-nb.ovsschema"

// live makes a few hundred changes of all sorts by way of a server.
func live(t *testing.T, socket string) *ovn.DB {
	t.Helper()
	db, err := ovn.Open(t.Context(), ovn.Config{Endpoint: "unix:" + socket, Database: ovn.Northbound()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	table, _ := ovn.Northbound().Table(nb.AddressSetTable)
	addresses, _ := table.Column("addresses")
	ids, _ := table.Column("external_ids")
	random := rand.New(rand.NewPCG(1, 2))
	var sets []string
	for i := range 300 {
		var op ovsdb.Operation
		what := random.IntN(10)
		if len(sets) == 0 {
			what = 0
		}
		switch {
		case what < 2:
			op = ovn.Insert(&nb.AddressSet{Name: fmt.Sprint("as", i), Addresses: []string{"10.0.0.1"}, ExternalIDs: map[string]string{"n": fmt.Sprint(i)}}, "row")
		case what < 3:
			at := random.IntN(len(sets))
			op = ovn.Delete(table, sets[at])
			sets = append(sets[:at], sets[at+1:]...)
		case what < 8:
			op = ovn.Mutate(table, sets[random.IntN(len(sets))],
				ovn.Mutation{Column: addresses, Insert: []string{fmt.Sprint("10.0.1.", random.IntN(20))}, Remove: []string{fmt.Sprint("10.0.1.", random.IntN(20)), "10.0.0.1"}})
		default:
			op = ovn.Update(&nb.AddressSet{ExternalIDs: map[string]string{"n": fmt.Sprint(i), "m": "x"}}, sets[random.IntN(len(sets))], ids.Name)
		}
		results, err := db.Transact(t.Context(), fmt.Sprint("change ", i), op)
		if err != nil {
			t.Fatal(err)
		}
		if what < 2 {
			sets = append(sets, results[0].UUID.GoUUID)
		}
	}
	if _, err := db.Transact(t.Context(), "",
		ovn.Insert(&nb.LogicalSwitch{Name: "node1", ACLs: []string{"acl"}, OtherConfig: map[string]string{"subnet": "10.0.0.0/24"}}, "ls"),
		ovn.Insert(&nb.ACL{Match: "ip4 && tcp.dst < 3", Action: "drop", Direction: "to-lport", Priority: 1001, Log: true}, "acl"),
		ovn.Insert(&nb.NBGlobal{NbCfg: 7, Options: map[string]string{"name": "node1"}}, "global"),
	); err != nil {
		t.Fatal(err)
	}
	return db
}

// ask is what the server at a socket holds.
func ask(t *testing.T, socket string) *query.Answer {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	a, err := query.Read(t.Context(), conn, query.Request{Database: ovn.Northbound(), Everything: true})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func contentOf(t *testing.T, a *query.Answer) *ovn.Content {
	t.Helper()
	c, err := a.Content(ovn.Northbound())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func loadFile(t *testing.T, path string) *ovn.Content {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c, info, problems, err := dbfile.Load(bytes.NewReader(data), int64(len(data)))
	if err != nil || info.Damage != nil || problems != nil {
		t.Fatalf("%v, %+v, %v", err, info, problems)
	}
	return c
}

// same compares all tables.
func same(t *testing.T, what string, want, got *ovn.Content) {
	t.Helper()
	if want.Len() == 0 {
		t.Fatal("nothing to compare")
	}
	for _, table := range ovn.Northbound().Tables() {
		a, b := want.Rows(table), got.Rows(table)
		if len(a) != len(b) {
			t.Errorf("%s: table %s has %d rows, want %d", what, table.Name, len(b), len(a))
			continue
		}
		for i := range a {
			for _, col := range table.Columns {
				if x, y := col.Value(a[i]), col.Value(b[i]); !ovn.EqualValues(x, y) {
					t.Errorf("%s: %s differs (-want +got):\n%s", what, col, cmp.Diff(x, y))
				}
			}
		}
	}
}

// TestRealFiles: what a real server wrote, in either format, is read as the server itself
// has it, and what is written from that a server reads again.
func TestRealFiles(t *testing.T) {
	t.Parallel()
	for name, create := range map[string]func(t *testing.T, file string){
		"standalone": func(t *testing.T, file string) { tool(t, "create", file, schemaFile) },
		"clustered":  func(t *testing.T, file string) { tool(t, "create-cluster", file, schemaFile, "unix:"+file+".raft") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "db")
			create(t, file)
			socket := realServer(t, file)
			live(t, socket)
			answer := ask(t, socket)
			want := contentOf(t, answer)
			same(t, "the file", want, loadFile(t, file))

			copied := filepath.Join(t.TempDir(), "copy")
			f, err := os.Create(copied)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(dbfile.Write(f, answer.Schema, answer.Rows, time.Now()), f.Close()); err != nil {
				t.Fatal(err)
			}
			same(t, "what was written", want, loadFile(t, copied))
			again := realServer(t, copied)
			db, err := ovn.Open(t.Context(), ovn.Config{Endpoint: "unix:" + again, Database: ovn.Northbound()})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			same(t, "what a server reads of it", want, contentOf(t, ask(t, again)))
		})
	}
}
