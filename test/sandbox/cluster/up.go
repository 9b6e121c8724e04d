package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/ovnkctl/ovnkctl/test/sandbox/fabric"
	"github.com/ovnkctl/ovnkctl/test/sandbox/machine"
	"github.com/ovnkctl/ovnkctl/test/sandbox/node"
	"github.com/ovnkctl/ovnkctl/test/sandbox/plan"
	"github.com/ovnkctl/ovnkctl/test/sandbox/proc"
	"github.com/ovnkctl/ovnkctl/test/sandbox/progress"
)

// registration bounds the time from a node's start to its kubelet's first report.
const registration = 2 * time.Minute

// Up brings the cluster to what the options and its state ask for, from
// whatever is there: nothing, a running cluster, or the rest of a killed run.
func (s *Sandbox) Up(ctx context.Context, o Options) error {
	wanted, err := s.state.merge(o)
	if err != nil {
		return err
	}
	if err := s.out.Do("machine", func(p *progress.Phase) error { return s.prepareMachine(ctx, p, wanted) }); err != nil {
		return err
	}
	if len(s.state.Nodes) == 0 {
		// Somebody removed the state folder under a running sandbox, perhaps.
		if err := s.sweep(func(string, ...any) {}); err != nil {
			return err
		}
		// What an earlier cluster left in the folder, its logs too, would mislead.
		for _, old := range []string{"logs", "nodes", "control-plane"} {
			if err := os.RemoveAll(s.path(old)); err != nil {
				return fmt.Errorf("rest of an earlier sandbox: %w", err)
			}
		}
		if err := s.makeLogs(); err != nil {
			return err
		}
	}
	// From here on a failed or killed run is known and can be repaired or removed.
	s.state = wanted
	if err := s.save(); err != nil {
		return err
	}
	if err := s.Build(ctx); err != nil {
		return err
	}
	if err := s.out.Do("nodes", func(p *progress.Phase) error { return s.startNodes(ctx, p) }); err != nil {
		return err
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	if err := s.out.Do("control plane", func(p *progress.Phase) error { return s.startControlPlane(ctx, p, client) }); err != nil {
		return err
	}
	if err := s.out.Do("registration", func(p *progress.Phase) error { return s.waitRegistered(ctx, p, client, s.state.Nodes) }); err != nil {
		return err
	}
	if s.state.CNI == CNINone {
		s.out.Info("no network is installed: nodes stay NotReady and only host-network pods run")
		return nil
	}
	return s.network(ctx, client)
}

func (s *Sandbox) save() error { return s.state.save(s.path("cluster.json")) }

// prepareMachine checks what could go wrong before anything is changed, and
// installs missing packages.
func (s *Sandbox) prepareMachine(ctx context.Context, p *progress.Phase, wanted State) error {
	conflicts, err := fabric.Conflicts(plan.New(wanted.Family))
	if err != nil {
		return err
	}
	if len(conflicts) > 0 {
		return fmt.Errorf("the sandbox's networks overlap networks of this machine: %s", strings.Join(conflicts, ", "))
	}
	if err := s.installPackages(ctx, p); err != nil {
		return err
	}
	if err := machine.LoadModules(); err != nil {
		return err
	}
	return s.sysctls().Apply()
}

// startNodes builds the network and starts every node that does not run. Their
// kubelets wait for the API server by themselves.
func (s *Sandbox) startNodes(ctx context.Context, p *progress.Phase) error {
	if err := s.fabric().Ensure(); err != nil {
		return err
	}
	if err := s.startOutside(); err != nil {
		return err
	}
	cp, err := s.controlPlane()
	if err != nil {
		return err
	}
	if err := cp.Credentials(); err != nil {
		return err
	}
	nodes, err := s.nodes()
	if err != nil {
		return err
	}
	started := 0
	for _, m := range s.state.Nodes {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, ok := nodes.Running(m.Name); ok {
			continue
		}
		if err := s.startNode(nodes, m); err != nil {
			return err
		}
		started++
		p.Note("%s started", m.Name)
	}
	p.Note("%d started, %d were running", started, len(s.state.Nodes)-started)
	return nil
}

// startNode powers a node on, after removing what an earlier life left.
func (s *Sandbox) startNode(nodes node.Config, m Member) error {
	if err := nodes.PowerOff(m.Name); err != nil {
		return err
	}
	if err := nodes.Prepare(m.Name, m.Index, s.store); err != nil {
		return err
	}
	return nodes.Boot(m.Name, m.Index)
}

// startOutside runs the outside host's web server.
func (s *Sandbox) startOutside() error {
	if _, ok := s.processes().Get(outsideProcess); ok {
		return nil
	}
	if err := endAll(fabric.OutsideNS); err != nil {
		return err
	}
	_, err := s.processes().Start(proc.Spec{
		Name: outsideProcess, NetNS: fabric.OutsideNS, Log: s.log(outsideProcess),
		Argv: []string{
			s.programs.Path("agnhost"), "netexec",
			fmt.Sprintf("--http-port=%d", plan.OutsideHTTPPort), fmt.Sprintf("--udp-port=%d", plan.OutsideUDPPort),
		},
	})
	return err
}

func (s *Sandbox) startControlPlane(ctx context.Context, p *progress.Phase, client kubernetes.Interface) error {
	cp, err := s.controlPlane()
	if err != nil {
		return err
	}
	if err := cp.Start(ctx, client); err != nil {
		return err
	}
	version, err := client.Discovery().ServerVersion()
	if err != nil {
		return fmt.Errorf("version of the API server: %w", err)
	}
	p.Note("Kubernetes %s at %s", version.GitVersion, s.plan().APIServer())
	return nil
}

// waitRegistered waits until the kubelets have reported this boot of their nodes.
func (s *Sandbox) waitRegistered(ctx context.Context, p *progress.Phase, client kubernetes.Interface, members []Member) error {
	deadline := time.Now().Add(registration)
	for {
		missing, err := s.unregistered(ctx, client, members)
		if err == nil && len(missing) == 0 {
			p.Note("%d nodes", len(members))
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(deadline) {
			if err != nil {
				return err
			}
			return progress.WithLog(fmt.Errorf("no report from the kubelet of %s after %s", strings.Join(missing, ", "), registration),
				filepath.Join(s.Logs(), missing[0], "kubelet.log"))
		}
		p.Note("waiting for %s", strings.Join(missing, ", "))
		time.Sleep(200 * time.Millisecond)
	}
}

func (s *Sandbox) unregistered(ctx context.Context, client kubernetes.Interface, members []Member) ([]string, error) {
	list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	boots := map[string]string{}
	for _, n := range list.Items {
		boots[n.Name] = n.Status.NodeInfo.BootID
	}
	var missing []string
	for _, m := range members {
		boot, err := os.ReadFile(s.path("nodes", m.Name, "boot_id"))
		if err != nil {
			return nil, fmt.Errorf("boot id of %s: %w", m.Name, err)
		}
		if boots[m.Name] != strings.TrimSpace(string(boot)) {
			missing = append(missing, m.Name)
		}
	}
	return missing, nil
}

// notReady names the nodes that are not Ready, with the reason.
func notReady(list []corev1.Node) []string {
	var out []string
	for _, n := range list {
		reason := "no report"
		for _, c := range n.Status.Conditions {
			if c.Type == corev1.NodeReady {
				reason = c.Message
				if c.Status == corev1.ConditionTrue {
					reason = ""
				}
			}
		}
		if reason != "" {
			out = append(out, n.Name+": "+reason)
		}
	}
	return out
}
