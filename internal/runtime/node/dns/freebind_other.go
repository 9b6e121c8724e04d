//go:build !linux

package dns

import "syscall"

// freeBind does nothing: nodes run Linux.
func freeBind(string, string, syscall.RawConn) error { return nil }
