package daemon

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// removeStaleControlSockets removes what killed daemons left: their control sockets have
// the pid in the name and would pile up. Whoever listens keeps his. Pid files and other
// sockets are replaced by the daemon that takes the name over.
func removeStaleControlSockets(pattern string, log *slog.Logger) {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return // the pattern is ours
	}
	for _, path := range paths {
		conn, err := net.DialTimeout("unix", path, time.Second)
		if err == nil {
			conn.Close()
			continue
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			log.Warn("stale control socket stays", "because", err.Error())
		}
	}
}
