package install

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

// facts are what the cluster says about itself. Every source may be missing: managed
// clusters hide their control plane, and a user may not be allowed to look.
type facts struct {
	version  *version.Version
	nodes    []corev1.Node
	services found   // CIDRs of Services, comma-separated
	pods     found   // CIDRs of pods, comma-separated, without host prefix lengths
	servers  []found // addresses of the API server, the best first
	// manager are the flags of kube-controller-manager.
	manager map[string]string
}

type found struct{ value, source string }

// kubeadm is the part of its ClusterConfiguration that matters here.
type kubeadm struct {
	ControlPlaneEndpoint string `json:"controlPlaneEndpoint"`
	Networking           struct {
		PodSubnet     string `json:"podSubnet"`
		ServiceSubnet string `json:"serviceSubnet"`
	} `json:"networking"`
}

// look collects the facts. An error is one of the connection.
func (c *cluster) look(ctx context.Context) (*facts, error) {
	info, err := c.kube.Discovery().ServerVersion()
	if err != nil {
		return nil, &Problem{What: "the API server does not answer", Why: err,
			Next: "try `kubectl get nodes` with the same --kubeconfig and --context"}
	}
	f := &facts{}
	if f.version, err = version.ParseGeneric(info.GitVersion); err != nil {
		return nil, fmt.Errorf("version of the API server: %w", err)
	}
	nodes, err := c.kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, &Problem{What: "the nodes of the cluster cannot be listed", Why: err,
			Next: "an installation needs the rights of a cluster administrator"}
	}
	f.nodes = nodes.Items
	adm := c.kubeadm(ctx)
	apiServer := c.flagsOf(ctx, "kube-apiserver")
	f.manager = c.flagsOf(ctx, "kube-controller-manager")
	f.services = first(
		c.serviceCIDRs(ctx),
		found{adm.Networking.ServiceSubnet, "kubeadm-config"},
		found{apiServer["service-cluster-ip-range"], "flags of kube-apiserver"},
		found{f.manager["service-cluster-ip-range"], "flags of kube-controller-manager"},
	)
	f.pods = first(
		found{adm.Networking.PodSubnet, "kubeadm-config"},
		found{f.manager["cluster-cidr"], "flags of kube-controller-manager"},
	)
	f.servers = c.servers(ctx, adm)
	return f, nil
}

func first(candidates ...found) found {
	for _, c := range candidates {
		if c.value != "" {
			return c
		}
	}
	return found{}
}

// kubeadm reads what kubeadm left in the cluster.
func (c *cluster) kubeadm(ctx context.Context) kubeadm {
	var k kubeadm
	cm, err := c.kube.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, "kubeadm-config", metav1.GetOptions{})
	if err != nil || yaml.Unmarshal([]byte(cm.Data["ClusterConfiguration"]), &k) != nil {
		return kubeadm{}
	}
	return k
}

// flagsOf are the flags of a control-plane program that runs as a static pod.
func (c *cluster) flagsOf(ctx context.Context, component string) map[string]string {
	flags := map[string]string{}
	pods, err := c.kube.CoreV1().Pods(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{LabelSelector: "component=" + component})
	if err != nil || len(pods.Items) == 0 {
		return flags
	}
	for _, container := range pods.Items[0].Spec.Containers {
		for _, arg := range slices.Concat(container.Command, container.Args) {
			if name, value, ok := strings.Cut(strings.TrimPrefix(arg, "--"), "="); ok {
				flags[name] = value
			}
		}
	}
	return flags
}

// serviceCIDRs are those of the API server's own objects, since Kubernetes 1.33.
func (c *cluster) serviceCIDRs(ctx context.Context) found {
	list, err := c.kube.NetworkingV1().ServiceCIDRs().List(ctx, metav1.ListOptions{})
	if err != nil {
		return found{}
	}
	slices.SortFunc(list.Items, func(a, b networkingv1.ServiceCIDR) int { return strings.Compare(a.Name, b.Name) })
	var cidrs []string
	for _, o := range list.Items {
		if o.DeletionTimestamp == nil {
			cidrs = append(cidrs, o.Spec.CIDRs...)
		}
	}
	return found{strings.Join(cidrs, ","), "ServiceCIDR objects"}
}

// servers are addresses of the API server that do not need Services and that nodes can
// reach: that by which nodes join the cluster, then those of the API servers themselves;
// if there are none, that which the operator uses.
func (c *cluster) servers(ctx context.Context, adm kubeadm) []found {
	var all []found
	if cm, err := c.kube.CoreV1().ConfigMaps(metav1.NamespacePublic).Get(ctx, "cluster-info", metav1.GetOptions{}); err == nil {
		if config, err := clientcmd.Load([]byte(cm.Data["kubeconfig"])); err == nil {
			for _, cluster := range config.Clusters {
				all = append(all, found{cluster.Server, "ConfigMap kube-public/cluster-info"})
			}
		}
	}
	if e := adm.ControlPlaneEndpoint; e != "" {
		all = append(all, found{"https://" + e, "kubeadm-config"})
	}
	if list, err := c.kube.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).List(ctx,
		metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=kubernetes"}); err == nil {
		var own []found
		for i := range list.Items {
			own = append(own, addressesOf(&list.Items[i])...)
		}
		slices.SortFunc(own, func(a, b found) int { return strings.Compare(a.value, b.value) })
		all = append(all, own...)
	}
	if usable := usableServers(all); len(usable) > 0 {
		return usable
	}
	return usableServers([]found{{c.server, "kubeconfig"}})
}

// usableServers are those that lead somewhere from another host, each once.
func usableServers(all []found) []found {
	var out []found
	for _, f := range all {
		u, err := url.Parse(f.value)
		if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.Hostname() == "localhost" {
			continue
		}
		if a, err := netip.ParseAddr(u.Hostname()); err == nil {
			if a = a.Unmap(); a.IsLoopback() || a.IsUnspecified() || a.IsLinkLocalUnicast() || a.IsMulticast() {
				continue
			}
		}
		port := u.Port()
		if port == "" {
			port = "443"
		}
		f.value = "https://" + net.JoinHostPort(u.Hostname(), port)
		if !slices.ContainsFunc(out, func(o found) bool { return o.value == f.value }) {
			out = append(out, f)
		}
	}
	return out
}

// addressesOf are the URLs of the API servers in an EndpointSlice.
func addressesOf(s *discoveryv1.EndpointSlice) []found {
	var all []found
	for _, port := range s.Ports {
		if port.Port == nil {
			continue
		}
		for _, e := range s.Endpoints {
			if e.Conditions.Ready != nil && !*e.Conditions.Ready {
				continue
			}
			for _, a := range e.Addresses {
				url := "https://" + net.JoinHostPort(a, strconv.Itoa(int(*port.Port)))
				all = append(all, found{url, "EndpointSlice default/" + s.Name})
			}
		}
	}
	return all
}
