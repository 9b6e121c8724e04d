package featuretest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/network-policy-api/apis/v1alpha1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha2"
	"sigs.k8s.io/yaml"

	egressfirewallv1 "github.com/ovnkctl/ovnkctl/api/egressfirewall/v1"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Object is one object of any kind that the world holds.
type Object struct {
	Node    *world.Node
	Pod     *world.Pod
	Service *world.Service
	Slice   *world.EndpointSlice
	CIDR    *world.ServiceCIDR
	// Namespace and Policy, of any kind of policy.
	Namespace *world.Namespace
	Policy    *world.Policy
}

func (o Object) set(s *world.Store) {
	switch {
	case o.Node != nil:
		s.SetNode(o.Node)
	case o.Pod != nil:
		s.SetPod(o.Pod)
	case o.Service != nil:
		s.SetService(o.Service)
	case o.Slice != nil:
		s.SetSlice(o.Slice)
	case o.CIDR != nil:
		s.SetServiceCIDR(o.CIDR)
	case o.Namespace != nil:
		s.SetNamespace(o.Namespace)
	case o.Policy != nil:
		s.SetPolicy(o.Policy)
	}
}

func (o Object) remove(s *world.Store) {
	switch {
	case o.Node != nil:
		s.DeleteNode(o.Node.Name)
	case o.Pod != nil:
		s.DeletePod(world.PodKey{Namespace: o.Pod.Namespace, Name: o.Pod.Name})
	case o.Service != nil:
		s.DeleteService(o.Service.Key())
	case o.Slice != nil:
		s.DeleteSlice(o.Slice.Namespace, o.Slice.Name)
	case o.CIDR != nil:
		s.DeleteServiceCIDR(o.CIDR.Name)
	case o.Namespace != nil:
		s.DeleteNamespace(o.Namespace.Name)
	case o.Policy != nil:
		s.DeletePolicy(o.Policy.Key())
	}
}

// Objects reads the objects of a stream of YAML documents.
func Objects(data []byte) ([]Object, error) {
	var out []Object
	r := kyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for {
		document, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		o, err := object(document)
		if err != nil {
			return nil, err
		}
		if o != (Object{}) {
			out = append(out, o)
		}
	}
}

func object(document []byte) (Object, error) {
	var meta metav1.TypeMeta
	if err := yaml.Unmarshal(document, &meta); err != nil {
		return Object{}, err
	}
	switch meta.Kind {
	case "":
		return Object{}, nil // an empty document
	case "Node":
		n, err := read(document, world.FromNode)
		return Object{Node: n}, err
	case "Pod":
		p, err := read(document, world.FromPod)
		return Object{Pod: p}, err
	case "Service":
		s, err := read(document, world.FromService)
		return Object{Service: s}, err
	case "EndpointSlice":
		s, err := read(document, world.FromEndpointSlice)
		return Object{Slice: s}, err
	case "ServiceCIDR":
		c, err := read(document, world.FromServiceCIDR)
		return Object{CIDR: c}, err
	case "Namespace":
		n, err := read(document, world.FromNamespace)
		return Object{Namespace: n}, err
	}
	if p, known, err := readPolicy(meta.Kind, document); known {
		return Object{Policy: p}, err
	}
	return Object{}, fmt.Errorf("kind %q is none that the world holds", meta.Kind)
}

// readPolicy reads a policy of any kind.
func readPolicy(kind string, document []byte) (p *world.Policy, known bool, err error) {
	switch world.Kind(kind) {
	case world.KindNetworkPolicy:
		p, err = read(document, world.FromNetworkPolicy)
	case world.KindAdminNetworkPolicy:
		p, err = read(document, world.FromAdminNetworkPolicy)
	case world.KindBaselineAdminNetworkPolicy:
		p, err = read(document, world.FromBaselineAdminNetworkPolicy)
	case world.KindClusterNetworkPolicy:
		p, err = read(document, world.FromClusterNetworkPolicy)
	case world.KindEgressFirewall:
		p, err = read(document, world.FromEgressFirewall)
	default:
		return nil, false, nil
	}
	return p, true, err
}

// The kinds of Kubernetes' API that the world takes something out of.
type kind interface {
	corev1.Node | corev1.Pod | corev1.Service | discoveryv1.EndpointSlice | networkingv1.ServiceCIDR | corev1.Namespace |
		networkingv1.NetworkPolicy | v1alpha1.AdminNetworkPolicy | v1alpha1.BaselineAdminNetworkPolicy |
		v1alpha2.ClusterNetworkPolicy | egressfirewallv1.EgressFirewall
}

func read[K kind, T any](document []byte, convert func(*K) *T) (*T, error) {
	var o K
	if err := yaml.UnmarshalStrict(document, &o); err != nil {
		return nil, err
	}
	return convert(&o), nil
}
