//go:build ovn && linux

package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/config"
)

// patience is how long a test waits for what must happen; a loaded machine is slow.
const patience = time.Minute

// zone is a node's daemons in a network namespace and directories of their own.
type zone struct {
	*testing.T
	config  *config.Config
	options Options
	dir     string
	start   chan func() // runs functions in the network namespace
}

func newZone(t *testing.T) *zone {
	t.Helper()
	c, dir := testConfig(t)
	c.Datapath = config.DatapathNetdev
	c.OVN.HandlerThreads, c.OVN.RevalidatorThreads = 1, 1
	r := ovnRelease(t)
	z := &zone{T: t, config: c, dir: dir, start: make(chan func())}
	z.options = Options{Config: c, BinDirs: []string{r.bin}, ShareDir: r.share, Wait: patience}
	ready := make(chan error)
	go func() {
		// Never unlocked: the thread ends with its goroutine, and its namespace with it.
		runtime.LockOSThread()
		ready <- syscall.Unshare(syscall.CLONE_NEWNET)
		for f := range z.start {
			f()
		}
	}()
	if err := <-ready; err != nil {
		t.Fatalf("network namespace: %v (root is needed)", err)
	}
	t.Cleanup(func() { close(z.start) })
	return z
}

// inside runs a function in the zone's network namespace.
func (z *zone) inside(f func() error) error {
	done := make(chan error)
	z.start <- func() { done <- f() }
	return <-done
}

// process is a running child.
type process struct {
	*exec.Cmd
	zone   *zone
	daemon Daemon
	log    *lockedBuffer
	done   chan struct{}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// launch starts `ovnkctl run NAME`.
func (z *zone) launch(name string, change ...func(*exec.Cmd)) *process {
	z.Helper()
	p := &process{Cmd: again(z.T, child{Daemon: name, Options: z.options}), zone: z, daemon: daemonNamed(z.T, name)}
	p.log, p.done = &lockedBuffer{}, make(chan struct{})
	p.Stderr = p.log
	for _, f := range change {
		f(p.Cmd)
	}
	if err := z.inside(p.Start); err != nil {
		z.Fatal(err)
	}
	go func() {
		_ = p.Wait() // the state tells
		close(p.done)
	}()
	z.Cleanup(func() {
		_ = p.Process.Kill()
		<-p.done
		if z.Failed() {
			z.Logf("log of %s:\n%s", name, p.log)
		}
	})
	return p
}

// run starts a daemon and waits until it is ready.
func (z *zone) run(name string) *process {
	z.Helper()
	p := z.launch(name)
	p.waitReady()
	return p
}

// tryEvery is how often a condition outside this program is looked at.
const tryEvery = 10 * time.Millisecond

// eventually waits until a condition holds; why tells what is missing.
func (z *zone) eventually(why func() error) {
	z.Helper()
	deadline := time.After(patience)
	ticker := time.NewTicker(tryEvery)
	defer ticker.Stop()
	for {
		err := why()
		if err == nil {
			return
		}
		select {
		case <-ticker.C:
		case <-deadline:
			z.Fatalf("after %s: %v", patience, err)
		}
	}
}

func (p *process) probe(liveness bool) error {
	ctx, cancel := context.WithTimeout(p.zone.Context(), time.Second)
	defer cancel()
	return p.daemon.Probe(ctx, p.zone.config, liveness)
}

func (p *process) waitReady() {
	p.zone.Helper()
	p.zone.eventually(func() error {
		select {
		case <-p.done:
			p.zone.Fatalf("%s ended: %v\n%s", p.daemon.Name, p.ProcessState, p.log)
		default:
		}
		return p.probe(false)
	})
}

// end sends a signal and returns how the process ended.
func (p *process) end(s syscall.Signal) syscall.WaitStatus {
	p.zone.Helper()
	if err := p.Process.Signal(s); err != nil {
		p.zone.Fatal(err)
	}
	return p.wait()
}

func (p *process) wait() syscall.WaitStatus {
	p.zone.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.zone.Fatalf("%s did not end", p.daemon.Name)
	}
	return p.ProcessState.Sys().(syscall.WaitStatus)
}

// fails runs a daemon that must not start, and returns what it says.
func (z *zone) fails(name string, change ...func(*exec.Cmd)) string {
	z.Helper()
	p := z.launch(name, change...)
	if status := p.wait(); status.ExitStatus() != 1 {
		z.Fatalf("%s ended with %v:\n%s", name, p.ProcessState, p.log)
	}
	return p.log.String()
}

// transact makes a transaction and returns the results' JSON.
func (z *zone) transact(name, operations string) string {
	z.Helper()
	d := daemonNamed(z.T, name)
	params := []any{d.database.schema}
	var ops []json.RawMessage
	if err := json.Unmarshal([]byte("["+operations+"]"), &ops); err != nil {
		z.Fatal(err)
	}
	for _, op := range ops {
		params = append(params, op)
	}
	ctx, cancel := context.WithTimeout(z.Context(), patience)
	defer cancel()
	answer, err := call(ctx, d.socket(z.config), "transact", params...)
	if err != nil {
		z.Fatal(err)
	}
	if strings.Contains(string(answer), `"error"`) {
		z.Fatalf("%s: %s", operations, answer)
	}
	return string(answer)
}

// rows counts the rows of a table.
func (z *zone) rows(name, table string) int {
	z.Helper()
	answer := z.transact(name, fmt.Sprintf(`{"op":"select","table":%q,"where":[],"columns":["_uuid"]}`, table))
	return strings.Count(answer, `"_uuid"`)
}

// oldSchema is the shipped schema of a database as an older release had it: without a
// column, and with a version of its own. It returns a share directory for it.
func (z *zone) oldSchema(name, version, table, column string) string {
	z.Helper()
	d := daemonNamed(z.T, name)
	data, err := os.ReadFile(filepath.Join(z.options.ShareDir, d.database.file))
	if err != nil {
		z.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(data, &schema); err != nil {
		z.Fatal(err)
	}
	delete(schema, "cksum")
	schema["version"] = version
	columns := schema["tables"].(map[string]any)[table].(map[string]any)["columns"].(map[string]any)
	if _, ok := columns[column]; !ok && column != "" {
		z.Fatalf("%s has no column %s", table, column)
	}
	delete(columns, column)
	if data, err = json.Marshal(schema); err != nil {
		z.Fatal(err)
	}
	share := filepath.Join(z.dir, "share-"+version)
	mkdir(z.T, filepath.Dir(filepath.Join(share, d.database.file)))
	if err := os.WriteFile(filepath.Join(share, d.database.file), data, 0o600); err != nil {
		z.Fatal(err)
	}
	return share
}
