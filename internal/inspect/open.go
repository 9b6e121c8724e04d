package inspect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/dbfile"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
)

// OpenConfig is what Open needs.
type OpenConfig struct {
	// Paths are one bundle, in one file or as a folder, or database files of any nodes.
	Paths []string
	// Timeout bounds each single wait, for programs; 0 for DefaultTimeout.
	Timeout time.Duration
	// Find finds the programs of OVN on this machine; nil looks into PATH.
	Find func(name string) (string, error)
}

// Open opens a record: a bundle, or database files.
func Open(c OpenConfig) (*Snapshot, error) {
	if whole := strings.Join(c.Paths, ","); len(c.Paths) > 1 && isThere(whole) {
		c.Paths = []string{whole} // a comma is part of the name
	}
	if p := severalBundles(c.Paths); p != nil {
		return nil, p
	}
	if len(c.Paths) == 1 {
		s, problems, err := openOne(c)
		if err != nil {
			return nil, problemOf("", c.Paths[0], err)
		}
		if s != nil {
			return noting(newSnapshot(s, c.Timeout), problems), nil
		}
	}
	f := &databaseFiles{names: c.Paths, byNode: map[string]map[*ovn.Database][]byte{}}
	f.programs = newPrograms(c.Find)
	problems, err := f.load()
	if err != nil {
		return nil, err
	}
	return noting(newSnapshot(f, c.Timeout), problems), nil
}

func isThere(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// severalBundles is a bundle among several paths: one cluster at one moment is one bundle.
func severalBundles(paths []string) *Problem {
	if len(paths) < 2 {
		return nil
	}
	for _, name := range paths {
		start, err := head(name)
		if isThere(filepath.Join(name, ManifestFile)) || err == nil && (strings.HasPrefix(start, gzipMagic) || isTar(name)) {
			return &Problem{
				What: strings.Join(paths, ", "), Why: name + " is a bundle, and only one can be read at a time", err: ErrAbsent,
				Next: "name one bundle, and run the command again for the other; or several database files",
			}
		}
	}
	return nil
}

// isTar tells whether a file is a tar that is not compressed.
func isTar(name string) bool {
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	magic := make([]byte, len(tarMagic))
	_, err = f.ReadAt(magic, tarMagicAt)
	return err == nil && string(magic) == tarMagic
}

func noting(s *Snapshot, problems []*Problem) *Snapshot {
	for _, p := range problems {
		s.note(p)
	}
	return s
}

// gzipMagic is how gzip files begin (RFC 1952), databaseMagic how databases do; tarMagic is in
// the first header of tars (POSIX ustar).
const (
	tarMagic      = "ustar"
	tarMagicAt    = 257
	gzipMagic     = "\x1f\x8b"
	databaseMagic = "OVSDB "
)

// openOne opens a bundle; nil when the path is that of database files.
func openOne(c OpenConfig) (source, []*Problem, error) {
	name := c.Paths[0]
	stat, err := os.Stat(name)
	if err != nil {
		return nil, nil, missingFile(name, err)
	}
	if stat.IsDir() {
		f, err := openFolder(name)
		if err != nil {
			return nil, nil, err
		}
		b, problems, err := newBundle(name, f, c.Find)
		if err != nil {
			f.close()
			if dbs, _ := databasesIn(name); len(dbs) > 0 {
				return nil, nil, nil
			}
			return nil, nil, err
		}
		return b, problems, nil
	}
	r, err := os.Open(name)
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	start := make([]byte, len(databaseMagic))
	n, _ := io.ReadFull(r, start)
	plain := isTar(name)
	switch {
	case string(start) == databaseMagic:
		return nil, nil, nil
	case plain:
	case n < len(gzipMagic) || string(start[:len(gzipMagic)]) != gzipMagic:
		return nil, nil, &Problem{
			What: name, Why: "it is neither a bundle (tar.gz) nor an OVSDB file", err: dbfile.ErrNotDatabase,
			Next: "name a bundle of 'ovnkctl collect', the folder that it was unpacked to, or database files",
		}
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, nil, err
	}
	a, damage := readArchive(r, stat.Size(), plain)
	b, problems, err := newBundle(name, a, c.Find)
	if err != nil {
		if damage != nil {
			err = &Problem{What: name, Why: "it cannot be read: " + damage.Error(), err: damage, Next: "ask for the whole file, or collect again"}
		}
		return nil, nil, err
	}
	if damage != nil {
		problems = append(problems, &Problem{
			What: name, Why: fmt.Sprintf("it is damaged or cut short (%v); what came before is used: %d files", damage, len(a)), err: damage,
			Next: "ask for the whole file, or collect again",
		})
	}
	return b, problems, nil
}

func missingFile(name string, err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return &Problem{What: name, Why: "there is no such file", err: err, Next: "look at the path behind --from"}
	}
	return err
}

// databaseFiles are bare database files as a source.
type databaseFiles struct {
	names    []string
	byNode   map[string]map[*ovn.Database][]byte
	programs *programs
	latest   time.Time
}

// unnamed is the node of databases that do not tell whose they are.
const unnamed = "unknown"

// databasesIn are the database files in a folder.
func databasesIn(name string) ([]string, error) {
	entries, err := os.ReadDir(name)
	var out []string
	for _, e := range entries {
		file := filepath.Join(name, e.Name())
		if start, err := head(file); err == nil && start == databaseMagic && e.Type().IsRegular() {
			out = append(out, file)
		}
	}
	return out, err
}

func head(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	start := make([]byte, len(databaseMagic))
	_, err = io.ReadFull(f, start)
	return string(start), err
}

// load finds out which node each file is of.
func (f *databaseFiles) load() ([]*Problem, error) {
	var paths []string
	for _, name := range f.names {
		stat, err := os.Stat(name)
		if err != nil {
			return nil, missingFile(name, err)
		}
		if !stat.IsDir() {
			paths = append(paths, name)
			continue
		}
		in, err := databasesIn(name)
		if err != nil {
			return nil, err
		}
		paths = append(paths, in...)
	}
	type orphan struct {
		name string
		d    *ovn.Database
		data []byte
	}
	var orphans []orphan
	var problems []*Problem
	for _, name := range paths {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		c, _, _, err := dbfile.Load(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			problems = append(problems, &Problem{What: name, Why: err.Error(), err: err, Next: "leave it out, or name a database of OVN or Open vSwitch"})
			continue
		}
		if stat, err := os.Stat(name); err == nil && stat.ModTime().After(f.latest) {
			f.latest = stat.ModTime()
		}
		if node := nodeOf(c); node != "" {
			if p := f.put(node, name, c.Database, data); p != nil {
				problems = append(problems, p)
			}
		} else {
			orphans = append(orphans, orphan{name, c.Database, data})
		}
	}
	only := unnamed
	if len(f.byNode) == 1 {
		for only = range f.byNode {
		}
	}
	for _, o := range orphans {
		if p := f.put(only, o.name, o.d, o.data); p != nil {
			problems = append(problems, p)
		}
	}
	if len(f.byNode) == 0 {
		return nil, &Problem{
			What: strings.Join(f.names, ", "), Why: "there is no database of OVN or Open vSwitch", err: errors.Join(Errors(problems)...),
			Next: "name a bundle of 'ovnkctl collect', the folder that it was unpacked to, or database files",
		}
	}
	return problems, nil
}

func (f *databaseFiles) put(node, name string, d *ovn.Database, data []byte) *Problem {
	if f.byNode[node] == nil {
		f.byNode[node] = map[*ovn.Database][]byte{}
	}
	if f.byNode[node][d] != nil {
		return &Problem{Node: node, What: name, Why: "there is another " + d.Name + " of the node; this one is left out", Next: "name one file of each database"}
	}
	f.byNode[node][d] = data
	return nil
}

// nodeOf is the node that a database is of: the zone's name, or the host's.
func nodeOf(c *ovn.Content) string {
	for _, g := range ovn.RowsOf[nb.NBGlobal](orEmpty(c, ovn.Northbound())) {
		return g.Name
	}
	for _, h := range ovn.RowsOf[sb.Chassis](orEmpty(c, ovn.Southbound())) {
		if h.OtherConfig["is-remote"] != "true" {
			return h.Hostname
		}
	}
	for _, o := range ovn.RowsOf[vswitch.OpenvSwitch](orEmpty(c, ovn.OpenVSwitch())) {
		return o.ExternalIDs["hostname"]
	}
	return ""
}

func orEmpty(c *ovn.Content, d *ovn.Database) *ovn.Content {
	if c.Database == d {
		return c
	}
	return ovn.NewContent(d, "")
}

func (f *databaseFiles) origin() Origin {
	return Origin{Kind: Files, Name: strings.Join(f.names, ", "), Time: f.latest}
}

func (f *databaseFiles) read(context.Context, *everything, []*resource) ([]*Problem, error) {
	return []*Problem{{
		What: "Kubernetes objects", Why: "database files have none", err: ErrAbsent,
		Next: "use a bundle of 'ovnkctl collect', which has them",
	}}, nil
}

func (f *databaseFiles) nodes(context.Context) ([]string, error) {
	var names []string
	for name := range f.byNode {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

// networkPods are none: files do not tell of pods.
func (f *databaseFiles) networkPods(context.Context) ([]corev1.Pod, error) { return nil, nil }
func (f *databaseFiles) namespace() string                                 { return "" }

func (f *databaseFiles) close() error                { return f.programs.close() }
func (f *databaseFiles) node(name string) nodeSource { return &fileNode{files: f, name: name} }

// fileNode is a node of which there are database files.
type fileNode struct {
	files *databaseFiles
	name  string
}

func (n *fileNode) file(d *ovn.Database) ([]byte, error) {
	if data, ok := n.files.byNode[n.name][d]; ok {
		return data, nil
	}
	return nil, &Problem{Node: n.name, What: d.Name, Why: "no file of it was named", err: ErrAbsent, Next: "name it behind --from, too"}
}

func (n *fileNode) database(_ context.Context, d *ovn.Database, _ []string) (*ovn.Content, error) {
	data, err := n.file(d)
	if err != nil {
		return nil, err
	}
	return loadFile(data, d)
}

func (n *fileNode) text(_ context.Context, name string) ([]byte, error) {
	return nil, &Problem{Node: n.name, What: name, Why: "database files have no texts", err: ErrAbsent, Next: "use a bundle of 'ovnkctl collect', which has them"}
}

func (n *fileNode) texts(context.Context) ([]string, error) { return nil, nil }

func (n *fileNode) exec(ctx context.Context, _ string, argv []string) (Output, error) {
	return n.files.programs.run(ctx, n.name, argv, n.southbound)
}

func (n *fileNode) southbound() ([]byte, error) { return n.file(ovn.Southbound()) }
