//go:build linux

package box

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// RootVariable names the environment variable with the root folder of a distribution that
// has the OVN and OVS programs.
const RootVariable = "OVNKCTL_OVN_ROOT"

// Programs knows where the OVN and OVS programs are. With a root folder they are run by
// its own dynamic loader and libraries: no chroot and no mount, so that they see the
// machine's files and network namespaces.
type Programs struct {
	root string // empty when the programs are the machine's own
}

// FindPrograms looks for the programs in the folder that OVNKCTL_OVN_ROOT names, in the
// cache that `make ovn-root` fills, and on the machine itself.
func FindPrograms() (*Programs, error) {
	if root := os.Getenv(RootVariable); root != "" {
		p := &Programs{root: root}
		if _, err := p.resolve("ovn-northd"); err != nil {
			return nil, fmt.Errorf("%s=%s has no OVN: %w", RootVariable, root, err)
		}
		return p, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("cache folder: %w", err)
	}
	for _, pattern := range []string{"trixie-root", "rootfs*/root", "rootfs/*/root"} {
		roots, err := filepath.Glob(filepath.Join(cache, "ovnkctl", pattern))
		if err != nil {
			return nil, fmt.Errorf("cache folder: %w", err)
		}
		for _, root := range roots {
			p := &Programs{root: root}
			if _, err := p.resolve("ovn-northd"); err == nil {
				return p, nil
			}
		}
	}
	if _, err := exec.LookPath("ovn-northd"); err == nil {
		return &Programs{}, nil
	}
	return nil, fmt.Errorf("no OVN found: run `make ovn-root`, set %s, or install ovn-central, ovn-host and openvswitch-switch", RootVariable)
}

// Argv is the command line that runs a program.
func (p *Programs) Argv(name string, args ...string) ([]string, error) {
	if p.root == "" {
		return append([]string{name}, args...), nil
	}
	file, err := p.resolve(name)
	if err != nil {
		return nil, err
	}
	loader, err := p.loader(file)
	if err != nil {
		return nil, err
	}
	libraries, err := filepath.Glob(filepath.Join(p.root, "usr/lib/*-linux-gnu*"))
	if err != nil || len(libraries) == 0 {
		return nil, fmt.Errorf("%s has no libraries", p.root)
	}
	argv := []string{loader, "--library-path", strings.Join(libraries, ":"), "--argv0", name, file}
	return append(argv, args...), nil
}

// Schema is the path of a schema file, e.g. "ovn-nb".
func (p *Programs) Schema(name string) string {
	folder := "ovn"
	if name == "vswitch" {
		folder = "openvswitch"
	}
	return filepath.Join(p.root, "/usr/share", folder, name+".ovsschema")
}

func (p *Programs) resolve(name string) (string, error) {
	for _, folder := range []string{"usr/sbin", "usr/bin"} {
		file, err := p.follow(filepath.Join("/", folder, name))
		if err == nil {
			return file, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("program %s: %w", name, err)
		}
	}
	return "", fmt.Errorf("program %s: %w in %s", name, os.ErrNotExist, p.root)
}

// follow resolves symbolic links as they are meant inside the root.
func (p *Programs) follow(path string) (string, error) {
	const enough = 40 // links, as the kernel allows
	for range enough {
		target, err := os.Readlink(filepath.Join(p.root, path))
		if err != nil {
			_, err = os.Stat(filepath.Join(p.root, path))
			return filepath.Join(p.root, path), err
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		path = target
	}
	return "", fmt.Errorf("too many links at %s", path)
}

// loader is the dynamic loader that an executable asks for, inside the root.
func (p *Programs) loader(file string) (string, error) {
	f, err := elf.Open(file)
	if err != nil {
		return "", fmt.Errorf("executable %s: %w", file, err)
	}
	defer f.Close() //nolint:errcheck // only read
	s := f.Section(".interp")
	if s == nil {
		return "", fmt.Errorf("executable %s has no dynamic loader", file)
	}
	data, err := s.Data()
	if err != nil {
		return "", fmt.Errorf("executable %s: %w", file, err)
	}
	interp := strings.TrimRight(string(data), "\x00")
	dir, err := p.followDir(filepath.Dir(interp))
	if err != nil {
		return "", err
	}
	return p.follow(filepath.Join(dir, filepath.Base(interp)))
}

// followDir resolves a folder's links, /lib64 being one to usr/lib64 on merged systems.
func (p *Programs) followDir(dir string) (string, error) {
	full, err := p.follow(dir)
	if err != nil {
		return "", fmt.Errorf("loader: %w", err)
	}
	return strings.TrimPrefix(full, p.root), nil
}
