// Package inspect is where the tools look: a live cluster, a bundle that `ovnkctl collect`
// wrote, or bare database files, all read the same way.
//
//	kubeconfig ── API, pods/exec ──> live ──┐
//	bundle.tar.gz, directory ──────> bundle ┼─> Snapshot ─┬─ Objects, World   Kubernetes
//	nb.db sb.db conf.db ───────────> files ─┘             └─ Node ─┬─ Database   NB, SB, OVS
//	                                                               ├─ Text       flows, nft, …
//	                                                               └─ Exec       ovn-trace, …
//
// Nothing is read before it is asked for, and once only. What cannot be read of a node is a
// Problem of the snapshot, never silence and never the end of everything.
package inspect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/query"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Problem is something that could not be read, in the three parts that every error has.
type Problem struct {
	Node string `json:"node,omitempty"` // empty for what is of no node
	What string `json:"what,omitempty"` // what could not be read; empty for the node as a whole
	Why  string `json:"why"`
	Next string `json:"next,omitempty"` // what to do about it

	err error
	// everywhere is a problem that all nodes would have alike.
	everywhere bool
}

// Error is the problem on one line.
func (p *Problem) Error() string {
	switch {
	case p.Node != "" && p.What == "":
		return fmt.Sprintf("node %s: %s", p.Node, p.Why)
	case p.Node != "":
		return fmt.Sprintf("%s of node %s: %s", p.What, p.Node, p.Why)
	}
	return p.What + ": " + p.Why
}

// Hint is what to do about it.
func (p *Problem) Hint() string { return p.Next }

// Unwrap is the error behind the problem, if there is any.
func (p *Problem) Unwrap() error { return p.err }

// ErrAbsent is a text or database that the source does not have.
var ErrAbsent = errors.New("not there")

// Kind says what a source is.
type Kind string

// The kinds of sources.
const (
	Live   Kind = "live"
	Bundle Kind = "bundle"
	Files  Kind = "files"
)

// Origin says where a snapshot is from, and of when.
type Origin struct {
	Kind Kind `json:"kind"`
	// Name is the API server's address, or the path.
	Name string    `json:"name"`
	Time time.Time `json:"time,omitzero"` // when a bundle was taken
	// Version is that of the program that took a bundle.
	Version string `json:"version,omitempty"`
}

// source is a cluster or a record of one, without memory.
type source interface {
	origin() Origin
	namespace() string // of the network; empty when it is not known
	// read adds the objects of these kinds; those that could not be read are problems.
	read(ctx context.Context, to *everything, kinds []*resource) ([]*Problem, error)
	networkPods(ctx context.Context) ([]corev1.Pod, error)
	nodes(ctx context.Context) ([]string, error)
	node(name string) nodeSource
	close() error
}

// nodeSource is one node of a source.
type nodeSource interface {
	// database reads tables, nil for all.
	database(ctx context.Context, d *ovn.Database, tables []string) (*ovn.Content, error)
	text(ctx context.Context, name string) ([]byte, error)
	texts(ctx context.Context) ([]string, error)
	exec(ctx context.Context, container string, argv []string) (Output, error)
}

// answerer is a node whose databases have servers.
type answerer interface {
	answer(context.Context, query.Request) (*query.Answer, error)
}

// Output is what a program printed.
type Output struct {
	Stdout, Stderr []byte
	Code           int // exit code
}

// nodesAtOnce bounds how many nodes are read at the same time: each costs the API server a
// stream, and the operator's machine the memory for its databases.
const nodesAtOnce = 8

// Snapshot is a cluster as it was when it was looked at. It is safe for concurrent use.
type Snapshot struct {
	source  source
	timeout time.Duration

	mu       sync.Mutex
	open     map[string]*Node
	problems []*Problem
	loads    map[*resource]*loading
	objects  everything // of kinds that are read
	world    *world.Store
	worldOf  map[*resource]bool // the kinds that it is made of
	own      once[[]corev1.Pod]
	names    once[[]string]
}

func newSnapshot(s source, timeout time.Duration) *Snapshot {
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	return &Snapshot{source: s, timeout: timeout, open: map[string]*Node{}, loads: map[*resource]*loading{}}
}

// DefaultTimeout bounds each single wait for a cluster.
const DefaultTimeout = 30 * time.Second

// Close ends what was opened.
func (s *Snapshot) Close() error { return s.source.close() }

// Origin says where the snapshot is from.
func (s *Snapshot) Origin() Origin { return s.source.origin() }

// Namespace is the network's; empty where it is not known.
func (s *Snapshot) Namespace() string { return s.source.namespace() }

// NetworkPods are the pods of the network, which is less than to list all pods.
func (s *Snapshot) NetworkPods(ctx context.Context) ([]corev1.Pod, error) {
	return s.own.get(func() ([]corev1.Pod, error) {
		ctx, cancel := context.WithTimeout(ctx, s.timeout)
		defer cancel()
		list, err := s.source.networkPods(ctx)
		return list, timely(ctx, err, "pods of the network", "")
	})
}

// Nodes are the names of the nodes that run the network, in order.
func (s *Snapshot) Nodes(ctx context.Context) ([]string, error) {
	return s.names.get(func() ([]string, error) {
		ctx, cancel := context.WithTimeout(ctx, s.timeout)
		defer cancel()
		list, err := s.source.nodes(ctx)
		slices.Sort(list)
		return list, timely(ctx, err, "list of nodes", "")
	})
}

// Node is a node by name. Nothing is opened before something is asked of it.
func (s *Snapshot) Node(name string) *Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.open[name]
	if n == nil {
		n = &Node{name: name, source: s.source.node(name), snapshot: s}
		s.open[name] = n
	}
	return n
}

// Each calls f for nodes, some at the same time; nil nodes are all of them. An error of f is
// a problem of its node, and does not keep f from the others. The error is about the list of
// nodes, or that ctx has ended.
func (s *Snapshot) Each(ctx context.Context, nodes []string, f func(context.Context, *Node) error) error {
	if nodes == nil {
		var err error
		if nodes, err = s.Nodes(ctx); err != nil {
			return err
		}
	}
	var g errgroup.Group
	g.SetLimit(nodesAtOnce)
	for _, name := range nodes {
		g.Go(func() error {
			n := s.Node(name)
			if err := f(ctx, n); err != nil && ctx.Err() == nil {
				s.Note(problemOf(name, "state", err))
			}
			return nil
		})
	}
	_ = g.Wait()
	return ctx.Err()
}

// Note adds a problem that a reader found; the same one counts once.
func (s *Snapshot) Note(p *Problem) { s.note(p) }

// NoteError is Note of what went wrong when something was read of a node.
func (s *Snapshot) NoteError(node, what string, err error) { s.note(problemOf(node, what, err)) }

func (s *Snapshot) note(p *Problem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noteLocked(p)
}

func (s *Snapshot) noteLocked(p *Problem) {
	if !slices.ContainsFunc(s.problems, func(o *Problem) bool { return o.Node == p.Node && o.What == p.What && o.Why == p.Why }) {
		s.problems = append(s.problems, p)
	}
}

// Problems are what could not be read so far, in order of nodes. A result with problems is
// partial.
func (s *Snapshot) Problems() []*Problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.Clone(s.problems)
	slices.SortStableFunc(out, func(a, b *Problem) int {
		return strings.Compare(a.Node+"\x00"+a.What, b.Node+"\x00"+b.What)
	})
	return out
}

// Node is one node of a snapshot.
type Node struct {
	name     string
	source   nodeSource
	snapshot *Snapshot

	mu        sync.Mutex
	databases map[*ovn.Database]*opened
	texts     map[string]*once[[]byte]
}

// opened is what is read so far of a database.
type opened struct {
	mu      sync.Mutex
	content *ovn.Content
	all     bool
	tables  map[string]bool
}

// Name is the node's name.
func (n *Node) Name() string { return n.name }

// Database is the content of one of the node's databases; with tables, of these and maybe
// others. Tables read by different calls may be of different moments.
func (n *Node) Database(ctx context.Context, d *ovn.Database, tables ...string) (*ovn.Content, error) {
	n.mu.Lock()
	if n.databases == nil {
		n.databases = map[*ovn.Database]*opened{}
	}
	o := n.databases[d]
	if o == nil {
		o = &opened{tables: map[string]bool{}}
		n.databases[d] = o
	}
	n.mu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	missing := slices.DeleteFunc(slices.Clone(tables), func(t string) bool { return o.tables[t] })
	if o.all || len(tables) > 0 && len(missing) == 0 {
		return o.content, nil
	}
	ctx, cancel := context.WithTimeout(ctx, n.snapshot.timeout)
	defer cancel()
	read, err := n.source.database(ctx, d, missing)
	if read == nil {
		return nil, timely(ctx, err, d.Name, n.name)
	}
	if err != nil { // part of it
		n.snapshot.note(problemOf(n.name, d.Name, err))
	}
	if o.content != nil {
		merged := ovn.NewContent(d, read.Version) // others may be reading the old one
		merged.Take(o.content)
		merged.Take(read)
		read = merged
	}
	_, asked := n.source.(answerer)
	o.content, o.all = read, len(tables) == 0 || !asked // files are read as a whole
	for _, t := range missing {
		o.tables[t] = true
	}
	return o.content, nil
}

// Text is a text artefact by name, see Artefacts; ErrAbsent when there is none.
func (n *Node) Text(ctx context.Context, name string) (string, error) {
	n.mu.Lock()
	if n.texts == nil {
		n.texts = map[string]*once[[]byte]{}
	}
	o := n.texts[name]
	if o == nil {
		o = &once[[]byte]{}
		n.texts[name] = o
	}
	n.mu.Unlock()
	data, err := o.get(func() ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, n.snapshot.timeout)
		defer cancel()
		data, err := n.source.text(ctx, name)
		return data, timely(ctx, err, name, n.name)
	})
	return string(data), err
}

// Texts are the names of the texts that there are of the node, in order. With an error they
// are those that are known without what could not be read.
func (n *Node) Texts(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, n.snapshot.timeout)
	defer cancel()
	names, err := n.source.texts(ctx)
	slices.Sort(names)
	return names, timely(ctx, err, "list of texts", n.name)
}

// Answer is a database as its server tells it, with all that this program does not know;
// ErrAbsent where there is no server.
func (n *Node) Answer(ctx context.Context, d *ovn.Database) (*query.Answer, error) {
	server, ok := n.source.(answerer)
	if !ok {
		return nil, ErrAbsent
	}
	ctx, cancel := context.WithTimeout(ctx, n.snapshot.timeout)
	defer cancel()
	a, err := server.answer(ctx, query.Request{Database: d, Everything: true})
	return a, timely(ctx, err, d.Name, n.name)
}

// Exec runs a program where the node's OVN is: in the named container of the node's pods,
// empty for whichever one reaches OVN. Of a record only ovn-trace can be run, locally. A
// program that ran has no error, whatever its exit code.
func (n *Node) Exec(ctx context.Context, container string, argv ...string) (Output, error) {
	ctx, cancel := context.WithTimeout(ctx, n.snapshot.timeout)
	defer cancel()
	out, err := n.source.exec(ctx, container, argv)
	return out, timely(ctx, err, argv[0], n.name)
}

// once remembers the answer of a question, unless it is that the one who asked gave up.
type once[T any] struct {
	mu    sync.Mutex
	asked bool
	value T
	err   error
}

func (o *once[T]) get(ask func() (T, error)) (T, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.asked {
		o.value, o.err = ask()
		o.asked = !errors.Is(o.err, context.Canceled)
	}
	return o.value, o.err
}

// timely makes an error a Problem, and says so when it is that time has run out.
func timely(ctx context.Context, err error, what, node string) error {
	if err == nil {
		return nil
	}
	var known *Problem
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && !errors.As(err, &known) {
		return &Problem{
			Node: node, What: what, Why: "no answer in time", err: context.DeadlineExceeded,
			Next: "look whether the node and the API server are up; --timeout waits longer",
		}
	}
	return problemOf(node, what, err)
}

// problemOf is the problem that an error is, or one with its text.
func problemOf(node, what string, err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		if p.Node == "" && !p.everywhere {
			named := *p
			named.Node = node
			return &named
		}
		return p
	}
	p = &Problem{Node: node, What: what, Why: err.Error(), err: err}
	var hint interface{ Hint() string }
	if errors.As(err, &hint) {
		p.Next = hint.Hint()
	}
	return p
}

// Errors are problems as errors.
func Errors(problems []*Problem) []error {
	out := make([]error, 0, len(problems))
	for _, p := range problems {
		out = append(out, p)
	}
	return out
}
