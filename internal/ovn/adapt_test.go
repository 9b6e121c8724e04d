package ovn_test

import (
	"context"
	"encoding/json"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
)

// since2403 are tables and columns of OVN_Northbound that OVN 24.03 has not.
var since2403 = map[string][]string{
	"ACL":                         {"sample_new", "sample_est"},
	"NAT":                         {"match", "priority"},
	"Logical_Router_Policy":       {"chain", "jump_chain"},
	"Logical_Router_Static_Route": {"selection_fields"},
	"Logical_Router_Port":         {"dhcp_relay"},
	"Sample":                      nil,
	"Sample_Collector":            nil,
	"Sampling_App":                nil,
	"DHCP_Relay":                  nil,
}

// schemaFile is the Northbound schema as edit leaves it.
func schemaFile(t testing.TB, edit func(tables map[string]any)) []byte {
	t.Helper()
	text, err := os.ReadFile("schema/ovn-nb.ovsschema")
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	delete(schema, "cksum")
	edit(schema["tables"].(map[string]any))
	text, err = json.Marshal(schema)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func older(tables map[string]any) {
	for table, columns := range since2403 {
		if columns == nil {
			delete(tables, table)
			continue
		}
		for _, c := range columns {
			delete(tables[table].(map[string]any)["columns"].(map[string]any), c)
		}
	}
}

func newer(tables map[string]any) {
	tables["Network_Function"] = map[string]any{
		"columns": map[string]any{"name": map[string]any{"type": "string"}}, "isRoot": true, "indexes": [][]string{{"name"}},
	}
	for _, t := range []string{"ACL", "NAT", "Logical_Switch_Port", "Logical_Switch"} {
		tables[t].(map[string]any)["columns"].(map[string]any)["of_the_future"] = map[string]any{
			"type": map[string]any{"key": "string", "value": "string", "min": 0, "max": "unlimited"},
		}
	}
}

// servers runs f against both kinds of server with a schema.
func servers(t *testing.T, text []byte, f func(*testing.T, *ovntest.Server)) {
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		var schema ovsdb.DatabaseSchema
		if err := json.Unmarshal(text, &schema); err != nil {
			t.Fatal(err)
		}
		f(t, ovntest.MemorySchema(t, ovn.Northbound(), schema))
	})
	t.Run("ovsdb-server", func(t *testing.T) {
		t.Parallel()
		f(t, ovntest.Real(t, ovn.Northbound(), text))
	})
}

// writeACL writes and reads a row whose newest columns an old server lacks.
func writeACL(t *testing.T, db *ovn.DB) *nb.ACL {
	t.Helper()
	_, err := db.Transact(context.Background(), "test",
		ovn.Insert(&nb.PortGroup{Name: "pg", ACLs: []string{"acl"}}, "pg"),
		ovn.Insert(&nb.ACL{Action: nb.ACLActionDrop, Direction: nb.ACLDirectionToLport, Match: "ip4", Priority: 7, Name: new("deny"),
			Options: map[string]string{"a": "b"}, SampleEst: nil}, "acl"),
		ovn.Insert(&nb.LogicalRouter{Name: "lr", Nat: []string{"nat"}}, "lr"),
		ovn.Insert(&nb.NAT{Type: nb.NATTypeSNAT, ExternalIP: "192.0.2.1", LogicalIP: "10.0.0.0/8", Match: "ip4.dst == 1.2.3.4", Priority: 5}, "nat"))
	if err != nil {
		t.Fatal(err)
	}
	acls := ovn.List[nb.ACL](db)
	if len(acls) != 1 {
		t.Fatalf("%d ACLs", len(acls))
	}
	acl := *acls[0]
	acl.Priority = 8
	if _, err := db.Transact(context.Background(), "", ovn.Update(&acl, acl.UUID, "priority", "sample_new")); err != nil {
		t.Fatal(err)
	}
	got, ok := ovn.Get[nb.ACL](db, acl.UUID)
	if !ok || !cmp.Equal(*got, acl) {
		t.Errorf("ACL: %s", cmp.Diff(acl, *got))
	}
	return got
}

func TestOlderServer(t *testing.T) {
	t.Parallel()
	servers(t, schemaFile(t, older), func(t *testing.T, s *ovntest.Server) {
		db := s.Connect(t)
		for table, columns := range since2403 {
			if columns == nil && db.Has(table, "") {
				t.Errorf("Has(%s)", table)
			}
			for _, c := range columns {
				if db.Has(table, c) || !db.Has(table, "external_ids") {
					t.Errorf("Has(%s, %s)", table, c)
				}
			}
		}
		writeACL(t, db)
		if nat := ovn.List[nb.NAT](db)[0]; nat.Match != "" || nat.ExternalIP != "192.0.2.1" {
			t.Errorf("NAT on a server that knows no match: %+v", nat)
		}
		if _, err := db.Transact(context.Background(), "", ovn.Insert(&nb.Sample{Metadata: 1}, "s")); err == nil {
			t.Error("a row was inserted into a table that the server lacks")
		}
	})
}

func TestNewerServer(t *testing.T) {
	t.Parallel()
	servers(t, schemaFile(t, newer), func(t *testing.T, s *ovntest.Server) {
		db := s.Connect(t)
		if !db.Has("Network_Function", "name") || !db.Has("ACL", "of_the_future") {
			t.Error("what the server has more than we know is not reported")
		}
		writeACL(t, db)
		if nat := ovn.List[nb.NAT](db)[0]; nat.Match == "" {
			t.Errorf("NAT: %+v", nat)
		}
	})
}

// TestUpgradeWhileConnected replaces an old server by a new one behind a connection.
func TestUpgradeWhileConnected(t *testing.T) {
	t.Parallel()
	s := ovntest.Real(t, ovn.Northbound(), schemaFile(t, older))
	db := s.Connect(t)
	s.Shut()
	s.StartReal(t, schemaFile(t, func(map[string]any) {}))
	offline(t, db)
	s.Open(t)
	if err := db.WaitOnline(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !db.Has("ACL", "sample_new") {
		t.Error("the schema is still the old one")
	}
	writeACL(t, db)
}
