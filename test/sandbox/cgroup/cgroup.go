// Package cgroup gives every node a cgroup that looks like the root of the
// hierarchy from inside: kubelets of several nodes then all use /kubepods
// without knowing of each other. Version 1 (also hybrid) and 2 are supported.
package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// root is where every distribution mounts the hierarchies.
const root = "/sys/fs/cgroup"

// group is the parent of all nodes' cgroups.
const group = "ovnksb"

// initLeaf holds a node's own daemons under version 2, where a cgroup that
// hands controllers to children cannot have processes itself.
const initLeaf = "init.scope"

// Hierarchy is one mounted version 1 hierarchy.
type Hierarchy struct {
	Dir     string   `json:"dir"`     // file name under /sys/fs/cgroup
	Options []string `json:"options"` // controllers, or name=systemd
}

// Layout is how the machine mounts its cgroups.
type Layout struct {
	V2          bool        `json:"v2"`
	Hierarchies []Hierarchy `json:"hierarchies,omitempty"` // version 1 only
}

// Detect reads the layout of the running machine.
func Detect() (Layout, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return Layout{}, fmt.Errorf("cgroups: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	return Parse(f)
}

// Parse finds the cgroup mounts in a mountinfo file.
func Parse(mountinfo io.Reader) (Layout, error) {
	var l Layout
	sc := bufio.NewScanner(mountinfo)
	for sc.Scan() {
		left, right, ok := strings.Cut(sc.Text(), " - ")
		lf, rf := strings.Fields(left), strings.Fields(right)
		if !ok || len(lf) < 5 || len(rf) < 3 {
			continue
		}
		point, fstype := lf[4], rf[0]
		switch {
		case fstype == "cgroup2" && point == root:
			l.V2 = true
		case fstype == "cgroup" && filepath.Dir(point) == root:
			h := Hierarchy{Dir: filepath.Base(point)}
			for o := range strings.SplitSeq(rf[2], ",") {
				if !slices.Contains(ignoredOptions, o) && !strings.HasPrefix(o, "release_agent=") {
					h.Options = append(h.Options, o)
				}
			}
			l.Hierarchies = append(l.Hierarchies, h)
		}
	}
	if err := sc.Err(); err != nil {
		return Layout{}, fmt.Errorf("cgroup mounts: %w", err)
	}
	if l.V2 {
		l.Hierarchies = nil
		return l, nil
	}
	for _, want := range []string{"memory", "cpu", "pids", "devices"} {
		if !slices.ContainsFunc(l.Hierarchies, func(h Hierarchy) bool { return slices.Contains(h.Options, want) }) {
			return Layout{}, fmt.Errorf("no cgroup hierarchy with the %s controller under %s: Kubernetes cannot run here", want, root)
		}
	}
	return l, nil
}

// ignoredOptions are mount options that choose no controller.
var ignoredOptions = []string{"rw", "ro", "xattr", "clone_children", "noprefix", "cpuset_v2_mode"}

// dirs returns a node's folder in each hierarchy.
func (l Layout) dirs(node string) []string {
	if l.V2 {
		return []string{filepath.Join(root, group, node)}
	}
	out := make([]string, len(l.Hierarchies))
	for i, h := range l.Hierarchies {
		out[i] = filepath.Join(root, h.Dir, group, node)
	}
	return out
}

// Create makes the node's cgroups; they may exist.
func (l Layout) Create(node string) error {
	for _, d := range l.dirs(node) {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("cgroup of %s: %w", node, err)
		}
		if l.V2 {
			// The controllers must be handed down from the root, one level at a time.
			for _, parent := range []string{root, filepath.Dir(d)} {
				if err := delegate(parent); err != nil {
					return fmt.Errorf("cgroup of %s: %w", node, err)
				}
			}
			continue
		}
		if err := inheritCpuset(d); err != nil {
			return fmt.Errorf("cgroup of %s: %w", node, err)
		}
	}
	return nil
}

// inheritCpuset fills in what version 1 leaves empty in a new cpuset, where no
// process could be put then.
func inheritCpuset(dir string) error {
	for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
		for _, d := range []string{filepath.Dir(dir), dir} {
			have, err := os.ReadFile(filepath.Join(d, f))
			if errors.Is(err, os.ErrNotExist) {
				return nil // another hierarchy
			}
			if err != nil {
				return err
			}
			if strings.TrimSpace(string(have)) != "" {
				continue
			}
			parent, err := os.ReadFile(filepath.Join(filepath.Dir(d), f))
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(d, f), parent, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// wanted are the version 2 controllers that kubelet and runc use.
var wanted = []string{"cpuset", "cpu", "io", "memory", "pids", "hugetlb"}

// delegate lets the children of a version 2 cgroup use its controllers.
func delegate(dir string) error {
	have, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, c := range strings.Fields(string(have)) {
		if !slices.Contains(wanted, c) {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0o644); err != nil {
			return fmt.Errorf("hand controller %s down from %s: %w", c, dir, err)
		}
	}
	return nil
}

// Join moves the calling process (all of its threads) into the node's cgroups.
// A process that comes later than the node's pid 1 must set late: under
// version 2 only leaves may have processes then.
func (l Layout) Join(node string, late bool) error {
	for _, d := range l.dirs(node) {
		if l.V2 && late {
			d = filepath.Join(d, initLeaf)
		}
		if err := os.WriteFile(filepath.Join(d, "cgroup.procs"), []byte("0"), 0o644); err != nil {
			return fmt.Errorf("join cgroup of %s: %w", node, err)
		}
	}
	return nil
}

// MountInside replaces /sys/fs/cgroup in a new mount namespace by the view of
// the cgroup namespace, for pid 1 of a node.
func (l Layout) MountInside() error {
	if l.V2 {
		if err := unix.Mount("cgroup2", root, "cgroup2", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
			return fmt.Errorf("mount cgroup2: %w", err)
		}
		leaf := filepath.Join(root, initLeaf)
		if err := os.MkdirAll(leaf, 0o755); err != nil {
			return fmt.Errorf("cgroup of the node's daemons: %w", err)
		}
		if err := os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte("0"), 0o644); err != nil {
			return fmt.Errorf("cgroup of the node's daemons: %w", err)
		}
		return delegate(root)
	}
	if err := unix.Mount("cgroup", root, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount tmpfs on %s: %w", root, err)
	}
	for _, h := range l.Hierarchies {
		dir := filepath.Join(root, h.Dir)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("cgroup hierarchy %s: %w", h.Dir, err)
		}
		opts := strings.Join(h.Options, ",")
		if slices.ContainsFunc(h.Options, func(o string) bool { return strings.HasPrefix(o, "name=") }) {
			opts = "none," + opts
		}
		if err := unix.Mount("cgroup", dir, "cgroup", 0, opts); err != nil {
			return fmt.Errorf("mount cgroup hierarchy %s (%s): %w", h.Dir, opts, err)
		}
		// cpu,cpuacct mounted as one directory is also known under each name.
		for _, o := range h.Options {
			if o != h.Dir && !strings.Contains(o, "=") {
				if err := os.Symlink(h.Dir, filepath.Join(root, o)); err != nil && !errors.Is(err, os.ErrExist) {
					return fmt.Errorf("cgroup hierarchy %s: %w", o, err)
				}
			}
		}
	}
	return nil
}

// Remove deletes the node's cgroups, or with an empty name all of the sandbox'.
// Ended processes leave their cgroup a little later, so it tries for a while.
func (l Layout) Remove(node string) error {
	deadline := time.Now().Add(10 * time.Second)
	for _, d := range l.dirs(node) {
		for {
			err := removeTree(d)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("remove cgroup: %w", err)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	return nil
}

// Processes returns what still runs in the cgroups of the sandbox.
func (l Layout) Processes() []string {
	var out []string
	for _, d := range l.dirs("") {
		// What vanishes while we look has no processes.
		_ = filepath.WalkDir(d, func(p string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() && e.Name() == "cgroup.procs" {
				b, _ := os.ReadFile(p)
				out = append(out, strings.Fields(string(b))...)
			}
			return nil
		})
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// removeTree removes folders only: the files of a cgroup go with it.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%s: %w", dir, err)
	}
	return nil
}
