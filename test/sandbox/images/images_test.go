package images

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// sampleBase and sampleCheckout make a tiny Debian layer and tiny programs.
func sampleBase(t *testing.T) Base {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "root/etc/debian_version"), "13\n")
	l, err := writeLayer(filepath.Join(dir, "layer.tar"), func(tw *tar.Writer) error { return addTree(tw, filepath.Join(dir, "root"), leftOut) })
	if err != nil {
		t.Fatal(err)
	}
	return Base{Key: "k", layer: l}
}

func sampleCheckout(t *testing.T, program string) Builder {
	t.Helper()
	b := Builder{Checkout: t.TempDir()}
	write(t, filepath.Join(b.Checkout, "bin/ovnkctl"), program)
	write(t, filepath.Join(b.Checkout, "bin/ovn-k8s-cni-overlay"), "shim")
	return b
}

// unpack writes an archive's members below a folder.
func unpack(t *testing.T, archive []byte) string {
	t.Helper()
	dir := t.TempDir()
	tr := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, h.Name), string(data))
	}
}

func TestProductIsAValidOCILayout(t *testing.T) {
	t.Parallel()
	b := sampleCheckout(t, "program")
	p, err := b.Product(sampleBase(t), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := p.Write(&out); err != nil {
		t.Fatal(err)
	}
	dir := unpack(t, out.Bytes())
	checkBlobs(t, dir)
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	// Fast: the thorough way knows compressed layers only.
	if err := validate.Index(index, validate.Fast); err != nil {
		t.Errorf("the layout is not valid: %v", err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range manifest.Manifests {
		names = append(names, d.Annotations["io.containerd.image.name"])
	}
	if diff := cmp.Diff([]string{p.Name(), "ghcr.io/ovnkctl/ovnkctl:dev"}, names); diff != "" {
		t.Error(diff)
	}
	img, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/usr/bin/ovnkctl"}, cfg.Config.Entrypoint); diff != "" {
		t.Error(diff)
	}
	if got := files(t, img); !slices.Contains(got, "usr/bin/ovnkctl") || !slices.Contains(got, "usr/libexec/ovnkctl/ovn-k8s-cni-overlay") || !slices.Contains(got, "etc/debian_version") {
		t.Errorf("files %q", got)
	}
}

// checkBlobs compares every blob with the digest in its name.
func checkBlobs(t *testing.T, dir string) {
	t.Helper()
	blobs, err := filepath.Glob(filepath.Join(dir, "blobs/sha256/*"))
	if err != nil || len(blobs) != 4 {
		t.Fatalf("blobs %q, %v: want two layers, a configuration and a manifest", blobs, err)
	}
	for _, b := range blobs {
		data, err := os.ReadFile(b)
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != filepath.Base(b) {
			t.Errorf("blob %s has other content", filepath.Base(b))
		}
	}
}

// files lists the names in all layers.
func files(t *testing.T, img v1.Image) []string {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		tr := tar.NewReader(r)
		for {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, h.Name)
		}
	}
	return out
}

func TestProductTagFollowsContentOnly(t *testing.T) {
	t.Parallel()
	base := sampleBase(t)
	tag := func(program string) string {
		p, err := sampleCheckout(t, program).Product(base, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		return p.Tag
	}
	if one := tag("one"); one != tag("one") || one == tag("two") {
		t.Error("the same programs must have the same tag, others another")
	}
}

func TestLastProductIsTheBuiltOne(t *testing.T) {
	t.Parallel()
	base, dir := sampleBase(t), t.TempDir()
	if _, err := LastProduct(base, dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before the first build: %v", err)
	}
	p, err := sampleCheckout(t, "x").Product(base, dir)
	if err != nil {
		t.Fatal(err)
	}
	last, err := LastProduct(base, dir)
	if err != nil || last.Name() != p.Name() {
		t.Errorf("got %s, %v, want %s", last.Name(), err, p.Name())
	}
}

func TestArchiveLeavesOutWhatTheReceiverHas(t *testing.T) {
	t.Parallel()
	base := sampleBase(t)
	p, err := sampleCheckout(t, "x").Product(base, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := p.write(&out, map[v1.Hash]bool{base.layer.hash: true}); err != nil {
		t.Fatal(err)
	}
	dir := unpack(t, out.Bytes())
	if _, err := os.Stat(filepath.Join(dir, "blobs/sha256", base.layer.hash.Hex)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the Debian layer is in the archive: %v", err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(data, &index); err != nil || len(index.Manifests) != 2 {
		t.Errorf("index %s, %v", data, err)
	}
}

func TestTreeKeepsLinksAndModes(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write(t, filepath.Join(root, "usr/bin/a"), "x")
	for _, err := range []error{
		os.Chmod(filepath.Join(root, "usr/bin/a"), 0o755|fs.ModeSetuid),
		os.Link(filepath.Join(root, "usr/bin/a"), filepath.Join(root, "usr/bin/b")),
		os.Symlink("usr/bin", filepath.Join(root, "bin")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	l, err := writeLayer(filepath.Join(t.TempDir(), "l.tar"), func(tw *tar.Writer) error { return addTree(tw, root, nil) })
	if err != nil {
		t.Fatal(err)
	}
	r, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	type entry struct {
		Name, Link string
		Type       byte
		Mode       int64
	}
	var got []entry
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(h.Name, "/") {
			got = append(got, entry{h.Name, h.Linkname, h.Typeflag, h.Mode})
		}
	}
	want := []entry{
		{"bin", "usr/bin", tar.TypeSymlink, 0o777},
		{"usr/bin/a", "", tar.TypeReg, 0o4755},
		{"usr/bin/b", "usr/bin/a", tar.TypeLink, 0o4755},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLeftOut(t *testing.T) {
	t.Parallel()
	for rel, want := range map[string]bool{
		"usr/share/doc/ovn-host/changelog.gz": true, "usr/share/doc/ovn-host/copyright": false, "usr/bin/ovs-vsctl": false,
	} {
		if leftOut(rel, false) != want {
			t.Errorf("file %s: %v", rel, !want)
		}
	}
	for rel, want := range map[string]bool{
		"usr/share/man": true, "usr/share/openvswitch": false, "var/log/openvswitch": true, "var/log": false,
		"usr/lib/python3/dist-packages/ovs/__pycache__": true, "dev/shm": true, "dev": false, "etc/openvswitch": false,
	} {
		if leftOut(rel, true) != want {
			t.Errorf("folder %s: %v", rel, !want)
		}
	}
}

func TestPackagesIgnoresComments(t *testing.T) {
	t.Parallel()
	got := packages([]byte("# title\n\novn-host  # why\nconntrack\novn-host\n"))
	if diff := cmp.Diff([]string{"conntrack", "ovn-host"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestLibraries(t *testing.T) {
	t.Parallel()
	got := libraries([]byte("\tlinux-vdso.so.1 (0x7ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f)\n\t/lib64/ld-linux-x86-64.so.2 (0x7f)\n"))
	if diff := cmp.Diff([]string{"/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestCloneSharesLayersButNotDatabases(t *testing.T) {
	t.Parallel()
	store, dir := filepath.Join(t.TempDir(), "store"), filepath.Join(t.TempDir(), "node")
	layer := "io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs/etc/openvswitch/conf.db"
	write(t, filepath.Join(store, "io.containerd.metadata.v1.bolt/meta.db"), "db")
	write(t, filepath.Join(store, layer), "a file of an image")
	if err := os.Symlink("/nowhere", filepath.Join(store, filepath.Dir(layer), "dangling.db")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(store, filepath.Dir(layer)), 0o777|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	if err := Clone(store, dir); err != nil {
		t.Fatal(err)
	}
	same := func(rel string) bool {
		a, err := os.Lstat(filepath.Join(store, rel))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.Lstat(filepath.Join(dir, rel))
		if err != nil {
			t.Fatal(err)
		}
		if a.Mode() != b.Mode() {
			t.Errorf("%s: mode %v, want %v", rel, b.Mode(), a.Mode())
		}
		return os.SameFile(a, b)
	}
	if !same(layer) || !same(filepath.Join(filepath.Dir(layer), "dangling.db")) {
		t.Error("a file of an image was copied")
	}
	if same("io.containerd.metadata.v1.bolt/meta.db") {
		t.Error("a database is shared between nodes")
	}
	same(filepath.Dir(layer))
}
