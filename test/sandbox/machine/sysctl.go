package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// procSys is where sysctls live; tests have their own.
const procSys = "/proc/sys"

// touched are the machine-wide sysctls that the sandbox or its kubelets change.
var touched = []string{
	"vm.overcommit_memory", "kernel.panic", "kernel.panic_on_oops", "kernel.keys.root_maxkeys", "kernel.keys.root_maxbytes",
	"fs.inotify.max_user_instances", "fs.inotify.max_user_watches", "net.core.rmem_default",
}

// raised are lower limits that several kubelets and containerds on one kernel need, and what
// a device's packets may take in bytes until Open vSwitch in userspace reads them: 208 KiB
// are four segments that are not yet cut, and a burst of the API server's has more.
var raised = map[string]int{"fs.inotify.max_user_instances": 8192, "fs.inotify.max_user_watches": 524288, "net.core.rmem_default": 4 << 20}

// Sysctls saves and restores machine-wide settings.
type Sysctls struct {
	Saved string // file with the values before the sandbox
	Root  string // /proc/sys when empty
}

func (s Sysctls) path(key string) string {
	root := s.Root
	if root == "" {
		root = procSys
	}
	return filepath.Join(root, strings.ReplaceAll(key, ".", "/"))
}

// Apply saves the current values, unless an earlier run did, and raises limits.
func (s Sysctls) Apply() error {
	if _, err := os.Stat(s.Saved); errors.Is(err, os.ErrNotExist) {
		values := map[string]string{}
		for _, k := range touched {
			b, err := os.ReadFile(s.path(k))
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				return fmt.Errorf("sysctl %s: %w", k, err)
			}
			values[k] = strings.TrimSpace(string(b))
		}
		data, err := json.MarshalIndent(values, "", "  ")
		if err != nil {
			return fmt.Errorf("sysctls: %w", err)
		}
		if err := os.WriteFile(s.Saved+".new", data, 0o644); err != nil {
			return fmt.Errorf("sysctls: %w", err)
		}
		if err := os.Rename(s.Saved+".new", s.Saved); err != nil {
			return fmt.Errorf("sysctls: %w", err)
		}
	}
	for k, min := range raised {
		b, err := os.ReadFile(s.path(k))
		if err != nil {
			return fmt.Errorf("sysctl %s: %w", k, err)
		}
		if v, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && v >= min {
			continue
		}
		if err := os.WriteFile(s.path(k), []byte(strconv.Itoa(min)), 0o644); err != nil {
			return fmt.Errorf("sysctl %s: %w", k, err)
		}
	}
	return nil
}

// Restore puts the saved values back and forgets them.
func (s Sysctls) Restore() error {
	data, err := os.ReadFile(s.Saved)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sysctls: %w", err)
	}
	values := map[string]string{}
	if err := json.Unmarshal(data, &values); err != nil {
		return fmt.Errorf("sysctls in %s: %w", s.Saved, err)
	}
	var errs []error
	for k, v := range values {
		now, err := os.ReadFile(s.path(k))
		if err == nil && strings.TrimSpace(string(now)) == v {
			continue
		}
		if err := os.WriteFile(s.path(k), []byte(v), 0o644); err != nil {
			errs = append(errs, fmt.Errorf("sysctl %s=%s: %w", k, v, err))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	if err := os.Remove(s.Saved); err != nil {
		return fmt.Errorf("sysctls: %w", err)
	}
	return nil
}
