package config

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

//go:generate go test -count=1 -run ^TestDocuments$ . -update

var update = flag.Bool("update", false, "write the documents that are generated from this package")

// The pages that are generated from this package are current.
func TestDocuments(t *testing.T) {
	t.Parallel()
	page, err := Reference()
	if err != nil {
		t.Fatal(err)
	}
	schema, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"configuration.md": page, "schema/configuration.json": string(schema)} {
		path = filepath.Join("../../docs", path)
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(got), want); diff != "" {
			t.Errorf("%s is not current: run `go generate ./internal/config` (-file +generated)\n%s", path, diff)
		}
	}
}

// Every key is in a section, and in the schema.
func TestSectionsAreComplete(t *testing.T) {
	t.Parallel()
	schema, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	var root struct {
		Properties map[string]struct {
			Properties map[string]struct{ Type, Description string }
		}
	}
	if err := json.Unmarshal(schema, &root); err != nil {
		t.Fatal(err)
	}
	for _, f := range Fields() {
		section, leaf, nested := strings.Cut(f.Path, ".")
		if !slices.ContainsFunc(sections, func(s struct{ path, about string }) bool { return s.path == section }) {
			t.Errorf("%s is in no section", f.Path)
		}
		if _, ok := root.Properties[section].Properties[leaf]; nested && !ok {
			t.Errorf("%s is not in the schema", f.Path)
		}
	}
}
