// Package replica makes a copy of a node's OVN to try things on: its two databases with a
// server and an ovn-northd of their own, in a folder of its own. The node's databases are
// read once and never written.
//
//	NB, SB ── read ──> nb.db, sb.db ─> ovsdb-server ─┬─ ovn-northd
//	                                                 ├─ what is to be tried (a transaction)
//	                                                 └─ ovn-trace
//
// Who asks speaks with it as with a node, by a relay: it is started where OVN is, by
// pods/exec in a pod of the node, or on the operator's machine for a record. It ends with
// the stream, and leaves nothing.
package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/inspect/relay"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/query"
)

// Lifetime bounds how long a copy is kept: an API server was seen to keep streams open whose
// other end had gone.
const Lifetime = 30 * time.Minute

// folders are the copies' folders. They are short: a socket's path may have 107 bytes.
const folders = "ovnkctl-copy-"

// Config is what Serve needs.
type Config struct {
	// Read is a database as a file that a server alone can serve.
	Read func(context.Context, *ovn.Database) ([]byte, error)
	// Find finds the programs of OVN.
	Find func(name string) (string, error)
	// Env is the environment of programs.
	Env []string
	// Version of this program.
	Version string
}

// Serve makes a copy, answers until the stream ends, and removes it.
func Serve(ctx context.Context, in io.Reader, out io.Writer, c Config) error {
	ctx, cancel := context.WithTimeout(ctx, Lifetime)
	defer cancel()
	sweep(os.TempDir())
	dir, err := os.MkdirTemp("", folders) // for the owner alone
	if err != nil {
		return err
	}
	r := &replica{Config: c, dir: dir, ready: make(chan struct{})}
	running, stop := context.WithCancel(ctx)
	go r.start(running)
	err = relay.Serve(ctx, in, out, relay.Config{
		Sockets:   map[string]string{ovn.Northbound().Short: r.socket(ovn.Northbound()), ovn.Southbound().Short: r.socket(ovn.Southbound())},
		OVSRunDir: dir, OVNRunDir: dir, Env: c.Env, Version: c.Version, Ready: r.wait, Find: c.Find,
	})
	stop()
	<-r.ready
	for _, p := range r.processes {
		p.stop()
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// sweep removes what copies left that were killed.
func sweep(dir string) {
	old, _ := filepath.Glob(filepath.Join(dir, folders+"*"))
	for _, name := range old {
		if stat, err := os.Stat(name); err == nil && time.Since(stat.ModTime()) > 2*Lifetime {
			_ = os.RemoveAll(name)
		}
	}
}

// replica is one copy.
type replica struct {
	Config
	dir       string
	ready     chan struct{} // closed when it is made, or cannot be
	err       error         // why it could not; of whoever has seen ready closed
	processes []*process
}

// socket is where the server listens for a database. The programs of OVN look there, when
// the folder is that of their sockets.
func (r *replica) socket(d *ovn.Database) string {
	return filepath.Join(r.dir, "ovn"+d.Short+"_db.sock")
}

func (r *replica) wait(ctx context.Context) error {
	select {
	case <-r.ready:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *replica) start(ctx context.Context) {
	defer close(r.ready)
	if r.err = r.make(ctx); r.err != nil {
		r.err = fmt.Errorf("no copy to try it on: %w", r.err)
	}
}

// make copies, starts the programs and waits until northd has nothing more to write.
func (r *replica) make(ctx context.Context) error {
	remotes := []string{"--unixctl=" + filepath.Join(r.dir, "server.ctl"), "--no-chdir"}
	var files []string
	for _, d := range []*ovn.Database{ovn.Northbound(), ovn.Southbound()} {
		data, err := r.Read(ctx, d)
		if err != nil {
			return fmt.Errorf("%s: %w", d.Name, err)
		}
		file := filepath.Join(r.dir, d.Short+".db")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			return err
		}
		files = append(files, file)
		remotes = append(remotes, "--remote=punix:"+r.socket(d))
	}
	server, err := r.run("ovsdb-server", append(remotes, files...)...)
	if err != nil {
		return err
	}
	if err := server.listens(ctx, r.socket(ovn.Northbound()), r.socket(ovn.Southbound())); err != nil {
		return err
	}
	northd, err := r.run("ovn-northd", "--ovnnb-db=unix:"+r.socket(ovn.Northbound()), "--ovnsb-db=unix:"+r.socket(ovn.Southbound()),
		"--unixctl="+filepath.Join(r.dir, "northd.ctl"), "--no-chdir")
	if err != nil {
		return err
	}
	go func() { // who waits for northd is to hear of its end
		<-northd.done
		server.kill()
	}()
	conn, err := dial(ctx, r.socket(ovn.Northbound()))
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := Settle(ctx, conn); err != nil {
		return errors.Join(err, northd.complaint())
	}
	return nil
}

// global is an operation on the one row of NB_Global.
func global(op string, more map[string]any) map[string]any {
	out := map[string]any{"op": op, "table": nb.NBGlobalTable, "where": []any{}}
	for k, v := range more {
		out[k] = v
	}
	return out
}

// settleTimeout bounds one wait for northd, in milliseconds, for servers that are not told
// when who asked has gone.
const settleTimeout = 5 * 60 * 1000

// Settle waits until the Southbound database has what the Northbound one, to which conn is a
// stream, asks for.
func Settle(ctx context.Context, conn io.ReadWriteCloser) error {
	d := ovn.Northbound()
	results, err := query.Transact(ctx, conn, d,
		global("mutate", map[string]any{"mutations": []any{[]any{"nb_cfg", "+=", 1}}}),
		global("select", map[string]any{"columns": []string{"nb_cfg"}}))
	if err != nil {
		return err
	}
	if len(results[1].Rows) != 1 {
		return errors.New("the Northbound database has no row NB_Global: it is not that of a node that runs")
	}
	want, err := strconv.Atoi(fmt.Sprint(results[1].Rows[0]["nb_cfg"]))
	if err != nil {
		return fmt.Errorf("nb_cfg: %w", err)
	}
	_, err = query.Transact(ctx, conn, d, global("wait", map[string]any{
		"columns": []string{"sb_cfg"}, "until": "==", "rows": []any{map[string]any{"sb_cfg": want}}, "timeout": settleTimeout,
	}))
	if err != nil {
		return fmt.Errorf("ovn-northd does not do what was asked: %w", err)
	}
	return nil
}
