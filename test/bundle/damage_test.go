package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/cli"
	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
)

// damages are what becomes of files.
var damages = map[string]func(data []byte, at int) []byte{
	"cut":    func(data []byte, at int) []byte { return data[:at] },
	"bit":    func(data []byte, at int) []byte { data[at] ^= 0x10; return data },
	"zeros":  func(data []byte, at int) []byte { clear(data[at:min(at+512, len(data))]); return data },
	"hole":   func(data []byte, at int) []byte { return append(data[:at], data[min(at+77, len(data)):]...) },
	"repeat": func(data []byte, at int) []byte { return append(data[:at:at], data[at/2+1:]...) },
}

// regions are in how many places a file is damaged.
const regions = 12

// A bundle that is damaged wherever it may be is opened or refused, and what it lacks is said.
func TestDamagedBundle(t *testing.T) {
	t.Parallel()
	whole := readFile(t, recorded)
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for i := range regions {
				at := i * (len(whole) - 1) / (regions - 1)
				path, data := filepath.Join(t.TempDir(), "damaged.tar.gz"), damage(bytes.Clone(whole), at)
				if bytes.Equal(data, whole) {
					continue // what was zero before
				}
				if err := os.WriteFile(path, data, 0o600); err != nil {
					t.Fatal(err)
				}
				problems, err := readAll(t.Context(), path)
				switch {
				case err != nil:
					var p *inspect.Problem
					if !errors.As(err, &p) || p.Next == "" {
						t.Errorf("at %d of %d: it is not said what to do: %v", at, len(whole), err)
					}
				case len(problems) == 0:
					t.Errorf("at %d of %d: nobody noticed", at, len(whole))
				}
			}
		})
	}
}

// The files in a bundle that was unpacked can be damaged each: no command ends otherwise than
// with an answer or an error.
func TestDamagedFiles(t *testing.T) {
	t.Parallel()
	dir := unpack(t)
	for _, name := range []string{"nodes/node1/nb.db", "nodes/node2/sb.db", "nodes/node2/ovs.db", "cluster/pods.json", "cluster/nodes.json", "manifest.json"} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		whole := readFile(t, path)
		for damaged, damage := range damages {
			if err := os.WriteFile(path, damage(bytes.Clone(whole), len(whole)/3), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, command := range []string{"status", "diagnose", "explain shop/db-0"} {
				var out, errOut bytes.Buffer
				args := append(append([]string{"ovnkctl"}, strings.Fields(command)...), "--from", dir)
				if code := cli.Main(args, strings.NewReader(""), &out, &errOut); code == 0 && damaged == "cut" {
					t.Errorf("%s, %s, %s: nobody noticed\n%s", name, damaged, command, &out)
				} else if code != 0 && out.Len()+errOut.Len() == 0 {
					t.Errorf("%s, %s, %s: exit code %d without a word", name, damaged, command, code)
				}
			}
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// readAll reads all of a record.
func readAll(ctx context.Context, path string) ([]*inspect.Problem, error) {
	s, err := inspect.Open(inspect.OpenConfig{Paths: []string{path}})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	_, _ = s.World(ctx)
	err = s.Each(ctx, nil, func(ctx context.Context, n *inspect.Node) error {
		names, err := n.Texts(ctx)
		for _, name := range names {
			_, textErr := n.Text(ctx, name)
			err = errors.Join(err, textErr)
		}
		for _, d := range ovn.Databases() {
			_, dbErr := n.Database(ctx, d)
			err = errors.Join(err, dbErr)
		}
		return err
	})
	return s.Problems(), err
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// unpack is the bundle as a folder.
func unpack(t *testing.T) string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(readFile(t, recorded)))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(h.Name, "/")
		path := filepath.Join(dir, filepath.FromSlash(name))
		data, err := io.ReadAll(r)
		if err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o700)); err == nil {
			err = os.WriteFile(path, data, 0o600)
		}
		if err != nil {
			t.Fatal(fmt.Errorf("%s: %w", h.Name, err))
		}
	}
}
