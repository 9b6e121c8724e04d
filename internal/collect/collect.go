// Package collect writes bundles: what a cluster's network is at one moment, in one file
// that the tools open as they open a cluster.
//
//	inspect.Snapshot (live) ──> Run ──> bundle.tar.gz ──> inspect.Open
//
// What cannot be collected is named in the manifest and does not keep the rest from being
// there.
package collect

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/output"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/dbfile"
)

// Options say what is collected.
type Options struct {
	Snapshot *inspect.Snapshot
	// Namespace of the network, Version of this program: for the manifest.
	Namespace, Version string
	// Nodes to collect from; nil for all.
	Nodes []string
	// Logs has the logs of the network's containers collected, too.
	Logs bool
	// Out is where the bundle goes.
	Out io.Writer
	// Name is the folder that everything in the bundle is in.
	Name string
	// Log gets what is said meanwhile; the bundle has a copy of its own.
	Log slog.Handler
	// Progress is told when a node is done; nil for nobody.
	Progress func(node string, done, all int)
	// Now is the clock; nil for the real one.
	Now func() time.Time
}

// textsAtOnce is how many programs run on a node at the same time: more would take what the
// daemons need.
const textsAtOnce = 4

// WriteError is that the bundle could not be written: what there is of it is no bundle.
type WriteError struct{ Err error }

func (e *WriteError) Error() string { return "bundle: " + e.Err.Error() }
func (e *WriteError) Unwrap() error { return e.Err }

// Hint says what to do about it.
func (e *WriteError) Hint() string {
	return "look whether there is space left, or name another place with --file; --dry-run says how much it will be"
}

// Run collects. What was collected is a whole bundle also with an error that is about the
// cluster as a whole, and when ctx ends early; with a WriteError it is none.
func Run(ctx context.Context, o Options) (*Collection, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	began := o.Now()
	w := newWriter(o)
	c := &collector{Options: o, w: w}
	handler := slog.Handler(slog.NewTextHandler(&c.ownLog, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if o.Log != nil {
		handler = slog.NewMultiHandler(handler, o.Log)
	}
	c.log = slog.New(handler)
	working, stop := context.WithCancel(ctx)
	defer stop()
	w.failed = stop // nobody is asked for what cannot be written
	nodes, err := c.run(working)
	if failure := w.failure(); failure != nil {
		return newCollection(c.manifest(began, nodes), w.written(), o.Now().Sub(began)), failure
	}
	if ctx.Err() != nil {
		o.Snapshot.Note(&inspect.Problem{What: "collection", Why: "it was interrupted: " + ctx.Err().Error(), Next: "collect again"})
		err = errors.Join(err, ctx.Err())
	}
	manifest := c.manifest(began, nodes)
	c.log.Info("collected", "files", len(manifest.Items), "problems", len(manifest.Problems))
	err = errors.Join(err, w.finish(manifest, c.ownLog.Bytes()))
	return newCollection(manifest, w.written(), o.Now().Sub(began)), err
}

// collector is one collection.
type collector struct {
	Options
	w      *writer
	log    *slog.Logger
	ownLog locked
}

func (c *collector) run(ctx context.Context) ([]string, error) {
	nodes := c.Nodes
	if nodes == nil {
		var err error
		if nodes, err = c.Snapshot.Nodes(ctx); err != nil {
			return nil, err
		}
	}
	var g errgroup.Group
	g.Go(func() error { return c.objects(ctx) })
	var mu sync.Mutex
	done := 0
	g.Go(func() error {
		return c.Snapshot.Each(ctx, nodes, func(ctx context.Context, n *inspect.Node) error {
			err := c.node(ctx, n)
			mu.Lock()
			defer mu.Unlock()
			done++
			if c.Progress != nil {
				c.Progress(n.Name(), done, len(nodes))
			}
			return err
		})
	})
	return nodes, g.Wait()
}

func (c *collector) objects(ctx context.Context) error {
	began := c.Now()
	files, err := c.Snapshot.ObjectFiles(ctx)
	for _, f := range files {
		if err := c.w.add(inspect.Item{Path: f.Path, Status: inspect.ItemOK, Milliseconds: c.since(began)}, f.Data); err != nil {
			return err
		}
	}
	c.log.Info("Kubernetes objects", "kinds", len(files), "err", err)
	return err
}

func (c *collector) since(began time.Time) int64 { return c.Now().Sub(began).Milliseconds() }

// node collects from one node. The error is that of the node as a whole.
func (c *collector) node(ctx context.Context, n *inspect.Node) error {
	names, err := n.Texts(ctx)
	if err != nil && len(names) == 0 {
		c.log.Warn("node not reached", "node", n.Name(), "err", err)
		return err
	}
	var g errgroup.Group
	g.SetLimit(textsAtOnce + len(ovn.Databases()))
	for _, d := range ovn.Databases() {
		g.Go(func() error { return c.database(ctx, n, d) })
	}
	slots := make(chan struct{}, textsAtOnce)
	for _, name := range names {
		if !c.Logs && strings.HasPrefix(name, "logs/") {
			continue
		}
		g.Go(func() error {
			slots <- struct{}{}
			defer func() { <-slots }()
			return c.text(ctx, n, name)
		})
	}
	return errors.Join(err, g.Wait())
}

// database writes a database as its server told it, without secrets.
func (c *collector) database(ctx context.Context, n *inspect.Node, d *ovn.Database) error {
	item := inspect.Item{Path: inspect.DatabaseFile(n.Name(), d), Node: n.Name(), Status: inspect.ItemOK}
	began := c.Now()
	answer, err := n.Answer(ctx, d)
	var file bytes.Buffer
	if err == nil {
		for _, rows := range answer.Rows {
			for _, row := range rows {
				inspect.RedactRow(row)
			}
		}
		err = dbfile.Write(&file, answer.Schema, answer.Rows, began)
	}
	item.Milliseconds = c.since(began)
	if err != nil {
		return c.failed(item, err)
	}
	c.log.Debug("database", "node", n.Name(), "db", d.Short, "bytes", file.Len(), "ms", item.Milliseconds)
	return c.w.add(item, file.Bytes())
}

func (c *collector) text(ctx context.Context, n *inspect.Node, name string) error {
	item := inspect.Item{Path: inspect.TextFile(n.Name(), name), Node: n.Name(), Status: inspect.ItemOK}
	began := c.Now()
	text, err := n.Text(ctx, name)
	item.Milliseconds = c.since(began)
	if err != nil {
		return c.failed(item, err)
	}
	c.log.Debug("text", "node", n.Name(), "text", name, "bytes", len(text), "ms", item.Milliseconds)
	return c.w.add(item, []byte(inspect.RedactText(text)))
}

// failed notes what is not there. The error is one of writing.
func (c *collector) failed(item inspect.Item, err error) error {
	item.Status, item.Why = inspect.ItemFailed, err.Error()
	c.log.Warn("not collected", "path", item.Path, "err", err)
	var p *inspect.Problem
	if !errors.As(err, &p) {
		p = &inspect.Problem{Node: item.Node, What: item.Path, Why: err.Error()}
	}
	c.Snapshot.Note(p)
	return c.w.add(item, nil)
}

func (c *collector) manifest(began time.Time, nodes []string) *inspect.Manifest {
	origin := c.Snapshot.Origin()
	return &inspect.Manifest{
		APIVersion: output.APIVersion, Kind: "Bundle", Version: c.Version, Time: began.UTC().Truncate(time.Second),
		Server: origin.Name, Namespace: c.Namespace, Nodes: nodes, Items: c.w.list(), Problems: c.Snapshot.Problems(),
	}
}

// locked is a buffer that many write to.
type locked struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(b)
}

// writer writes the files of a bundle, one after the other.
type writer struct {
	mu    sync.Mutex
	count counting
	zip   *gzip.Writer
	tar   *tar.Writer
	name  string
	time  time.Time
	items []inspect.Item
	err   error // what ended the writing
	// failed is called when the writing ends.
	failed func()
}

func newWriter(o Options) *writer {
	w := &writer{name: o.Name, time: o.Now(), count: counting{w: o.Out}}
	w.zip = gzip.NewWriter(&w.count)
	w.tar = tar.NewWriter(w.zip)
	return w
}

// counting counts what is written.
type counting struct {
	w io.Writer
	n int64
}

func (c *counting) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// add writes a file, and notes it; without data it only notes.
func (w *writer) add(i inspect.Item, data []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	i.Bytes = int64(len(data))
	w.items = append(w.items, i)
	if i.Status == inspect.ItemFailed {
		return nil
	}
	return w.file(i.Path, data)
}

func (w *writer) file(path string, data []byte) error {
	if w.err != nil {
		return w.err
	}
	w.err = w.tar.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: w.name + "/" + path, Size: int64(len(data)), Mode: 0o600, ModTime: w.time,
	})
	if w.err == nil {
		_, w.err = w.tar.Write(data)
	}
	return w.end(w.err)
}

// end notes what ended the writing.
func (w *writer) end(err error) error {
	if err == nil {
		return nil
	}
	if !errors.As(err, new(*WriteError)) {
		err = &WriteError{err}
	}
	w.err = err
	if w.failed != nil {
		w.failed()
	}
	return err
}

// failure is what ended the writing.
func (w *writer) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// list is what was noted, in order.
func (w *writer) list() []inspect.Item {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := slices.Clone(w.items)
	slices.SortFunc(out, func(a, b inspect.Item) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// finish writes the manifest and the log, and ends the file.
func (w *writer) finish(m *inspect.Manifest, log []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	data, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return w.file(inspect.LogFile, []byte(inspect.RedactText(string(log)))) },
		func() error { return w.file(inspect.ManifestFile, append(data, '\n')) },
		w.tar.Close, w.zip.Close,
	} {
		if err := step(); err != nil {
			return w.end(err)
		}
	}
	return nil
}

func (w *writer) written() int64 { return w.count.n }
