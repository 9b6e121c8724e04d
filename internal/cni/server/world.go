//go:build linux

package server

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/ovnkctl/ovnkctl/internal/cni/history"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Programmer is what makes the rows of pods; the engine is one.
type Programmer interface {
	// Wait returns when what the feature's key wants is committed, or with ctx and then
	// the reason why not.
	Wait(ctx context.Context, featureName string, key feature.Key) error
}

// Allocator is what gives pods their addresses; the agent of package ipam is one.
type Allocator interface {
	// Holds tells whether the addresses that the world shows for that incarnation of the
	// pod are certainly its own. If they are not, why says what is in the way, if known.
	Holds(pod world.PodKey, uid string) (held bool, why string)
}

// WorldConfig is what NewWorld needs.
type WorldConfig struct {
	Store     *world.Store
	Allocator Allocator
	// Needs is what must be programmed before a pod may start: its port, and what protects it.
	Needs      func(pod world.PodKey) []Need
	Programmer Programmer
	// HasPort tells whether the Northbound database has the pod's port: the feature may
	// have had a reason not to make it. nil believes the feature.
	HasPort func(pod world.PodKey) bool
	// Namespaces says that the source knows namespaces: a pod waits for its own, by whose
	// labels policies select it.
	Namespaces bool
	// History hears of pods and of their addresses; nil for nobody.
	History *history.Log
}

// Need is a key of a feature.
type Need struct {
	Feature string
	Key     feature.Key
}

// World is Networks over the world, the allocator and the engine.
type World struct {
	c WorldConfig

	mu      sync.Mutex
	watches map[world.PodKey]map[*watch]bool
	// dead are the UIDs that were deleted lately, in a ring: a container runtime may
	// still ask for them, and need not wait to learn it.
	dead     map[string]bool
	deadRing [deadPods]string
	deadNext int
}

var _ Networks = (*World)(nil)

// deadPods is how many deleted pods are remembered.
const deadPods = 1024

// watch waits for news of a pod. f is called under the store's lock with what the pod is
// now, or by Poke without.
type watch struct {
	f func(now *world.Pod, changed bool)
}

// NewWorld subscribes to the store; make it before the store's source starts.
func NewWorld(c WorldConfig) *World {
	w := &World{c: c, watches: map[world.PodKey]map[*watch]bool{}, dead: map[string]bool{}}
	c.Store.Subscribe(w.changed)
	return w
}

func (w *World) changed(v world.View, c world.Change) {
	switch {
	case c.Ref.Kind == world.KindPod:
		// Nobody here asks for pods of other nodes.
		if o := c.OldPod; o != nil && o.Node == v.LocalNode() && (c.NewPod == nil || c.NewPod.UID != o.UID) {
			w.bury(o.UID)
		}
		w.remember(v, c)
		w.tell(world.PodKey{Namespace: c.Ref.Namespace, Name: c.Ref.Name}, c.NewPod, true)
	case c.Ref.Kind == world.KindNode && c.Ref.Name == v.LocalNode():
		w.pokeAll(func(world.PodKey) bool { return true })
	case c.Ref.Kind == world.KindNamespace && c.OldNamespace == nil:
		w.pokeAll(func(k world.PodKey) bool { return k.Namespace == c.Ref.Name })
	}
}

// remember notes when the node's own pods came and had addresses. Those that were there at
// the start have come at some time before.
func (w *World) remember(v world.View, c world.Change) {
	p := c.NewPod
	if c.Initial || p == nil || p.Node != v.LocalNode() || !p.Networked() {
		return
	}
	if old := c.OldPod; old == nil || old.UID != p.UID || old.Node != p.Node {
		w.c.History.Heard(p.Namespace, p.Name, p.UID)
	}
	if n, ok := v.Network(world.DefaultNetwork); ok {
		if _, has := p.Networks[n.Name]; has {
			w.c.History.HasAddress(p.UID)
		}
	}
}

// pokeAll has those look again who wait for some of the pods.
func (w *World) pokeAll(which func(world.PodKey) bool) {
	w.mu.Lock()
	keys := make([]world.PodKey, 0, len(w.watches))
	for k := range w.watches {
		if which(k) {
			keys = append(keys, k)
		}
	}
	w.mu.Unlock()
	for _, k := range keys {
		w.Poke(k)
	}
}

func (w *World) bury(uid string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.dead, w.deadRing[w.deadNext])
	w.deadRing[w.deadNext] = uid
	w.deadNext = (w.deadNext + 1) % deadPods
	w.dead[uid] = true
}

func (w *World) isDead(uid string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dead[uid]
}

// Poke has everybody who waits for the pod look again. The allocator calls it when its
// answer changes without a change of the world.
func (w *World) Poke(pod world.PodKey) { w.tell(pod, nil, false) }

func (w *World) tell(pod world.PodKey, now *world.Pod, changed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for o := range w.watches[pod] {
		o.f(now, changed)
	}
}

func (w *World) watch(pod world.PodKey, f func(now *world.Pod, changed bool)) (cancel func()) {
	o := &watch{f}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watches[pod] == nil {
		w.watches[pod] = map[*watch]bool{}
	}
	w.watches[pod][o] = true
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.watches[pod], o)
		if len(w.watches[pod]) == 0 {
			delete(w.watches, pod)
		}
	}
}

// await calls look until it is done: now, and after each change of the pod. When ctx
// ends it returns what look said last.
func (w *World) await(ctx context.Context, pod world.PodKey, look func() (done bool, err error)) error {
	changed := make(chan struct{}, 1)
	cancel := w.watch(pod, func(*world.Pod, bool) {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	defer cancel()
	for {
		done, err := look()
		if done {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return err
		}
	}
}

// Attachment implements Networks.
func (w *World) Attachment(ctx context.Context, pod Pod) (Attachment, error) {
	var att Attachment
	err := w.await(ctx, pod.key(), func() (done bool, err error) {
		att, done, err = w.attachment(pod)
		return done, err
	})
	return att, err
}

func (p Pod) key() world.PodKey { return world.PodKey{Namespace: p.Namespace, Name: p.Name} }

// attachment looks once; err is what is missing, done that it will not come.
func (w *World) attachment(pod Pod) (att Attachment, done bool, err error) {
	var p *world.Pod
	var network, local string
	located := true
	w.c.Store.Read(func(v world.View) {
		p, _ = v.Pod(pod.key())
		local = v.LocalNode()
		if w.c.Namespaces {
			_, located = v.Namespace(pod.Namespace)
		}
		if n, ok := v.Network(world.DefaultNetwork); ok {
			network = n.Name
		}
	})
	switch {
	case pod.UID != "" && w.isDead(pod.UID) && (p == nil || !p.Static):
		return att, true, errGone{fmt.Errorf("the pod with UID %s was deleted, or deleted and created again, before its sandbox was started", pod.UID)}
	case p == nil:
		return att, false, errors.New("this node has not heard of the pod from the API server: is it connected?")
	case !p.Static && pod.UID != "" && p.UID != pod.UID:
		return att, false, fmt.Errorf("the API server shows the pod with UID %s, the container runtime asks for UID %s: it was deleted, or deleted and created again, before its sandbox was started", p.UID, pod.UID)
	case p.HostNetwork:
		return att, true, errors.New("it is a host-network pod, which has no interface of its own")
	case p.Finished:
		return att, true, errGone{errors.New("the pod has finished")}
	case p.Node != local:
		return att, true, fmt.Errorf("the pod belongs to node %q, not to this node, %q", p.Node, local)
	}
	if !located {
		return att, false, fmt.Errorf("this node has not heard of the namespace %s from the API server, which says what policies the pod is under", pod.Namespace)
	}
	held, why := w.c.Allocator.Holds(pod.key(), p.UID)
	n, ok := p.Networks[network]
	if !held || !ok {
		if why == "" {
			why = "the node's address allocator has not got to it yet"
		}
		return att, false, fmt.Errorf("the pod has no address: %s", why)
	}
	return Attachment{UID: p.UID, Network: n, IngressRate: p.IngressRate, EgressRate: p.EgressRate}, true, nil
}

// Programmed implements Networks.
func (w *World) Programmed(ctx context.Context, pod Pod) error {
	return w.await(ctx, pod.key(), func() (bool, error) {
		for _, n := range w.c.Needs(pod.key()) {
			if err := w.c.Programmer.Wait(ctx, n.Feature, n.Key); err != nil {
				return true, err
			}
		}
		if w.c.HasPort == nil || w.c.HasPort(pod.key()) {
			return true, nil
		}
		return false, errors.New("the Northbound database has no port for the pod: the events of the pod and of this node say why")
	})
}

// OnGone implements Networks.
func (w *World) OnGone(pod Pod, f func(why error)) (cancel func()) {
	var once sync.Once
	look := func(p *world.Pod) {
		switch {
		case p == nil:
			once.Do(func() { f(errors.New("the pod was deleted meanwhile")) })
		case p.UID != pod.UID:
			once.Do(func() { f(fmt.Errorf("the pod was deleted and created again meanwhile, with UID %s", p.UID)) })
		case p.Finished:
			once.Do(func() { f(errors.New("the pod has finished meanwhile")) })
		}
	}
	cancel = w.watch(pod.key(), func(now *world.Pod, changed bool) {
		if changed {
			look(now)
		}
	})
	var now *world.Pod
	w.c.Store.Read(func(v world.View) { now, _ = v.Pod(pod.key()) })
	look(now)
	return cancel
}

// Exists implements Networks.
func (w *World) Exists(pod Pod) (exists, known bool) {
	if !w.c.Store.Synced() {
		return false, false
	}
	w.c.Store.Read(func(v world.View) {
		p, ok := v.Pod(pod.key())
		exists = ok && (p.UID == pod.UID || p.Static)
	})
	return exists, true
}
