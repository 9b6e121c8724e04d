package replica

import (
	"os/exec"
	"syscall"
)

// niceness is how much the programs of a copy leave to others, of 19.
const niceness = 10

// beNice is best effort: the copy works without it.
func beNice(pid int) { _ = syscall.Setpriority(syscall.PRIO_PROCESS, pid, niceness) }

// dieWithParent has the kernel end the program if this one is killed.
func dieWithParent(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
