package node

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ovnkctl/ovnkctl/test/sandbox/cgroup"
)

// InitCommand is the hidden command under which this program is a node's pid 1.
const InitCommand = "node-init"

// bind is a folder of the node's disk and where the node sees it.
type bind struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// initSpec tells pid 1 what to set up. It is read from a file, so that a
// command line stays readable.
type initSpec struct {
	Name     string        `json:"name"`
	Cgroups  cgroup.Layout `json:"cgroups"`
	Binds    []bind        `json:"binds"`
	BootID   string        `json:"bootID"` // file with this boot's id
	Services []service     `json:"services"`
}

// service is a daemon that pid 1 keeps running.
type service struct {
	Name string   `json:"name"`
	Argv []string `json:"argv"`
	Log  string   `json:"log"`
	// After is a socket ("unix:PATH" or "tcp:HOST:PORT") that must accept a
	// connection before the first start.
	After []string `json:"after,omitempty"`
}

// Init is the main function of pid 1. Its first life enters the cgroups and a
// cgroup namespace; an exec makes that hold for every thread, and the second
// life builds the mounts and runs the daemons.
func Init(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("%s is started by the sandbox itself: want STAGE and SPEC", InitCommand)
	}
	data, err := os.ReadFile(args[1])
	if err != nil {
		return fmt.Errorf("node specification: %w", err)
	}
	var spec initSpec
	if err := json.Unmarshal(data, &spec); err != nil {
		return fmt.Errorf("node specification %s: %w", args[1], err)
	}
	if args[0] == "cgroups" {
		return enterCgroups(spec, args[1])
	}
	if err := buildMounts(spec); err != nil {
		return fmt.Errorf("node %s: %w", spec.Name, err)
	}
	return supervise(spec.Services)
}

func enterCgroups(spec initSpec, path string) error {
	if err := spec.Cgroups.Join(spec.Name, false); err != nil {
		return err
	}
	// unshare moves this thread only, and exec leaves only this thread.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("cgroup namespace: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("own program: %w", err)
	}
	return fmt.Errorf("exec: %w", unix.Exec(self, []string{self, InitCommand, "daemons", path}, os.Environ()))
}

// buildMounts gives the node its own /proc, /sys, /run and persistent folders.
func buildMounts(spec initSpec) error {
	if err := unix.Sethostname([]byte(spec.Name)); err != nil {
		return fmt.Errorf("hostname: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	// A node that held the machine's named network namespaces would keep them
	// alive after their end, and runtimes would read the machine's cgroup mounts.
	for _, d := range []string{"/run", "/sys"} {
		if err := dropMounts(d); err != nil {
			return err
		}
	}
	for _, m := range []struct {
		point, fstype, data string
		flags               uintptr
	}{
		{"/proc", "proc", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"/sys", "sysfs", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"/run", "tmpfs", "mode=755", unix.MS_NOSUID | unix.MS_NODEV},
	} {
		if err := unix.Mount(m.fstype, m.point, m.fstype, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.point, err)
		}
	}
	if err := spec.Cgroups.MountInside(); err != nil {
		return err
	}
	// Not every kernel has BPF; nothing here depends on it.
	_ = unix.Mount("bpf", "/sys/fs/bpf", "bpf", 0, "")
	for _, d := range []string{"/run/lock", "/run/netns", "/run/containerd", "/run/openvswitch", "/run/ovn", "/run/ovn-kubernetes"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("runtime folder: %w", err)
		}
	}
	for _, b := range spec.Binds {
		if err := os.MkdirAll(b.To, 0o755); err != nil {
			return fmt.Errorf("folder %s: %w", b.To, err)
		}
		if err := unix.Mount(b.From, b.To, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s on %s: %w", b.From, b.To, err)
		}
	}
	// A rebooted machine has another boot id; kubelets and daemons look at it.
	if err := unix.Mount(spec.BootID, "/proc/sys/kernel/random/boot_id", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("boot id: %w", err)
	}
	// As on any systemd machine: pods with Bidirectional or HostToContainer mounts need it.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("shared mounts: %w", err)
	}
	return nil
}

// dropMounts detaches the machine's mounts below a folder from this mount namespace.
func dropMounts(below string) error {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("mounts: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	points, err := mountsBelow(f, below)
	if err != nil {
		return err
	}
	for _, p := range points {
		if err := unix.Unmount(p, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("detach %s: %w", p, err)
		}
	}
	return nil
}

// mountsBelow returns mount points below a folder, the last mounted first.
func mountsBelow(mountinfo io.Reader, below string) ([]string, error) {
	var points []string
	sc := bufio.NewScanner(mountinfo)
	for sc.Scan() {
		f := strings.Fields(sc.Text())
		if len(f) > 4 && (f[4] == below || strings.HasPrefix(f[4], below+"/")) {
			points = append(points, unescape.Replace(f[4]))
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("mounts: %w", err)
	}
	slices.Reverse(points)
	return points, nil
}

// unescape undoes mountinfo's octal escapes.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// Exec replaces this process by a command inside the node: all of its
// namespaces and its cgroups.
func Exec(pid int, name string, cgroups cgroup.Layout, argv []string) error {
	if err := cgroups.Join(name, true); err != nil {
		return err
	}
	enter, err := exec.LookPath("nsenter")
	if err != nil {
		return fmt.Errorf("enter node %s: %w", name, err)
	}
	args := append([]string{filepath.Base(enter), "--target", fmt.Sprint(pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--"}, argv...)
	return fmt.Errorf("exec nsenter: %w", unix.Exec(enter, args, os.Environ()))
}
