package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/ovn/dbfile"
)

// action is what a database file needs before it can be served.
type action int

const (
	keep action = iota
	create
	convert
	keepNewer // the daemons are older than the database: they can use it
)

// decide compares a database with the schema that the daemons were shipped with.
// different is ovsdb-tool's opinion, which also sees a schema that changed but not its
// version.
func decide(exists, different bool, have, shipped string) (action, error) {
	if !exists {
		return create, nil
	}
	if !different {
		return keep, nil
	}
	order, err := compareVersions(have, shipped)
	switch {
	case err != nil:
		return keep, err
	case order > 0:
		// Converting back would drop the columns that only the newer schema has. Daemons
		// read the columns that they know, so an older release works on it.
		return keepNewer, nil
	}
	return convert, nil
}

// compareVersions compares versions x.y.z of schemas.
func compareVersions(a, b string) (int, error) {
	x, err := parseVersion(a)
	if err != nil {
		return 0, err
	}
	y, err := parseVersion(b)
	if err != nil {
		return 0, err
	}
	for i := range x {
		if x[i] != y[i] {
			return x[i] - y[i], nil
		}
	}
	return 0, nil
}

func parseVersion(s string) (v [3]int, err error) {
	parts := strings.Split(s, ".")
	if len(parts) != len(v) {
		return v, fmt.Errorf("%q is not a schema version x.y.z", s)
	}
	for i, p := range parts {
		if v[i], err = strconv.Atoi(p); err != nil {
			return v, fmt.Errorf("%q is not a schema version x.y.z", s)
		}
	}
	return v, nil
}

// preparer brings one database file into the state that its server needs.
type preparer struct {
	database
	path       string // of the database
	schemaFile string // that the daemons were shipped with
	tool       string // ovsdb-tool
	setAside   bool   // rename a corrupt database instead of failing
	now        func() time.Time
	log        *slog.Logger
}

func (p *preparer) prepare(ctx context.Context) error {
	err := p.mend(ctx)
	var damaged *corruptError
	if !errors.As(err, &damaged) || !p.setAside {
		return err
	}
	aside := p.path + ".corrupt-" + p.now().UTC().Format("20060102T150405Z")
	if err := os.Rename(p.path, aside); err != nil {
		return fmt.Errorf("set the corrupt database aside: %w", err)
	}
	p.log.Warn("corrupt database set aside, starting with an empty one", "database", p.path, "aside", aside, "cause", damaged.cause)
	return p.mend(ctx)
}

// corruptError is a database whose contents cannot be used as they are.
type corruptError struct {
	path, schema string
	cause        error
}

func (e *corruptError) Error() string {
	return fmt.Sprintf("database %s is corrupt: %v", e.path, e.cause)
}
func (e *corruptError) Unwrap() error { return e.cause }

// Hint depends on what is lost.
func (e *corruptError) Hint() string {
	lost := "it holds derived rows only, which are written again"
	if e.schema == "Open_vSwitch" {
		lost = "bridges and ports are made again, but settings made by hand in it are lost"
	}
	return "restore a backup, or start once with --set-aside-corrupt, which renames it and begins with an empty one (" + lost + ")"
}

func (p *preparer) mend(ctx context.Context) error {
	info, err := dbfile.Read(p.path, p.singleton)
	if errors.Is(err, os.ErrNotExist) {
		return p.create(ctx)
	}
	if err := p.check(info, err); err != nil {
		return err
	}
	if info.Torn {
		if err := p.trim(info); err != nil {
			return err
		}
	}
	different, err := p.runTool(ctx, "needs-conversion", p.path, p.schemaFile)
	if err != nil {
		return err
	}
	shipped, err := p.runTool(ctx, "schema-version", p.schemaFile)
	if err != nil {
		return err
	}
	what, err := decide(true, different == "yes", info.Version, shipped)
	if err != nil {
		return fmt.Errorf("database %s: %w", p.path, err)
	}
	switch what {
	case convert:
		if err := p.convert(ctx, info.Version, shipped); err != nil {
			return err
		}
	case keepNewer:
		p.log.Warn("database has a newer schema than the daemons; left as it is", "database", p.path, "version", info.Version, "daemons", shipped)
	}
	if info.Rows == 0 {
		return p.insertSingleton(ctx, p.path)
	}
	return nil
}

// check refuses what cannot be served.
func (p *preparer) check(info dbfile.Info, err error) error {
	switch {
	case errors.Is(err, dbfile.ErrNotDatabase):
		return &corruptError{p.path, p.schema, err}
	case err != nil:
		return fmt.Errorf("database: %w", err)
	case info.Clustered:
		return hint(fmt.Errorf("database %s is a member of a cluster, but a zone has a database of its own", p.path),
			"move it away; its rows are derived and written again")
	case info.Name != p.schema:
		return hint(fmt.Errorf("database %s holds %s, not %s", p.path, info.Name, p.schema), "check the ovn.*Database keys of the configuration")
	case info.Damage != nil && !info.Torn:
		return &corruptError{p.path, p.schema, fmt.Errorf("intact up to byte %d of %d: %w", info.Intact, info.Size, info.Damage)}
	}
	return nil
}

// trim cuts off a last record that a crash left unfinished. The server would drop it as
// well, but ovsdb-tool refuses to convert such a file.
func (p *preparer) trim(info dbfile.Info) error {
	p.log.Warn("last record of the database was not written to its end; dropped", "database", p.path, "bytes", info.Size-info.Intact)
	if err := os.Truncate(p.path, info.Intact); err != nil {
		return fmt.Errorf("database: %w", err)
	}
	return nil
}

// create makes the file under another name first: a database that exists is complete.
func (p *preparer) create(ctx context.Context) error {
	fresh := p.path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("database: %w", err)
	}
	if _, err := p.runTool(ctx, "create", fresh, p.schemaFile); err != nil {
		return err
	}
	if err := p.insertSingleton(ctx, fresh); err != nil {
		return err
	}
	if err := os.Chmod(fresh, 0o600); err != nil {
		return fmt.Errorf("database: %w", err)
	}
	if err := os.Rename(fresh, p.path); err != nil {
		return fmt.Errorf("database: %w", err)
	}
	_ = os.Remove(lockFile(fresh)) // ovsdb-tool leaves it; harmless if it stays
	p.log.Info("database created", "database", p.path, "schema", p.schema)
	return syncDir(filepath.Dir(p.path))
}

// convert keeps a copy of the database as it was.
func (p *preparer) convert(ctx context.Context, have, shipped string) error {
	backup := p.path + ".backup-" + have
	if err := copyFile(p.path, backup); err != nil {
		return fmt.Errorf("back up before conversion: %w", err)
	}
	if _, err := p.runTool(ctx, "convert", p.path, p.schemaFile); err != nil {
		return withHint("convert database from schema %s to %s: %w", have, shipped, err)
	}
	p.log.Info("database converted", "database", p.path, "from", have, "to", shipped, "backup", backup)
	return nil
}

// insertSingleton adds the one row that clients expect to find. The schema allows one
// row only, so this cannot make a second.
func (p *preparer) insertSingleton(ctx context.Context, path string) error {
	transaction, err := json.Marshal([]any{
		p.schema,
		map[string]any{"op": "insert", "table": p.singleton, "row": map[string]any{}},
		map[string]any{"op": "comment", "comment": "ovnkctl run: the row of " + p.singleton},
	})
	if err != nil {
		return err
	}
	answer, err := p.runTool(ctx, "transact", path, string(transaction))
	if err != nil {
		return err
	}
	// The tool succeeds when the database refuses; the refusal is in its answer.
	var results []struct{ Error, Details string }
	if err := json.Unmarshal([]byte(answer), &results); err != nil {
		return fmt.Errorf("database %s: insert into %s: %w", path, p.singleton, err)
	}
	for _, r := range results {
		if r.Error != "" {
			return fmt.Errorf("database %s: insert into %s: %s: %s", path, p.singleton, r.Error, r.Details)
		}
	}
	return nil
}

// runTool runs ovsdb-tool and returns what it printed.
func (p *preparer) runTool(ctx context.Context, args ...string) (string, error) {
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, p.tool, append([]string{"-vsyslog:off", "-vfile:off"}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		why := strings.TrimSpace(errOut.String())
		if why == "" {
			why = err.Error()
		}
		return "", fmt.Errorf("ovsdb-tool %s: %s", args[0], why)
	}
	return strings.TrimSpace(out.String()), nil
}

// lockFile is the file that an ovsdb-server locks while it serves a database.
func lockFile(path string) string {
	dir, name := filepath.Split(path)
	return dir + "." + name + ".~lock~"
}

// copyFile is complete on disk, or not there, when it returns.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	partial := to + ".new"
	out, err := os.OpenFile(partial, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return err
	}
	if err := os.Rename(partial, to); err != nil {
		return err
	}
	return syncDir(filepath.Dir(to))
}

// syncDir makes a rename survive a crash.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
