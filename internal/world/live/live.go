// Package live is the source that keeps a world.Store as the Kubernetes API server has
// its objects.
//
//	API server ──watch, protobuf──> Reflect ──FromNode, FromPod──> world.Store
//
// Nothing is cached beside the store.
package live

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
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
}

// Run keeps the store current until the context ends, and marks it synced once all
// objects that were there at the start are in it.
func Run(ctx context.Context, c Config) {
	selector := ""
	if c.Node != "" {
		selector = fields.OneTermEqualSelector("spec.nodeName", c.Node).String()
	}
	var lists atomic.Int32
	lists.Store(2)
	synced := func() {
		if lists.Add(-1) == 0 {
			c.Store.MarkSynced()
		}
	}
	var running sync.WaitGroup
	running.Go(func() {
		Reflect(ctx, c.Client.CoreV1().Nodes(), Reflection[*corev1.Node, *world.Node]{
			Kind: "Node", Example: &corev1.Node{}, Convert: world.FromNode,
			Sink: nodes{c.Store}, Logger: c.Logger, Synced: synced,
		})
	})
	running.Go(func() {
		Reflect(ctx, c.Client.CoreV1().Pods(corev1.NamespaceAll), Reflection[*corev1.Pod, *world.Pod]{
			Kind: "Pod", FieldSelector: selector, Example: &corev1.Pod{}, Convert: world.FromPod,
			Sink: pods{c.Store}, Logger: c.Logger, Synced: synced,
		})
	})
	running.Wait()
}

// nodes is the store as a sink of nodes.
type nodes struct{ *world.Store }

func (s nodes) Set(n *world.Node) { s.SetNode(n) }
func (s nodes) Delete(n Name)     { s.DeleteNode(n.Name) }
func (s nodes) Names() (names []Name) {
	s.Read(func(v world.View) {
		for _, n := range v.Nodes() {
			names = append(names, Name{Name: n.Name})
		}
	})
	return names
}

// pods is the store as a sink of pods.
type pods struct{ *world.Store }

func (s pods) Set(p *world.Pod) { s.SetPod(p) }
func (s pods) Delete(n Name)    { s.DeletePod(world.PodKey(n)) }
func (s pods) Names() (names []Name) {
	s.Read(func(v world.View) {
		v.Pods(func(p *world.Pod) bool {
			names = append(names, Name{p.Namespace, p.Name})
			return true
		})
	})
	return names
}
