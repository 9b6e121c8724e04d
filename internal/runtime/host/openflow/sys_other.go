//go:build !linux

package openflow

import "syscall"

func dieWithParent() *syscall.SysProcAttr { return nil }
