//go:build linux

// launch runs a command and writes what it used as JSON to file descriptor 3. It exists
// because a process inherits the peak memory of the one that forked it: started from the
// benchmark itself, even `true` seems to need 40 MiB. For the same reason it avoids fmt.
package main

import (
	"os"
	"strconv"
	"syscall"
	"time"
)

func main() {
	start := time.Now()
	pid, err := syscall.ForkExec(os.Args[1], os.Args[1:], &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
	if err != nil {
		os.Exit(127)
	}
	var status syscall.WaitStatus
	var used syscall.Rusage
	for {
		_, err = syscall.Wait4(pid, &status, 0, &used)
		if err != syscall.EINTR {
			break
		}
	}
	report := `{"wallNanos":` + strconv.FormatInt(time.Since(start).Nanoseconds(), 10) +
		`,"cpuNanos":` + strconv.FormatInt(used.Utime.Nano()+used.Stime.Nano(), 10) +
		`,"maxRSSKiB":` + strconv.FormatInt(used.Maxrss, 10) + "}"
	_, _ = syscall.Write(3, []byte(report))
	os.Exit(status.ExitStatus())
}
