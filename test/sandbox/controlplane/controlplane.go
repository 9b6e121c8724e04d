package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/ovnkctl/ovnkctl/test/sandbox/fabric"
	"github.com/ovnkctl/ovnkctl/test/sandbox/netspace"
	"github.com/ovnkctl/ovnkctl/test/sandbox/pki"
	"github.com/ovnkctl/ovnkctl/test/sandbox/plan"
	"github.com/ovnkctl/ovnkctl/test/sandbox/proc"
	"github.com/ovnkctl/ovnkctl/test/sandbox/programs"
	"github.com/ovnkctl/ovnkctl/test/sandbox/progress"
)

// Names of certificates that no process has as its own name.
const (
	kubeletClient = "apiserver-kubelet-client"
	frontProxy    = "front-proxy-client"
	admin         = "admin"
)

// Config is what the control plane needs.
type Config struct {
	Plan      plan.Plan
	Node      string // name of node 1, in whose network it runs
	Processes proc.Table
	Authority *pki.Authority
	PKI       string // folder of the certificates
	State     string // folder of etcd and the kubeconfigs
	Logs      string
	Programs  programs.Set
	Admin     string // where the administrator's kubeconfig goes
}

// Log is the log of one of the processes.
func (c Config) Log(name string) string { return filepath.Join(c.Logs, name+".log") }

// Credentials issues the certificates and kubeconfigs.
func (c Config) Credentials() error {
	if err := os.MkdirAll(c.State, 0o755); err != nil {
		return fmt.Errorf("control plane: %w", err)
	}
	ips := append(plan.Addrs(c.Plan.Node(1)), c.Plan.KubernetesService()...)
	ips = append(ips, netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback())
	for _, r := range []pki.Request{
		{
			Name: apiserver, CommonName: apiserver, IPs: ips,
			DNS: []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
		},
		{Name: kubeletClient, CommonName: "kube-apiserver-kubelet-client", Organization: "system:masters"},
		{Name: admin, CommonName: admin, Organization: "system:masters"},
		{Name: manager, CommonName: "system:kube-controller-manager"},
		{Name: scheduler, CommonName: "system:kube-scheduler"},
		{Name: frontProxy, CommonName: frontProxy},
	} {
		if err := c.Authority.Issue(r); err != nil {
			return err
		}
	}
	if err := c.Authority.ServiceAccountKey(); err != nil {
		return err
	}
	// Beside the API server its address on the loopback is the one that never moves.
	local := fmt.Sprintf("https://localhost:%d", plan.APIPort)
	a := c.args()
	for name, file := range map[string]string{manager: a.conf(manager), scheduler: a.conf(scheduler)} {
		if err := c.Authority.Kubeconfig(file, name, local); err != nil {
			return err
		}
	}
	return c.Authority.Kubeconfig(c.Admin, admin, c.Plan.APIServer())
}

func (c Config) args() args { return args{plan: c.Plan, pki: c.PKI, state: c.State} }

// Start starts what is not running and waits until it works. Node 1's network
// must exist.
func (c Config) Start(ctx context.Context, client kubernetes.Interface) error {
	etcdProgram, err := exec.LookPath(etcd)
	if err != nil {
		return fmt.Errorf("control plane: %w", err)
	}
	a := c.args()
	for _, p := range []struct {
		name, program string
		args          []string
		ready         func(context.Context) error
	}{
		{etcd, etcdProgram, a.etcd(), c.askEtcd},
		// Ready means, among other things, that the roles exist which the other two need.
		{apiserver, c.Programs.Path(apiserver), a.apiserver(), func(ctx context.Context) error { return askAPI(ctx, client) }},
		{scheduler, c.Programs.Path(scheduler), a.scheduler(), nil},
		{manager, c.Programs.Path(manager), a.manager(), func(ctx context.Context) error { return askManager(ctx, client) }},
	} {
		if _, ok := c.Processes.Get(p.name); !ok {
			spec := proc.Spec{Name: p.name, Argv: append([]string{p.program}, p.args...), Log: c.Log(p.name), NetNS: fabric.NodeNS(c.Node)}
			if _, err := c.Processes.Start(spec); err != nil {
				return err
			}
		}
		if p.ready != nil {
			if err := c.wait(ctx, p.name, p.ready); err != nil {
				return err
			}
		}
	}
	return nil
}

// Stop ends all processes; etcd's data stay.
func (c Config) Stop() error {
	var errs []error
	for _, n := range Names() {
		errs = append(errs, c.Processes.Kill(n))
	}
	return errors.Join(errs...)
}

func (c Config) askEtcd(ctx context.Context) error {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DialContext: netspace.Dialer(fabric.NodeNS(c.Node)), DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, etcdClient+"/health", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("health: %s", resp.Status)
	}
	return nil
}

func askAPI(ctx context.Context, client kubernetes.Interface) error {
	return client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
}

// askManager: pods can be created when the first ServiceAccount exists.
func askManager(ctx context.Context, client kubernetes.Interface) error {
	_, err := client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return errors.New("it has not made the default ServiceAccount yet")
	}
	return err
}

// patience is for a process on a machine that is busy with other work.
const patience = 2 * time.Minute

// wait asks until the answer is good or the process has ended.
func (c Config) wait(ctx context.Context, name string, ask func(context.Context) error) error {
	deadline := time.Now().Add(patience)
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, ok := c.Processes.Get(name); !ok {
			return progress.WithLog(fmt.Errorf("%s ended while starting", name), c.Log(name))
		}
		if time.Now().After(deadline) {
			return progress.WithLog(fmt.Errorf("%s is not ready after %s: %w", name, patience, err), c.Log(name))
		}
		time.Sleep(100 * time.Millisecond)
	}
}
