package inspect

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"testing"
)

// FuzzArchive has files of any content, packed and not: opening ends, and so does reading what
// there is.
func FuzzArchive(f *testing.F) {
	if whole, err := os.ReadFile("../../test/bundle/shop.tar.gz"); err == nil {
		const some = 8 << 10 // of a real one; the fuzzer is quicker with less
		f.Add(whole[:some], false)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for name, text := range map[string]string{"b/manifest.json": `{"kind":"Bundle","nodes":["n"]}`, "b/nodes/n/text/nft": "x", "b/cluster/pods.json": `{"items":[{}]}`} {
		_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(text)), Mode: 0o600})
		_, _ = w.Write([]byte(text))
	}
	_, _ = w.Close(), z.Close()
	f.Add(b.Bytes(), false)
	if r, err := gzip.NewReader(bytes.NewReader(b.Bytes())); err == nil {
		var plain bytes.Buffer
		_, _ = plain.ReadFrom(r)
		f.Add(plain.Bytes(), true)
	}
	f.Fuzz(func(t *testing.T, data []byte, plain bool) {
		a, _ := readArchive(bytes.NewReader(data), int64(len(data)), plain)
		source, _, err := newBundle("fuzz", a, nil)
		if err != nil {
			return
		}
		_, _ = source.read(t.Context(), &everything{}, resources)
		nodes, _ := source.nodes(t.Context())
		for _, n := range nodes {
			names, _ := source.node(n).texts(t.Context())
			for _, name := range names {
				if _, err := source.node(n).text(t.Context(), name); err != nil {
					t.Errorf("text %q of node %q is listed, and cannot be read: %v", name, n, err)
				}
			}
		}
	})
}
