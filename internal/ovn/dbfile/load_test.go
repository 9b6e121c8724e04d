package dbfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
)

// small is a schema of few columns, of all shapes.
const small = `{"name":"OVN_Northbound","version":"7.3.0","tables":{
 "Logical_Switch":{"columns":{"name":{"type":"string"},"ports":{"type":{"key":"uuid","min":0,"max":"unlimited"}},
  "other_config":{"type":{"key":"string","value":"string","min":0,"max":"unlimited"}},"future":{"type":"integer"}}},
 "Of_Tomorrow":{"columns":{"x":{"type":"string"}}},
 "ACL":{"columns":{"priority":{"type":"integer"},"match":{"type":"string"},"name":{"type":{"key":"string","min":0,"max":1}},"label":{"type":"string"}}}}}` + "\n"

func load(t interface{ Fatal(...any) }, content string) (*ovn.Content, Info, []error) {
	c, info, problems, err := Load(strings.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	return c, info, problems
}

const transactions = `{"_date":1,"Logical_Switch":{"11111111-0000-0000-0000-000000000000":{"name":"a","future":7,"other_config":["map",[["k","v"],["gone","x"]]],"ports":["uuid","p1"]}},"Of_Tomorrow":{"22222222-0000-0000-0000-000000000000":{"x":"y"}}}
{"Logical_Switch":{"11111111-0000-0000-0000-000000000000":{"other_config":["map",[["k","w"],["gone","x"],["new","n"]]],"ports":["set",[["uuid","p1"],["uuid","p2"],["uuid","p3"]]]}},"_is_diff":true,"_comment":"services shop/web"}
{"ACL":{"33333333-0000-0000-0000-000000000000":{"priority":1001,"match":"ip4","name":"x"},"44444444-0000-0000-0000-000000000000":{"priority":1}}}
{"ACL":{"33333333-0000-0000-0000-000000000000":{"priority":1002,"name":["set",["x","y"]]},"44444444-0000-0000-0000-000000000000":null},"_is_diff":true}
{"Logical_Switch":{"11111111-0000-0000-0000-000000000000":{"name":"b"}}}
`

func checkLoaded(t *testing.T, c *ovn.Content) {
	t.Helper()
	name := "y"
	wantACL := []*nb.ACL{{UUID: "33333333-0000-0000-0000-000000000000", Priority: 1002, Match: "ip4", Name: &name}}
	wantSwitch := []*nb.LogicalSwitch{{
		UUID: "11111111-0000-0000-0000-000000000000", Name: "b", Ports: []string{"p2", "p3"},
		OtherConfig: map[string]string{"k": "w", "new": "n"},
	}}
	if diff := cmp.Diff(wantSwitch, ovn.RowsOf[nb.LogicalSwitch](c)); diff != "" {
		t.Errorf("switches (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantACL, ovn.RowsOf[nb.ACL](c)); diff != "" {
		t.Errorf("ACLs (-want +got):\n%s", diff)
	}
	if !c.Has(nb.ACLTable, "match") || c.Has(nb.ACLTable, "tier") || c.Has(nb.NATTable, "") || c.Version != "7.3.0" {
		t.Error("what the older database lacks is not known")
	}
}

func TestLoadStandalone(t *testing.T) {
	t.Parallel()
	content := rec(small)
	for line := range strings.Lines(transactions) {
		content += rec(line)
	}
	c, info, problems := load(t, content)
	if info.Damage != nil || len(problems) > 0 || info.Clustered || info.Intact != info.Size || info.Records != 6 || info.Rows != 2 {
		t.Errorf("%+v, problems %v", info, problems)
	}
	checkLoaded(t, c)
}

func clustered(data string) string {
	return strings.Replace(rec(data+"\n"), magicStandalone, magicClustered, 1)
}

func TestLoadClustered(t *testing.T) {
	t.Parallel()
	content := clustered(`{"server_id":"a","local_address":"tcp:1.2.3.4:6643","name":"OVN_Northbound","cluster_id":"b","prev_term":1,"prev_index":5,"prev_data":[` +
		strings.TrimSpace(small) + `,{"ACL":{"44444444-0000-0000-0000-000000000000":{"priority":99}}}],"prev_servers":{}}`)
	content += clustered(`{"term":2}`) + clustered(`{"term":2,"vote":"a"}`) + clustered(`{"term":2,"index":6,"servers":{"a":"tcp:1.2.3.4:6643"}}`)
	index := 7
	for line := range strings.Lines(transactions) {
		content += clustered(fmt.Sprintf(`{"term":2,"index":%d,"data":[null,%s],"eid":"e"}`, index, strings.TrimSpace(line)))
		content += clustered(fmt.Sprintf(`{"commit_index":%d}`, index))
		index++
	}
	// What only this server knew of, and the next leader replaced.
	content += clustered(fmt.Sprintf(`{"term":2,"index":%d,"data":[null,{"ACL":{"55555555-0000-0000-0000-000000000000":{"priority":1}}}],"eid":"e"}`, index))
	content += clustered(`{"note":"transfer leadership"}`)
	content += clustered(fmt.Sprintf(`{"term":3,"index":%d,"data":[null,null],"eid":"e"}`, index))
	c, info, problems := load(t, content)
	if info.Damage != nil || len(problems) > 0 || !info.Clustered || info.Intact != info.Size {
		t.Errorf("%+v, problems %v", info, problems)
	}
	checkLoaded(t, c)

	_, _, _, err := Load(strings.NewReader(clustered(`{"name":"OVN_Northbound","remote_addresses":["tcp:1.2.3.4:6643"]}`)), 1<<20)
	if !errors.Is(err, ErrNotDatabase) || !strings.Contains(err.Error(), "join") {
		t.Errorf("a server that has not joined: %v", err)
	}
}

// A conversion resets a clustered database and begins again.
func TestLoadConverted(t *testing.T) {
	t.Parallel()
	content := clustered(`{"name":"OVN_Northbound","prev_index":1,"prev_data":[` + strings.TrimSpace(schema) + `,{"NB_Global":{"a":{}}}]}`)
	content += clustered(`{"term":1,"index":2,"data":[` + strings.TrimSpace(small) + `,null],"eid":"e"}`)
	c, info, _ := load(t, content)
	if info.Version != "7.3.0" || c.Version != "7.3.0" || c.Len() != 0 {
		t.Errorf("%+v, %d rows", info, c.Len())
	}
}

func TestLoadNamesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	content := rec(small) + rec(`{"ACL":{"33333333-0000-0000-0000-000000000000":{"priority":"high","match":"ip4"}}}`+"\n")
	c, info, problems := load(t, content)
	if info.Damage != nil || len(problems) != 1 || !strings.Contains(problems[0].Error(), "priority") {
		t.Errorf("%+v, problems %v", info, problems)
	}
	if rows := ovn.RowsOf[nb.ACL](c); len(rows) != 1 || rows[0].Match != "ip4" {
		t.Errorf("rows %v", rows)
	}
	if _, _, _, err := Load(strings.NewReader(rec(`{"name":"hardware_vtep","tables":{}}`+"\n")), 1<<10); !errors.Is(err, ErrUnknownDatabase) {
		t.Errorf("another database: %v", err)
	}
	_, info, _ = load(t, rec(small)+rec(`{"ACL":{"33333333-0000-0000-0000-000000000000":7}}`+"\n"))
	if !errors.Is(info.Damage, errContent) || info.Torn {
		t.Errorf("nonsense with its checksum: %+v", info)
	}
}

// Wherever a file is cut, what was written before is there.
func TestLoadOfCutFiles(t *testing.T) {
	t.Parallel()
	content := rec(small)
	first := len(content)
	rows := map[int]int{len(content): 0}
	for i := range 20 {
		content += rec(fmt.Sprintf(`{"ACL":{"33333333-0000-0000-0000-0000000000%02d":{"priority":%d}}}`+"\n", i, i))
		rows[len(content)] = i + 1
	}
	ends := slices.Sorted(maps.Keys(rows))
	rapid.Check(t, func(t *rapid.T) {
		cut := rapid.IntRange(first, len(content)).Draw(t, "cut")
		c, info, _ := load(t, content[:cut])
		at, whole := slices.BinarySearch(ends, cut)
		if !whole {
			at--
		}
		if c.Len() != rows[ends[at]] || (info.Damage == nil) != whole || info.Intact != int64(ends[at]) {
			t.Fatalf("cut at %d: %d rows, %+v", cut, c.Len(), info)
		}
	})
}

// Any history of sets and maps, told in differences, ends as the last state.
func TestDifferences(t *testing.T) {
	t.Parallel()
	const uuid = "11111111-0000-0000-0000-000000000000"
	rapid.Check(t, func(t *rapid.T) {
		ports, config := map[string]bool{}, map[string]string{}
		content := rec(small) + rec(`{"Logical_Switch":{"`+uuid+`":{"name":"x"}}}`+"\n")
		for range rapid.IntRange(0, 12).Draw(t, "changes") {
			var set, pairs []any
			for _, p := range rapid.SliceOfNDistinct(rapid.IntRange(0, 9), 0, 5, rapid.ID[int]).Draw(t, "ports") {
				name := fmt.Sprint("p", p)
				set = append(set, []any{"uuid", name})
				if ports[name] = !ports[name]; !ports[name] {
					delete(ports, name)
				}
			}
			for _, k := range rapid.SliceOfNDistinct(rapid.IntRange(0, 9), 0, 5, rapid.ID[int]).Draw(t, "keys") {
				key, value := fmt.Sprint("k", k), rapid.SampledFrom([]string{"v", "w"}).Draw(t, "value")
				pairs = append(pairs, []any{key, value})
				if config[key] == value {
					delete(config, key)
				} else {
					config[key] = value
				}
			}
			change, err := json.Marshal(map[string]any{"_is_diff": true, "Logical_Switch": map[string]any{uuid: map[string]any{
				"ports": []any{"set", append([]any{}, set...)}, "other_config": []any{"map", append([]any{}, pairs...)},
			}}})
			if err != nil {
				t.Fatal(err)
			}
			content += rec(string(change) + "\n")
		}
		c, info, problems := load(t, content)
		got := ovn.RowsOf[nb.LogicalSwitch](c)
		if info.Damage != nil || problems != nil || len(got) != 1 {
			t.Fatalf("%+v, %v", info, problems)
		}
		if diff := cmp.Diff(slices.Sorted(maps.Keys(ports)), slices.Sorted(slices.Values(got[0].Ports))); diff != "" {
			t.Fatalf("ports (-want +got):\n%s", diff)
		}
		if !maps.Equal(config, got[0].OtherConfig) {
			t.Fatalf("config %v, want %v", got[0].OtherConfig, config)
		}
	})
}

func TestWriteIsRead(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	err := Write(&b, json.RawMessage(small), map[string]map[string]map[string]any{
		"ACL": {"33333333-0000-0000-0000-000000000000": {"priority": json.Number("7"), "match": "a && b < 3", "name": []any{"set", []any{}}}},
	}, time.Unix(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	c, info, problems := load(t, b.String())
	want := []*nb.ACL{{UUID: "33333333-0000-0000-0000-000000000000", Priority: 7, Match: "a && b < 3"}}
	if diff := cmp.Diff(want, ovn.RowsOf[nb.ACL](c)); diff != "" || info.Damage != nil || problems != nil {
		t.Errorf("%+v, %v, (-want +got):\n%s", info, problems, diff)
	}
}

func FuzzLoad(f *testing.F) {
	content := rec(small)
	for line := range strings.Lines(transactions) {
		content += rec(line)
	}
	f.Add([]byte(content))
	f.Add([]byte(clustered(`{"name":"x","prev_index":1,"prev_data":[` + strings.TrimSpace(small) + `,null]}`)))
	f.Fuzz(func(_ *testing.T, data []byte) {
		_, _, _, _ = Load(bytes.NewReader(data), int64(len(data)))
	})
}

// FuzzTransaction gives records their checksums, without which hardly any is looked at.
func FuzzTransaction(f *testing.F) {
	for line := range strings.Lines(transactions) {
		f.Add(small, line)
	}
	f.Fuzz(func(_ *testing.T, schema, transaction string) {
		content := rec(schema) + rec(transaction) + rec(transaction)
		_, _, _, _ = Load(strings.NewReader(content), int64(len(content)))
		content = clustered(`{"name":"x","prev_index":1,"prev_data":[`+schema+`,null]}`) + clustered(transaction)
		_, _, _, _ = Load(strings.NewReader(content), int64(len(content)))
	})
}

// BenchmarkLoad reads what a node with 500 pods has.
func BenchmarkLoad(b *testing.B) {
	var content strings.Builder
	content.WriteString(rec(small))
	for i := range 20000 {
		fmt.Fprint(&content, rec(fmt.Sprintf(`{"_date":1,"ACL":{"33333333-0000-0000-0000-%012d":{"priority":7,"match":%q}}}`+"\n", i, strings.Repeat("ip4 && ", 60))))
	}
	b.SetBytes(int64(content.Len()))
	for b.Loop() {
		if _, _, _, err := Load(strings.NewReader(content.String()), int64(content.Len())); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLoadSnapshot reads the Southbound database of a node with 500 pods as bundles
// have it: 20,000 logical flows in one record.
func BenchmarkLoadSnapshot(b *testing.B) {
	rows := map[string]map[string]any{}
	for i := range 20000 {
		rows[fmt.Sprintf("33333333-0000-0000-0000-%012d", i)] = map[string]any{
			"logical_datapath": []any{"uuid", "44444444-0000-0000-0000-000000000000"}, "pipeline": "ingress", "table_id": 7, "priority": 100,
			"match": "ip4 && inport == \"shop_web\" && ip4.src == 10.0.0.1", "actions": "reg0 = 1; next;", "hash": i,
			"external_ids": []any{"map", []any{[]any{"source", "northd.c:1234"}, []any{"stage-name", "ls_in_acl_eval"}, []any{"stage-hint", "12345678"}}},
		}
	}
	schema, err := os.ReadFile("../schema/ovn-sb.ovsschema")
	if err != nil {
		b.Fatal(err)
	}
	var file bytes.Buffer
	if err := Write(&file, schema, map[string]map[string]map[string]any{"Logical_Flow": rows}, time.Now()); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(file.Len()))
	for b.Loop() {
		if c, _, _, err := Load(bytes.NewReader(file.Bytes()), int64(file.Len())); err != nil || c.Len() != len(rows) {
			b.Fatal(err)
		}
	}
}
