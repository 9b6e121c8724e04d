package dns

import (
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// freeBind lets a socket have an address that the host does not have yet: the management
// port may come later than the program.
func freeBind(network, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		if strings.HasSuffix(network, "6") {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_FREEBIND, 1)
		} else {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1)
		}
	})
	if err != nil {
		return err
	}
	return failed
}
