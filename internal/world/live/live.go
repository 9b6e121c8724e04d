// Package live is the source that keeps a world.Store as the Kubernetes API server has
// its objects.
//
//	API server ──watch, protobuf──> Reflect ──FromNode, FromPod, …──> world.Store
//
// Nothing is cached beside the store.
package live

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Config is what Run needs.
type Config struct {
	Client kubernetes.Interface
	Store  *world.Store
	Logger *slog.Logger
	// Node restricts pods to those of one node; empty for all. Nodes are always all.
	Node string
	// AllPods has the pods of other nodes than Node kept, too, but only what others need to
	// know of them: see world.FromRemotePod.
	AllPods bool
	// Namespaces has namespaces watched, too.
	Namespaces bool
	// Services has services and their end points watched, too.
	Services bool
	// Policies has policies of all kinds watched, too; nil for none.
	Policies *PolicyClient
}

// What service proxies look at, as kube-proxy does. The label for headless services is the
// end points': on a Service it means nothing.
const (
	ourServices  = "!service.kubernetes.io/service-proxy-name"
	ourEndpoints = "!service.kubernetes.io/headless,!service.kubernetes.io/service-proxy-name"
)

// Run keeps the store current until the context ends, and marks it synced once all
// objects that were there at the start are in it.
func Run(ctx context.Context, c Config) {
	selector := ""
	if c.Node != "" && !c.AllPods {
		selector = fields.OneTermEqualSelector("spec.nodeName", c.Node).String()
	}
	lists := &lists{done: c.Store.MarkSynced}
	var running sync.WaitGroup
	start := func(reflect func(synced func())) {
		synced := lists.add()
		running.Go(func() { reflect(synced) })
	}
	hold := lists.add() // until all have been started
	start(func(synced func()) {
		Reflect(ctx, c.Client.CoreV1().Nodes(), Reflection[*corev1.Node, *world.Node]{
			Kind: "Node", Example: &corev1.Node{}, Convert: world.FromNode,
			Sink: nodes{c.Store}, Logger: c.Logger, Synced: synced,
		})
	})
	start(func(synced func()) {
		Reflect(ctx, c.Client.CoreV1().Pods(corev1.NamespaceAll), Reflection[*corev1.Pod, *world.Pod]{
			Kind: "Pod", FieldSelector: selector, Example: &corev1.Pod{}, Convert: (&converter{node: c.Node}).pod,
			Sink: pods{c.Store}, Logger: c.Logger, Synced: synced,
		})
	})
	if c.Namespaces {
		start(func(synced func()) {
			Reflect(ctx, c.Client.CoreV1().Namespaces(), Reflection[*corev1.Namespace, *world.Namespace]{
				Kind: "Namespace", Example: &corev1.Namespace{}, Convert: world.FromNamespace,
				Sink: namespaces{c.Store}, Logger: c.Logger, Synced: synced,
			})
		})
	}
	if c.Services {
		runServices(ctx, c, start)
	}
	if c.Policies != nil {
		runPolicies(ctx, c, start)
	}
	hold()
	running.Wait()
}

// runServices watches services, their end points, and the ranges of service addresses.
func runServices(ctx context.Context, c Config, start func(func(synced func()))) {
	start(func(synced func()) {
		Reflect(ctx, c.Client.CoreV1().Services(corev1.NamespaceAll), Reflection[*corev1.Service, *world.Service]{
			Kind: "Service", LabelSelector: ourServices, Example: &corev1.Service{}, Convert: world.FromService,
			Sink: newServices(c.Store), Logger: c.Logger, Synced: synced,
		})
	})
	start(func(synced func()) {
		Reflect(ctx, c.Client.DiscoveryV1().EndpointSlices(corev1.NamespaceAll), Reflection[*discoveryv1.EndpointSlice, *world.EndpointSlice]{
			Kind: "EndpointSlice", LabelSelector: ourEndpoints, Example: &discoveryv1.EndpointSlice{}, Convert: world.FromEndpointSlice,
			Sink: endpoints{c.Store}, Logger: c.Logger, Synced: synced,
		})
	})
	start(func(synced func()) {
		// They came with Kubernetes 1.33; the configuration's ranges are enough without.
		ranged := newOptional("ServiceCIDR", c.Client.NetworkingV1().ServiceCIDRs(), c.Logger, later)
		Reflect(ctx, ranged, Reflection[*networkingv1.ServiceCIDR, *world.ServiceCIDR]{
			Kind: "ServiceCIDR", Example: &networkingv1.ServiceCIDR{}, Convert: world.FromServiceCIDR,
			Sink: ranges{c.Store}, Logger: c.Logger, Synced: synced,
		})
	})
}

// lists counts the first lists that are not in the store yet.
type lists struct {
	open atomic.Int32
	done func()
}

// add counts one more; the function that it returns, called once, counts it off.
func (l *lists) add() func() {
	l.open.Add(1)
	return func() {
		if l.open.Add(-1) == 0 {
			l.done()
		}
	}
}
