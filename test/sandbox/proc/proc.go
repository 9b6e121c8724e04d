// Package proc starts long-running processes, remembers them by pid and start
// time, and ends exactly those: a recycled pid is never mistaken for ours.
package proc

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ovnkctl/ovnkctl/test/sandbox/netspace"
)

// Table is the folder with one record per process.
type Table struct{ Dir string }

// Record identifies one process for as long as the machine runs.
type Record struct {
	PID     int    `json:"pid"`
	Start   uint64 `json:"start"` // clock ticks since boot, /proc/PID/stat field 22
	Boot    string `json:"boot"`  // pids and start times repeat after a reboot
	Command string `json:"command"`
	Log     string `json:"log"`
}

// Spec says what to start.
type Spec struct {
	Name  string
	Argv  []string
	Env   []string // in addition to the caller's environment
	Log   string   // stdout and stderr are appended here
	NetNS string   // named network namespace, "" for the caller's
	Clone uintptr  // further CLONE_NEW* flags
}

// Start runs the process detached from the caller's terminal and session.
func (t Table) Start(s Spec) (Record, error) {
	if err := os.MkdirAll(t.Dir, 0o755); err != nil {
		return Record{}, fmt.Errorf("start %s: %w", s.Name, err)
	}
	log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return Record{}, fmt.Errorf("start %s: log: %w", s.Name, err)
	}
	defer log.Close() //nolint:errcheck // the child has its own descriptor
	cmd := exec.Command(s.Argv[0], s.Argv[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, "/"
	cmd.Env = append(os.Environ(), s.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: s.Clone}
	run := func() error { return cmd.Start() }
	if s.NetNS != "" {
		run = func() error { return netspace.Do(s.NetNS, cmd.Start) }
	}
	if err := run(); err != nil {
		return Record{}, fmt.Errorf("start %s: %w", s.Name, err)
	}
	rec := Record{PID: cmd.Process.Pid, Command: strings.Join(s.Argv, " "), Log: s.Log}
	// Reap it, if it ends while this command still runs.
	go cmd.Wait() //nolint:errcheck // its end is seen by Alive
	st, err := readStat(rec.PID)
	if err != nil {
		return Record{}, fmt.Errorf("start %s: it ended at once, see %s", s.Name, s.Log)
	}
	rec.Start, rec.Boot = st.start, bootID()
	data, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		return Record{}, fmt.Errorf("record of %s: %w", s.Name, err)
	}
	if err := os.WriteFile(t.file(s.Name), data, 0o644); err != nil {
		return Record{}, fmt.Errorf("record of %s: %w", s.Name, err)
	}
	return rec, nil
}

// Get returns the record of a process that is running.
func (t Table) Get(name string) (Record, bool) {
	rec, err := t.read(name)
	if err != nil || !alive(rec) {
		return Record{}, false
	}
	return rec, true
}

// Names lists the recorded processes, running or not.
func (t Table) Names() []string {
	files, _ := filepath.Glob(filepath.Join(t.Dir, "*.json")) // the pattern is constant
	for i, f := range files {
		files[i] = strings.TrimSuffix(filepath.Base(f), ".json")
	}
	slices.Sort(files)
	return files
}

// Kill ends the process with SIGKILL and forgets it. State that such an end
// would hurt belongs in no sandbox. (An API server keeps listening for more
// than a minute after SIGTERM and blocks its own successor.)
func (t Table) Kill(name string) error {
	rec, err := t.read(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil && alive(rec) {
		if err := End(rec.PID); err != nil {
			return fmt.Errorf("kill %s: %w", name, err)
		}
	}
	// A torn record belongs to a run that was killed while writing it; the
	// namespace sweep finds the process.
	if err := os.Remove(t.file(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("record of %s: %w", name, err)
	}
	return nil
}

// End kills one process and waits until it is gone.
func End(pid int) error {
	before, err := readStat(pid)
	if err != nil {
		return nil //nolint:nilerr // it is gone already
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	// The kernel ends a pid namespace with many processes within a second or two.
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		st, err := readStat(pid)
		if err != nil || st.start != before.start || st.state == 'Z' {
			return nil //nolint:nilerr // gone
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("process %d (state %c) does not end", pid, before.state)
}

// Bind makes a command that is about to start die with this process, however
// that ends. The kernel means the thread that starts it, so the caller's
// goroutine stays on its thread until release is called.
func Bind(cmd *exec.Cmd) (release func()) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	runtime.LockOSThread()
	return runtime.UnlockOSThread
}

func (t Table) file(name string) string {
	return filepath.Join(t.Dir, strings.ReplaceAll(name, "/", "_")+".json")
}

func (t Table) read(name string) (Record, error) {
	data, err := os.ReadFile(t.file(name))
	if err != nil {
		return Record{}, err
	}
	var rec Record
	if err := json.Unmarshal(data, &rec); err != nil {
		return Record{}, fmt.Errorf("record of %s: %w", name, err)
	}
	return rec, nil
}

func alive(r Record) bool {
	if r.Boot != bootID() {
		return false
	}
	st, err := readStat(r.PID)
	return err == nil && st.start == r.Start && st.state != 'Z'
}

type stat struct {
	state byte
	start uint64
}

func readStat(pid int) (stat, error) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return stat{}, err
	}
	return parseStat(string(data))
}

// parseStat reads /proc/PID/stat. The command in parentheses may itself hold
// blanks and parentheses, so fields are counted from the last one.
func parseStat(s string) (stat, error) {
	i := strings.LastIndexByte(s, ')')
	if i < 0 {
		return stat{}, fmt.Errorf("stat %q: no command", s)
	}
	f := strings.Fields(s[i+1:])
	if len(f) < 20 {
		return stat{}, fmt.Errorf("stat %q: %d fields after the command", s, len(f))
	}
	start, err := strconv.ParseUint(f[19], 10, 64)
	if err != nil {
		return stat{}, fmt.Errorf("stat start time: %w", err)
	}
	return stat{state: f[0][0], start: start}, nil
}

// bootID names this boot of the machine.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}
