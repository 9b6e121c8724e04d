package cluster

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// replaceBy turns this process into another program; it returns only on failure.
func replaceBy(program string, argv, env []string) error {
	return fmt.Errorf("exec %s: %w", program, unix.Exec(program, argv, env))
}
