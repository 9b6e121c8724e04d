package live

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/network-policy-api/apis/v1alpha1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha2"

	egressfirewallv1 "github.com/ovnkctl/ovnkctl/api/egressfirewall/v1"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// PolicyClient lists and watches the kinds of policies that are CustomResourceDefinitions. A
// cluster may have all, some or none of them, and get them later.
type PolicyClient struct {
	admin       Lister[*v1alpha1.AdminNetworkPolicyList]
	baseline    Lister[*v1alpha1.BaselineAdminNetworkPolicyList]
	cluster     Lister[*v1alpha2.ClusterNetworkPolicyList]
	firewalls   Lister[*egressfirewallv1.EgressFirewallList]
	definitions Lister[*metav1.PartialObjectMetadataList]
	statuses    map[world.Kind]resource
}

// The plural names of the kinds, with their groups those of the definitions.
const (
	admins      = "adminnetworkpolicies"
	baselines   = "baselineadminnetworkpolicies"
	clusters    = "clusternetworkpolicies"
	firewalls   = "egressfirewalls"
	definitions = "customresourcedefinitions"
)

// NewPolicyClient makes a client that talks to the API server of c by h.
func NewPolicyClient(c *rest.Config, h *http.Client) (*PolicyClient, error) {
	known := runtime.NewScheme()
	crd := schema.GroupVersion{Group: "apiextensions.k8s.io", Version: "v1"}
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.Install, v1alpha2.Install, egressfirewallv1.AddToScheme} {
		if err := add(known); err != nil {
			return nil, fmt.Errorf("kinds of policies: %w", err)
		}
	}
	known.AddKnownTypeWithName(crd.WithKind("CustomResourceDefinition"), &metav1.PartialObjectMetadata{})
	known.AddKnownTypeWithName(crd.WithKind("CustomResourceDefinitionList"), &metav1.PartialObjectMetadataList{})
	metav1.AddToGroupVersion(known, crd)
	alpha1, alpha2 := schema.GroupVersion(v1alpha1.GroupVersion), schema.GroupVersion(v1alpha2.GroupVersion)
	ovn := egressfirewallv1.SchemeGroupVersion
	groups := map[schema.GroupVersion]*rest.RESTClient{}
	for _, gv := range []schema.GroupVersion{alpha1, alpha2, ovn, crd} {
		own := rest.CopyConfig(c)
		own.APIPath, own.GroupVersion = "/apis", &gv
		own.ContentType, own.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON // they have no protobuf
		own.NegotiatedSerializer = serializer.NewCodecFactory(known).WithoutConversion()
		client, err := rest.RESTClientForConfigAndClient(own, h)
		if err != nil {
			return nil, fmt.Errorf("client of %s: %w", gv, err)
		}
		groups[gv] = client
	}
	codec := runtime.NewParameterCodec(known)
	return &PolicyClient{
		admin:       lister[v1alpha1.AdminNetworkPolicy, v1alpha1.AdminNetworkPolicyList](groups[alpha1], codec, admins),
		baseline:    lister[v1alpha1.BaselineAdminNetworkPolicy, v1alpha1.BaselineAdminNetworkPolicyList](groups[alpha1], codec, baselines),
		cluster:     lister[v1alpha2.ClusterNetworkPolicy, v1alpha2.ClusterNetworkPolicyList](groups[alpha2], codec, clusters),
		firewalls:   lister[egressfirewallv1.EgressFirewall, egressfirewallv1.EgressFirewallList](groups[ovn], codec, firewalls),
		definitions: lister[metav1.PartialObjectMetadata, metav1.PartialObjectMetadataList](groups[crd], codec, definitions),
		statuses: map[world.Kind]resource{
			world.KindAdminNetworkPolicy:         {groups[alpha1], admins},
			world.KindBaselineAdminNetworkPolicy: {groups[alpha1], baselines},
			world.KindClusterNetworkPolicy:       {groups[alpha2], clusters},
			world.KindEgressFirewall:             {groups[ovn], firewalls},
		},
	}, nil
}

// named is a pointer to a Kubernetes object.
type named[T any] interface {
	*T
	runtime.Object
	metav1.Object
}

// lister lists and watches a kind in all namespaces.
func lister[O, L any, PO named[O], PL list[L]](c rest.Interface, codec runtime.ParameterCodec, resource string) Lister[PL] {
	return gentype.NewClientWithList[PO, PL](resource, c, codec, metav1.NamespaceAll,
		func() PO { return new(O) }, func() PL { return new(L) })
}

// runPolicies keeps the store's policies.
func runPolicies(ctx context.Context, c Config, start func(func(synced func()))) {
	follow(policyWatch[*world.Policy]{ctx, start, PolicyReflection[*world.Policy]{
		Client: c.Client, Policies: c.Policies, Logger: c.Logger,
		Convert: func(_ metav1.Object, p *world.Policy) *world.Policy { return p },
		Sink:    func(kind world.Kind) Sink[*world.Policy] { return policies{c.Store, kind} },
	}})
}

// PolicyReflection copies policies of all kinds from the API server into sinks, one for each
// kind.
type PolicyReflection[T any] struct {
	Client   kubernetes.Interface
	Policies *PolicyClient
	Logger   *slog.Logger
	// Convert gets the object as it came, which is not to be kept, and what features need of it.
	Convert func(metav1.Object, *world.Policy) T
	Sink    func(world.Kind) Sink[T]
	// Synced is called once, after the first complete lists of all kinds went into the sinks.
	Synced func()
}

// ReflectPolicies runs until the context ends.
func ReflectPolicies[T any](ctx context.Context, r PolicyReflection[T]) {
	lists := &lists{done: r.Synced}
	var running sync.WaitGroup
	hold := lists.add() // until all have been started
	follow(policyWatch[T]{ctx, func(reflect func(synced func())) {
		synced := lists.add()
		running.Go(func() { reflect(synced) })
	}, r})
	hold()
	running.Wait()
}

// policyWatch is what the watches of all kinds of policies share.
type policyWatch[T any] struct {
	ctx   context.Context
	start func(func(synced func()))
	r     PolicyReflection[T]
}

// follow watches all kinds.
func follow[T any](w policyWatch[T]) {
	p := w.r.Policies
	followKind(w, world.KindNetworkPolicy, w.r.Client.NetworkingV1().NetworkPolicies(metav1.NamespaceAll), world.FromNetworkPolicy)
	followKind(w, world.KindAdminNetworkPolicy, defined(w, world.KindAdminNetworkPolicy, p.admin), world.FromAdminNetworkPolicy)
	followKind(w, world.KindBaselineAdminNetworkPolicy, defined(w, world.KindBaselineAdminNetworkPolicy, p.baseline), world.FromBaselineAdminNetworkPolicy)
	followKind(w, world.KindClusterNetworkPolicy, defined(w, world.KindClusterNetworkPolicy, p.cluster), world.FromClusterNetworkPolicy)
	followKind(w, world.KindEgressFirewall, defined(w, world.KindEgressFirewall, p.firewalls), world.FromEgressFirewall)
}

// followKind watches one kind.
func followKind[T any, L runtime.Object, V any, O named[V]](w policyWatch[T], kind world.Kind, from Lister[L], convert func(O) *world.Policy) {
	w.start(func(synced func()) {
		Reflect(w.ctx, from, Reflection[O, T]{
			Kind: string(kind), Example: O(new(V)), Convert: func(o O) T { return w.r.Convert(o, convert(o)) },
			Sink: w.r.Sink(kind), Logger: w.r.Logger, Synced: synced,
		})
	})
}

// definitionOf are the names of the definitions.
var definitionOf = map[world.Kind]string{
	world.KindAdminNetworkPolicy:         admins + "." + v1alpha1.GroupName,
	world.KindBaselineAdminNetworkPolicy: baselines + "." + v1alpha1.GroupName,
	world.KindClusterNetworkPolicy:       clusters + "." + v1alpha2.GroupName,
	world.KindEgressFirewall:             firewalls + "." + egressfirewallv1.SchemeGroupVersion.Group,
}

// defined is a kind that there is when its definition is there.
func defined[W, T any, L list[T]](w policyWatch[W], kind world.Kind, from Lister[L]) *optional[T, L] {
	d := &definition{name: definitionOf[kind], from: w.r.Policies.definitions}
	return newOptional(string(kind), from, w.r.Logger, d.appears)
}
