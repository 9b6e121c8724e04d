package cli

import (
	"encoding/json"
	"errors"
	"flag"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovnkctl/ovnkctl/internal/output"
)

var update = flag.Bool("update", false, "write the schemas of documents again")

// The schemas of documents are a promise: a change of them is to be seen in a review.
func TestSchemas(t *testing.T) {
	const dir = "../../docs/schema"
	for _, kind := range kinds() {
		code, got, stderr := run(t, "ovnkctl", "schema", kind)
		if code != ExitOK || !json.Valid([]byte(got)) {
			t.Fatalf("schema %s: exit code %d, %s", kind, code, stderr)
		}
		file := filepath.Join(dir, strings.ToLower(kind)+".json")
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil { //nolint:gosec // for everybody
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatalf("%v; run go test ./internal/cli -run Schemas -update", err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s is not current (-file +program), run go test ./internal/cli -run Schemas -update:\n%s", file, diff)
		}
	}
	if code, out, _ := run(t, "ovnkctl", "schema"); code != ExitOK || !strings.Contains(out, "Collection\n") {
		t.Errorf("exit code %d, %q", code, out)
	}
	if code, out, stderr := run(t, "ovnkctl", "schema", "Nonsense"); code != ExitUsage || out != "" || !strings.Contains(stderr, "Collection") {
		t.Errorf("exit code %d, %q, %q", code, out, stderr)
	}
}

// deadCluster is a kubeconfig of an API server where nobody listens any more.
func deadCluster(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	config := `{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c"}}],
		"clusters":[{"name":"c","cluster":{"server":"http://` + l.Addr().String() + `"}}]}`
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCollectFails(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	dir := t.TempDir()
	for name, c := range map[string]struct {
		args []string
		code int
		want []string
	}{
		"nobody answers":     {[]string{"--kubeconfig", deadCluster(t)}, ExitFailed, []string{"connection refused", "→", "--context"}},
		"no such kubeconfig": {[]string{"--kubeconfig", filepath.Join(dir, "none")}, ExitFailed, []string{"none", "→", "KUBECONFIG"}},
		"no such format":     {[]string{"-o", "xml"}, ExitUsage, []string{"--output=xml", "json"}},
		"no time":            {[]string{"--timeout", "0s"}, ExitUsage, []string{"--timeout"}},
		"no such flag":       {[]string{"--form", "x"}, ExitUsage, []string{"--form"}},
		"not of records":     {[]string{"--from", "x"}, ExitUsage, []string{"--from"}},
		"a surplus argument": {[]string{"x"}, ExitUsage, []string{"x", "→ run 'ovnkctl collect --help'"}},
		"color that is not":  {[]string{"--color", "x"}, ExitUsage, []string{"--color=x"}},
	} {
		code, out, stderr := run(t, append([]string{"ovnkctl", "collect"}, c.args...)...)
		if code != c.code || out != "" {
			t.Errorf("%s: exit code %d, want %d; stdout %q", name, code, c.code, out)
		}
		for _, want := range c.want {
			if !strings.Contains(stderr, want) {
				t.Errorf("%s: %q does not say %q", name, stderr, want)
			}
		}
	}
	t.Setenv("KUBECONFIG", filepath.Join(dir, "nowhere"))
	if code, _, stderr := run(t, "ovnkctl", "collect"); code != ExitFailed || !strings.Contains(stderr, "no kubeconfig names a cluster (looked at "+filepath.Join(dir, "nowhere")) ||
		!strings.Contains(stderr, "--from") {
		t.Errorf("no kubeconfig at all: exit code %d, %s", code, stderr)
	}
	// An error is a document for those who asked for one.
	_, _, stderr := run(t, "ovnkctl", "collect", "-o", "json", "--kubeconfig", deadCluster(t))
	var e output.Error
	if err := json.Unmarshal([]byte(stderr), &e); err != nil || e.Kind != "Error" || e.ExitCode != ExitFailed || e.Hint == "" {
		t.Errorf("%v: %s", err, stderr)
	}
}

func TestReadersOfRecordsFail(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"trace", "a/b", "a/c"}, {"explain", "a/b"}} {
		for path, want := range map[string]string{text: "neither a bundle", text + "none": "no such file"} {
			code, out, stderr := run(t, append(append([]string{"ovnkctl"}, args...), "--from", path)...)
			if code != ExitFailed || out != "" || !strings.Contains(stderr, want) || !strings.Contains(stderr, "→") {
				t.Errorf("%v --from %s: exit code %d, %q, %q", args, path, code, out, stderr)
			}
		}
	}
}

// What cannot be written is said with what to do, before anything is collected.
func TestBundleInNoFolder(t *testing.T) {
	t.Parallel()
	f := &collectFlags{file: filepath.Join(t.TempDir(), "missing", "b.tar.gz")}
	var hint interface{ Hint() string }
	if _, err := f.create("name"); !errors.Is(err, os.ErrNotExist) || !errors.As(err, &hint) || !strings.Contains(hint.Hint(), "--file") {
		t.Errorf("error = %v", err)
	}
}

// A folder gets a bundle of the usual name.
func TestBundleInFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := &collectFlags{file: dir}
	b, err := f.create("name")
	if err == nil {
		err = b.keep()
	}
	if _, there := os.Stat(filepath.Join(dir, "name.tar.gz")); err != nil || there != nil || f.file != filepath.Join(dir, "name.tar.gz") {
		t.Errorf("%s: %v, %v", f.file, err, there)
	}
}

// A file that is no bundle never gets the name of one, and is not left.
func TestBundleFile(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*bundleFile) error{
		"discarded": (*bundleFile).discard,
		"closed meanwhile": func(b *bundleFile) error {
			b.file.Close()
			if err := b.keep(); err == nil {
				t.Error("kept though it cannot be written")
			}
			return nil
		},
	} {
		dir := t.TempDir()
		f := &collectFlags{file: filepath.Join(dir, "b.tar.gz")}
		b, err := f.create("b")
		if err == nil {
			err = end(b)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s: %v left, %v", name, left, err)
		}
	}
}
