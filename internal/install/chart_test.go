package install

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files")

// TestRender renders the values of each golden file and compares the manifests with it.
func TestRender(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/render/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("golden files: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			golden, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var given values
			if err := yaml.UnmarshalStrict(section(golden, "values.yaml"), &given); err != nil {
				t.Fatal(err)
			}
			var got string
			r, err := render(testChart(t), given, DefaultNamespace)
			if err != nil {
				got = err.Error() + "\n"
			} else {
				got = r.manifest + "# NOTES\n" + comment(r.notes)
			}
			if *update {
				text := fmt.Sprintf("%s-- values.yaml --\n%s-- want --\n%s", golden.Comment, section(golden, "values.yaml"), got)
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(section(golden, "want")), got); diff != "" {
				t.Errorf("to accept: go test ./internal/install -run TestRender -update\n%s", diff)
			}
		})
	}
}

func section(a *txtar.Archive, name string) []byte {
	for _, f := range a.Files {
		if f.Name == name {
			return f.Data
		}
	}
	return nil
}

func comment(s string) string {
	var b bytes.Buffer
	for line := range strings.Lines(s) {
		b.WriteString(strings.TrimRight("# "+line, " \n") + "\n")
	}
	return b.String()
}
