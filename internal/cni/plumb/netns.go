//go:build linux

// Package plumb makes the network interface of a pod: a veth pair between the node and
// the pod's network namespace, with addresses and routes, by netlink from this process.
//
//	node namespace                         pod namespace
//	<first 15 of the sandbox> ──veth──── eth0   MAC, MTU, addresses, routes
//	   (port of br-int; no address)
//
// Nothing is forked, and only the opening of a netlink socket happens inside the pod's
// namespace: a socket stays in the namespace it was opened in, whichever thread uses it.
package plumb

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrGone says that the network namespace does not exist (any more).
var ErrGone = errors.New("network namespace is gone")

// selfNetns is the namespace of the calling thread.
const selfNetns = "/proc/thread-self/ns/net"

// Netns is one open network namespace.
type Netns struct {
	path   string
	file   *os.File
	handle *netlink.Handle
}

// Open opens the network namespace that path names. It refuses everything else, the
// node's own namespace above all, and returns ErrGone for one that does not exist.
func Open(path string) (*Netns, error) {
	if !filepath.IsAbs(path) || len(path) >= unix.PathMax {
		return nil, fmt.Errorf("network namespace %.80q: want an absolute path", path)
	}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", path, ErrGone)
	}
	if err != nil {
		return nil, fmt.Errorf("network namespace: %w", err)
	}
	if err := verify(path, file); err != nil {
		_ = file.Close()
		return nil, err
	}
	n := &Netns{path: path, file: file}
	err = n.do(func() error {
		n.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("enter network namespace %s: %w", path, err)
	}
	return n, nil
}

// verify makes sure that file is a network namespace and not the node's own.
func verify(path string, file *os.File) error {
	var fsInfo unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &fsInfo); err != nil {
		return fmt.Errorf("network namespace %s: %w", path, err)
	}
	// What remains when the namespace was unmounted is an empty plain file.
	if fsInfo.Type != unix.NSFS_MAGIC && fsInfo.Type != unix.PROC_SUPER_MAGIC {
		return fmt.Errorf("%s: %w", path, ErrGone)
	}
	kind, err := unix.IoctlRetInt(int(file.Fd()), unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		return fmt.Errorf("%s is not a network namespace", path)
	}
	var theirs, own unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &theirs); err != nil {
		return fmt.Errorf("network namespace %s: %w", path, err)
	}
	if err := unix.Stat(selfNetns, &own); err != nil {
		return fmt.Errorf("own network namespace: %w", err)
	}
	if theirs.Dev == own.Dev && theirs.Ino == own.Ino {
		return fmt.Errorf("%s is the node's own network namespace: a pod cannot be attached to it", path)
	}
	return nil
}

// Path is the path the namespace was opened by.
func (n *Netns) Path() string { return n.path }

// Close releases the namespace.
func (n *Netns) Close() {
	_ = n.handle.Close()
	_ = n.file.Close()
}

// do runs f on a thread that is in the namespace.
func (n *Netns) do(f func() error) error { return inNetns(int(n.file.Fd()), f) }

// inNetns runs f on a thread of its own in the namespace fd. A thread that cannot
// return ends with its goroutine instead of carrying others into the wrong namespace.
func inNetns(fd int, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open(selfNetns)
		if err != nil {
			runtime.UnlockOSThread()
			done <- err
			return
		}
		defer func() { _ = home.Close() }()
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("setns: %w", err)
			return
		}
		err = f()
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}
