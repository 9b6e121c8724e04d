package inspect

import (
	"encoding/json"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha2"

	egressfirewallv1 "github.com/ovnkctl/ovnkctl/api/egressfirewall/v1"
	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Objects are the Kubernetes objects that the network is made of. They are as the API
// server has them, but for what is secret in bundles. They must not be modified.
type Objects struct {
	Nodes          []corev1.Node
	Namespaces     []corev1.Namespace
	Pods           []corev1.Pod
	Services       []corev1.Service
	EndpointSlices []discoveryv1.EndpointSlice
	ServiceCIDRs   []networkingv1.ServiceCIDR

	NetworkPolicies              []networkingv1.NetworkPolicy
	AdminNetworkPolicies         []v1alpha1.AdminNetworkPolicy
	BaselineAdminNetworkPolicies []v1alpha1.BaselineAdminNetworkPolicy
	ClusterNetworkPolicies       []v1alpha2.ClusterNetworkPolicy
	EgressFirewalls              []egressfirewallv1.EgressFirewall

	// ConfigMaps has the network's configuration alone.
	ConfigMaps []corev1.ConfigMap
}

// Installation is what runs the network, and what happened lately.
type Installation struct {
	DaemonSets  []appsv1.DaemonSet
	Deployments []appsv1.Deployment
	Events      []corev1.Event // of all namespaces
}

// everything is all objects that are read.
type everything struct {
	Objects
	Installation
}

// The ConfigMap of the chart, and its key.
const (
	configMap    = "ovnkctl-config"
	configMapKey = "config.yaml"
)

// What service proxies look at, as the runtime does.
const (
	proxyLabel    = "service.kubernetes.io/service-proxy-name"
	headlessLabel = "service.kubernetes.io/headless"
)

// Config is the configuration that the cluster's nodes run with. Without one, or when it
// says what this program does not know, it is as much of it as can be read over the
// defaults, with an error.
func (o *Objects) Config() (*config.Config, error) {
	for i := range o.ConfigMaps {
		m := &o.ConfigMaps[i]
		if m.Name != configMap {
			continue
		}
		c, err := config.Parse("ConfigMap "+m.Namespace+"/"+m.Name, []byte(m.Data[configMapKey]))
		if c == nil {
			c = config.Default()
		}
		return c, err
	}
	return config.Default(), &Problem{
		What: "configuration of the network", Why: fmt.Sprintf("there is no ConfigMap %s; the defaults are taken for it", configMap), err: ErrAbsent,
		Next: "name the network's namespace with --namespace, if it is another",
	}
}

// World is the objects as the runtime sees them, by its own converters. It is also there
// with an error that is about the configuration.
func (o *Objects) World() (*world.Store, error) {
	c, cerr := o.Config()
	network, err := c.DefaultNetwork()
	if err != nil {
		if network, err = config.Default().DefaultNetwork(); err != nil {
			return nil, err
		}
	}
	s := world.New(world.Config{Networks: []world.Network{network}})
	each(o.Nodes, func(n *corev1.Node) { s.SetNode(world.FromNode(n)) })
	each(o.Namespaces, func(n *corev1.Namespace) { s.SetNamespace(world.FromNamespace(n)) })
	each(o.Pods, func(p *corev1.Pod) { s.SetPod(world.FromPod(p)) })
	each(o.ServiceCIDRs, func(r *networkingv1.ServiceCIDR) { s.SetServiceCIDR(world.FromServiceCIDR(r)) })
	each(o.Services, func(v *corev1.Service) {
		if _, other := v.Labels[proxyLabel]; !other {
			s.SetService(world.FromService(v))
		}
	})
	each(o.EndpointSlices, func(e *discoveryv1.EndpointSlice) {
		_, other := e.Labels[proxyLabel]
		if _, headless := e.Labels[headlessLabel]; !other && !headless {
			s.SetSlice(world.FromEndpointSlice(e))
		}
	})
	each(o.NetworkPolicies, func(p *networkingv1.NetworkPolicy) { s.SetPolicy(world.FromNetworkPolicy(p)) })
	each(o.AdminNetworkPolicies, func(p *v1alpha1.AdminNetworkPolicy) { s.SetPolicy(world.FromAdminNetworkPolicy(p)) })
	each(o.BaselineAdminNetworkPolicies, func(p *v1alpha1.BaselineAdminNetworkPolicy) {
		s.SetPolicy(world.FromBaselineAdminNetworkPolicy(p))
	})
	each(o.ClusterNetworkPolicies, func(p *v1alpha2.ClusterNetworkPolicy) { s.SetPolicy(world.FromClusterNetworkPolicy(p)) })
	each(o.EgressFirewalls, func(p *egressfirewallv1.EgressFirewall) { s.SetPolicy(world.FromEgressFirewall(p)) })
	s.MarkSynced()
	return s, cerr
}

func each[T any](list []T, f func(*T)) {
	for i := range list {
		f(&list[i])
	}
}

// resource is a kind of objects that snapshots have.
type resource struct {
	group, version, plural, kind string
	// own are looked up in the network's namespace alone.
	own bool
	// late are part of the Installation.
	late bool

	read  func(o *everything, list []byte) error
	take  func(to, from *everything)
	items func(o *everything) any // a pointer to the slice
}

// resources are all kinds, in the order of bundles.
var resources = []*resource{
	kindOf(resource{version: "v1", plural: "nodes", kind: "Node"}, func(o *everything) *[]corev1.Node { return &o.Nodes }),
	kindOf(resource{version: "v1", plural: "namespaces", kind: "Namespace"}, func(o *everything) *[]corev1.Namespace { return &o.Namespaces }),
	kindOf(resource{version: "v1", plural: "pods", kind: "Pod"}, func(o *everything) *[]corev1.Pod { return &o.Pods }),
	kindOf(resource{version: "v1", plural: "services", kind: "Service"}, func(o *everything) *[]corev1.Service { return &o.Services }),
	kindOf(resource{group: "discovery.k8s.io", version: "v1", plural: "endpointslices", kind: "EndpointSlice"},
		func(o *everything) *[]discoveryv1.EndpointSlice { return &o.EndpointSlices }),
	kindOf(resource{group: "networking.k8s.io", version: "v1", plural: "servicecidrs", kind: "ServiceCIDR"},
		func(o *everything) *[]networkingv1.ServiceCIDR { return &o.ServiceCIDRs }),
	kindOf(resource{group: "networking.k8s.io", version: "v1", plural: "networkpolicies", kind: "NetworkPolicy"},
		func(o *everything) *[]networkingv1.NetworkPolicy { return &o.NetworkPolicies }),
	kindOf(resource{group: v1alpha1.GroupName, version: "v1alpha1", plural: "adminnetworkpolicies", kind: "AdminNetworkPolicy"},
		func(o *everything) *[]v1alpha1.AdminNetworkPolicy { return &o.AdminNetworkPolicies }),
	kindOf(resource{group: v1alpha1.GroupName, version: "v1alpha1", plural: "baselineadminnetworkpolicies", kind: "BaselineAdminNetworkPolicy"},
		func(o *everything) *[]v1alpha1.BaselineAdminNetworkPolicy { return &o.BaselineAdminNetworkPolicies }),
	kindOf(resource{group: v1alpha2.GroupName, version: "v1alpha2", plural: "clusternetworkpolicies", kind: "ClusterNetworkPolicy"},
		func(o *everything) *[]v1alpha2.ClusterNetworkPolicy { return &o.ClusterNetworkPolicies }),
	kindOf(resource{group: egressfirewallv1.SchemeGroupVersion.Group, version: "v1", plural: "egressfirewalls", kind: "EgressFirewall"},
		func(o *everything) *[]egressfirewallv1.EgressFirewall { return &o.EgressFirewalls }),
	kindOf(resource{group: "apps", version: "v1", plural: "daemonsets", kind: "DaemonSet", own: true, late: true},
		func(o *everything) *[]appsv1.DaemonSet { return &o.DaemonSets }),
	kindOf(resource{group: "apps", version: "v1", plural: "deployments", kind: "Deployment", own: true, late: true},
		func(o *everything) *[]appsv1.Deployment { return &o.Deployments }),
	kindOf(resource{version: "v1", plural: "configmaps", kind: "ConfigMap", own: true},
		func(o *everything) *[]corev1.ConfigMap { return &o.ConfigMaps }),
	kindOf(resource{version: "v1", plural: "events", kind: "Event", late: true}, func(o *everything) *[]corev1.Event { return &o.Events }),
}

func kindOf[T any](r resource, field func(*everything) *[]T) *resource {
	r.read = func(o *everything, list []byte) error {
		var l struct{ Items []T }
		if err := json.Unmarshal(list, &l); err != nil {
			return err
		}
		*field(o) = l.Items
		return nil
	}
	r.take = func(to, from *everything) { *field(to) = *field(from) }
	r.items = func(o *everything) any { return field(o) }
	return &r
}

// path is where the API server lists the kind.
func (r *resource) path(namespace string) string {
	var b strings.Builder
	if r.group == "" {
		b.WriteString("/api/" + r.version)
	} else {
		b.WriteString("/apis/" + r.group + "/" + r.version)
	}
	if r.own {
		b.WriteString("/namespaces/" + namespace)
	}
	b.WriteString("/" + r.plural)
	if r.plural == "configmaps" { // others' are none of our business
		b.WriteString("?fieldSelector=metadata.name%3D" + configMap)
	}
	return b.String()
}

// right is what lets one list the kind.
func (r *resource) right(namespace string) right {
	out := right{verbs: "list", group: r.group, resource: r.plural}
	if r.own {
		out.namespace = namespace
	}
	return out
}

func (r *resource) apiVersion() string {
	if r.group == "" {
		return r.version
	}
	return r.group + "/" + r.version
}

// file is where bundles have the kind.
func (r *resource) file() string { return "cluster/" + r.plural + ".json" }

// marshal is a kind's objects as a list that kubectl reads, too.
func (r *resource) marshal(o *everything) ([]byte, error) {
	list := map[string]any{"apiVersion": r.apiVersion(), "kind": r.kind + "List", "metadata": struct{}{}, "items": r.items(o)}
	return json.MarshalIndent(list, "", " ")
}
