// Package cli starts the program as operators do, with what cannot work.
package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/cli"
)

// asProgram has the test binary be ovnkctl.
const asProgram = "OVNKCTL_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(cli.Main(append([]string{"ovnkctl"}, os.Args[1:]...), os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

const (
	// shop is the recorded cluster.
	shop = "../bundle/shop.tar.gz"
	// wait is --timeout where nobody answers, and hang is when a command has not ended in time: it
	// may wait some times over, and this machine may be busy.
	wait = time.Second
	hang = 30 * time.Second
)

// ended is how the program ended.
type ended struct {
	code        int
	out, stderr string
}

// start runs the program without any cluster but what args name.
func start(t *testing.T, args ...string) ended {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = []string{asProgram + "=1", "HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH"), "GOTRACEBACK=all"}
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err = cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("%q: it hangs\n%s%s", args, &out, &stderr)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return ended{cmd.ProcessState.ExitCode(), out.String(), stderr.String()}
}

// trace is what is for programmers alone.
var trace = regexp.MustCompile(`panic:|goroutine \d|\.go:\d+|0x[0-9a-f]{8,}|%!|<nil>|runtime error`)

// check is what holds for every end, and returns all that was said.
func (e ended) check(t *testing.T, args []string, codes ...int) string {
	t.Helper()
	all := e.out + e.stderr
	ok := false
	for _, c := range codes {
		ok = ok || e.code == c
	}
	switch {
	case !ok:
		t.Errorf("%q: exit code %d, want %d\n%s", args, e.code, codes, all)
	case trace.MatchString(all):
		t.Errorf("%q: %q is nothing for operators\n%s", args, trace.FindString(all), all)
	case e.code == cli.ExitFailed && e.out != "" && args[0] != "version": // which knows its own
		t.Errorf("%q: it failed, and says all the same\n%s", args, e.out)
	case e.code != cli.ExitOK && !strings.Contains(all, "→"):
		t.Errorf("%q: exit code %d without a word on what to do\n%s", args, e.code, all)
	}
	return all
}

// readers are commands that read a cluster or a record.
var readers = [][]string{
	{"status"}, {"diagnose"}, {"diagnose", "pod", "shop/db-0"}, {"explain", "shop/db-0"}, {"explain", "10.244.1.7"},
	{"trace", "shop/cart-0", "shop/db-0"}, {"reach", "ns/shop", "to", "ns/shop"}, {"reach", "--evaluate"}, {"logs"},
}

// changers are commands that need a live cluster.
var changers = [][]string{
	{"collect", "--dry-run"}, {"collect", "--file=-"}, {"logs", "--follow"}, {"install"}, {"install", "--dry-run"}, {"upgrade"}, {"upgrade", "--diff"},
	{"upgrade", "--rollback"}, {"uninstall", "--yes"}, {"uninstall", "--dry-run"},
}

// each runs commands with more arguments, and tells what they said.
func each(t *testing.T, commands [][]string, more []string, codes []int, look func(args []string, said string)) {
	t.Helper()
	for _, c := range commands {
		args := append(append([]string{}, c...), more...)
		t.Run(strings.Join(c, " "), func(t *testing.T) {
			t.Parallel()
			look(args, start(t, args...).check(t, args, codes...))
		})
	}
}

func live() [][]string { return append(append([][]string{}, readers...), changers...) }

func TestNoCluster(t *testing.T) {
	t.Parallel()
	each(t, live(), nil, []int{cli.ExitFailed}, func(args []string, said string) {
		if !strings.Contains(said, "no kubeconfig names a cluster") || !strings.Contains(said, "--kubeconfig") {
			t.Errorf("%q: %s", args, said)
		}
	})
	each(t, live(), []string{"--context", "nowhere"}, []int{cli.ExitFailed}, func(args []string, said string) {
		if !strings.Contains(said, "nowhere") {
			t.Errorf("%q: %s", args, said)
		}
	})
}

// closed is an address at which nobody listens.
func closed(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	each(t, append(live(), []string{"version"}), []string{"--server", closed(t)}, []int{cli.ExitFailed}, func(args []string, said string) {
		if !strings.Contains(said, "refused") {
			t.Errorf("%q: %s", args, said)
		}
	})
}

func TestDeafServer(t *testing.T) {
	t.Parallel()
	awake, wake := context.WithCancel(context.Background())
	deaf := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-awake.Done():
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(func() { wake(); deaf.Close() })
	each(t, append(live(), []string{"version"}), []string{"--server", deaf.URL, "--timeout", wait.String()}, []int{cli.ExitFailed, cli.ExitTimeout}, func([]string, string) {})
}

// refuser is an API server that answers all questions alike.
func refuser(t *testing.T, code int, reason, message string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		text := message
		if strings.Contains(message, "%s") {
			text = fmt.Sprintf(message, r.URL.Path)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{
			"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code, "message": text,
		})
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestNoRights(t *testing.T) {
	t.Parallel()
	url := refuser(t, http.StatusForbidden, "Forbidden", `User "jane" cannot get path "%s"`)
	each(t, append(readers, []string{"version"}, []string{"collect", "--dry-run"}, []string{"logs", "--follow"}), []string{"--server", url}, []int{cli.ExitFailed, cli.ExitPartial}, func(args []string, said string) {
		if !strings.Contains(said, "may not list") || !strings.Contains(said, "kubectl") || !strings.Contains(said, "--verb=list --resource=") || !strings.Contains(said, "jane") {
			t.Errorf("%q: it is not said which right is missing\n%s", args, said)
		}
	})
	each(t, changers[3:], []string{"--server", url}, []int{cli.ExitFailed}, func(args []string, said string) {
		if !strings.Contains(said, "jane") && !strings.Contains(said, "may not") {
			t.Errorf("%q: it is not said which right is missing\n%s", args, said)
		}
	})
}

func TestNobodyKnowsMe(t *testing.T) {
	t.Parallel()
	url := refuser(t, http.StatusUnauthorized, "Unauthorized", "Unauthorized")
	each(t, append(live(), []string{"version"}), []string{"--server", url}, []int{cli.ExitFailed, cli.ExitPartial}, func(args []string, said string) {
		if !strings.Contains(said, "log in") {
			t.Errorf("%q: %s", args, said)
		}
	})
}

// A proxy's error page, or another server at that address.
func TestNoAPIServer(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<html><body>Welcome to nginx</body></html>"))
	}))
	t.Cleanup(s.Close)
	each(t, append(live(), []string{"version"}), []string{"--server", s.URL}, []int{cli.ExitFailed, cli.ExitPartial}, func([]string, string) {})
}

// record is a file or folder that is no record.
func record(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestNoRecord(t *testing.T) {
	t.Parallel()
	whole, err := os.ReadFile(shop)
	if err != nil {
		t.Fatal(err)
	}
	nodes := record(t, "kubeconfig", []byte("apiVersion: v1\nkind: Config\n"))
	for name, path := range map[string]string{
		"missing":     filepath.Join(t.TempDir(), "missing.tar.gz"),
		"empty":       record(t, "empty.tar.gz", nil),
		"text":        record(t, "text", []byte("hello\n")),
		"the start":   record(t, "start.tar.gz", whole[:16]),
		"other":       nodes,
		"no bundle":   t.TempDir(),
		"an old file": record(t, "nb.db", []byte("OVSDB JSON 4 0000\n{}")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			each(t, append(readers, []string{"version"}), []string{"--from", path}, []int{cli.ExitFailed}, func(args []string, said string) {
				if !strings.Contains(said, path) {
					t.Errorf("%q: it does not say which file\n%s", args, said)
				}
			})
		})
	}
	// What is whole of a bundle is used.
	t.Run("half", func(t *testing.T) {
		t.Parallel()
		half := record(t, "half.tar.gz", whole[:len(whole)/2])
		each(t, append(readers, []string{"version"}), []string{"--from", half}, []int{cli.ExitFailed, cli.ExitPartial, cli.ExitFindings}, func([]string, string) {})
	})
}

func TestNames(t *testing.T) {
	t.Parallel()
	from := []string{"--from", shop}
	for _, c := range []struct {
		args []string
		code int
		want string // in what is said
	}{
		{[]string{"explain", "shop/nobody"}, cli.ExitFailed, "nobody"},
		{[]string{"explain", "web-0"}, cli.ExitFailed, "web-0"},
		{[]string{"explain", "thing/shop/web"}, cli.ExitFailed, "thing"},
		{[]string{"explain", ""}, cli.ExitUsage, "empty"},
		{[]string{"explain", "svc/shop/nobody"}, cli.ExitFailed, "nobody"},
		{[]string{"explain", "shop/db-0", "--node", "node9"}, cli.ExitFailed, "node9"},
		{[]string{"trace", "shop/nobody", "shop/db-0"}, cli.ExitFailed, "nobody"},
		{[]string{"trace", "shop/cart-0", "10.300.0.1"}, cli.ExitFailed, "10.300.0.1"},
		{[]string{"trace", "shop/cart-0", "shop/db-0:99999"}, cli.ExitFailed, "99999"},
		{[]string{"trace", "shop/cart-0"}, cli.ExitUsage, "arg"},
		{[]string{"reach", "ns/nowhere", "to", "ns/shop"}, cli.ExitFailed, "nowhere"},
		{[]string{"reach", "ns/shop", "to"}, cli.ExitUsage, "to"},
		{[]string{"logs", "node9"}, cli.ExitFailed, "node9"},
		{[]string{"logs", "--grep", "("}, cli.ExitUsage, "--grep"},
		{[]string{"diagnose", "OVNK-NO-001"}, cli.ExitUsage, "OVNK-NO-001"},
		{[]string{"diagnose", "pod", "shop/nobody"}, cli.ExitFailed, "nobody"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			t.Parallel()
			args := append(append([]string{}, c.args...), from...)
			if said := start(t, args...).check(t, args, c.code); !strings.Contains(said, c.want) {
				t.Errorf("%q: it does not say %q\n%s", args, c.want, said)
			}
		})
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"schema", "Nothing"}, "Nothing"}, {[]string{"help", "OVNK-NO-001"}, "OVNK-NO-001"}, {[]string{"nothing"}, "nothing"},
		{[]string{"stats"}, "status"}, {[]string{"status", "--nothing"}, "--nothing"}, {[]string{"status", "surplus"}, "surplus"},
		{[]string{"collect", "--from", shop}, "--from"}, {[]string{"status", "--timeout", "soon"}, "soon"}, {[]string{"help", "nothing"}, "nothing"}, {[]string{"help", "statu"}, "status"}, {[]string{"run", "ovs-db"}, "ovs-db"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			t.Parallel()
			if said := start(t, c.args...).check(t, c.args, cli.ExitUsage); !strings.Contains(said, c.want) {
				t.Errorf("%q: it does not say %q\n%s", c.args, c.want, said)
			}
		})
	}
}
