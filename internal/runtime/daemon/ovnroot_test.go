//go:build ovn && linux

package daemon

import (
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// release is an OVN and OVS release below a root directory of its own.
type release struct{ bin, share string }

// ovnRelease makes wrappers that run the release's programs with its own loader and
// libraries. The root is $OVNKCTL_OVN_ROOT, or in the cache what `make ovn-root` left.
func ovnRelease(t *testing.T) release {
	t.Helper()
	root, err := findRoot()
	if err != nil {
		t.Fatal(err)
	}
	loaders, _ := filepath.Glob(root + "/usr/lib*/ld-linux-*.so.*")
	libraries, _ := filepath.Glob(root + "/usr/lib/*-linux-gnu")
	if len(loaders) == 0 || len(libraries) == 0 {
		t.Fatalf("%s has no loader or libraries", root)
	}
	bin := t.TempDir()
	for _, name := range []string{"usr/sbin/ovsdb-server", "usr/sbin/ovs-vswitchd", "usr/bin/ovsdb-tool", "usr/bin/ovn-northd", "usr/bin/ovn-controller"} {
		program, err := resolve(root, name)
		if err != nil {
			t.Fatal(err)
		}
		script := fmt.Sprintf("#!/bin/sh\nexec %s --library-path %s --argv0 %s %s \"$@\"\n",
			loaders[0], strings.Join(libraries, ":"), filepath.Base(name), program)
		if err := os.WriteFile(filepath.Join(bin, filepath.Base(name)), []byte(script), 0o700); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
	}
	return release{bin, root + "/usr/share"}
}

func findRoot() (string, error) {
	if root := os.Getenv("OVNKCTL_OVN_ROOT"); root != "" {
		return root, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	roots, _ := filepath.Glob(cache + "/ovnkctl/rootfs/*/root")
	roots = append(roots, cache+"/ovnkctl/trixie-root")
	for _, root := range roots {
		if _, err := os.Stat(root + "/usr/bin/ovn-northd"); err == nil {
			return root, nil
		}
	}
	return "", fmt.Errorf("no OVN below %s/ovnkctl: run `make ovn-root`, or set OVNKCTL_OVN_ROOT", cache)
}

// resolve follows links inside the root, whose absolute targets mean the root.
func resolve(root, name string) (string, error) {
	path := filepath.Join(root, name)
	for range 8 {
		target, err := os.Readlink(path)
		if err != nil {
			break
		}
		if filepath.IsAbs(target) {
			path = filepath.Join(root, target)
		} else {
			path = filepath.Join(filepath.Dir(path), target)
		}
	}
	f, err := elf.Open(path)
	if err != nil {
		return "", fmt.Errorf("program %s: %w", name, err)
	}
	return path, f.Close()
}
