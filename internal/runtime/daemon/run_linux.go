package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/config"
)

// openFiles is the soft limit of open files that daemons get: each port of vswitchd takes
// a few, and the usual 1,024 would end at some hundred pods. OVS's own scripts set it so.
const openFiles = 65535

// accessWrite is W_OK|X_OK of access(2): entries can be made.
const accessWrite = 0x2 | 0x1

// Run prepares a daemon and becomes it: it returns only errors. It sets the umask of
// the process, so it is for a program that does nothing else.
func (d Daemon) Run(ctx context.Context, o Options) error {
	// The mode of sockets, pid files and databases follows it: root only.
	syscall.Umask(0o077)
	program, err := d.Prepare(ctx, o)
	if err != nil {
		return err
	}
	args := append([]string{d.program}, d.args(o.Config, o.ExtraArgs)...)
	raiseOpenFiles()
	o.Log.Info("starting", "program", program, "args", args[1:])
	if err := syscall.Exec(program, args, d.env(o.Config, os.Environ())); err != nil {
		return fmt.Errorf("start %s: %w", program, err)
	}
	return nil
}

// Prepare does what must be done before the daemon runs, and returns its program.
func (d Daemon) Prepare(ctx context.Context, o Options) (string, error) {
	program, err := locate(d.program, o.BinDirs, os.Getenv("PATH"))
	if err != nil {
		return "", err
	}
	for _, dir := range d.directories(o.Config) {
		if err := ensureDirectory(dir); err != nil {
			return "", err
		}
	}
	if err := d.refuseSecond(o.Config); err != nil {
		return "", err
	}
	removeStaleControlSockets(filepath.Join(d.runDir(o.Config), d.fileName()+".*.ctl"), o.Log)
	switch {
	case d.database != nil:
		return program, d.prepareDatabase(ctx, o)
	case d.Name == "ovs":
		return program, d.prepareSwitch(ctx, o)
	}
	return program, d.awaitDatabases(ctx, o)
}

func (d Daemon) prepareDatabase(ctx context.Context, o Options) error {
	tool, err := locate("ovsdb-tool", o.BinDirs, os.Getenv("PATH"))
	if err != nil {
		return err
	}
	schema := filepath.Join(o.ShareDir, d.database.file)
	if _, err := os.Stat(schema); err != nil {
		return hint(fmt.Errorf("schema of %s: %w", d.database.schema, err), "use the ovnkctl image, or name the directory with --share-dir")
	}
	p := preparer{
		database: *d.database, path: d.databaseFile(o.Config), schemaFile: schema, tool: tool,
		setAside: o.SetAsideCorrupt, now: time.Now, log: o.Log,
	}
	if err := refuseLocked(lockFile(p.path), "an ovsdb-server serves "+p.path); err != nil {
		return err
	}
	return p.prepare(ctx)
}

func (d Daemon) prepareSwitch(ctx context.Context, o Options) error {
	if o.Config.Datapath == config.DatapathSystem {
		if err := checkKernelDatapath(); err != nil {
			return err
		}
	}
	socket := d.socket(o.Config)
	if err := await(ctx, socket, o.Wait, o.Log); err != nil {
		return err
	}
	want := settings(o.Config)
	changed, err := applySettings(ctx, socket, want)
	if err != nil {
		return withHint("settings of vswitchd: %w", err)
	}
	if changed {
		o.Log.Info("settings of vswitchd written", "other_config", want)
	}
	if err := releaseNIC(ctx, socket, o.Log); err != nil {
		return withHint("gateway NIC after a reboot: %w", err)
	}
	return nil
}

// awaitDatabases saves the daemon its first back-offs, which grow to 8 s. It is no error
// when a database stays away: the daemon goes on trying, and its probe says so.
func (d Daemon) awaitDatabases(ctx context.Context, o Options) error {
	for _, socket := range d.needs(o.Config) {
		err := await(ctx, socket, o.Wait, o.Log)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			o.Log.Warn("starting without a database", "because", err.Error())
		}
	}
	return nil
}

// ensureDirectory makes a directory for root alone, or checks that in one that is there
// nobody else can replace sockets and databases.
func ensureDirectory(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return hint(fmt.Errorf("run directory: %w", err), "check that the host path is mounted and writable")
	}
	stat, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	// Without capabilities root is a user like any other, and packages of the host give
	// these directories to a user of their own.
	if err := syscall.Access(dir, accessWrite); err != nil {
		return hint(fmt.Errorf("run directory %s is not writable: %w", dir, err), "give it to root: `chown root:root "+dir+"`, and mount it writable")
	}
	if others := stat.Mode().Perm() & 0o022; others != 0 {
		if err := os.Chmod(dir, stat.Mode().Perm()&^others); err != nil {
			return fmt.Errorf("run directory %s is writable by others: %w", dir, err)
		}
	}
	return nil
}

// refuseSecond does not touch what a running daemon holds: the daemon itself would
// refuse to start, but only after we changed its database.
func (d Daemon) refuseSecond(c *config.Config) error {
	return refuseLocked(d.pidFile(c), d.program+" is running")
}

// refuseLocked fails when another process holds a lock on a file, as daemons of OVS do
// on their pid files and databases while they live.
func refuseLocked(path, what string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	defer f.Close()
	lock := syscall.Flock_t{Type: syscall.F_WRLCK}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_GETLK, &lock); err != nil {
		return fmt.Errorf("lock %s: %w", path, err)
	}
	if lock.Type == syscall.F_UNLCK {
		return nil
	}
	owner := fmt.Sprintf("process %d", lock.Pid)
	if lock.Pid == 0 {
		owner = "a process of another pid namespace"
	}
	return hint(fmt.Errorf("%s already: %s holds %s", what, owner, path), "stop it first; on a host with its own Open vSwitch service, disable that")
}

// raiseOpenFiles keeps what it finds if it may not raise it: vswitchd warns by itself.
func raiseOpenFiles() {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return
	}
	// The runtime has raised the soft limit and takes that back on exec, unless it was
	// set explicitly. A limit of a billion would make daemons walk a huge table.
	limit.Cur = min(limit.Max, openFiles)
	_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}
