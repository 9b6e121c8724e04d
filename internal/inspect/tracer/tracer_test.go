package tracer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// role makes this test the program that it tests with: an ovn-trace that leaves a daemon
// behind, and answers what it was started with and what it is asked.
const role = "OVNKCTL_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "":
		os.Exit(m.Run())
	case "refuses":
		fmt.Fprintln(os.Stderr, "ovn-trace: no such database")
		os.Exit(1)
	case "daemon":
		serve()
	default:
		detach()
	}
}

func option(name string) string {
	for _, arg := range os.Args {
		if v, ok := strings.CutPrefix(arg, "--"+name+"="); ok {
			return v
		}
	}
	return ""
}

// detach starts the daemon, as ovn-trace --detach does: it ends when the daemon is ready.
func detach() {
	c := exec.Command(os.Args[0], os.Args[1:]...)
	c.Env = []string{role + "=daemon"}
	ready, _ := c.StdoutPipe()
	if err := c.Start(); err != nil {
		os.Exit(1)
	}
	_ = os.WriteFile(option("pidfile"), fmt.Append(nil, c.Process.Pid, "\n"), 0o600)
	_, _ = ready.Read(make([]byte, 1))
	if os.Getenv(role) == "hangs" {
		select {}
	}
	os.Exit(0)
}

func serve() {
	l, err := net.Listen("unix", option("unixctl"))
	if err != nil {
		os.Exit(1)
	}
	fmt.Print(".")
	conn, err := l.Accept()
	if err != nil {
		os.Exit(1)
	}
	in, out := json.NewDecoder(conn), json.NewEncoder(conn)
	for {
		var q struct {
			ID     int      `json:"id"`
			Params []string `json:"params"`
		}
		if in.Decode(&q) != nil || q.Params[0] == "crash" {
			os.Exit(0)
		}
		a := map[string]any{"id": q.ID, "result": fmt.Sprint(option("ct"), " ", q.Params), "error": nil}
		if q.Params[0] == "bad" {
			a = map[string]any{"id": q.ID, "result": nil, "error": "unknown option\n"}
		}
		if out.Encode(a) != nil {
			os.Exit(0)
		}
	}
}

func fake(t *testing.T, as string) Config {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "t") // short, for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		left, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %q, %v", left, err)
		}
		os.RemoveAll(dir)
	})
	return Config{Argv: []string{self}, Env: []string{role + "=" + as}, Dir: dir}
}

func TestRun(t *testing.T) {
	t.Parallel()
	got, err := Run(t.Context(), fake(t, "detaches"), []string{"--ct=new"}, [][]string{{"--detailed", "sw", "ip4"}, {"bad"}, {"x"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []Answer{{Text: "new [--detailed sw ip4]"}, {Failure: "unknown option"}, {Text: "new [x]"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestRunFails(t *testing.T) {
	t.Parallel()
	if _, err := Run(t.Context(), fake(t, "refuses"), nil, [][]string{{"x"}}); err == nil || !strings.Contains(err.Error(), "no such database") {
		t.Errorf("a program that refuses: %v", err)
	}
	if _, err := Run(t.Context(), fake(t, "detaches"), nil, [][]string{{"x"}, {"crash"}}); err == nil || !strings.Contains(err.Error(), "ended while it was asked") {
		t.Errorf("a daemon that ends: %v", err)
	}
	c := fake(t, "detaches")
	c.Argv = []string{"/no/such/program"}
	if _, err := Run(t.Context(), c, nil, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no program: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := Run(ctx, fake(t, "hangs"), nil, [][]string{{"x"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a program that does not become a daemon: %v", err)
	}
}

// TestRunEndsTheDaemon: there is no process left, not even one that nobody took leave of.
func TestRunEndsTheDaemon(t *testing.T) {
	t.Parallel()
	d, err := start(t.Context(), fake(t, "detaches"), nil)
	if err != nil {
		t.Fatal(err)
	}
	proc := fmt.Sprint("/proc/", d.pid)
	if _, err := os.Stat(proc); err != nil {
		t.Fatal(err)
	}
	d.end()
	if _, err := os.Stat(proc); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the daemon is there: %v", err)
	}
}
