package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/config"
)

// child is what the test program does when it is started again by a test: become a
// daemon, or hold a lock.
type child struct {
	Daemon  string
	Options Options // without Log
	Lock    string  // file to hold a lock on
}

const childEnv = "OVNKCTL_DAEMON_TEST"

func TestMain(m *testing.M) {
	text := os.Getenv(childEnv)
	if text == "" {
		os.Exit(m.Run())
	}
	os.Unsetenv(childEnv)
	var c child
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		panic(err)
	}
	if err := c.run(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		var h interface{ Hint() string }
		if errors.As(err, &h) {
			fmt.Fprintln(os.Stderr, "hint:", h.Hint())
		}
		os.Exit(1)
	}
}

func (c child) run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if c.Lock != "" {
		return c.hold(ctx)
	}
	d, err := Lookup(c.Daemon)
	if err != nil {
		return err
	}
	c.Options.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	return d.Run(ctx, c.Options)
}

func (c child) hold(ctx context.Context) error {
	f, err := os.OpenFile(c.Lock, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_WRLCK}); err != nil {
		return err
	}
	fmt.Println("locked")
	<-ctx.Done()
	return f.Close()
}

// again is the test program, to be started as a child.
func again(t *testing.T, c child) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0]) //nolint:gosec // this very program
	cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	return cmd
}

func TestRefuseLocked(t *testing.T) {
	t.Parallel()
	c, _ := testConfig(t)
	d := daemonNamed(t, "northd")
	mkdir(t, c.OVN.RunDir)
	if err := d.refuseSecond(c); err != nil {
		t.Errorf("without a pid file: %v", err)
	}
	if err := os.WriteFile(d.pidFile(c), []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.refuseSecond(c); err != nil {
		t.Errorf("stale pid file: %v", err)
	}
	cmd := again(t, child{Lock: d.pidFile(c)})
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil { // it says when it holds the lock
		t.Fatal(err)
	}
	err = d.refuseSecond(c)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("ovn-northd is running already: process %d holds", cmd.Process.Pid)) {
		t.Errorf("error = %v", err)
	}
	if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()); err != nil {
		t.Error(err)
	}
	if err := d.refuseSecond(c); err != nil {
		t.Errorf("after it ended: %v", err)
	}
}

func TestEnsureDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mode := func(path string) os.FileMode {
		t.Helper()
		stat, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return stat.Mode().Perm()
	}
	fresh := filepath.Join(dir, "a", "b")
	if err := ensureDirectory(fresh); err != nil || mode(fresh) != 0o700 {
		t.Errorf("new directory: %v, mode %o", err, mode(fresh))
	}
	for before, want := range map[os.FileMode]os.FileMode{0o755: 0o755, 0o777: 0o755, 0o770: 0o750, 0o700: 0o700} {
		if err := os.Chmod(fresh, before); err != nil {
			t.Fatal(err)
		}
		if err := ensureDirectory(fresh); err != nil || mode(fresh) != want {
			t.Errorf("directory of mode %o: %v, mode %o, want %o", before, err, mode(fresh), want)
		}
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ensureDirectory(filepath.Join(file, "x")); err == nil {
		t.Error("a directory below a file was made")
	}
}

func TestStaleControlSockets(t *testing.T) {
	t.Parallel()
	c, _ := testConfig(t)
	mkdir(t, c.OVN.RunDir)
	listen := func(name string) *net.UnixListener {
		t.Helper()
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(c.OVN.RunDir, name), Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		return l
	}
	live := listen("ovn-northd.1.ctl")
	defer live.Close()
	listen("ovn-northd.2.ctl").Close()
	listen("ovn-controller.2.ctl").Close() // another daemon's
	removeStaleControlSockets(filepath.Join(c.OVN.RunDir, "ovn-northd.*.ctl"), slog.New(slog.DiscardHandler))
	for name, want := range map[string]bool{"ovn-northd.1.ctl": true, "ovn-northd.2.ctl": false, "ovn-controller.2.ctl": true} {
		_, err := os.Stat(filepath.Join(c.OVN.RunDir, name))
		if got := err == nil; got != want {
			t.Errorf("%s is there: %v, want %v", name, got, want)
		}
	}
}

// What a client waits for is named, and the wait ends.
func TestSwitchWaitsForItsDatabase(t *testing.T) {
	t.Parallel()
	c, dir := testConfig(t)
	c.Datapath = config.DatapathNetdev
	program := filepath.Join(dir, "ovs-vswitchd")
	if err := os.WriteFile(program, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	o := Options{Config: c, BinDirs: []string{dir}, Log: slog.New(slog.DiscardHandler), Wait: 10 * time.Millisecond}
	ovs := daemonNamed(t, "ovs")
	_, err := ovs.Prepare(t.Context(), o)
	wantProblem(t, err, "db.sock does not exist")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o.Wait = time.Hour
	if _, err := ovs.Prepare(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v", err)
	}
}

// northd can wait by itself.
func TestClientsOfOVNStartWithoutDatabases(t *testing.T) {
	t.Parallel()
	c, dir := testConfig(t)
	program := filepath.Join(dir, "ovn-northd")
	if err := os.WriteFile(program, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	o := Options{Config: c, BinDirs: []string{dir}, Log: slog.New(slog.NewTextHandler(&log, nil)), Wait: time.Millisecond}
	got, err := daemonNamed(t, "northd").Prepare(t.Context(), o)
	if err != nil || got != program {
		t.Errorf("Prepare: %q, %v", got, err)
	}
	if strings.Count(log.String(), "starting without a database") != 2 {
		t.Errorf("log:\n%s", log.String())
	}
}

func TestSchemaIsMissing(t *testing.T) {
	t.Parallel()
	c, dir := testConfig(t)
	for _, name := range []string{"ovsdb-server", "ovsdb-tool"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	o := Options{Config: c, BinDirs: []string{dir}, ShareDir: dir, Log: slog.New(slog.DiscardHandler)}
	_, err := daemonNamed(t, "nb").Prepare(t.Context(), o)
	var h hinted
	if !errors.As(err, &h) || !strings.Contains(h.Hint(), "--share-dir") {
		t.Errorf("error = %v", err)
	}
}
