//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// userHZ is the unit of times in /proc/PID/stat; it is 100 on every Linux (proc(5)).
const userHZ = 100

// process is one process of the network on the node.
type process struct {
	Name         string  `json:"name"`
	PID          int     `json:"pid"`
	AnonymousMiB float64 `json:"anonymousMiB"`
	RSSMiB       float64 `json:"rssMiB"`
}

// networkProcesses lists what the network runs on this node, by the names of its parts.
func networkProcesses() ([]process, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var out []process
	for _, dir := range dirs {
		raw, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil {
			continue // it has ended
		}
		name := partName(strings.Split(strings.TrimRight(string(raw), "\x00"), "\x00"))
		if name == "" {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(dir))
		p := process{Name: name, PID: pid}
		if p.AnonymousMiB, p.RSSMiB, err = memory(pid); err == nil {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b process) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// partName names a process of the network by its command line.
func partName(args []string) string {
	base := filepath.Base(args[0])
	switch {
	case base == "ovnkctl" && len(args) > 1 && args[1] == "run":
		return "" // it becomes the daemon
	case base == "ovnkctl" && len(args) > 1:
		return "ovnkctl " + args[1]
	case base == "ovsdb-server":
		for _, db := range []string{"ovnnb", "ovnsb", "conf"} {
			if strings.Contains(strings.Join(args[1:], " "), db) {
				return "ovsdb-server " + db
			}
		}
	case base == "ovs-vswitchd", base == "ovn-controller", base == "ovn-northd", base == "ovs-ofctl":
		return base
	}
	return ""
}

func memory(pid int) (anonymous, rss float64, err error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, 0, err
	}
	defer file.Close() //nolint:errcheck // nothing was written
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		kib, _ := strconv.ParseFloat(fields[1], 64)
		switch fields[0] {
		case "Anonymous:":
			anonymous = kib / 1024
		case "Rss:":
			rss = kib / 1024
		}
	}
	return anonymous, rss, nil
}

// usage is what a process has used since it began.
type usage struct {
	cpu time.Duration
	// childCPU is the time of children that have ended.
	childCPU time.Duration
	// childFaults are the page faults of children that have ended: it grows by hundreds
	// with each command that is run, and by nothing else.
	childFaults int64
}

func usageOf(pid int) (usage, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, err
	}
	_, rest, _ := strings.Cut(string(raw), ") ")
	f := strings.Fields(rest) // f[0] is field 3 of proc(5)
	number := func(field int) int64 {
		n, _ := strconv.ParseInt(f[field-3], 10, 64)
		return n
	}
	return usage{
		cpu:         time.Duration(number(14)+number(15)) * time.Second / userHZ,
		childCPU:    time.Duration(number(16)+number(17)) * time.Second / userHZ,
		childFaults: number(11),
	}, nil
}

// cpuOf is the time that the processes have computed, by name.
func cpuOf(list []process) map[string]time.Duration {
	out := map[string]time.Duration{}
	for _, p := range list {
		if u, err := usageOf(p.PID); err == nil {
			out[p.Name] += u.cpu
		}
	}
	return out
}

// find returns the process with that base name of the program and first argument.
func find(program, argument string) (int, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	for _, dir := range dirs {
		raw, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil {
			continue
		}
		args := strings.Split(strings.TrimRight(string(raw), "\x00"), "\x00")
		if filepath.Base(args[0]) == program && (argument == "" || len(args) > 1 && args[1] == argument) {
			return strconv.Atoi(filepath.Base(dir))
		}
	}
	return 0, fmt.Errorf("no process %s %s on this node", program, argument)
}

// freezeKubelet stops the kubelet of this node, so that it does not start the pods of the
// benchmark. What it was doing goes on when thaw is called.
func freezeKubelet() (thaw func() error, err error) {
	pid, err := find("kubelet", "")
	if err != nil {
		return nil, err
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return nil, fmt.Errorf("stop the kubelet: %w", err)
	}
	return func() error { return syscall.Kill(pid, syscall.SIGCONT) }, nil
}

// thaw has the kubelet and the node's program go on, whoever stopped them. The program is
// not there when the kubelet has yet to start it again.
func thaw() error {
	if pid, err := find("ovnkctl", "node"); err == nil {
		_ = syscall.Kill(pid, syscall.SIGCONT) // fails if it has just ended
	}
	pid, err := find("kubelet", "")
	if err != nil {
		return err
	}
	return syscall.Kill(pid, syscall.SIGCONT)
}

// parallel calls f for 0 to n-1 at the same time.
func parallel(n int, f func(int) error) error {
	errs := make([]error, n)
	done := make(chan struct{})
	for i := range n {
		go func() {
			errs[i] = f(i)
			done <- struct{}{}
		}()
	}
	for range n {
		<-done
	}
	return errors.Join(errs...)
}
