//go:build !linux

package replica

import "os/exec"

func beNice(int)              {}
func dieWithParent(*exec.Cmd) {}
