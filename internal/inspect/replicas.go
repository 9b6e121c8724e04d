package inspect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	corev1 "k8s.io/api/core/v1"

	"github.com/ovnkctl/ovnkctl/internal/inspect/relay"
	"github.com/ovnkctl/ovnkctl/internal/inspect/replica"
	"github.com/ovnkctl/ovnkctl/internal/inspect/tracer"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/query"
	"github.com/ovnkctl/ovnkctl/internal/version"
)

// replicaProgram makes a copy, where the image has it.
var replicaProgram = []string{"/usr/bin/ovnkctl", "run", "replica", "--config=/etc/ovnkctl/config.yaml"}

// Replica is a copy of a node's OVN, with an ovn-northd of its own, to try things on. What
// the node itself has is not touched. It is safe for concurrent use.
type Replica struct {
	node   string
	client *relay.Client
	// gone is closed when the copy is; nil where that is not known.
	gone <-chan struct{}
}

// replicable is a node of which copies can be made.
type replicable interface {
	replicate(context.Context) (*Replica, error)
}

// Replicate copies the node's OVN: in a pod of the node, or of a record on this machine. The
// caller closes it.
func (n *Node) Replicate(ctx context.Context) (*Replica, error) {
	source, ok := n.source.(replicable)
	if !ok {
		return nil, &Problem{Node: n.name, What: "copy of the OVN", Why: "there is nothing to copy", err: ErrAbsent}
	}
	ctx, cancel := context.WithTimeout(ctx, n.snapshot.timeout)
	defer cancel()
	r, err := source.replicate(ctx)
	if err != nil {
		return nil, timely(ctx, err, "copy of the OVN", n.name)
	}
	r.node = n.name
	return r, nil
}

// Close removes the copy.
func (r *Replica) Close() error {
	err := r.client.Close()
	if r.gone != nil {
		<-r.gone
	}
	return err
}

// Content reads tables, or all of a database of the copy, as it is now.
func (r *Replica) Content(ctx context.Context, d *ovn.Database, tables ...string) (*ovn.Content, error) {
	conn, err := r.open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	a, err := query.Read(ctx, conn, query.Request{Database: d, Tables: tables})
	if err != nil {
		return nil, err
	}
	return a.Content(d)
}

func (r *Replica) open(ctx context.Context, d *ovn.Database) (io.ReadWriteCloser, error) {
	conn, err := r.client.Open(ctx, d.Short)
	if err != nil {
		return nil, &Problem{Node: r.node, What: d.Name + " of the copy", Why: err.Error(), err: err}
	}
	return conn, nil
}

// Transact changes a database of the copy.
func (r *Replica) Transact(ctx context.Context, d *ovn.Database, ops ...any) error {
	conn, err := r.open(ctx, d)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = query.Transact(ctx, conn, d, ops...)
	return err
}

// Settle waits until the copy's ovn-northd has done what the Northbound database asks for.
func (r *Replica) Settle(ctx context.Context) error {
	conn, err := r.open(ctx, ovn.Northbound())
	if err != nil {
		return err
	}
	defer conn.Close()
	return replica.Settle(ctx, conn)
}

// exec runs ovn-trace on the copy.
func (r *Replica) exec(ctx context.Context, argv []string) (Output, error) {
	out, err := r.client.Run(ctx, maxOutput, argv...)
	if err != nil {
		return Output{}, fmt.Errorf("%s: %w", argv[0], err)
	}
	return Output{Stdout: out.Stdout, Stderr: out.Stderr, Code: out.Code}, nil
}

func (n *liveNode) replicate(ctx context.Context) (*Replica, error) {
	at, err := n.live.place(ctx, n.name, needOVN)
	if err != nil {
		return nil, err
	}
	client, err := n.dial(ctx, at, replicaProgram)
	if err != nil {
		return nil, err
	}
	return &Replica{client: client}, nil
}

func (n *bundleNode) replicate(ctx context.Context) (*Replica, error) {
	return n.bundle.programs.replicate(ctx, func(d *ovn.Database) ([]byte, error) { return n.file(DatabaseFile(n.name, d), d.Name) })
}

func (n *fileNode) replicate(ctx context.Context) (*Replica, error) {
	return n.files.programs.replicate(ctx, n.file)
}

// replicate makes a copy on this machine, and speaks with it as with one in a pod.
func (p *programs) replicate(ctx context.Context, file func(*ovn.Database) ([]byte, error)) (*Replica, error) {
	for _, name := range []string{ovsdbServer, ovnNorthd, ovnTrace} {
		if _, err := p.look(name); err != nil {
			return nil, err // with what to do about it
		}
	}
	if err := p.understood(ctx, file); err != nil {
		return nil, err
	}
	toServer, stdin := io.Pipe()
	stdout, fromServer := io.Pipe()
	running, cancel := context.WithCancel(context.Background())
	gone := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		defer close(gone)
		ended <- replica.Serve(running, toServer, fromServer, replica.Config{
			Read: func(ctx context.Context, d *ovn.Database) ([]byte, error) {
				data, err := file(d)
				if err != nil {
					return nil, err
				}
				return p.alone(ctx, data)
			},
			Find: p.look, Env: os.Environ(), Version: version.Version,
		})
		fromServer.CloseWithError(io.EOF)
		toServer.CloseWithError(io.ErrClosedPipe)
	}()
	client, err := relay.Dial(ctx, stdout, stdin, func() error {
		cancel()
		return errors.Join(stdin.Close(), stdout.Close())
	})
	if err != nil {
		cancel()
		<-gone
		return nil, errors.Join(err, <-ended)
	}
	return &Replica{client: client, gone: gone}, nil
}

// understood says whether the programs of this machine know all that is in a record.
func (p *programs) understood(ctx context.Context, file func(*ovn.Database) ([]byte, error)) error {
	data, err := file(ovn.Southbound())
	if err != nil {
		return err
	}
	trace, err := p.look(ovnTrace)
	if err != nil {
		return err
	}
	dir, err := p.folder()
	if err != nil {
		return err
	}
	path, err := p.standalone(ctx, dir, data)
	if err != nil {
		return err
	}
	return newEnough(ctx, trace, path)
}

// alone is a database as a server alone can serve it.
func (p *programs) alone(ctx context.Context, data []byte) ([]byte, error) {
	if !clustered(data) {
		return data, nil
	}
	dir, err := p.folder()
	if err != nil {
		return nil, err
	}
	file, err := p.standalone(ctx, dir, data)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(file)
}

// Alteration is what would be different in a cluster.
type Alteration struct {
	Objects *Objects
	// Zone is the OVN of a node as it would be; nil when it would be as it is.
	Zone func(ctx context.Context, node *Node) (*Replica, error)
}

// Alter is the cluster as it would be: other objects, and for zones that would be different
// copies of them. The caller closes it before the snapshot itself.
func (s *Snapshot) Alter(a Alteration) *Snapshot {
	return newSnapshot(&altered{of: s, with: a}, s.timeout)
}

// altered is a cluster as it would be.
type altered struct {
	of    *Snapshot
	with  Alteration
	zones []*alteredNode // under the mutex of the snapshot that asks
}

func (a *altered) origin() Origin    { return a.of.Origin() }
func (a *altered) namespace() string { return a.of.Namespace() }

func (a *altered) read(ctx context.Context, to *everything, kinds []*resource) ([]*Problem, error) {
	from := &everything{Objects: *a.with.Objects}
	for _, r := range kinds {
		if r.late {
			i, err := a.of.Installation(ctx)
			if err != nil {
				return nil, err
			}
			from.Installation = *i
		}
		r.take(to, from)
	}
	return nil, nil
}

func (a *altered) networkPods(ctx context.Context) ([]corev1.Pod, error) {
	return a.of.NetworkPods(ctx)
}
func (a *altered) nodes(ctx context.Context) ([]string, error) { return a.of.Nodes(ctx) }

func (a *altered) node(name string) nodeSource {
	n := &alteredNode{of: a.of.Node(name), zone: a.with.Zone}
	a.zones = append(a.zones, n)
	return n
}

func (a *altered) close() error {
	var errs []error
	for _, n := range a.zones {
		errs = append(errs, n.close())
	}
	return errors.Join(errs...)
}

// alteredNode is a node as it would be.
type alteredNode struct {
	of      *Node
	zone    func(context.Context, *Node) (*Replica, error)
	replica once[*Replica]
}

func (n *alteredNode) copied(ctx context.Context) (*Replica, error) {
	return n.replica.get(func() (*Replica, error) { return n.zone(ctx, n.of) })
}

func (n *alteredNode) close() error {
	r, _ := n.replica.get(func() (*Replica, error) { return nil, nil })
	if r == nil {
		return nil
	}
	return r.Close()
}

func (n *alteredNode) database(ctx context.Context, d *ovn.Database, tables []string) (*ovn.Content, error) {
	if d != ovn.OpenVSwitch() {
		if r, err := n.copied(ctx); err != nil || r != nil {
			if err != nil {
				return nil, err
			}
			return r.Content(ctx, d, tables...)
		}
	}
	return n.of.Database(ctx, d, tables...)
}

// answer makes the node one of which tables can be read alone.
func (n *alteredNode) answer(ctx context.Context, q query.Request) (*query.Answer, error) {
	if q.Database != ovn.OpenVSwitch() {
		r, err := n.copied(ctx)
		if err != nil {
			return nil, err
		}
		if r != nil {
			conn, err := r.open(ctx, q.Database)
			if err != nil {
				return nil, err
			}
			defer conn.Close()
			return query.Read(ctx, conn, q)
		}
	}
	if server, ok := n.of.source.(answerer); ok {
		return server.answer(ctx, q)
	}
	return nil, ErrAbsent
}

// unknown is what follows from a copy only when it is in force.
func (n *alteredNode) unknown(what string) error {
	return &Problem{
		Node: n.of.name, What: what, Why: "what it would be is not known: the flows of Open vSwitch are made when it is in force", err: ErrAbsent,
		Next: "ask without --with for what is, or apply it first",
	}
}

func (n *alteredNode) text(_ context.Context, name string) ([]byte, error) {
	return nil, n.unknown(name)
}
func (n *alteredNode) texts(context.Context) ([]string, error) { return nil, nil }

func (n *alteredNode) exec(ctx context.Context, container string, argv []string) (Output, error) {
	if path.Base(argv[0]) != ovnTrace {
		return Output{}, n.unknown(argv[0])
	}
	r, err := n.copied(ctx)
	if err != nil {
		return Output{}, err
	}
	if r == nil {
		return n.of.Exec(ctx, container, argv...)
	}
	return r.exec(ctx, argv)
}

// traces implements manyTracer.
func (n *alteredNode) traces(ctx context.Context, same []string, calls [][]string) ([]tracer.Answer, error) {
	r, err := n.copied(ctx)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return n.of.Traces(ctx, same, calls)
	}
	return r.client.Traces(ctx, same, calls)
}
