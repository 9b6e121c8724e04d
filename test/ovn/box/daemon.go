//go:build linux

package box

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/ovnkctl/ovnkctl/test/sandbox/netspace"
)

// daemon is one running program of a zone.
type daemon struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ended chan struct{}
}

// env are the folders in which a zone's programs find each other.
func (z *Zone) env() []string {
	return append(os.Environ(),
		"OVS_RUNDIR="+z.dir, "OVS_DBDIR="+z.dir, "OVS_LOGDIR="+z.dir,
		"OVN_RUNDIR="+z.dir, "OVN_DBDIR="+z.dir, "OVN_LOGDIR="+z.dir,
		"OVN_NB_DB="+z.socket("nb"), "OVN_SB_DB="+z.socket("sb"),
	)
}

// socket is the endpoint of a database: "nb", "sb" or "db" (Open_vSwitch).
func (z *Zone) socket(db string) string { return "unix:" + filepath.Join(z.dir, db+".sock") }

// start runs a program in the zone's namespace. With ready it waits for a line of that
// text on standard output.
func (z *Zone) start(name, ready string, args ...string) {
	z.box.t.Helper()
	t := z.box.t
	// The program's own log is the one of --log-file; this one has what comes before it.
	log, err := os.OpenFile(filepath.Join(z.dir, name+".out"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() //nolint:errcheck // the child has its own descriptor
	args = append(args, "--log-file="+filepath.Join(z.dir, name+".log"), "-vconsole:off")
	argv, err := z.box.programs.Argv(strings.SplitN(name, ".", 2)[0], args...)
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{cmd: exec.Command(argv[0], argv[1:]...), ended: make(chan struct{})}
	d.cmd.Env, d.cmd.Dir, d.cmd.Stderr = z.env(), z.dir, log
	// Of its own process group: Ctrl-C at the test must not end it before the clean-up.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if d.stdin, err = d.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := netspace.Do(z.NS, d.cmd.Start); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	lines := bufio.NewReader(stdout)
	if ready != "" {
		for line := ""; line != ready+"\n"; {
			if line, err = lines.ReadString('\n'); err != nil {
				t.Fatalf("%s of %s did not start, see %s: %v", name, z.Name, log.Name(), err)
			}
		}
	}
	go func() {
		defer close(d.ended)
		io.Copy(io.Discard, lines) //nolint:errcheck // ends with the program
		d.cmd.Wait()               //nolint:errcheck // killed at the end
	}()
	z.daemons[name] = d
}

// Kill ends a daemon at once, as `kill -9` does.
func (z *Zone) Kill(name string) {
	d := z.daemons[name]
	if d == nil {
		z.box.t.Fatalf("%s has no daemon %s", z.Name, name)
	}
	delete(z.daemons, name)
	d.kill()
}

func (d *daemon) kill() {
	d.stdin.Close() //nolint:errcheck // ends what ovsdb-server runs
	if err := syscall.Kill(d.cmd.Process.Pid, syscall.SIGKILL); err == nil {
		<-d.ended
	}
}

// startDatabase creates a database and serves it.
func (z *Zone) startDatabase(name, schema string) {
	z.box.t.Helper()
	file := filepath.Join(z.dir, name+".db")
	if _, err := os.Stat(file); err != nil {
		z.Run("ovsdb-tool", "create", file, z.box.programs.Schema(schema))
	}
	// What --run runs starts when the socket listens, and the server ends with it: when
	// this process goes, the pipe that cat reads closes.
	z.start("ovsdb-server."+name, "ready", file, "--remote=p"+z.socket(name), "--unixctl="+filepath.Join(z.dir, name+".ctl"),
		"--pidfile="+filepath.Join(z.dir, name+".pid"), "--run=echo ready; exec cat")
}

// Run runs a program of OVN or OVS against the zone and returns what it printed.
func (z *Zone) Run(name string, args ...string) string {
	z.box.t.Helper()
	argv, err := z.box.programs.Argv(name, args...)
	if err != nil {
		z.box.t.Fatal(err)
	}
	cmd := exec.CommandContext(z.box.ctx, argv[0], argv[1:]...)
	cmd.Env = z.env()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		z.box.t.Fatalf("%s: %s %s: %v\n%s%s", z.Name, name, strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}

// vsctl changes the zone's Open vSwitch and waits until it is so.
func (z *Zone) vsctl(args ...string) {
	z.box.t.Helper()
	z.Run("ovs-vsctl", append([]string{fmt.Sprintf("--timeout=%d", int(Patience.Seconds()))}, args...)...)
}
