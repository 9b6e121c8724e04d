// Package world is the read-only, typed view of the cluster that every feature
// computes from, and the store behind it. One store serves all sources: the live
// informers of a daemon, a recorded bundle, or files.
//
//	source ──Set/Delete──> Store ──Change──> subscribers (the engine)
//	                         └────Read(View)─> features, tools
//
// Objects are small values converted from Kubernetes objects when they enter; they are
// shared and never modified afterwards: a change replaces the pointer.
package world

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// Config is what does not change while the program runs.
type Config struct {
	// LocalNode is the node whose zone is computed; empty in cluster-wide programs.
	LocalNode string
	// Networks, the default network first.
	Networks []Network
}

// Store holds the world. The zero value is not usable; see New.
type Store struct {
	config Config

	mu          sync.RWMutex
	nodes       map[string]*Node
	pods        map[PodKey]*Pod
	services    map[ServiceKey]*Service
	slices      map[sliceKey]*EndpointSlice
	cidrs       map[string]*ServiceCIDR
	namespaces  map[string]*Namespace
	policies    map[PolicyKey]*Policy
	allocations map[PodKey]allocation
	index       index
	selections  policyIndex
	synced      bool
	syncedC     chan struct{}
	subscribers []func(View, Change)
}

// PodKey names a pod.
type PodKey struct{ Namespace, Name string }

// String is "namespace/name".
func (k PodKey) String() string { return k.Namespace + "/" + k.Name }

// allocation is what this node decided for one incarnation of a pod.
type allocation struct {
	uid      string
	networks map[string]PodNetwork
	// annotated says that the pod's annotation has said the same since.
	annotated bool
}

// New makes an empty store.
func New(c Config) *Store {
	s := &Store{
		config:      c,
		nodes:       map[string]*Node{},
		pods:        map[PodKey]*Pod{},
		services:    map[ServiceKey]*Service{},
		slices:      map[sliceKey]*EndpointSlice{},
		cidrs:       map[string]*ServiceCIDR{},
		namespaces:  map[string]*Namespace{},
		policies:    map[PolicyKey]*Policy{},
		allocations: map[PodKey]allocation{},
		index:       newIndex(),
		selections:  newPolicyIndex(c.LocalNode),
		syncedC:     make(chan struct{}),
	}
	s.selections.multicast = slices.ContainsFunc(c.Networks, func(n Network) bool { return n.Multicast })
	return s
}

// Subscribe has f called for each change, under the store's lock and in order: f must
// be quick and must not call the store. Subscribe before the source starts.
func (s *Store) Subscribe(f func(View, Change)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subscribers = append(s.subscribers, f)
}

// Read calls f with a view that does not change while f runs. The view must not be
// kept.
func (s *Store) Read(f func(View)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	f(View{s})
}

// MarkSynced says that the source has delivered everything there was at its start;
// changes from now on are live.
func (s *Store) MarkSynced() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.synced {
		s.synced = true
		close(s.syncedC)
	}
}

// SyncedC is closed by MarkSynced.
func (s *Store) SyncedC() <-chan struct{} { return s.syncedC }

// Synced tells whether MarkSynced was called.
func (s *Store) Synced() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.synced
}

// SetNode adds or replaces a node. One that is equal to what is there is no change: a
// kubelet's heartbeat ends here.
func (s *Store) SetNode(n *Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.nodes[n.Name]
	n = n.keeping(old)
	if reflect.DeepEqual(old, n) {
		return
	}
	s.nodes[n.Name] = n
	s.index.replaceNode(old, n)
	s.publish(Change{Ref: n.Ref(), OldNode: old, NewNode: n, Policy: PolicyChange{PolicyEffects: s.selections.replaceNode(old, n)}})
}

// DeleteNode removes a node.
func (s *Store) DeleteNode(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.nodes[name]
	if !ok {
		return
	}
	delete(s.nodes, name)
	s.index.replaceNode(old, nil)
	s.publish(Change{Ref: old.Ref(), OldNode: old, Policy: PolicyChange{PolicyEffects: s.selections.replaceNode(old, nil)}})
}

// SetPod adds or replaces a pod. One that is equal to what is there, allocations
// included, is no change.
func (s *Store) SetPod(p *Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := PodKey{p.Namespace, p.Name}
	if a, ok := s.allocations[key]; ok {
		if a.uid == p.UID {
			same := p.has(a.networks)
			p = p.withNetworks(a.networks)
			p.Overruled = a.annotated && !same
			a.annotated = a.annotated || same
			s.allocations[key] = a
		} else {
			delete(s.allocations, key)
		}
	}
	old := s.pods[key]
	if reflect.DeepEqual(old, p) {
		return
	}
	s.pods[key] = p
	s.index.replacePod(old, p)
	s.publish(Change{Ref: p.Ref(), OldPod: old, NewPod: p, Policy: PolicyChange{PolicyEffects: s.selections.replacePod(old, p)}})
}

// DeletePod removes a pod and its allocation.
func (s *Store) DeletePod(key PodKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.allocations, key)
	old, ok := s.pods[key]
	if !ok {
		return
	}
	delete(s.pods, key)
	s.index.replacePod(old, nil)
	s.publish(Change{Ref: old.Ref(), OldPod: old, Policy: PolicyChange{PolicyEffects: s.selections.replacePod(old, nil)}})
}

// Allocate records what this node's allocator decided for a pod: ahead of the annotation that
// will say the same, or because it does. It does nothing if the pod is gone or another
// incarnation (UID) has taken its place, and reports that.
func (s *Store) Allocate(key PodKey, uid, network string, n PodNetwork) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.pods[key]
	if !ok || old.UID != uid {
		return false
	}
	a := s.allocations[key]
	if a.uid != uid {
		a = allocation{uid: uid}
	}
	networks := maps.Clone(a.networks)
	if networks == nil {
		networks = map[string]PodNetwork{}
	}
	networks[network] = n
	same := !old.Overruled && old.has(networks)
	s.allocations[key] = allocation{uid: uid, networks: networks, annotated: same}
	if same {
		return true
	}
	p := old.withNetworks(networks)
	p.Overruled = false
	s.pods[key] = p
	s.index.replacePod(old, p)
	s.publish(Change{Ref: p.Ref(), OldPod: old, NewPod: p, Policy: PolicyChange{PolicyEffects: s.selections.replacePod(old, p)}})
	return true
}

func (s *Store) publish(c Change) {
	c.Initial = !s.synced
	for _, f := range s.subscribers {
		f(View{s}, c)
	}
}

// has tells whether the pod's attachments are those given.
func (p *Pod) has(networks map[string]PodNetwork) bool {
	for name := range networks {
		if n, ok := p.Networks[name]; !ok || !reflect.DeepEqual(n, networks[name]) {
			return false
		}
	}
	return true
}

// withNetworks is a copy of the pod in which the given attachments replace its own.
func (p *Pod) withNetworks(networks map[string]PodNetwork) *Pod {
	c := *p
	c.Networks = maps.Clone(p.Networks)
	if c.Networks == nil {
		c.Networks = map[string]PodNetwork{}
	}
	maps.Copy(c.Networks, networks)
	return &c
}

// View is the world as a feature sees it. All it returns is shared and read-only.
type View struct{ s *Store }

// LocalNode is the name of the node whose zone is computed.
func (v View) LocalNode() string { return v.s.config.LocalNode }

// Network returns the network of that name; "" and "default" are the default network.
func (v View) Network(name string) (*Network, bool) {
	if name == "" {
		name = DefaultNetwork
	}
	i := slices.IndexFunc(v.s.config.Networks, func(n Network) bool { return n.Name == name })
	if i < 0 {
		return nil, false
	}
	return &v.s.config.Networks[i], true
}

// Node returns the node of that name.
func (v View) Node(name string) (*Node, bool) {
	n, ok := v.s.nodes[name]
	return n, ok
}

// Nodes returns all nodes in order of their names.
func (v View) Nodes() []*Node {
	return slices.SortedFunc(maps.Values(v.s.nodes), func(a, b *Node) int { return strings.Compare(a.Name, b.Name) })
}

// Pod returns the pod of that name.
func (v View) Pod(key PodKey) (*Pod, bool) {
	p, ok := v.s.pods[key]
	return p, ok
}

// Pods yields all pods in no particular order.
func (v View) Pods(yield func(*Pod) bool) {
	for _, p := range v.s.pods {
		if !yield(p) {
			return
		}
	}
}
