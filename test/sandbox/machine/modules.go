package machine

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// LoadModules loads what containers need and nothing loads on demand.
func LoadModules() error {
	list, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return fmt.Errorf("file systems of the kernel: %w", err)
	}
	if strings.Contains(string(list), "\toverlay\n") {
		return nil
	}
	if out, err := exec.Command("modprobe", "overlay").CombinedOutput(); err != nil {
		return fmt.Errorf("the kernel has no overlay file system, which containers need: modprobe overlay: %w: %s", err, out)
	}
	return nil
}
