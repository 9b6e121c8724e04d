// Package node runs the machines of the cluster: each has its own network,
// mount, pid, uts, ipc and cgroup namespaces, a private /run, persistent
// folders, a containerd and a kubelet. Killing its pid 1 is pulling its plug.
package node

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/ovnkctl/ovnkctl/test/sandbox/images"
	"github.com/ovnkctl/ovnkctl/test/sandbox/plan"
)

// maxPods is more than a small /24 node really needs and less than it can
// number: bursts of pods are part of the tests.
const maxPods = 250

// containerdConfig configures the runtime. CNI plugins and configuration are
// where every installer expects them.
func containerdConfig() string {
	return fmt.Sprintf(`version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0

[grpc]
  address = %q

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  # Virtual machines without CAP_SYS_RESOURCE cannot lower a score.
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
`, containerdSocket, images.Pause)
}

const containerdSocket = "/run/containerd/containerd.sock"

// kubeletConfig configures the kubelet; pki is the folder with certificates.
func kubeletConfig(name, pki, resolvConf string, dns []netip.Addr) (string, error) {
	type m = map[string]any
	servers := make([]string, len(dns))
	for i, a := range dns {
		servers[i] = a.String()
	}
	out, err := yaml.Marshal(m{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"authentication": m{
			"anonymous": m{"enabled": false}, "webhook": m{"enabled": true},
			"x509": m{"clientCAFile": filepath.Join(pki, "ca.crt")},
		},
		"authorization": m{"mode": "Webhook"},
		"tlsCertFile":   filepath.Join(pki, name+".crt"), "tlsPrivateKeyFile": filepath.Join(pki, name+".key"),
		"cgroupDriver": "cgroupfs", "failCgroupV1": false, "failSwapOn": false,
		"containerRuntimeEndpoint": "unix://" + containerdSocket,
		"clusterDomain":            "cluster.local", "clusterDNS": servers, "resolvConf": resolvConf,
		"maxPods": maxPods,
		// The images cannot be fetched again.
		"imageGCHighThresholdPercent": 100, "imageMinimumGCAge": "24h",
		// Zero is refused, and several kubelets measure the same disk and memory.
		"evictionHard":              m{"memory.available": "100Mi", "nodefs.available": "1%", "nodefs.inodesFree": "1%", "imagefs.available": "1%"},
		"nodeStatusUpdateFrequency": "5s",
		// The default is outside the node's own folders.
		"volumePluginDir": "/var/lib/kubelet/volumeplugins",
		// There is no kube-proxy that would need them.
		"makeIPTablesUtilChains": false,
		"oomScoreAdj":            0,
		"serializeImagePulls":    false,
	})
	if err != nil {
		return "", fmt.Errorf("kubelet configuration of %s: %w", name, err)
	}
	return string(out), nil
}

// services are the node's daemons, in a form for its pid 1.
func services(c Config, name string, index int, dir string) []service {
	addrs := make([]string, 0, 2)
	for _, p := range c.Plan.Node(index) {
		addrs = append(addrs, p.Addr().String())
	}
	log := func(s string) string { return filepath.Join(c.Logs, name, s+".log") }
	api := netip.AddrPortFrom(c.Plan.Node(1)[0].Addr(), plan.APIPort)
	return []service{
		{Name: "containerd", Argv: []string{c.Containerd, "--config", filepath.Join(dir, "containerd.toml")}, Log: log("containerd")},
		{
			Name: "kubelet", Log: log("kubelet"),
			Argv: []string{
				c.Kubelet, "--config=" + filepath.Join(dir, "kubelet.yaml"), "--kubeconfig=" + filepath.Join(dir, "kubeconfig"),
				"--hostname-override=" + name, "--node-ip=" + strings.Join(addrs, ","),
				"--node-labels=" + corev1.LabelTopologyRegion + "=sandbox," + corev1.LabelTopologyZone + "=" + plan.Zone(index),
			},
			After: []string{"unix:" + containerdSocket, "tcp:" + api.String()},
		},
	}
}

// persistent are the folders that survive a reboot, by their name on the
// node's disk.
var persistent = map[string]string{
	"var-lib-kubelet":     "/var/lib/kubelet",
	"var-lib-containerd":  "/var/lib/containerd",
	"var-lib-cni":         "/var/lib/cni",
	"var-lib-openvswitch": "/var/lib/openvswitch",
	"var-lib-ovn":         "/var/lib/ovn",
	"var-lib-ovnkctl":     "/var/lib/ovnkctl",
	"etc-openvswitch":     "/etc/openvswitch",
	"etc-ovn":             "/etc/ovn",
	"etc-kubernetes":      "/etc/kubernetes",
	"etc-cni-net.d":       "/etc/cni/net.d",
	"opt-cni-bin":         "/opt/cni/bin",
}
