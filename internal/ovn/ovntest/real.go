package ovntest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
)

// RootEnv names the environment variable with a directory that has OVN and OVS of its own
// (a Debian root made by debootstrap): its binaries are run through its own loader.
const RootEnv = "OVNKCTL_OVN_ROOT"

// Command makes the command line of a program of OVS or OVN. It skips the test, saying so,
// when there is none on this machine.
func Command(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	root, given := os.LookupEnv(RootEnv)
	if !given {
		if cache, err := os.UserCacheDir(); err == nil {
			root = filepath.Join(cache, "ovnkctl", "trixie-root")
		}
	}
	for _, dir := range []string{"usr/sbin", "usr/bin"} {
		bin := filepath.Join(root, dir, name)
		if _, err := os.Stat(bin); err != nil {
			continue
		}
		libs := filepath.Join(root, "usr/lib/x86_64-linux-gnu")
		return exec.Command(filepath.Join(root, "lib64/ld-linux-x86-64.so.2"),
			append([]string{"--library-path", libs, "--argv0", name, bin}, args...)...)
	}
	if given {
		t.Fatalf("%s=%s has no %s", RootEnv, root, name)
	}
	bin, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("NOT TESTED AGAINST A REAL SERVER: no %s in %s or PATH; set %s or run `make ovn-root`", name, root, RootEnv)
	}
	return exec.Command(bin, args...)
}

// Real starts an empty database in a real ovsdb-server; schema is the content of a
// .ovsschema file.
func Real(t testing.TB, d *ovn.Database, schema []byte) *Server {
	t.Helper()
	s := newServer(t, d)
	s.StartReal(t, schema)
	s.Open(t)
	return s
}

// StartReal starts another, empty real database behind the door; see StartMemory.
func (s *Server) StartReal(t testing.TB, schema []byte) (stop func()) {
	t.Helper()
	dir, err := os.MkdirTemp(s.dir, "real")
	if err != nil {
		t.Fatal(err)
	}
	file, schemaFile := filepath.Join(dir, "db"), filepath.Join(dir, "schema")
	if err := os.WriteFile(schemaFile, schema, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := Command(t, "ovsdb-tool", "create", file, schemaFile).CombinedOutput(); err != nil {
		t.Fatalf("create the database: %v\n%s", err, out)
	}
	return s.serve(t, dir, file)
}

func (s *Server) serve(t testing.TB, dir, file string) (stop func()) {
	t.Helper()
	socket := filepath.Join(dir, "sock")
	var log bytes.Buffer
	cmd := Command(t, "ovsdb-server", "--remote=punix:"+socket, "--unixctl="+filepath.Join(dir, "ctl"), "-vconsole:warn", file)
	cmd.Env = append(os.Environ(), "OVS_RUNDIR="+dir)
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(gone)
	}()
	stop = func() {
		_ = cmd.Process.Kill()
		<-gone
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() && log.Len() > 0 {
			t.Logf("ovsdb-server said:\n%s", log.String())
		}
	})
	waitForSocket(t, socket, gone)
	s.mu.Lock()
	s.backend = socket
	s.mu.Unlock()
	return stop
}
