package node

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/ovnkctl/ovnkctl/test/sandbox/plan"
)

func TestMountsBelow(t *testing.T) {
	t.Parallel()
	const info = `20 1 8:1 / / rw - ext4 /dev/vda rw
21 20 0:5 / /run rw - tmpfs tmpfs rw
22 21 0:4 net:[1] /run/netns/a\040b rw - nsfs nsfs rw
23 20 0:6 / /running rw - tmpfs tmpfs rw
24 21 0:7 / /run/lock rw - tmpfs tmpfs rw
`
	got, err := mountsBelow(strings.NewReader(info), "/run")
	if err != nil {
		t.Fatal(err)
	}
	// The last mounted goes first, else its parent is busy.
	if diff := cmp.Diff([]string{"/run/lock", "/run/netns/a b", "/run"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestKubeletConfig(t *testing.T) {
	t.Parallel()
	text, err := kubeletConfig("node2", "/pki", "/disk/resolv.conf", plan.New(plan.Dual).DNSService())
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		ClusterDNS   []string `json:"clusterDNS"`
		FailCgroupV1 *bool    `json:"failCgroupV1"`
		TLSCertFile  string   `json:"tlsCertFile"`
		EvictionHard map[string]string
	}
	if err := yaml.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"10.96.0.10", "fd00:10:96::a"}, got.ClusterDNS); diff != "" {
		t.Error(diff)
	}
	if got.FailCgroupV1 == nil || *got.FailCgroupV1 || got.TLSCertFile != "/pki/node2.crt" || len(got.EvictionHard) != 4 {
		t.Errorf("%+v", got)
	}
}

func TestServices(t *testing.T) {
	t.Parallel()
	c := Config{Plan: plan.New(plan.Dual), Logs: "/logs", Kubelet: "/bin/kubelet", Containerd: "/bin/containerd"}
	got := services(c, "node2", 2, "/disk")
	want := []service{
		{Name: "containerd", Argv: []string{"/bin/containerd", "--config", "/disk/containerd.toml"}, Log: "/logs/node2/containerd.log"},
		{
			Name: "kubelet", Log: "/logs/node2/kubelet.log",
			Argv: []string{
				"/bin/kubelet", "--config=/disk/kubelet.yaml", "--kubeconfig=/disk/kubeconfig",
				"--hostname-override=node2", "--node-ip=172.30.250.12,fd30:250::12",
				"--node-labels=topology.kubernetes.io/region=sandbox,topology.kubernetes.io/zone=zone-b",
			},
			After: []string{"unix:/run/containerd/containerd.sock", "tcp:172.30.250.11:6443"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBootIDsDiffer(t *testing.T) {
	t.Parallel()
	a, b := newBootID(), newBootID()
	if a == b || len(a) != 37 || strings.Count(a, "-") != 4 {
		t.Errorf("%q and %q", a, b)
	}
}
