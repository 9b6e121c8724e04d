package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/ovnkctl/ovnkctl/test/sandbox/cache"
	"github.com/ovnkctl/ovnkctl/test/sandbox/cgroup"
	"github.com/ovnkctl/ovnkctl/test/sandbox/controlplane"
	"github.com/ovnkctl/ovnkctl/test/sandbox/fabric"
	"github.com/ovnkctl/ovnkctl/test/sandbox/images"
	"github.com/ovnkctl/ovnkctl/test/sandbox/machine"
	"github.com/ovnkctl/ovnkctl/test/sandbox/node"
	"github.com/ovnkctl/ovnkctl/test/sandbox/pki"
	"github.com/ovnkctl/ovnkctl/test/sandbox/plan"
	"github.com/ovnkctl/ovnkctl/test/sandbox/proc"
	"github.com/ovnkctl/ovnkctl/test/sandbox/programs"
	"github.com/ovnkctl/ovnkctl/test/sandbox/progress"
)

// outsideProcess is the web server of the outside host.
const outsideProcess = "outside"

// Sandbox is the cluster of one checkout.
type Sandbox struct {
	Checkout string
	cache    cache.Dir
	out      *progress.Log
	state    State
	programs programs.Set
	store    string // prepared containerd folder that new nodes are cloned from
}

// Open finds the sandbox of a checkout. The log reports progress.
func Open(checkout string, out *progress.Log) (*Sandbox, error) {
	dir, err := cache.Default()
	if err != nil {
		return nil, err
	}
	s := &Sandbox{Checkout: checkout, cache: dir, out: out}
	s.state, err = loadState(s.path("cluster.json"))
	return s, err
}

// path is a file in the sandbox's state folder.
func (s *Sandbox) path(parts ...string) string {
	return filepath.Join(append([]string{s.Checkout, ".sandbox"}, parts...)...)
}

// Kubeconfig is the administrator's.
func (s *Sandbox) Kubeconfig() string { return s.path("kubeconfig") }

// Logs is the folder with every log.
func (s *Sandbox) Logs() string { return s.path("logs") }

func (s *Sandbox) log(name string) string { return filepath.Join(s.Logs(), name+".log") }

func (s *Sandbox) processes() proc.Table { return proc.Table{Dir: s.path("run")} }

func (s *Sandbox) sysctls() machine.Sysctls { return machine.Sysctls{Saved: s.path("sysctls.json")} }

func (s *Sandbox) plan() plan.Plan { return plan.New(s.state.Family) }

func (s *Sandbox) fabric() fabric.Fabric {
	return fabric.Fabric{Plan: s.plan(), Owner: s.Checkout}
}

// Plan answers questions about the running sandbox' addresses.
func (s *Sandbox) Plan() (plan.Plan, error) { return s.plan(), s.mustBeUp() }

func (s *Sandbox) mustBeUp() error {
	if len(s.state.Nodes) == 0 {
		return errors.New("there is no sandbox: `bin/sandbox up` starts one")
	}
	return nil
}

func (s *Sandbox) authority() (*pki.Authority, error) { return pki.Open(s.path("pki"), time.Now()) }

func (s *Sandbox) nodes() (node.Config, error) {
	authority, err := s.authority()
	if err != nil {
		return node.Config{}, err
	}
	cgroups, err := cgroup.Detect()
	if err != nil {
		return node.Config{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return node.Config{}, fmt.Errorf("own program: %w", err)
	}
	containerd, err := exec.LookPath("containerd")
	if err != nil {
		return node.Config{}, fmt.Errorf("nodes: %w", err)
	}
	return node.Config{
		Plan: s.plan(), Fabric: s.fabric(), Cgroups: cgroups, Processes: s.processes(), Authority: authority,
		PKI: s.path("pki"), Disks: s.path("nodes"), Logs: s.Logs(),
		Kubelet: s.programs.Path("kubelet"), Containerd: containerd, Self: self,
	}, nil
}

func (s *Sandbox) controlPlane() (controlplane.Config, error) {
	authority, err := s.authority()
	if err != nil {
		return controlplane.Config{}, err
	}
	return controlplane.Config{
		Plan: s.plan(), Node: s.state.first(), Processes: s.processes(), Authority: authority,
		PKI: s.path("pki"), State: s.path("control-plane"), Logs: s.Logs(), Programs: s.programs, Admin: s.Kubeconfig(),
	}, nil
}

// builder compiles the programs; note reports how far it is.
func (s *Sandbox) builder(note func(string, ...any)) programs.Builder {
	return programs.Builder{Cache: s.cache, Checkout: s.Checkout, Log: s.log("build"), Note: note}
}

func (s *Sandbox) images(note func(string, ...any)) images.Builder {
	return images.Builder{
		Cache: s.cache, Checkout: s.Checkout, Programs: s.programs, Agnhost: s.builder(note).AgnhostSource, Log: s.log("images"), Note: note,
	}
}

// client talks to the API server as the administrator.
func (s *Sandbox) client() (kubernetes.Interface, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", s.Kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	// An address that vanishes with a node must not keep a question waiting for minutes.
	cfg.Timeout, cfg.QPS, cfg.Burst = 5*time.Second, 100, 200
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("API client: %w", err)
	}
	return c, nil
}

// Lock makes this the only command that changes the sandbox.
func (s *Sandbox) Lock() (unlock func(), err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("the sandbox needs root for namespaces, mounts and cgroups: run it with sudo")
	}
	if owner := fabric.Owner(); owner != "" && owner != s.Checkout {
		if err := s.inherit(owner); err != nil {
			return nil, err
		}
	}
	for _, d := range []string{s.path(), s.Logs(), s.path("run")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("sandbox folder: %w", err)
		}
	}
	return lock(s.Checkout)
}

// lock takes a checkout itself as the lock of its sandbox: no file is left,
// whatever happens.
func lock(checkout string) (unlock func(), err error) {
	f, err := os.Open(checkout)
	if err != nil {
		return nil, fmt.Errorf("sandbox lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another command is changing the sandbox of %s: wait for its end", checkout), f.Close())
	}
	return func() { _ = f.Close() }, nil
}
