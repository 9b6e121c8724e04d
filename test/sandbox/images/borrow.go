package images

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/test/sandbox/cache"
)

// borrowed are the machine's programs that the test images carry: Kubernetes'
// tests run them in pods.
var borrowed = []string{"dash", "bash", "curl", "wget", "nc.openbsd", "dig", "getent", "ss", "ip", "iperf", "socat", "ipcs", "hostname"}

// program is a file of the machine and the libraries that it loads.
type program struct {
	path string
	libs []string // names under which the loader looks for them
}

// findPrograms resolves names to files and libraries.
func findPrograms(ctx context.Context, names ...string) ([]program, error) {
	var out []program
	for _, n := range names {
		path, err := exec.LookPath(n)
		if err != nil {
			return nil, fmt.Errorf("test image: %w", err)
		}
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return nil, fmt.Errorf("test image: %s: %w", n, err)
		}
		list, err := exec.CommandContext(ctx, "ldd", path).Output()
		if err != nil {
			return nil, fmt.Errorf("libraries of %s: %w", path, err)
		}
		out = append(out, program{path: path, libs: libraries(list)})
	}
	return out, nil
}

// libraries picks the files out of ldd's output.
func libraries(ldd []byte) []string {
	var out []string
	sc := bufio.NewScanner(bytes.NewReader(ldd))
	for sc.Scan() {
		for f := range strings.FieldsSeq(sc.Text()) {
			if strings.HasPrefix(f, "/") {
				out = append(out, f)
				break
			}
		}
	}
	return out
}

// addTo mixes the content of programs and libraries into a key.
func addTo(key *cache.Key, programs []program) error {
	for _, p := range programs {
		for _, f := range append([]string{p.path}, p.libs...) {
			key.Add(f)
			if err := key.AddFile(f); err != nil {
				return err
			}
		}
	}
	return nil
}

// root is the file system of an image while it is put together.
type root string

func (r root) path(rel string) string { return filepath.Join(string(r), rel) }

// skeleton makes the folders and accounts that programs expect.
func (r root) skeleton() error {
	for _, d := range []string{"etc", "mnt", "root", "var/run", "proc", "sys", "dev", "usr/bin", "usr/sbin", "bin", "sbin", "lib", "lib64", "home", "run"} {
		if err := os.MkdirAll(r.path(d), 0o755); err != nil {
			return err
		}
	}
	for _, d := range []string{"tmp", "var/tmp"} {
		if err := os.MkdirAll(r.path(d), 0o777); err != nil {
			return err
		}
		if err := os.Chmod(r.path(d), 0o777|os.ModeSticky); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{
		"etc/passwd":        "root:x:0:0:root:/root:/bin/sh\nuser-defined-in-image:x:1000:1000::/home:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
		"etc/group":         "root:x:0:\nuser-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\nnogroup:x:65534:\n",
		"etc/nsswitch.conf": "hosts: files dns\n",
		// As busybox's, which cannot be used: Debian's static one crashes when a time-out is
		// asked for (wget -T).
		"etc/wgetrc": "tries = 1\n",
	} {
		if err := os.WriteFile(r.path(name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// borrow copies programs to /usr/bin and their libraries to where the loader finds them.
func (r root) borrow(programs []program, only ...string) error {
	for _, p := range programs {
		if len(only) > 0 && !slices.Contains(only, filepath.Base(p.path)) {
			continue
		}
		if err := r.copy(p.path, "usr/bin/"+filepath.Base(p.path)); err != nil {
			return err
		}
		for _, lib := range p.libs {
			if _, err := os.Stat(r.path(lib)); err == nil {
				continue
			}
			if err := r.copy(lib, lib); err != nil {
				return err
			}
		}
	}
	return nil
}

// busybox adds the static busybox and a link per applet that is not there as a program.
func (r root) busybox(ctx context.Context) error {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	if err := r.copy(path, "bin/busybox"); err != nil {
		return err
	}
	applets, err := exec.CommandContext(ctx, path, "--list").Output()
	if err != nil {
		return fmt.Errorf("busybox applets: %w", err)
	}
	for a := range strings.FieldsSeq(string(applets)) {
		if a == "busybox" {
			continue
		}
		if _, err := os.Lstat(r.path("usr/bin/" + a)); err == nil {
			continue
		}
		if err := os.Symlink("busybox", r.path("bin/"+a)); err != nil {
			return err
		}
	}
	return nil
}

// shell makes dash and bash the shells. Debian's busybox shell runs its own
// applets (nc!) in preference to the programs in PATH, which the tests mean.
func (r root) shell() error {
	for link, target := range map[string]string{"bin/sh": "../usr/bin/dash", "bin/bash": "../usr/bin/bash"} {
		if err := os.Remove(r.path(link)); err != nil && !os.IsNotExist(err) {
			return err
		}
		if err := os.Symlink(target, r.path(link)); err != nil {
			return err
		}
	}
	return nil
}

// copy takes a file in, following links.
func (r root) copy(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(r.path(to)), 0o755); err != nil {
		return err
	}
	return os.WriteFile(r.path(to), data, programMode)
}
