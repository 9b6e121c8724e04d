package shim_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovnkctl/ovnkctl/internal/cni/shim"
	"github.com/ovnkctl/ovnkctl/internal/cni/wire"
)

type result struct {
	code   int
	stdout string
}

func (r result) cniError(t *testing.T) (e struct {
	CNIVersion string `json:"cniVersion"`
	Code       uint   `json:"code"`
	Msg        string `json:"msg"`
	Details    string `json:"details"`
}) {
	t.Helper()
	if r.code == 0 {
		t.Errorf("exit code 0 with %s", r.stdout)
	}
	if err := json.Unmarshal([]byte(r.stdout), &e); err != nil {
		t.Errorf("standard output %q: %v", r.stdout, err)
	}
	return e
}

func run(socket, stdin string, env map[string]string, patience time.Duration) result {
	var out bytes.Buffer
	code := shim.Run(shim.Config{
		Getenv: func(k string) string { return env[k] },
		Stdin:  strings.NewReader(stdin), Stdout: &out, Socket: socket, Patience: patience,
	})
	return result{code, out.String()}
}

// serve answers each connection with f, whose nil closes it without an answer.
func serve(t *testing.T, socket string, f func(wire.Request) *wire.Response) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			var request wire.Request
			if wire.Read(conn, &request) == nil {
				if response := f(request); response != nil {
					_ = wire.Write(conn, response)
				}
			}
			_ = conn.Close()
		}
	}()
}

const conf = `{"cniVersion":"1.0.0","name":"ovn-kubernetes","type":"ovn-k8s-cni-overlay"}`

func TestRequestAndResult(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	requests := make(chan wire.Request, 1)
	serve(t, socket, func(r wire.Request) *wire.Response {
		requests <- r
		return &wire.Response{Result: json.RawMessage(`{"cniVersion":"1.0.0","ips":[]}`)}
	})
	got := run("/nonexistent", strings.Replace(conf, "}", `,"socket":"`+socket+`"}`, 1), map[string]string{
		"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "abc", "CNI_NETNS": "/run/netns/x", "CNI_IFNAME": "eth0", "CNI_ARGS": "A=B",
	}, 0)
	if want := (result{0, `{"cniVersion":"1.0.0","ips":[]}`}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	request := <-requests
	request.Config = nil
	want := wire.Request{Command: "ADD", ContainerID: "abc", Netns: "/run/netns/x", IfName: "eth0", Args: "A=B"}
	if diff := cmp.Diff(want, request); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	refusing, dying := filepath.Join(dir, "refusing"), filepath.Join(dir, "dying")
	serve(t, refusing, func(wire.Request) *wire.Response {
		return &wire.Response{Error: &wire.Error{Code: 7, Msg: "bad", Details: "very"}}
	})
	serve(t, dying, func(wire.Request) *wire.Response { return nil })
	tests := []struct {
		name, socket, stdin, command string
		version                      string
		code                         uint
		msg                          string
	}{
		{"the server's error", refusing, conf, "ADD", "1.0.0", 7, "bad"},
		{"garbage goes to the server", refusing, "}{", "ADD", "0.4.0", 7, "bad"},
		{"server dies", dying, conf, "DEL", "1.0.0", 11, "ended while it handled DEL"},
		{"no server, DEL", dir + "/none", conf, "DEL", "1.0.0", 11, "does not answer on " + dir + "/none"},
		{"no server, STATUS", dir + "/none", conf, "STATUS", "1.0.0", 50, "does not answer"},
		{"by hand", refusing, "", "", "0.4.0", 4, "CNI_COMMAND is not set"},
		{"too large", refusing, strings.Repeat(" ", wire.MaxMessage+1), "ADD", "0.4.0", 11, "larger than 1 MiB"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e := run(test.socket, test.stdin, map[string]string{"CNI_COMMAND": test.command}, time.Nanosecond).cniError(t)
			if e.CNIVersion != test.version || e.Code != test.code || !strings.Contains(e.Msg, test.msg) {
				t.Errorf("got %+v, want version %s, code %d, %q", e, test.version, test.code, test.msg)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	got := run("/nonexistent", `{"cniVersion":"1.0.0"}`, map[string]string{"CNI_COMMAND": "VERSION"}, 0)
	var v struct {
		CNIVersion        string   `json:"cniVersion"`
		SupportedVersions []string `json:"supportedVersions"`
	}
	if err := json.Unmarshal([]byte(got.stdout), &v); err != nil || got.code != 0 {
		t.Fatalf("%+v: %v", got, err)
	}
	if !slices.Equal(v.SupportedVersions, []string{"0.4.0", "1.0.0", "1.1.0"}) || v.CNIVersion != "1.1.0" {
		t.Errorf("got %+v", v)
	}
}

// A restart of the node process is ridden out.
func TestServerComesLate(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	stdin, ready := newBlocking(conf)
	done := make(chan result)
	go func() {
		var out bytes.Buffer
		env := map[string]string{"CNI_COMMAND": "DEL"}
		code := shim.Run(shim.Config{Getenv: func(k string) string { return env[k] }, Stdin: stdin, Stdout: &out, Socket: socket, Patience: time.Minute})
		done <- result{code, out.String()}
	}()
	<-ready // the shim has read its input: from now on it tries to connect
	serve(t, socket, func(wire.Request) *wire.Response { return &wire.Response{} })
	if got := <-done; got != (result{}) {
		t.Errorf("got %+v, want success without output", got)
	}
}

// blocking tells when its content was read.
type blocking struct {
	strings.Reader
	done chan struct{}
}

func newBlocking(s string) (*blocking, <-chan struct{}) {
	b := &blocking{Reader: *strings.NewReader(s), done: make(chan struct{})}
	return b, b.done
}

func (b *blocking) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err != nil {
		close(b.done)
	}
	return n, err
}

// The shim is started for every pod: what it links is what it costs.
func TestShimIsSmall(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", "github.com/ovnkctl/ovnkctl/cmd/ovn-k8s-cni-overlay").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	allowed := []string{
		"github.com/ovnkctl/ovnkctl/cmd/ovn-k8s-cni-overlay",
		"github.com/ovnkctl/ovnkctl/internal/cni/shim",
		"github.com/ovnkctl/ovnkctl/internal/cni/wire",
	}
	for pkg := range strings.FieldsSeq(string(out)) {
		domain, _, _ := strings.Cut(pkg, "/")
		if strings.Contains(domain, ".") && !slices.Contains(allowed, pkg) {
			t.Errorf("the shim links %s", pkg)
		}
		if pkg == "net/http" || pkg == "crypto/tls" {
			t.Errorf("the shim links %s", pkg)
		}
	}
}

// The binary itself, with the cost of a call as the kernel accounts it.
func TestBinary(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	binary := filepath.Join(dir, "shim")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "github.com/ovnkctl/ovnkctl/cmd/ovn-k8s-cni-overlay")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	socket := filepath.Join(dir, "s")
	started, measured := make(chan int, 1), make(chan int, 1)
	serve(t, socket, func(wire.Request) *wire.Response {
		// It waits for the answer now: this is the most memory it needs.
		measured <- peakMemory(t, <-started)
		return &wire.Response{Result: json.RawMessage(`{"done":true}`)}
	})
	cmd := exec.Command(binary)
	var out bytes.Buffer
	cmd.Stdout = &out
	cmd.Env = []string{"CNI_COMMAND=ADD", "CNI_CONTAINERID=abc"}
	cmd.Stdin = strings.NewReader(`{"cniVersion":"1.0.0","socket":"` + socket + `"}`)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	started <- cmd.Process.Pid
	if err := cmd.Wait(); err != nil || out.String() != `{"done":true}` {
		t.Fatalf("got %q, %v", out.String(), err)
	}
	peak := <-measured
	const limit = 12 << 10 // KiB
	if peak == 0 || peak > limit {
		t.Errorf("a call needs %d KiB of memory, want at most %d", peak, limit)
	}
	t.Logf("memory %d KiB, CPU %s, size %d KiB", peak, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime(), fileSize(t, binary)>>10)
}

// peakMemory is the largest resident size of a process in KiB.
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.Atoi(strings.Fields(rest)[0])
			return kib
		}
	}
	return 0
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
