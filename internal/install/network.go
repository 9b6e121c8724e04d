package install

import (
	"context"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// networks are DaemonSets by which other networks are known. Two networks on one node
// write two configurations for the container runtime, and fight over links and routes.
var networks = map[string]string{
	"antrea-agent":    "Antrea",
	"aws-node":        "the Amazon VPC CNI",
	"calico-node":     "Calico",
	"canal":           "Canal",
	"cilium":          "Cilium",
	"cilium-agent":    "Cilium",
	"kindnet":         "kindnet",
	"kube-flannel":    "Flannel",
	"kube-flannel-ds": "Flannel",
	"kube-ovn-cni":    "Kube-OVN",
	"kube-router":     "kube-router",
	"netd":            "the GKE network",
	"ovnkube-node":    "OVN-Kubernetes",
	"rke2-canal":      "Canal",
	"weave-net":       "Weave Net",
}

// remedies are what to do about some of them.
var remedies = map[string]string{
	"kindnet": "create the kind cluster with networking.disableDefaultCNI: true",
	"OVN-Kubernetes": "remove that installation first (its chart or manifests); " +
		"node annotations may stay, ovnkctl goes on with the same subnets",
}

// daemonSets are those of all namespaces, or none if one may not look.
func (c *cluster) daemonSets(ctx context.Context) ([]appsv1.DaemonSet, error) {
	list, err := c.kube.AppsV1().DaemonSets(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

func checkOtherNetworks(ctx context.Context, s *subject) ([]Finding, error) {
	sets, err := s.daemonSets(ctx)
	if err != nil {
		return nil, err
	}
	var findings []Finding
	for _, ds := range sets {
		name := networks[ds.Name]
		if name == "" || isOurs(&ds.ObjectMeta, s.namespace) {
			continue
		}
		next := remedies[name]
		if next == "" {
			next = fmt.Sprintf("remove %s first, with what installed it, and its file in %s on the nodes", name, s.config.CNI.ConfDir)
		}
		findings = append(findings, fail(next, "%s is installed: DaemonSet %s/%s on %d nodes",
			name, ds.Namespace, ds.Name, ds.Status.DesiredNumberScheduled))
	}
	return findings, nil
}

// isOurs tells whether an object belongs to the release in a namespace.
func isOurs(o metav1.Object, namespace string) bool {
	a := o.GetAnnotations()
	return a["meta.helm.sh/release-name"] == Release && a["meta.helm.sh/release-namespace"] == namespace
}

// checkKubeProxy: two that translate the addresses of Services fight. kube-proxy's rules
// come first for the host's own connections, answer node ports with its choice of
// endpoints, and refuse what it believes to have none.
func checkKubeProxy(ctx context.Context, s *subject) ([]Finding, error) {
	sets, err := s.daemonSets(ctx)
	if err != nil {
		return nil, err
	}
	var findings []Finding
	for _, ds := range sets {
		if ds.Labels["k8s-app"] != "kube-proxy" && !strings.HasPrefix(ds.Name, "kube-proxy") || !s.runsOnLinux(&ds) {
			continue
		}
		findings = append(findings, fail(fmt.Sprintf(proxyRemedy, ds.Namespace, ds.Name),
			"kube-proxy is installed (DaemonSet %s/%s): it and ovnkctl would both translate Services, and fight", ds.Namespace, ds.Name))
	}
	return findings, nil
}

// proxyRemedy ends kube-proxy so that it can come back: its pods fit on no node. What it
// wrote into the kernel stays until it is cleaned or the node reboots.
const proxyRemedy = `remove it: kubectl -n %[1]s delete daemonset %[2]s; or only stop it: ` +
	`kubectl -n %[1]s patch daemonset %[2]s -p '{"spec":{"template":{"spec":{"nodeSelector":{"ovnkctl.io/kube-proxy":"stopped"}}}}}'; ` +
	`then, on each node, reboot it or remove its rules with: kube-proxy --cleanup. ` +
	`New clusters do without: kubeadm init --skip-phases=addon/kube-proxy, kind: networking.kubeProxyMode: none, k3s: --disable-kube-proxy`

// runsOnLinux tells whether a DaemonSet has pods on the nodes that the network is for, or
// will have when they join.
func (s *subject) runsOnLinux(ds *appsv1.DaemonSet) bool {
	selector := labels.SelectorFromSet(ds.Spec.Template.Spec.NodeSelector)
	linux := 0
	for _, n := range s.facts.nodes {
		if n.Labels[corev1.LabelOSStable] != "linux" {
			continue
		}
		linux++
		if selector.Matches(labels.Set(n.Labels)) {
			return true
		}
	}
	return linux == 0 && selector.Matches(labels.Set{corev1.LabelOSStable: "linux"})
}
