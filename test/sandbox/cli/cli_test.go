package cli

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/ovnkctl/ovnkctl/test/sandbox/cluster"
	"github.com/ovnkctl/ovnkctl/test/sandbox/machine"
)

func TestCommandLineMistakesAreUsageErrors(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"up extra", "up --nodes many", "up --ip-family ipx", "down now", "node reboot", "node add a b",
		"exec node1", "exec node1 --", "outside exec", "e2e", "e2e a b c", "image build a b", "build everything", "status --output",
	} {
		root := newRoot()
		root.SetArgs(strings.Fields(line))
		root.SetOut(&bytes.Buffer{})
		var usage *usageError
		if err := root.Execute(); !errors.As(err, &usage) {
			t.Errorf("%q: %v", line, err)
		}
	}
}

// TestExecKeepsTheCommandsFlags: flags after the node belong to the command.
func TestExecKeepsTheCommandsFlags(t *testing.T) {
	t.Parallel()
	want := []string{"ip", "-n", "x", "--brief"}
	for _, line := range []string{"exec node1 -- ip -n x --brief", "exec node1 ip -n x --brief"} {
		var got []string
		root := newRoot()
		cmd, _, err := root.Find([]string{"exec"})
		if err != nil {
			t.Fatal(err)
		}
		cmd.RunE = func(_ *cobra.Command, list []string) error { got = withoutDashes(list[1:]); return nil }
		root.SetArgs(strings.Fields(line))
		if err := root.Execute(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q:\n%s", line, diff)
		}
	}
}

func TestStatusTable(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	st := cluster.Status{
		Family: "dual", GatewayMode: "shared", CNI: "none", APIServer: "https://172.30.250.11:6443", Kubeconfig: "/c/.sandbox/kubeconfig",
		Nodes: []cluster.NodeStatus{
			{Name: "node1", Running: true, PID: 12, Addresses: []string{"172.30.250.11", "fd30:250::11"}, Condition: "Ready"},
			{Name: "node2", Addresses: []string{"172.30.250.12"}, Condition: "NotReady: NodeStatusUnknown"},
		},
		Processes: []cluster.ProcessStatus{{Name: "etcd", Running: true, PID: 9, Memory: "43000 kB", Log: "/c/.sandbox/logs/etcd.log"}},
		Machine:   []machine.Gap{{What: "SCTP", Why: "not in this kernel"}},
	}
	if err := printStatus(&out, st); err != nil {
		t.Fatal(err)
	}
	want := `NODE    MACHINE   KUBERNETES                    PID   ADDRESSES
node1   running   Ready                         12    172.30.250.11 fd30:250::11
node2   OFF       NotReady: NodeStatusUnknown   -     172.30.250.12

PROCESS   STATE     MEMORY     PID   LOG
etcd      running   43000 kB   9     /c/.sandbox/logs/etcd.log

API server       https://172.30.250.11:6443
Kubeconfig       /c/.sandbox/kubeconfig
Families         dual
Network          none
Gateway mode     shared
Machine cannot   SCTP (not in this kernel)
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
