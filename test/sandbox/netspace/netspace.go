// Package netspace makes, enters and removes named network namespaces. The
// names are where `ip netns` looks for them, so people can use that tool, too.
package netspace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const dir = "/run/netns"

// Path is the file that holds a namespace.
func Path(name string) string { return filepath.Join(dir, name) }

// Exists reports whether the namespace is there and usable: a killed run can
// leave the empty file without the mount.
func Exists(name string) bool {
	var st unix.Statfs_t
	return unix.Statfs(Path(name), &st) == nil && st.Type == unix.NSFS_MAGIC
}

// Ensure makes the namespace with its loopback up, unless it exists.
func Ensure(name string) error {
	if Exists(name) {
		return nil
	}
	// What is left of a half-made one is only an empty file.
	if err := os.Remove(Path(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("network namespace %s: %w", name, err)
	}
	err := onThread(func() error {
		h, err := netns.NewNamed(name)
		if err != nil {
			return err
		}
		defer h.Close() //nolint:errcheck // the name keeps the namespace
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
	if err != nil {
		return fmt.Errorf("make network namespace %s: %w", name, err)
	}
	return nil
}

// Delete removes the name; the namespace goes when its last process has.
func Delete(name string) error {
	path := Path(name)
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount network namespace %s: %w", name, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove network namespace %s: %w", name, err)
	}
	return nil
}

// List returns the names that start with the prefix.
func List(prefix string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("network namespaces: %w", err)
	}
	var out []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// Do runs fn on a thread inside the namespace. Only that thread moves: fn must
// not start goroutines that expect to be there.
func Do(name string, fn func() error) error { return DoIn(Path(name), fn) }

// DoIn is Do for a namespace that has a file, but no name: that of a process, for instance.
func DoIn(file string, fn func() error) error {
	return onThread(func() error {
		if err := enter(file); err != nil {
			return err
		}
		return fn()
	})
}

func enter(file string) error {
	h, err := netns.GetFromPath(file)
	if err != nil {
		return fmt.Errorf("network namespace %s: %w", file, err)
	}
	defer h.Close() //nolint:errcheck // nothing was written
	if err := netns.Set(h); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", file, err)
	}
	return nil
}

// onThread runs fn on a thread of its own that is thrown away afterwards:
// it is cheaper to end a thread than to prove that it came home.
func onThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- fn()
	}()
	return <-done
}

// Dialer returns a DialContext that opens connections inside the namespace.
func Dialer(name string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		var c net.Conn
		err := Do(name, func() error {
			var err error
			// One address literal, no fallback: the socket is made on this thread.
			c, err = (&net.Dialer{FallbackDelay: -1}).DialContext(ctx, network, addr)
			return err
		})
		return c, err
	}
}

// Processes returns the processes whose network namespace is the named one.
func Processes(name string) ([]int, error) {
	var want, st unix.Stat_t
	if err := unix.Stat(Path(name), &want); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil, nil
		}
		return nil, fmt.Errorf("network namespace %s: %w", name, err)
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("processes: %w", err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		// A process that ended meanwhile is simply not there.
		if unix.Stat(filepath.Join("/proc", e.Name(), "ns/net"), &st) == nil && st.Dev == want.Dev && st.Ino == want.Ino {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// Exec replaces this process by a command inside the namespace.
func Exec(name string, argv []string) error {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return fmt.Errorf("command: %w", err)
	}
	runtime.LockOSThread() // the thread that execs is the process afterwards
	if err := enter(Path(name)); err != nil {
		return err
	}
	return fmt.Errorf("exec %s: %w", path, unix.Exec(path, argv, os.Environ()))
}
