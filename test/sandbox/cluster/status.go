package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ovnkctl/ovnkctl/test/sandbox/controlplane"
	"github.com/ovnkctl/ovnkctl/test/sandbox/fabric"
	"github.com/ovnkctl/ovnkctl/test/sandbox/machine"
	"github.com/ovnkctl/ovnkctl/test/sandbox/netspace"
	"github.com/ovnkctl/ovnkctl/test/sandbox/plan"
)

// Status is what the sandbox looks like now.
type Status struct {
	Up          bool            `json:"up"`
	Checkout    string          `json:"checkout"`
	Owner       string          `json:"owner,omitempty"` // checkout whose sandbox runs on this machine
	Family      plan.Family     `json:"family,omitempty"`
	GatewayMode string          `json:"gatewayMode,omitempty"`
	CNI         string          `json:"cni,omitempty"`
	APIServer   string          `json:"apiServer,omitempty"`
	Kubeconfig  string          `json:"kubeconfig,omitempty"`
	Logs        string          `json:"logs,omitempty"`
	Processes   []ProcessStatus `json:"processes,omitempty"`
	Nodes       []NodeStatus    `json:"nodes,omitempty"`
	Machine     []machine.Gap   `json:"machineCannot,omitempty"`
}

// ProcessStatus is a process of the control plane or the outside host.
type ProcessStatus struct {
	Name    string `json:"name"`
	Running bool   `json:"running"`
	PID     int    `json:"pid,omitempty"`
	Memory  string `json:"memory,omitempty"` // resident
	Log     string `json:"log"`
}

// NodeStatus is one node.
type NodeStatus struct {
	Name      string   `json:"name"`
	Running   bool     `json:"running"`
	PID       int      `json:"pid,omitempty"`
	Addresses []string `json:"addresses"`
	Condition string   `json:"condition"` // of the Node object
}

// Status looks at the sandbox without changing it.
func (s *Sandbox) Status(ctx context.Context) (Status, error) {
	st := Status{Checkout: s.Checkout, Owner: fabric.Owner(), Machine: machine.Gaps()}
	if len(s.state.Nodes) == 0 {
		return st, nil
	}
	st.Up, st.Family, st.GatewayMode, st.CNI = true, s.state.Family, s.state.GatewayMode, s.state.CNI
	st.APIServer, st.Kubeconfig, st.Logs = s.plan().APIServer(), s.Kubeconfig(), s.Logs()
	for _, n := range append(controlplane.Names(), outsideProcess) {
		rec, ok := s.processes().Get(n)
		st.Processes = append(st.Processes, ProcessStatus{Name: n, Running: ok, PID: rec.PID, Memory: resident(rec.PID), Log: s.log(n)})
		st.Up = st.Up && ok
	}
	conditions := s.conditions(ctx)
	for _, m := range s.state.Nodes {
		rec, ok := s.processes().Get(m.Name)
		n := NodeStatus{Name: m.Name, Running: ok && netspace.Exists(fabric.NodeNS(m.Name)), PID: rec.PID, Condition: conditions[m.Name]}
		for _, a := range plan.Addrs(s.plan().Node(m.Index)) {
			n.Addresses = append(n.Addresses, a.String())
		}
		st.Nodes = append(st.Nodes, n)
		st.Up = st.Up && n.Running
	}
	return st, nil
}

// conditions asks the API server, which may not be there.
func (s *Sandbox) conditions(ctx context.Context) map[string]string {
	out := map[string]string{}
	unknown := "unknown: the API server does not answer"
	for _, m := range s.state.Nodes {
		out[m.Name] = unknown
	}
	client, err := s.client()
	if err != nil {
		return out
	}
	list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return out
	}
	for _, m := range s.state.Nodes {
		out[m.Name] = "not registered"
	}
	for _, n := range list.Items {
		i := slices.IndexFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == corev1.NodeReady })
		switch {
		case i < 0:
			out[n.Name] = "no report"
		case n.Status.Conditions[i].Status == corev1.ConditionTrue:
			out[n.Name] = "Ready"
		default:
			out[n.Name] = "NotReady: " + n.Status.Conditions[i].Reason
		}
	}
	return out
}

// resident is a process' resident memory, as the kernel words it.
func resident(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// LogFiles lists the logs with their paths relative to the log folder.
func (s *Sandbox) LogFiles() ([]string, error) {
	var out []string
	// Not containers/: those are links that lead nowhere outside the node.
	for _, pattern := range []string{"*.log", "*/*.log", "*/pods/*/*/*.log"} {
		files, err := filepath.Glob(filepath.Join(s.Logs(), pattern))
		if err != nil {
			return nil, fmt.Errorf("logs: %w", err)
		}
		for _, f := range files {
			rel, err := filepath.Rel(s.Logs(), f)
			if err != nil {
				return nil, fmt.Errorf("logs: %w", err)
			}
			out = append(out, rel)
		}
	}
	slices.Sort(out)
	return out, nil
}
