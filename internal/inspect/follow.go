package inspect

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
)

// Follow connects to one of the node's databases for as long as its content is to be
// followed, for what watches; the caller closes it and the returned end. Config's endpoint
// is not used. ErrAbsent where there is no server.
//
// The client dials addresses itself, so the conversations pass a socket of this machine, in
// a folder that its owner alone may enter.
func (n *Node) Follow(ctx context.Context, c ovn.Config) (db *ovn.DB, end func(), err error) {
	live, ok := n.source.(*liveNode)
	if !ok {
		return nil, nil, &Problem{Node: n.name, What: c.Database.Name, Why: "a record does not change", err: ErrAbsent, Next: "look at the live cluster, without --from"}
	}
	d, err := live.door(c.Database)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, n.snapshot.timeout)
	defer cancel()
	c.Endpoint = "unix:" + d.listener.Addr().String()
	db, err = ovn.Open(ctx, c)
	if err != nil {
		d.close()
		return nil, nil, timely(ctx, errors.Join(err, d.reason()), c.Database.Name, n.name)
	}
	return db, func() {
		db.Close()
		d.close()
	}, nil
}

// door is a socket of this machine behind which is a node's database.
type door struct {
	node     *liveNode
	database *ovn.Database
	dir      string
	listener net.Listener
	ctx      context.Context
	cancel   context.CancelFunc
	inside   sync.WaitGroup

	mu  sync.Mutex
	err error // why the last conversation could not be had
}

func (n *liveNode) door(d *ovn.Database) (*door, error) {
	dir, err := os.MkdirTemp("", "ovnkctl") // for the owner alone
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", filepath.Join(dir, d.Short))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	out := &door{node: n, database: d, dir: dir, listener: l}
	out.ctx, out.cancel = context.WithCancel(n.live.ctx)
	out.inside.Go(out.serve)
	return out, nil
}

func (d *door) serve() {
	for {
		conn, err := d.listener.Accept()
		if err != nil {
			return
		}
		d.inside.Go(func() { d.join(conn) })
	}
}

// join joins a conversation with the node's socket, until either ends.
func (d *door) join(conn net.Conn) {
	defer conn.Close()
	what := needOVN
	if d.database == ovn.OpenVSwitch() {
		what = needOVS
	}
	ctx, cancel := context.WithCancel(d.ctx)
	defer cancel()
	client, err := d.node.reach(ctx, what)
	var there io.ReadWriteCloser
	if err == nil {
		there, err = client.Open(ctx, d.database.Short)
	}
	d.mu.Lock()
	d.err = err
	d.mu.Unlock()
	if err != nil {
		return
	}
	context.AfterFunc(ctx, func() {
		there.Close()
		conn.Close()
	})
	d.inside.Go(func() {
		defer cancel()
		_, _ = io.Copy(there, conn)
	})
	_, _ = io.Copy(conn, there)
}

func (d *door) reason() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

func (d *door) close() {
	d.cancel()
	d.listener.Close()
	d.inside.Wait()
	_ = os.RemoveAll(d.dir)
}
