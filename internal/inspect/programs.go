package inspect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/inspect/relay"
)

// programs runs ovn-trace on this machine, on the Southbound databases of a record.
type programs struct {
	find func(name string) (string, error)

	mu      sync.Mutex
	dir     string
	servers map[string]*server // by node
}

func newPrograms(find func(string) (string, error)) *programs {
	if find == nil {
		find = exec.LookPath
	}
	return &programs{find: find, servers: map[string]*server{}}
}

// server is an ovsdb-server on this machine.
type server struct {
	once[string] // the socket
	cmd          *exec.Cmd
	done         chan struct{}
}

// The programs of OVN and Open vSwitch that are run here.
const (
	ovnTrace    = "ovn-trace"
	ovsdbServer = "ovsdb-server"
	ovsdbTool   = "ovsdb-tool"
	ovnNorthd   = "ovn-northd"
)

func (p *programs) look(name string) (string, error) {
	found, err := p.find(name)
	if err != nil {
		packages := [2]string{"ovn-common", "ovn"}
		if name == ovnNorthd {
			packages = [2]string{"ovn-central", "ovn-central"}
		}
		return "", &Problem{
			What: name, Why: "it is not installed on this machine, and a record has no node to run it on", err: err,
			Next: fmt.Sprintf("install it: 'apt install %s openvswitch-common' on Debian and Ubuntu, 'dnf install %s openvswitch' on Fedora; ", packages[0], packages[1]) +
				"or run this command in the ovnkctl image, which has it",
		}
	}
	return found, nil
}

func (p *programs) run(ctx context.Context, node string, argv []string, southbound func() ([]byte, error)) (Output, error) {
	if path.Base(argv[0]) != ovnTrace {
		return Output{}, &Problem{
			Node: node, What: strings.Join(argv, " "), Why: "a record has no node to run it on", err: ErrAbsent,
			Next: "run the command on the live cluster, without --from",
		}
	}
	program, err := p.look(ovnTrace)
	if err != nil {
		return Output{}, err
	}
	socket, err := p.serve(ctx, node, southbound)
	if err != nil {
		return Output{}, err
	}
	cmd := exec.CommandContext(ctx, program, append([]string{"--db=unix:" + socket}, argv[1:]...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &stdout, &stderr, time.Second
	err = cmd.Run()
	out := Output{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Code: cmd.ProcessState.ExitCode()}
	var exited *exec.ExitError
	if errors.As(err, &exited) && ctx.Err() == nil {
		err = nil
	}
	return out, err
}

// serve is the socket of a server of the node's Southbound database.
func (p *programs) serve(ctx context.Context, node string, southbound func() ([]byte, error)) (string, error) {
	p.mu.Lock()
	s := p.servers[node]
	if s == nil {
		s = &server{}
		p.servers[node] = s
	}
	p.mu.Unlock()
	return s.get(func() (string, error) {
		data, err := southbound()
		if err != nil {
			return "", err
		}
		program, err := p.look(ovsdbServer)
		if err != nil {
			return "", err
		}
		dir, err := p.folder()
		if err != nil {
			return "", err
		}
		file, err := p.standalone(ctx, dir, data)
		if err != nil {
			return "", err
		}
		tracer, err := p.look(ovnTrace)
		if err != nil {
			return "", err
		}
		if err := newEnough(ctx, tracer, file); err != nil {
			return "", err
		}
		return s.start(ctx, program, file)
	})
}

// folder is a folder for one server. Its path is short: sockets' may have 107 bytes.
func (p *programs) folder() (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dir == "" {
		dir, err := os.MkdirTemp("", "ovnkctl")
		if err != nil {
			return "", err
		}
		p.dir = dir
	}
	return os.MkdirTemp(p.dir, "sb")
}

func clustered(data []byte) bool { return bytes.HasPrefix(data, []byte("OVSDB CLUSTER ")) }

// standalone writes the database as a file that a server alone can serve.
func (p *programs) standalone(ctx context.Context, dir string, data []byte) (string, error) {
	file := filepath.Join(dir, "sb.db")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return "", err
	}
	if !clustered(data) {
		return file, nil
	}
	tool, err := p.look(ovsdbTool)
	if err != nil {
		return "", err
	}
	alone := filepath.Join(dir, "alone.db")
	if out, err := exec.CommandContext(ctx, tool, "cluster-to-standalone", alone, file).CombinedOutput(); err != nil {
		return "", fmt.Errorf("make the clustered database one of its own: %w: %s", err, relay.LastLine(string(out)))
	}
	return alone, nil
}

// start starts the server and waits until it listens.
func (s *server) start(ctx context.Context, program, file string) (string, error) {
	dir := filepath.Dir(file)
	socket := filepath.Join(dir, "sock")
	stderr := &relay.Tail{}
	cmd := exec.Command(program, "--remote=punix:"+socket, "--unixctl="+filepath.Join(dir, "ctl"), "--no-chdir",
		"-vconsole:err", "-vsyslog:off", "-vfile:off", file)
	cmd.Stderr, cmd.Env = stderr, append(os.Environ(), "OVS_RUNDIR="+dir)
	if err := cmd.Start(); err != nil {
		return "", err
	}
	s.cmd, s.done = cmd, make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(s.done)
	}()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if conn, err := net.Dial("unix", socket); err == nil { // the file is there a little earlier
			_ = conn.Close()
			return socket, nil
		}
		select {
		case <-ctx.Done():
			s.stop()
			return "", ctx.Err()
		case <-s.done:
			return "", fmt.Errorf("%s does not serve the recorded database: %s", ovsdbServer, relay.LastLine(stderr.String()))
		case <-tick.C:
		}
	}
}

func (s *server) stop() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		<-s.done
	}
}

func (p *programs) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.servers {
		s.stop()
	}
	if p.dir == "" {
		return nil
	}
	return os.RemoveAll(p.dir)
}
