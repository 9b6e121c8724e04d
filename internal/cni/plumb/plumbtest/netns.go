//go:build linux

// Package plumbtest makes network namespaces for tests. They have no name and no mount
// point, so a killed test leaves nothing behind.
package plumbtest

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// Netns is a network namespace that ends with the test.
type Netns struct {
	Path string // /proc/<pid>/fd/<n>
	file *os.File
}

// New makes a network namespace, or skips the test if it does not run as root.
func New(t testing.TB) *Netns {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	type result struct {
		file *os.File
		err  error
	}
	made := make(chan result)
	go func() {
		// Never unlocked: the thread ends with the goroutine and the namespace stays
		// with the open file.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			made <- result{err: fmt.Errorf("unshare: %w", err)}
			return
		}
		file, err := os.Open("/proc/thread-self/ns/net")
		made <- result{file, err}
	}()
	r := <-made
	if r.err != nil {
		t.Fatalf("network namespace: %v", r.err)
	}
	n := &Netns{file: r.file, Path: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), r.file.Fd())}
	t.Cleanup(func() { _ = r.file.Close() })
	return n
}

// Do runs f on a thread that is in the namespace.
func (n *Netns) Do(t testing.TB, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked, see New
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("setns: %w", err)
			return
		}
		done <- f()
	}()
	if err := <-done; err != nil {
		t.Fatalf("in network namespace: %v", err)
	}
}
