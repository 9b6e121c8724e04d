package dbfile

import (
	"crypto/sha1"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const schema = `{"name":"OVN_Northbound","version":"7.11.0","tables":{"NB_Global":{"columns":{}}}}` + "\n"

// rec is one record of a database file.
func rec(data string) string {
	return fmt.Sprintf("OVSDB JSON %d %x\n%s", len(data), sha1.Sum([]byte(data)), data)
}

func read(t interface{ Fatal(...any) }, dir, content string) (Info, error) {
	path := filepath.Join(dir, "db")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return Read(path, "NB_Global")
}

func TestReadCountsLiveRows(t *testing.T) {
	t.Parallel()
	insert := rec(`{"NB_Global":{"a":{"name":"x"}},"_date":1}` + "\n")
	other := rec(`{"Logical_Switch":{"b":{"name":"NB_Global"}},"_comment":"\"NB_Global\""}` + "\n")
	change := rec(`{"NB_Global":{"a":{"nb_cfg":1}},"_is_diff":true}` + "\n")
	remove := rec(`{"NB_Global":{"a":null}}` + "\n")
	for name, test := range map[string]struct {
		content       string
		rows, records int
	}{
		"schema alone":                {rec(schema), 0, 1},
		"one row":                     {rec(schema) + insert + other, 1, 3},
		"one row, changed":            {rec(schema) + insert + change + change, 1, 4},
		"deleted":                     {rec(schema) + insert + remove, 0, 3},
		"deleted and made again":      {rec(schema) + insert + remove + insert, 1, 4},
		"another table with its name": {rec(schema) + other, 0, 2},
	} {
		info, err := read(t, t.TempDir(), test.content)
		if err != nil || info.Damage != nil {
			t.Errorf("%s: %v, damage %v", name, err, info.Damage)
		}
		if info.Rows != test.rows || info.Records != test.records || info.Intact != info.Size {
			t.Errorf("%s: %+v, want %d rows in %d records", name, info, test.rows, test.records)
		}
		if info.Name != "OVN_Northbound" || info.Version != "7.11.0" {
			t.Errorf("%s: schema %s %s", name, info.Name, info.Version)
		}
	}
}

func TestReadRefusesWhatIsNoDatabase(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"empty":               "",
		"text":                "hello\n",
		"one long line":       strings.Repeat("x", 1<<17),
		"negative length":     "OVSDB JSON -1 da39a3ee5e6b4b0d3255bfef95601890afd80709\n",
		"schema cut short":    rec(schema)[:100],
		"schema changed":      strings.Replace(rec(schema), "7.11.0", "7.12.0", 1),
		"schema without name": rec("{}\n"),
		"schema not JSON":     rec("nonsense\n"),
		"huge length":         "OVSDB JSON 99999999999999 da39a3ee5e6b4b0d3255bfef95601890afd80709\n{}",
	} {
		if _, err := read(t, t.TempDir(), content); !errors.Is(err, ErrNotDatabase) {
			t.Errorf("%s: error = %v", name, err)
		}
	}
	if _, err := Read(filepath.Join(t.TempDir(), "none"), ""); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: error = %v", err)
	}
	if info, err := read(t, t.TempDir(), "OVSDB CLUSTER 300 abc\n{}"); err != nil || !info.Clustered {
		t.Errorf("clustered: %+v, %v", info, err)
	}
}

// Damage before the end is not what a crash leaves: records behind it would be lost.
func TestDamageInTheMiddleIsNotTorn(t *testing.T) {
	t.Parallel()
	first, second := rec(`{"NB_Global":{"a":{}}}`+"\n"), rec(`{"_comment":"second"}`+"\n")
	content := rec(schema) + first + strings.Replace(second, "second", "SECOND", 1) + second
	info, err := read(t, t.TempDir(), content)
	if err != nil {
		t.Fatal(err)
	}
	if info.Torn || info.Damage == nil || info.Intact != int64(len(rec(schema)+first)) || info.Rows != 1 {
		t.Errorf("%+v", info)
	}
}

// A record with its checksum was written to its end: it is no crash's doing.
func TestNonsenseWithItsChecksumIsNotTorn(t *testing.T) {
	t.Parallel()
	info, err := read(t, t.TempDir(), rec(schema)+rec(`{"NB_Global":7}`+"\n"))
	if err != nil || info.Damage == nil || info.Torn {
		t.Errorf("%+v, %v", info, err)
	}
}

// Wherever a crash cuts a file behind its schema, what was written before is intact.
func TestCutFilesAreTorn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		content := rec(schema)
		ends := []int{len(content)}
		for i := range rapid.IntRange(1, 8).Draw(t, "records") {
			comment, err := json.Marshal(rapid.StringN(0, 20, 40).Draw(t, "comment"))
			if err != nil {
				t.Fatal(err)
			}
			content += rec(fmt.Sprintf(`{"NB_Global":{"row%d":{}},"_comment":%s}`+"\n", i, comment))
			ends = append(ends, len(content))
		}
		cut := rapid.IntRange(ends[0], len(content)).Draw(t, "cut")
		intact, rows := 0, 0
		for i, end := range ends {
			if end <= cut {
				intact, rows = end, i
			}
		}
		info, err := read(t, dir, content[:cut])
		if err != nil {
			t.Fatal(err)
		}
		whole := intact == cut
		if info.Intact != int64(intact) || info.Rows != rows || info.Torn == whole || (info.Damage == nil) != whole {
			t.Fatalf("cut at %d of %d: %+v, want intact %d, rows %d", cut, len(content), info, intact, rows)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	var content strings.Builder
	content.WriteString(rec(schema))
	for i := range 20000 {
		fmt.Fprint(&content, rec(fmt.Sprintf(`{"Logical_Flow":{"%d":{"match":%q,"actions":"next;"}}}`+"\n", i, strings.Repeat("ip4 && ", 60))))
	}
	path := filepath.Join(b.TempDir(), "db")
	if err := os.WriteFile(path, []byte(content.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(content.Len()))
	for b.Loop() {
		if _, err := Read(path, "NB_Global"); err != nil {
			b.Fatal(err)
		}
	}
}
