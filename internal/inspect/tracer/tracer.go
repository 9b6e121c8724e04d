// Package tracer traces many packets for little more than one: ovn-trace reads the whole
// Southbound database before it traces, so it is started as a daemon, asked over its control
// socket, and ended again.
//
//	ovn-trace --detach ── reads ──> Southbound
//	     ↑ control socket: {"method": "trace", "params": ["--detailed", …]} for each packet
//
// A daemon lives for one call of Run. What it knows is of the moment when it started.
package tracer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Config is what Run needs.
type Config struct {
	// Argv runs ovn-trace: the program, and where its database is.
	Argv []string
	// Env is its environment; nil for the process's own.
	Env []string
	// Dir is a folder that can be written; its path is short, for a socket's may have 107
	// bytes. Empty for the system's folder of temporary files.
	Dir string
}

// Answer is what ovn-trace printed, or why it did not.
type Answer struct {
	Text    string `json:"text,omitempty"`
	Failure string `json:"failure,omitempty"`
}

// Run traces packets: calls are the arguments of each, but for the states of connections (--ct).
// Those a daemon takes when it starts: same has one for each look-up of all packets together,
// for it does not begin anew with the next packet, and takes connections for established when
// it has none left.
func Run(ctx context.Context, c Config, same []string, calls [][]string) ([]Answer, error) {
	d, err := start(ctx, c, same)
	if err != nil {
		return nil, err
	}
	defer d.end()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", d.socket())
	if err != nil {
		return nil, fmt.Errorf("control socket of ovn-trace: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	ask, answers := json.NewEncoder(conn), json.NewDecoder(conn)
	out := make([]Answer, 0, len(calls))
	for i, call := range calls {
		if err := ask.Encode(request{ID: i, Method: "trace", Params: call}); err != nil {
			return nil, failure(ctx, err)
		}
		var r reply
		if err := answers.Decode(&r); err != nil {
			return nil, failure(ctx, err)
		}
		if r.ID != i {
			return nil, fmt.Errorf("ovn-trace answers question %d where %d was asked", r.ID, i)
		}
		out = append(out, Answer{Text: r.Result, Failure: strings.TrimSpace(r.Error)})
	}
	return out, nil
}

// request and reply are the JSON-RPC of control sockets (ovs-appctl(8), ovsdb(7)).
type request struct {
	ID     int      `json:"id"`
	Method string   `json:"method"`
	Params []string `json:"params"`
}

type reply struct {
	ID     int    `json:"id"`
	Result string `json:"result"`
	Error  string `json:"error"`
}

func failure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("ovn-trace as a daemon ended while it was asked: %w", err)
}

// daemon is an ovn-trace that was started.
type daemon struct {
	dir string
	pid int
}

func (d *daemon) socket() string { return filepath.Join(d.dir, "ctl") }

// start starts the daemon and waits until it has read the database.
func start(ctx context.Context, c Config, same []string) (*daemon, error) {
	adopt()
	dir, err := os.MkdirTemp(c.Dir, "trace")
	if err != nil {
		return nil, err
	}
	d := &daemon{dir: dir}
	pidFile := filepath.Join(dir, "pid")
	said, err := os.Create(filepath.Join(dir, "said")) // a pipe would be held open by the daemon
	if err != nil {
		d.end()
		return nil, err
	}
	defer said.Close()
	args := append(append(c.Argv[1:len(c.Argv):len(c.Argv)], same...),
		"--detach", "--no-chdir", "--pidfile="+pidFile, "--unixctl="+d.socket(), "-vconsole:err", "-vsyslog:off", "-vfile:off")
	cmd := exec.CommandContext(ctx, c.Argv[0], args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = c.Env, said, said
	err = cmd.Run()
	// The file is there before the database is read: who gives up finds whom to end.
	text, _ := os.ReadFile(pidFile)
	d.pid, _ = strconv.Atoi(string(bytes.TrimSpace(text)))
	if err == nil && d.pid == 0 {
		err = errors.New("it wrote no file with its process ID")
	}
	if err == nil {
		return d, nil
	}
	why, _ := os.ReadFile(said.Name())
	d.end()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, fmt.Errorf("start ovn-trace as a daemon: %w: %s", err, bytes.TrimSpace(why))
}

// end leaves nothing.
func (d *daemon) end() {
	if d.pid > 0 {
		if p, err := os.FindProcess(d.pid); err == nil {
			_ = p.Kill()
		}
		reap(d.pid)
	}
	_ = os.RemoveAll(d.dir)
}
