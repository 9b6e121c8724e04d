//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

func machine(node string) Machine {
	m := Machine{When: time.Now().UTC().Format(time.DateOnly), Cores: runtime.NumCPU(), Node: node, Load: loadAverage(), CPU: "unknown"}
	m.CPU = fileValue("/proc/cpuinfo", "model name")
	var kib int
	_, _ = fmt.Sscan(fileValue("/proc/meminfo", "MemTotal"), &kib)
	m.MemGiB = (kib + 1<<19) >> 20
	if raw, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(raw))
	}
	return m
}

func fileValue(file, key string) string {
	raw, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(raw)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

func loadAverage() string {
	raw, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(raw), " ")
	return first
}

// switchVersion asks the program of the running ovs-vswitchd, inside of its container.
func switchVersion() string {
	pid, err := find("ovs-vswitchd", "")
	if err != nil {
		return err.Error()
	}
	root := fmt.Sprintf("/proc/%d/root", pid)
	program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return err.Error()
	}
	cmd := exec.Command(program, "--version")
	cmd.SysProcAttr, cmd.Dir = &syscall.SysProcAttr{Chroot: root}, "/"
	out, err := cmd.Output()
	if err != nil {
		return err.Error()
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return strings.Replace(first, "ovs-vswitchd (Open vSwitch)", "Open vSwitch", 1)
}
