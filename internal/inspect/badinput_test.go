package inspect_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/inspect/inspecttest"
)

// zeros are without end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// A small file that would fill the memory is given up, and what came before is used.
func TestBomb(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "bomb.tar.gz")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	z, _ := gzip.NewWriterLevel(f, gzip.BestSpeed)
	w := tar.NewWriter(z)
	add := func(name string, size int64, r io.Reader) {
		err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600})
		if err == nil {
			_, err = io.CopyN(w, r, size)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	manifest := `{"kind":"Bundle","nodes":["a"]}`
	add("b/manifest.json", int64(len(manifest)), strings.NewReader(manifest))
	add("b/nodes/a/text/kernel", 5, strings.NewReader("Linux"))
	const most = 256 << 20 // bytes, which anything may unpack to
	add("b/nodes/a/text/nft", most, zeros{})
	if err := errors.Join(w.Close(), z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	s, err := inspect.Open(inspect.OpenConfig{Paths: []string{path}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if p := s.Problems(); len(p) != 1 || !strings.Contains(p[0].Why, "100 times its size") {
		t.Errorf("problems %v", inspect.Errors(p))
	}
	if text, err := s.Node("a").Text(t.Context(), inspect.TextKernel); text != "Linux" {
		t.Errorf("%q, %v", text, err)
	}
}

// Headers that promise more than there is do not make the program reserve it.
func TestLyingHeader(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "b/manifest.json", Size: 200 << 20, Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write([]byte("{}"))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := inspect.Open(inspect.OpenConfig{Paths: []string{inspecttest.Write(t, "b.tar.gz", b.Bytes())}})
	var p *inspect.Problem
	if !errors.As(err, &p) || !strings.Contains(p.Why, "unexpected EOF") {
		t.Errorf("error = %v", err)
	}
}

// A bundle of a newer program is read as far as it is known.
func TestNewerBundle(t *testing.T) {
	t.Parallel()
	path := inspecttest.Write(t, "b.tar.gz", targz(t,
		file("b/manifest.json", `{"apiVersion":"ovnkctl.io/v7","kind":"Bundle","version":"v7.0.0","nodes":["a"],"items":[{"path":"x","status":"marvellous","new":1}],"more":{}}`),
		file("b/nodes/a/text/kernel", "Linux"), file("b/nodes/a/hologram/x", "?")))
	s, err := inspect.Open(inspect.OpenConfig{Paths: []string{path}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if p := s.Problems(); len(p) != 1 || !strings.Contains(p[0].Why, "ovnkctl.io/v7") || !strings.Contains(p[0].Next, "v7.0.0") {
		t.Errorf("problems %v", inspect.Errors(p))
	}
	if text, err := s.Node("a").Text(t.Context(), inspect.TextKernel); text != "Linux" {
		t.Errorf("%q, %v", text, err)
	}
}
