// Package cache keeps what is expensive to make outside the checkout, keyed by
// everything that goes into it: a hit is right by construction, and a clone of
// the repository starts where the last one ended.
package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// Dir is the folder with all entries.
type Dir struct{ Path string }

// Default is ${XDG_CACHE_HOME:-~/.cache}/ovnkctl.
func Default() (Dir, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return Dir{}, fmt.Errorf("cache folder: %w", err)
	}
	return Dir{Path: filepath.Join(base, "ovnkctl")}, nil
}

// Key digests everything that an entry depends on.
type Key struct{ h sum }

type sum interface {
	io.Writer
	Sum([]byte) []byte
}

// NewKey starts a key with plain strings.
func NewKey(parts ...string) *Key {
	k := &Key{h: sha256.New()}
	return k.Add(parts...)
}

// Add mixes in strings; their boundaries count.
func (k *Key) Add(parts ...string) *Key {
	for _, p := range parts {
		fmt.Fprintf(k.h, "%d:%s;", len(p), p) //nolint:errcheck // a hash does not fail
	}
	return k
}

// AddFile mixes in a file's content.
func (k *Key) AddFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cache key: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return fmt.Errorf("cache key: %w", err)
	}
	k.Add(hex.EncodeToString(h.Sum(nil)))
	return nil
}

// String is short enough for a path and long enough to be unique.
func (k *Key) String() string { return hex.EncodeToString(k.h.Sum(nil))[:16] }

// Entry returns the folder of a kind and key, and marks it as used. The folder
// may not exist yet.
func (d Dir) Entry(kind string, key *Key) string {
	path := filepath.Join(d.Path, kind, key.String())
	now := time.Now()
	_ = os.Chtimes(path, now, now) // a missing entry has no age
	return path
}

// Make fills an entry unless it exists. The work happens in a folder beside it
// and is renamed when complete, so that a killed run leaves no half entry; a
// second process that wants the same entry waits.
func (d Dir) Make(kind string, key *Key, fill func(dir string) error) (string, error) {
	path := d.Entry(kind, key)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	unlock, err := d.lock(kind, key)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	work := path + ".new"
	if err := os.RemoveAll(work); err != nil {
		return "", fmt.Errorf("cache entry %s: %w", kind, err)
	}
	if err := os.MkdirAll(work, 0o755); err != nil {
		return "", fmt.Errorf("cache entry %s: %w", kind, err)
	}
	if err := fill(work); err != nil {
		return "", err
	}
	if err := os.Rename(work, path); err != nil {
		return "", fmt.Errorf("cache entry %s: %w", kind, err)
	}
	return path, nil
}

// Link gives an entry a name that does not change with its key, for tests and
// people who look for it.
func (d Dir) Link(name, target string) error {
	rel, err := filepath.Rel(d.Path, target)
	if err != nil {
		return fmt.Errorf("cache link %s: %w", name, err)
	}
	link := filepath.Join(d.Path, name)
	if have, err := os.Readlink(link); err == nil && have == rel {
		return nil
	}
	work := fmt.Sprintf("%s.%d", link, os.Getpid())
	if err := os.Symlink(rel, work); err != nil {
		return fmt.Errorf("cache link %s: %w", name, err)
	}
	if err := os.Rename(work, link); err != nil {
		return errors.Join(fmt.Errorf("cache link %s: %w", name, err), os.Remove(work))
	}
	return nil
}

func (d Dir) lock(kind string, key *Key) (func(), error) {
	dir := filepath.Join(d.Path, kind)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, key.String()+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cache lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("cache lock %s: %w", f.Name(), err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// Prune removes all but the most recently used entries of a kind.
func (d Dir) Prune(kind string, keep int) error {
	dir := filepath.Join(d.Path, kind)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	type aged struct {
		path string
		used time.Time
	}
	var all []aged
	for _, e := range entries {
		// Entries are named by their key alone; locks and work folders have an extension.
		if info, err := e.Info(); err == nil && filepath.Ext(e.Name()) == "" {
			all = append(all, aged{filepath.Join(dir, e.Name()), info.ModTime()})
		}
	}
	slices.SortFunc(all, func(a, b aged) int { return b.used.Compare(a.used) })
	for _, old := range all[min(keep, len(all)):] {
		if err := os.RemoveAll(old.path); err != nil {
			return fmt.Errorf("cache: %w", err)
		}
		_ = os.Remove(old.path + ".lock") // without it the next one makes its own
	}
	return nil
}
