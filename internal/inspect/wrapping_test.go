package inspect_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/inspect/inspecttest"
)

const oneNode = `{"kind":"Bundle","nodes":["a"]}`

// What becomes of bundles on their way: packed again, unpacked by a browser, touched by macOS,
// under any name.
func TestOtherWrappings(t *testing.T) {
	t.Parallel()
	var plain bytes.Buffer
	w := tar.NewWriter(&plain)
	h := &tar.Header{Typeflag: tar.TypeReg, Name: "b/manifest.json", Size: int64(len(oneNode)), Mode: 0o600}
	if err := errors.Join(w.WriteHeader(h), write(w, oneNode), w.Close()); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"My Bundles (1), of today: node.tar.gz": targz(t, file("b/manifest.json", oneNode)),
		"packed again.tar.gz":                   targz(t, file("./b/manifest.json", oneNode)),
		"flat.tar.gz":                           targz(t, file("./manifest.json", oneNode)),
		"macos.tar.gz":                          targz(t, file("._b", "x"), file("b/._manifest.json", "\x00\x05\x16\x07"), file("b/manifest.json", oneNode), file("b/.DS_Store", "x")),
		"by a browser.tar":                      plain.Bytes(),
	} {
		path := inspecttest.Write(t, name, data)
		s, err := inspect.Open(inspect.OpenConfig{Paths: strings.Split(path, ",")}) // as the command line does
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if nodes, err := s.Nodes(t.Context()); err != nil || len(nodes) != 1 || len(s.Problems()) != 0 || s.Origin().Kind != inspect.Bundle {
			t.Errorf("%s: nodes %v, %v, problems %v", name, nodes, err, inspect.Errors(s.Problems()))
		}
		s.Close()
	}
}

func write(w *tar.Writer, text string) error {
	_, err := w.Write([]byte(text))
	return err
}

func TestSeveralBundles(t *testing.T) {
	t.Parallel()
	packed := inspecttest.Write(t, "b.tar.gz", targz(t, file("b/manifest.json", oneNode)))
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, inspect.ManifestFile), []byte(oneNode), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, paths := range [][]string{{packed, packed}, {folder, packed}, {folder, folder}, {packed, "nb.db"}} {
		_, err := inspect.Open(inspect.OpenConfig{Paths: paths})
		var p *inspect.Problem
		if !errors.As(err, &p) || !strings.Contains(p.Why, "only one can be read at a time") || p.Next == "" {
			t.Errorf("%v: %v", paths, err)
		}
	}
}

// A node whose ovnkctl is older does not know all texts, which is said.
func TestTextOfOlderNode(t *testing.T) {
	t.Parallel()
	c := inspecttest.New(t, "a")
	c.Run = func(string, []string) (string, int) { return `unknown command "starts" for "ovnkctl run"`, 2 }
	_, err := c.Snapshot(10*time.Second).Node("a").Text(t.Context(), inspect.TextPodStarts)
	var p *inspect.Problem
	if !errors.As(err, &p) || !errors.Is(err, inspect.ErrAbsent) || !strings.Contains(p.Why, "older") || !strings.Contains(p.Next, "ovnkctl upgrade") {
		t.Errorf("%v", err)
	}
}
