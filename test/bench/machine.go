//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
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
	if out, err := exec.Command("ovs-vswitchd", "--version").Output(); err == nil {
		m.Versions, _, _ = strings.Cut(string(out), "\n")
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
