// Package machine prepares the machine that runs the sandbox: programs from the
// distribution's packages, kernel settings that are put back later, and a look
// at what its kernel can carry.
package machine

import (
	"bufio"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/test/sandbox/progress"
)

// need is a package and how to see that what we want from it is here. The
// program counts, not the package: containerd may come from elsewhere.
type need struct {
	pkg  string
	here func() bool
}

func program(name string) func() bool {
	return func() bool { _, err := exec.LookPath(name); return err == nil }
}

func file(path string) func() bool {
	return func() bool { _, err := os.Stat(path); return err == nil }
}

// staticBusybox: the dynamic one could not run in an image without libraries.
func staticBusybox() bool {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return false
	}
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // read only
	return !slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}

// LoopbackPlugin is the CNI plugin that containerd before 2.0 runs for every pod.
const LoopbackPlugin = "/usr/lib/cni/loopback"

var needs = []need{
	{"containerd", func() bool { return program("containerd")() && program("ctr")() }},
	{"runc", program("runc")},
	{"etcd-server", program("etcd")},
	{"containernetworking-plugins", file(LoopbackPlugin)},
	{"debootstrap", program("debootstrap")},
	{"debian-archive-keyring", file("/usr/share/keyrings/debian-archive-keyring.gpg")},
	{"iproute2", program("ss")},
	// To look at a node, and to do it harm.
	{"nftables", program("nft")},
	{"procps", program("pgrep")},
	{"util-linux", program("nsenter")},
	// Programs that the test images carry.
	{"busybox-static", staticBusybox},
	{"bash", program("bash")},
	{"dash", program("dash")},
	{"curl", program("curl")},
	{"wget", program("wget")},
	{"netcat-openbsd", program("nc.openbsd")},
	{"bind9-dnsutils", program("dig")},
	{"iperf", program("iperf")},
	{"socat", program("socat")},
}

// Missing returns the packages that have to be installed.
func Missing() []string {
	var out []string
	for _, n := range needs {
		if !n.here() {
			out = append(out, n.pkg)
		}
	}
	return out
}

// Install installs packages, never removing one (containerd's package would
// replace Docker's).
func Install(ctx context.Context, pkgs []string, logPath string) error {
	if os.Geteuid() != 0 {
		return errors.New("the sandbox needs root for namespaces and mounts: run it with sudo")
	}
	release, err := os.Open("/etc/os-release")
	if err != nil {
		return fmt.Errorf("distribution: %w", err)
	}
	defer release.Close() //nolint:errcheck // read only
	if name, ok := aptDistribution(release); !ok {
		return fmt.Errorf("%s is neither Debian nor Ubuntu: install what gives these Debian packages and try again: %s", name, strings.Join(pkgs, " "))
	}
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("package log: %w", err)
	}
	defer log.Close() //nolint:errcheck // a log
	for _, args := range [][]string{
		{"update", "-q"},
		append([]string{"install", "-q", "-y", "--no-remove", "--no-install-recommends"}, pkgs...),
	} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Run(); err != nil {
			return progress.WithLog(fmt.Errorf("apt-get %s: %w", strings.Join(args, " "), err), logPath)
		}
	}
	if left := Missing(); len(left) > 0 {
		return fmt.Errorf("still missing after apt-get install: %s", strings.Join(left, " "))
	}
	return nil
}

// aptDistribution reads os-release.
func aptDistribution(r io.Reader) (name string, ok bool) {
	name = "this system"
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		k, v, _ := strings.Cut(sc.Text(), "=")
		v = strings.Trim(v, `"`)
		switch k {
		case "PRETTY_NAME":
			name = v
		case "ID", "ID_LIKE":
			for id := range strings.FieldsSeq(v) {
				ok = ok || id == "debian" || id == "ubuntu"
			}
		}
	}
	return name, ok
}
