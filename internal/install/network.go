package install

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

func checkKubeProxy(ctx context.Context, s *subject) ([]Finding, error) {
	sets, err := s.daemonSets(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(sets, func(ds appsv1.DaemonSet) bool {
		return ds.Labels["k8s-app"] == "kube-proxy" || strings.HasPrefix(ds.Name, "kube-proxy")
	})
	if i < 0 {
		return nil, nil
	}
	ns, name := sets[i].Namespace, sets[i].Name
	return []Finding{warn(
		fmt.Sprintf("clusters of ovnkctl do without it: kubectl -n %s delete daemonset %s, then on each node: kube-proxy --cleanup", ns, name),
		"kube-proxy is running (DaemonSet %s/%s); in gateway mode shared pods do not pass its rules", ns, name)}, nil
}
