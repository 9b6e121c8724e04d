package bundle

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ovnkctl/ovnkctl/internal/cli"
	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/ovn/dbfile"
)

// older is what databases had not some versions ago: tables, and columns of tables.
var older = map[string][]string{
	"nb.db":  {"Sample_Collector", "Sample", "Sampling_App", "Mirror_Rule", "Static_MAC_Binding", "ACL.tier", "ACL.sample_new", "ACL.sample_est", "NB_Global.name", "Logical_Router_Static_Route.selection_fields"},
	"sb.db":  {"ECMP_Nexthop", "ACL_ID", "FDB", "Chassis_Template_Var", "Chassis_Private", "Port_Binding.up", "Port_Binding.mirror_rules", "Logical_Flow.flow_desc"},
	"ovs.db": {"Flow_Sample_Collector_Set", "Interface.type", "Bridge.datapath_version"},
}

// Databases of an older OVN have less: every command says what can be said.
func TestOlderDatabases(t *testing.T) {
	t.Parallel()
	dir := unpack(t)
	for name, without := range older {
		for _, node := range []string{"node1", "node2", "node3"} {
			path := filepath.Join(dir, "nodes", node, name)
			if err := os.WriteFile(path, strip(t, readFile(t, path), without), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	db := podOf(t, "shop", "db-0")
	for command, want := range map[string]string{
		"status":                     "of 3 nodes", // those that were behind just then are not told from those that are
		"diagnose":                   "checks on 3 nodes",
		"explain shop/db-0":          "pod shop/db-0 on node " + db.Spec.NodeName,
		"explain " + db.Status.PodIP: "shop/db-0",
		"diagnose pod shop/db-0":     "pod shop/db-0 on node " + db.Spec.NodeName,
		"diagnose pod/db-0 -n shop":  db.Status.PodIP,
	} {
		var out, errOut bytes.Buffer
		args := append(append([]string{"ovnkctl"}, strings.Fields(command)...), "--from", dir)
		if code := cli.Main(args, strings.NewReader(""), &out, &errOut); code == 1 || !strings.Contains(out.String(), want) {
			t.Errorf("%s: exit code %d, no %q in\n%s%s", command, code, want, &out, &errOut)
		}
	}
}

// podOf is a pod of the recorded bundle.
func podOf(t *testing.T, namespace, name string) *corev1.Pod {
	t.Helper()
	s, err := inspect.Open(inspect.OpenConfig{Paths: []string{recorded}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	o, err := s.Objects(t.Context(), inspect.Pods)
	if err != nil {
		t.Fatal(err)
	}
	for i := range o.Pods {
		if p := &o.Pods[i]; p.Namespace == namespace && p.Name == name {
			return p
		}
	}
	t.Fatalf("there is no pod %s/%s", namespace, name)
	return nil
}

// strip is a database file without some tables and columns.
func strip(t *testing.T, data []byte, without []string) []byte {
	t.Helper()
	var schema map[string]any
	rows := map[string]map[string]map[string]any{}
	for to := any(&schema); len(data) > 0; to = &rows {
		_, body, _ := bytes.Cut(data, []byte("\n"))
		d := json.NewDecoder(bytes.NewReader(body))
		var raw map[string]json.RawMessage
		if err := d.Decode(&raw); err != nil {
			t.Fatal(err)
		}
		maps.DeleteFunc(raw, func(key string, _ json.RawMessage) bool { return key[0] == '_' }) // of the transaction
		text, err := json.Marshal(raw)
		if err == nil {
			err = json.Unmarshal(text, to)
		}
		if err != nil {
			t.Fatal(err)
		}
		data = bytes.TrimLeft(body[d.InputOffset():], "\n")
	}
	tables, _ := schema["tables"].(map[string]any)
	for _, name := range without {
		table, column, isColumn := strings.Cut(name, ".")
		if !isColumn {
			delete(tables, table)
			delete(rows, table)
			continue
		}
		definition, _ := tables[table].(map[string]any)
		columns, _ := definition["columns"].(map[string]any)
		delete(columns, column)
		indexes, _ := definition["indexes"].([]any)
		definition["indexes"] = slices.DeleteFunc(indexes, func(i any) bool { return slices.Contains(i.([]any), any(column)) })
		for _, row := range rows[table] {
			delete(row, column)
		}
	}
	schema["version"] = "1.0.0"
	raw, err := json.Marshal(schema)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := dbfile.Write(&out, raw, rows, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
