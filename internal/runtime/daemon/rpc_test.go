package daemon

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/config"
)

// serve answers requests whose method begins so with a line. An empty answer is silence.
func serve(t *testing.T, socket string, answers map[string]string) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
			go func() {
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					for method, answer := range answers {
						if strings.Contains(lines.Text(), `"method":"`+method) && answer != "" {
							_, _ = conn.Write([]byte(answer + "\n"))
						}
					}
				}
			}()
		}
	}()
}

// testConfig has all its paths below a short directory: socket names are limited.
func testConfig(t *testing.T) (*config.Config, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "ovnk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c := config.Default()
	c.OVN.RunDir = filepath.Join(dir, "ovn")
	c.OVN.NB, c.OVN.SB = "unix:"+filepath.Join(dir, "ovn/ovnnb_db.sock"), "unix:"+filepath.Join(dir, "ovn/ovnsb_db.sock")
	c.OVN.OVS = "unix:" + filepath.Join(dir, "ovs/db.sock")
	c.OVN.NBDatabase, c.OVN.SBDatabase = filepath.Join(dir, "etc-ovn/nb.db"), filepath.Join(dir, "etc-ovn/sb.db")
	c.OVN.OVSDatabase = filepath.Join(dir, "etc-ovs/conf.db")
	return c, dir
}

func mkdir(t *testing.T, dirs ...string) {
	t.Helper()
	for _, d := range dirs {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

func daemonNamed(t *testing.T, name string) Daemon {
	t.Helper()
	d, err := Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestProbeDatabase(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer, why string
	}{
		"up":                  {`{"id":0,"result":["_Server","OVN_Northbound"],"error":null}`, ""},
		"after an echo":       {`{"id":"echo","method":"echo","params":[]}{"id":null,"method":"update","params":[]}{"id":0,"result":["OVN_Northbound"],"error":null}`, ""},
		"another database":    {`{"id":0,"result":["_Server","OVN_Southbound"],"error":null}`, "serves _Server, OVN_Southbound, not OVN_Northbound"},
		"refusal":             {`{"id":0,"result":null,"error":"unknown method"}`, "list_dbs: unknown method"},
		"refusal as object":   {`{"id":0,"result":null,"error":{"error":"unknown"}}`, `{"error":"unknown"}`},
		"nonsense":            {`hello`, "invalid character"},
		"silence":             {"", "accepts connections but does not answer"},
		"answer of some type": {`{"id":0,"result":"x","error":null}`, "list_dbs"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := testConfig(t)
			mkdir(t, c.OVN.RunDir)
			serve(t, socketPath(c.OVN.NB), map[string]string{"list_dbs": test.answer})
			timeout := time.Minute
			if test.answer == "" {
				timeout = 50 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			wantProblem(t, daemonNamed(t, "nb").Probe(ctx, c, false), test.why)
		})
	}
}

func wantProblem(t *testing.T, err error, why string) {
	t.Helper()
	if why == "" && err != nil {
		t.Errorf("not well: %v", err)
	}
	if why != "" && (err == nil || !strings.Contains(err.Error(), why)) {
		t.Errorf("error = %v, want %q", err, why)
	}
}

func TestProbeControl(t *testing.T) {
	t.Parallel()
	reply := func(s string) string { return `{"id":0,"result":"` + s + `","error":null}` }
	refuse := `{"id":0,"result":null,"error":"\"x\" is not a valid command (use \"list-commands\")\n"}`
	connected, version := reply(`connected\n`), reply("1.2.3")
	for name, test := range map[string]struct {
		daemon  string
		answers map[string]string
		live    string // why it is not alive
		ready   string // why it is not ready
	}{
		"northd": {"northd", map[string]string{
			"version": version, "nb-connection-status": connected, "sb-connection-status": connected, "status": reply(`Status: active\nmore\n`),
		}, "", ""},
		"northd without its database": {"northd", map[string]string{
			"version": version, "nb-connection-status": reply("not connected"), "sb-connection-status": connected, "status": reply("Status: active"),
		}, "", `nb-connection-status says "not connected"`},
		"northd paused": {"northd", map[string]string{
			"version": version, "nb-connection-status": connected, "sb-connection-status": connected, "status": reply("Status: paused"),
		}, "", `status says "Status: paused"`},
		"controller": {"ovn-controller", map[string]string{"version": version, "connection-status": connected}, "", ""},
		"controller that does not know the question": {"ovn-controller", map[string]string{"version": version, "connection-status": refuse},
			"", "not a valid command"},
		"controller that is odd": {"ovn-controller", map[string]string{"version": refuse}, "not a valid command", "not a valid command"},
		"vswitchd":               {"ovs", map[string]string{"version": version, "coverage/read-counter": reply(`12\n`)}, "", ""},
		"vswitchd without bridges": {"ovs", map[string]string{"version": version, "coverage/read-counter": reply(`0\n`)},
			"", "not configured its bridges"},
		"vswitchd of old": {"ovs", map[string]string{"version": version, "coverage/read-counter": refuse}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, dir := testConfig(t)
			d := daemonNamed(t, test.daemon)
			mkdir(t, c.OVN.RunDir, filepath.Join(dir, "ovs"))
			if err := os.WriteFile(d.pidFile(c), []byte("17\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			serve(t, strings.TrimSuffix(d.pidFile(c), ".pid")+".17.ctl", test.answers)
			wantProblem(t, d.Probe(t.Context(), c, true), test.live)
			wantProblem(t, d.Probe(t.Context(), c, false), test.ready)
		})
	}
}

func TestProbeOfWhatDoesNotRun(t *testing.T) {
	t.Parallel()
	c, _ := testConfig(t)
	mkdir(t, c.OVN.RunDir)
	northd := daemonNamed(t, "northd")
	if err := northd.Probe(t.Context(), c, true); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "ovn-northd is not running") {
		t.Errorf("no pid file: %v", err)
	}
	for pid, why := range map[string]string{"17": "ovn-northd.17.ctl does not exist", "": "holds no process id"} {
		if err := os.WriteFile(northd.pidFile(c), []byte(pid), 0o600); err != nil {
			t.Fatal(err)
		}
		wantProblem(t, northd.Probe(t.Context(), c, true), why)
	}
	wantProblem(t, daemonNamed(t, "nb").Probe(t.Context(), c, true), "ovnnb_db.sock does not exist")

	// A killed server leaves its socket.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socketPath(c.OVN.NB), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	wantProblem(t, daemonNamed(t, "nb").Probe(t.Context(), c, true), "nobody listens")
}

func TestStopAsksForTheRightExit(t *testing.T) {
	t.Parallel()
	for name, params := range map[string]string{"ovn-controller": `["--restart"]`, "ovs": `[]`, "nb": `[]`} {
		c, dir := testConfig(t)
		d := daemonNamed(t, name)
		mkdir(t, c.OVN.RunDir, filepath.Join(dir, "ovs"))
		if err := os.WriteFile(d.pidFile(c), []byte("1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		socket, err := d.controlSocket(c)
		if err != nil {
			t.Fatal(err)
		}
		serve(t, socket, map[string]string{`exit","params":` + params: `{"id":0,"result":null,"error":null}`})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := d.Stop(ctx, c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
