package node

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovnkctl/ovnkctl/test/sandbox/cgroup"
	"github.com/ovnkctl/ovnkctl/test/sandbox/fabric"
	"github.com/ovnkctl/ovnkctl/test/sandbox/images"
	"github.com/ovnkctl/ovnkctl/test/sandbox/machine"
	"github.com/ovnkctl/ovnkctl/test/sandbox/netspace"
	"github.com/ovnkctl/ovnkctl/test/sandbox/pki"
	"github.com/ovnkctl/ovnkctl/test/sandbox/plan"
	"github.com/ovnkctl/ovnkctl/test/sandbox/proc"
	"github.com/ovnkctl/ovnkctl/test/sandbox/progress"
)

// Config is what all nodes share.
type Config struct {
	Plan       plan.Plan
	Fabric     fabric.Fabric
	Cgroups    cgroup.Layout
	Processes  proc.Table
	Authority  *pki.Authority
	PKI        string // folder of the certificates
	Disks      string // folder with one folder per node
	Logs       string
	Kubelet    string // program
	Containerd string // program
	Self       string // this program, for pid 1
}

// Disk is the folder of one node.
func (c Config) Disk(name string) string { return filepath.Join(c.Disks, name) }

// InitLog is the log of the node's pid 1.
func (c Config) InitLog(name string) string { return filepath.Join(c.Logs, name, "init.log") }

// Running returns the machine's pid of the node's pid 1.
func (c Config) Running(name string) (int, bool) {
	rec, ok := c.Processes.Get(name)
	return rec.PID, ok
}

// Socket is the node's containerd as seen from the machine.
func (c Config) Socket(name string) (string, error) {
	pid, ok := c.Running(name)
	if !ok {
		return "", fmt.Errorf("node %s is not running: `bin/sandbox node reboot %s` starts it", name, name)
	}
	return filepath.Join("/proc", strconv.Itoa(pid), "root", containerdSocket), nil
}

// Prepare makes the node's disk: configuration, identity, images. It keeps
// what is there.
func (c Config) Prepare(name string, index int, store string) error {
	dir := c.Disk(name)
	for folder := range persistent {
		if folder == "var-lib-containerd" {
			continue
		}
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			return fmt.Errorf("disk of %s: %w", name, err)
		}
	}
	if err := os.MkdirAll(filepath.Join(c.Logs, name), 0o755); err != nil {
		return fmt.Errorf("logs of %s: %w", name, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "var-lib-containerd")); errors.Is(err, os.ErrNotExist) {
		if err := images.Clone(store, filepath.Join(dir, "var-lib-containerd")); err != nil {
			return fmt.Errorf("disk of %s: %w", name, err)
		}
	}
	plugin, err := os.ReadFile(machine.LoopbackPlugin)
	if err != nil {
		return fmt.Errorf("loopback plugin: %w", err)
	}
	// Written once: on a running node it may be in use.
	if dst := filepath.Join(dir, "opt-cni-bin", "loopback"); !exists(dst) {
		if err := os.WriteFile(dst, plugin, 0o755); err != nil {
			return fmt.Errorf("loopback plugin of %s: %w", name, err)
		}
	}
	if err := c.Authority.Issue(pki.Request{
		Name: name, CommonName: "system:node:" + name, Organization: "system:nodes",
		DNS: []string{name}, IPs: plan.Addrs(c.Plan.Node(index)),
	}); err != nil {
		return err
	}
	if err := c.Authority.Kubeconfig(filepath.Join(dir, "kubeconfig"), name, c.Plan.APIServer()); err != nil {
		return err
	}
	kubelet, err := kubeletConfig(name, c.PKI, filepath.Join(dir, "resolv.conf"), c.Plan.DNSService())
	if err != nil {
		return err
	}
	for file, text := range map[string]string{"containerd.toml": containerdConfig(), "kubelet.yaml": kubelet, "resolv.conf": ""} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			return fmt.Errorf("disk of %s: %w", name, err)
		}
	}
	return nil
}

// Boot starts a prepared node that is not running, on a network interface as
// fresh as after power-on.
func (c Config) Boot(name string, index int) error {
	if err := c.Fabric.EnsureNode(name, index); err != nil {
		return err
	}
	if err := c.Cgroups.Create(name); err != nil {
		return err
	}
	dir := c.Disk(name)
	spec := initSpec{
		Name: name, Cgroups: c.Cgroups, Services: services(c, name, index, dir), BootID: filepath.Join(dir, "boot_id"),
		Binds: []bind{{From: filepath.Join(c.Logs, name), To: "/var/log"}},
	}
	for folder, place := range persistent {
		spec.Binds = append(spec.Binds, bind{From: filepath.Join(dir, folder), To: place})
	}
	slices.SortFunc(spec.Binds, func(a, b bind) int { return len(a.To) - len(b.To) })
	data, err := json.MarshalIndent(spec, "", "  ")
	if err != nil {
		return fmt.Errorf("node %s: %w", name, err)
	}
	specFile := filepath.Join(dir, "init.json")
	for file, content := range map[string][]byte{specFile: data, spec.BootID: []byte(newBootID())} {
		if err := os.WriteFile(file, content, 0o644); err != nil {
			return fmt.Errorf("node %s: %w", name, err)
		}
	}
	_, err = c.Processes.Start(proc.Spec{
		Name: name, Argv: []string{c.Self, InitCommand, "cgroups", specFile}, Log: c.InitLog(name),
		NetNS: fabric.NodeNS(name), Clone: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
	})
	return err
}

// PowerOff ends everything that runs in the node at once and removes its
// network; the disk stays. It also works for what a killed run left.
func (c Config) PowerOff(name string) error {
	if err := c.Processes.Kill(name); err != nil {
		return err
	}
	// Commands that were executed in the node's network, and a pid 1 whose
	// record was never written.
	pids, err := netspace.Processes(fabric.NodeNS(name))
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := proc.End(pid); err != nil {
			return fmt.Errorf("node %s: %w", name, err)
		}
	}
	if err := c.Fabric.RemoveNode(name); err != nil {
		return err
	}
	return c.Cgroups.Remove(name)
}

// Erase removes the disk of a node that is off.
func (c Config) Erase(name string) error {
	if err := os.RemoveAll(c.Disk(name)); err != nil {
		return fmt.Errorf("disk of %s: %w", name, err)
	}
	return nil
}

// WaitRuntime waits until the node's containerd answers.
func (c Config) WaitRuntime(ctx context.Context, name string) error {
	deadline := time.Now().Add(60 * time.Second)
	for {
		socket, err := c.Socket(name)
		if err != nil {
			return progress.WithLog(fmt.Errorf("node %s ended while starting", name), c.InitLog(name))
		}
		if exec.CommandContext(ctx, "ctr", "-a", socket, "version").Run() == nil {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return progress.WithLog(fmt.Errorf("containerd of node %s does not answer after a minute", name), filepath.Join(c.Logs, name, "containerd.log"))
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// newBootID is a random UUID, as the kernel makes one at boot.
func newBootID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x\n", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}
