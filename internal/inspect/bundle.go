package inspect

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/dbfile"
)

// The layout of a bundle, below one folder:
//
//	manifest.json                what there is, and what is missing and why
//	collect.log                  the log of the collection
//	cluster/<plural>.json        Kubernetes objects, one kind each
//	nodes/<node>/{nb,sb,ovs}.db  databases, in OVSDB's own format
//	nodes/<node>/text/<name>     texts, see Artefacts
const (
	ManifestFile = "manifest.json"
	LogFile      = "collect.log"
	nodesDir     = "nodes/"
	textDir      = "text/"
)

// DatabaseFile is where a bundle has a node's database.
func DatabaseFile(node string, d *ovn.Database) string {
	return nodesDir + node + "/" + d.Short + ".db"
}

// TextFile is where a bundle has a text of a node.
func TextFile(node, name string) string { return nodesDir + node + "/" + textDir + name }

// Manifest is the table of contents of a bundle.
type Manifest struct {
	APIVersion string     `json:"apiVersion"`
	Kind       string     `json:"kind"`
	Version    string     `json:"version"` // of the program that took it
	Time       time.Time  `json:"time"`
	Server     string     `json:"server"` // the API server's address
	Namespace  string     `json:"namespace"`
	Nodes      []string   `json:"nodes"`
	Items      []Item     `json:"items"`
	Problems   []*Problem `json:"problems,omitempty"`
}

// Item is one file of a bundle, or one that is not there.
type Item struct {
	Path string `json:"path"`
	Node string `json:"node,omitempty"`
	// Status is "ok", "partial" or "failed".
	Status string `json:"status"`
	Bytes  int64  `json:"bytes"`
	// Milliseconds is how long it took to collect.
	Milliseconds int64  `json:"milliseconds"`
	Why          string `json:"why,omitempty"` // of those that are not ok
}

// The statuses of items.
const (
	ItemOK      = "ok"
	ItemPartial = "partial"
	ItemFailed  = "failed"
)

// What a bundle in one file may hold: it is read into memory. A folder has no limits but
// that of one file.
const (
	maxBundle      = int64(4 << 30)
	maxBundleFile  = int64(1 << 30)
	maxBundleFiles = 500_000
	// usualRatio is how many times its size a bundle may have unpacked, if that is more than
	// freely: real ones have 10 to 25, and what was made to fill the memory up to 1,000.
	usualRatio = 100
	freely     = int64(256 << 20)
	// appleDouble is what the names of files begin with in which macOS keeps what belongs to
	// others.
	appleDouble = "._"
	// maxPadding is how much may be behind the end of a tar: tar(1) writes whole blocks.
	maxPadding = int64(1 << 20)
)

// ManifestVersion is the version of bundles that this program writes.
const ManifestVersion = "ovnkctl.io/v1alpha1"

// files are the files of a bundle.
type files interface {
	read(name string) ([]byte, error) // fs.ErrNotExist when there is none
	names() []string                  // in order
	close() error
}

// archive is a bundle in one file.
type archive map[string][]byte

func (a archive) read(name string) ([]byte, error) {
	if data, ok := a[name]; ok {
		return data, nil
	}
	return nil, fs.ErrNotExist
}

func (a archive) names() []string {
	names := make([]string, 0, len(a))
	for name := range a {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (archive) close() error { return nil }

// readArchive reads a tar.gz of some size, or a tar: browsers may unpack what they load. With
// an error the archive has what came before.
func readArchive(r io.Reader, size int64, plain bool) (archive, error) {
	a := archive{}
	z := r
	if !plain {
		var err error
		if z, err = gzip.NewReader(r); err != nil {
			return a, fmt.Errorf("no gzip: %w", err)
		}
	}
	var total int64
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			// The checksum is at the end of gzip, which tar does not read.
			if _, err := io.CopyN(io.Discard, z, maxPadding); err != nil && !errors.Is(err, io.EOF) {
				return a, err
			}
			return a, nil
		}
		if err != nil {
			return a, err
		}
		if h.Typeflag != tar.TypeReg {
			continue // folders; links would lead elsewhere
		}
		name := strings.TrimPrefix(h.Name, "./") // who packs a folder again may have named it so
		if strings.HasPrefix(path.Base(name), appleDouble) {
			continue
		}
		if !fs.ValidPath(name) {
			return a, fmt.Errorf("it names a file outside of itself, %q: no bundle of ovnkctl does", h.Name)
		}
		if total += h.Size; h.Size > maxBundleFile || total > maxBundle || len(a) >= maxBundleFiles {
			return a, fmt.Errorf("more than %d MiB in all, %d MiB in one file or %d files: unpack it with tar and name the folder",
				maxBundle>>20, maxBundleFile>>20, maxBundleFiles)
		}
		if total > max(freely, size*usualRatio) {
			return a, fmt.Errorf("it unpacks to more than %d times its size, which no bundle of ovnkctl does: "+
				"if you trust it, unpack it with tar and name the folder", usualRatio)
		}
		// Not as much as the header promises at once: it may lie.
		var b bytes.Buffer
		if _, err := io.Copy(&b, t); err != nil {
			return a, err
		}
		a[name] = b.Bytes()
	}
}

// folder is a bundle that was unpacked. Symbolic links that lead out of it are not followed.
type folder struct {
	root *os.Root
	list []string
}

func openFolder(name string) (*folder, error) {
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	f := &folder{root: root}
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			f.list = append(f.list, name)
		}
		if len(f.list) > maxBundleFiles {
			return fmt.Errorf("folder %s has more than %d files", root.Name(), maxBundleFiles)
		}
		return err
	})
	slices.Sort(f.list)
	return f, err
}

func (f *folder) read(name string) ([]byte, error) {
	r, err := f.root.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxBundleFile+1))
	if int64(len(data)) > maxBundleFile {
		return nil, fmt.Errorf("file %s is longer than %d MiB", name, maxBundleFile>>20)
	}
	return data, err
}

func (f *folder) names() []string { return f.list }
func (f *folder) close() error    { return f.root.Close() }

// bundle is a bundle as a source.
type bundle struct {
	path     string
	files    files
	base     string // the one folder that everything is in, with its slash; or empty
	manifest Manifest
	programs *programs
}

// newBundle finds the manifest. Without one it goes by what there is.
func newBundle(name string, f files, find func(string) (string, error)) (*bundle, []*Problem, error) {
	b := &bundle{path: name, files: f}
	b.programs = newPrograms(find)
	var problems []*Problem
	for _, n := range f.names() {
		if path.Base(n) == ManifestFile && strings.Count(n, "/") <= 1 {
			b.base = strings.TrimSuffix(n, ManifestFile)
		}
	}
	data, err := f.read(b.base + ManifestFile)
	if err == nil {
		err = json.Unmarshal(data, &b.manifest)
	}
	if err == nil {
		if v := b.manifest.APIVersion; v != "" && v != ManifestVersion {
			problems = append(problems, &Problem{
				What: ManifestFile + " of the bundle", Why: fmt.Sprintf("its version is %s and this program knows %s: what is not known is left out", v, ManifestVersion),
				Next: "use the ovnkctl that took it: " + b.manifest.Version,
			})
		}
		known := slices.DeleteFunc(b.manifest.Problems, func(p *Problem) bool { return p == nil })
		return b, append(problems, known...), nil
	}
	b.manifest = Manifest{} // half of it is none
	if !b.guess() {
		return nil, nil, &Problem{
			What: name, Why: "it has neither a manifest nor nodes: it is no bundle", err: ErrAbsent,
			Next: "name a bundle of 'ovnkctl collect', the folder that it was unpacked to, or database files",
		}
	}
	why := "it is missing; the bundle is cut short"
	if !errors.Is(err, fs.ErrNotExist) {
		why = err.Error()
	}
	return b, append(problems, &Problem{What: ManifestFile + " of the bundle", Why: why, Next: "collect again, or ask for the whole file"}), nil
}

// guess finds the nodes of a bundle without manifest.
func (b *bundle) guess() bool {
	for _, n := range b.files.names() {
		at := strings.Index(n, nodesDir)
		if at < 0 || at > 0 && (n[at-1] != '/' || strings.Count(n[:at], "/") > 1) {
			continue
		}
		node, _, ok := strings.Cut(n[at+len(nodesDir):], "/")
		if ok && !slices.Contains(b.manifest.Nodes, node) {
			b.base = n[:at]
			b.manifest.Nodes = append(b.manifest.Nodes, node)
		}
	}
	return len(b.manifest.Nodes) > 0
}

func (b *bundle) origin() Origin {
	return Origin{Kind: Bundle, Name: b.path, Time: b.manifest.Time, Version: b.manifest.Version}
}

func (b *bundle) close() error { return errors.Join(b.programs.close(), b.files.close()) }

func (b *bundle) nodes(context.Context) ([]string, error) {
	return slices.Clone(b.manifest.Nodes), nil
}

func (b *bundle) namespace() string { return b.manifest.Namespace }

func (b *bundle) networkPods(ctx context.Context) ([]corev1.Pod, error) {
	e := &everything{}
	if _, err := b.read(ctx, e, named([]Resource{Pods}, false)); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(e.Pods, func(p corev1.Pod) bool {
		return !slices.Contains(networkApps, p.Labels[appLabel]) || b.manifest.Namespace != "" && p.Namespace != b.manifest.Namespace
	}), nil
}

func (b *bundle) read(_ context.Context, to *everything, kinds []*resource) ([]*Problem, error) {
	var problems []*Problem
	for _, r := range kinds {
		data, err := b.files.read(b.base + r.file())
		if err == nil {
			err = r.read(to, data)
		}
		switch {
		case err == nil:
		case errors.Is(err, fs.ErrNotExist) && b.excused(r.file()):
			// The manifest's problems say why, or the cluster has no such kind.
		default:
			problems = append(problems, &Problem{What: r.plural, Why: b.why(r.file(), err), err: err, Next: "collect again"})
		}
	}
	return problems, nil
}

// excused tells whether the manifest knows that a file is missing.
func (b *bundle) excused(name string) bool {
	if b.manifest.Kind == "" {
		return false
	}
	return !slices.ContainsFunc(b.manifest.Items, func(i Item) bool { return i.Path == name && i.Status != ItemFailed })
}

// why is why a file is not there.
func (b *bundle) why(name string, err error) string {
	if !errors.Is(err, fs.ErrNotExist) {
		return err.Error()
	}
	for _, i := range b.manifest.Items {
		if i.Path == name && i.Why != "" {
			return "it was not collected: " + i.Why
		}
	}
	return "the bundle does not have it"
}

func (b *bundle) node(name string) nodeSource { return &bundleNode{bundle: b, name: name} }

// bundleNode is a node of a bundle.
type bundleNode struct {
	bundle *bundle
	name   string
}

func (n *bundleNode) file(name, what string) ([]byte, error) {
	data, err := n.bundle.files.read(n.bundle.base + name)
	if errors.Is(err, fs.ErrNotExist) {
		for _, p := range n.bundle.manifest.Problems {
			if p != nil && p.Node == n.name && p.What == "" { // nothing of the node is there
				away := *p
				away.err = ErrAbsent
				return nil, &away
			}
		}
		p := &Problem{Node: n.name, What: what, Why: n.bundle.why(name, err), err: ErrAbsent}
		if n.bundle.manifest.Kind == "" { // it is cut short
			p.Next = "ask for the whole file, or collect again"
		}
		return nil, p
	}
	return data, err
}

func (n *bundleNode) database(_ context.Context, d *ovn.Database, _ []string) (*ovn.Content, error) {
	data, err := n.file(DatabaseFile(n.name, d), d.Name)
	if err != nil {
		return nil, err
	}
	return loadFile(data, d)
}

// loadFile reads a database file; with an error it returns what could be read, if anything.
func loadFile(data []byte, d *ovn.Database) (*ovn.Content, error) {
	c, info, problems, err := dbfile.Load(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	if c.Database != d {
		return nil, fmt.Errorf("the file holds %s", c.Database.Name)
	}
	if info.Damage != nil {
		problems = append(problems, &Problem{
			What: "file of " + d.Name, err: info.Damage,
			Why:  fmt.Sprintf("it is damaged behind %d of %d bytes: %v; what came before is used", info.Intact, info.Size, info.Damage),
			Next: "take what it shows for older than the file",
		})
	}
	return c, errors.Join(problems...)
}

func (n *bundleNode) text(_ context.Context, name string) ([]byte, error) {
	if !fs.ValidPath(name) {
		return nil, fmt.Errorf("%w: no text is called %q", ErrAbsent, name)
	}
	return n.file(TextFile(n.name, name), name)
}

func (n *bundleNode) texts(context.Context) ([]string, error) {
	var names []string
	for _, f := range n.bundle.files.names() {
		if name, ok := strings.CutPrefix(f, n.bundle.base+TextFile(n.name, "")); ok {
			names = append(names, name)
		}
	}
	return names, nil
}

func (n *bundleNode) exec(ctx context.Context, _ string, argv []string) (Output, error) {
	return n.bundle.programs.run(ctx, n.name, argv, n.southbound)
}

func (n *bundleNode) southbound() ([]byte, error) {
	d := ovn.Southbound()
	return n.file(DatabaseFile(n.name, d), d.Name)
}
