package ipam

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/ovnkctl/ovnkctl/internal/annotation"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

// Codes of what is reported on pods.
const (
	// AddressesExhausted: the node's subnet is full; the pod waits until another one goes.
	AddressesExhausted = "PodAddressesExhausted"
	// AddressReplaced: the annotation's addresses could not be had; the pod, which had not
	// started yet, got others.
	AddressReplaced = "PodAddressReplaced"
	// AddressUnusable: the same for a pod that runs with them: they are left to it, and it
	// has to be recreated.
	AddressUnusable = "PodAddressUnusable"
)

// Config is what an Agent works with.
type Config struct {
	Store   *world.Store
	Network world.Network
	// Recorded are the addresses that the northbound database has for pods, by pod: what
	// was decided before a restart and had not reached the annotation.
	Recorded func() map[Owner][]netip.Prefix
	// Annotate writes a pod's annotation beside the work and returns at once.
	Annotate func(world.ObjectRef, map[string]string)
	// Report tells the pod's owner; it returns at once.
	Report func(pod world.ObjectRef, code, message, remedy string)
	// Poke is called when Holds may answer otherwise than before though the world did not
	// change. May be nil.
	Poke   func(world.PodKey)
	Logger *slog.Logger
}

// Agent allocates for the pods of this node.
type Agent struct {
	c         Config
	recovered chan struct{} // closed once the initial pods have their addresses back
	wake      chan struct{}

	inbox inbox

	mu      sync.Mutex // guards what follows; only Run's goroutine writes
	pool    *Pool
	records map[world.PodKey]record
	waiting map[world.PodKey]string // pods without address, and why
}

// inbox is what the world told and has not been settled yet, each pod once.
type inbox struct {
	sync.Mutex
	pods    map[world.PodKey]bool
	order   []world.PodKey
	subnets bool // the own node changed
}

func (b *inbox) add(k world.PodKey) {
	if !b.pods[k] {
		b.pods[k] = true
		b.order = append(b.order, k)
	}
}

// record is what one pod holds.
type record struct {
	owner     Owner
	addresses []netip.Prefix
}

// New makes an agent and subscribes it to the world: call it before the world's source
// starts.
func New(c Config) *Agent {
	a := &Agent{
		c: c, recovered: make(chan struct{}), wake: make(chan struct{}, 1), pool: NewPool(nil),
		records: map[world.PodKey]record{}, waiting: map[world.PodKey]string{},
	}
	a.inbox.pods = map[world.PodKey]bool{}
	if a.c.Poke == nil {
		a.c.Poke = func(world.PodKey) {}
	}
	c.Store.Subscribe(a.onWorld)
	return a
}

// onWorld is called under the world's lock.
func (a *Agent) onWorld(v world.View, c world.Change) {
	switch {
	case here(v, c.OldPod) || here(v, c.NewPod): // those of other nodes are their business
		a.inbox.Lock()
		a.inbox.add(world.PodKey{Namespace: c.Ref.Namespace, Name: c.Ref.Name})
		a.inbox.Unlock()
	case c.Ref.Kind == world.KindNode && c.Ref.Name == v.LocalNode():
		a.inbox.Lock()
		a.inbox.subnets = true
		a.inbox.Unlock()
	default:
		return
	}
	a.poke()
}

func here(v world.View, p *world.Pod) bool { return p != nil && p.Node == v.LocalNode() }

func (a *Agent) poke() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Holds tells whether the addresses that the world shows for this incarnation of a pod
// are certainly its own, and if not, why it has none.
func (a *Agent) Holds(pod world.PodKey, uid string) (held bool, why string) {
	select {
	case <-a.recovered:
	default:
		return false, "the addresses of the pods that were there at the start are being read"
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if r, ok := a.records[pod]; ok && r.owner.UID == uid {
		return true, ""
	}
	return false, a.waiting[pod]
}

// Recovered is closed once the world shows the addresses of all pods that had some before
// the start: whoever programs pods waits for it, or a pod whose annotation was not written
// yet would look as if it had none.
func (a *Agent) Recovered() <-chan struct{} { return a.recovered }

// Run allocates until ctx ends.
func (a *Agent) Run(ctx context.Context) error {
	select {
	case <-a.c.Store.SyncedC():
	case <-ctx.Done():
		return ctx.Err()
	}
	a.recover()
	for {
		select {
		case <-a.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
		a.drain()
	}
}

// recover gives the pods that are there what they had: those whose annotation says so
// first, the oldest first; then those that only the northbound database knows. Only when
// that is done are new addresses handed out.
func (a *Agent) recover() {
	a.refreshSubnets()
	recorded := a.c.Recorded()
	var all []*world.Pod
	a.c.Store.Read(func(v world.View) { all = a.local(v) })
	var rest []*world.Pod
	for _, p := range all {
		n, ok := p.Networks[a.c.Network.Name]
		if !ok || a.reserve(p, n.Addresses) != nil {
			rest = append(rest, p)
			continue
		}
		a.c.Store.Allocate(key(p), p.UID, a.c.Network.Name, n)
	}
	for _, p := range rest {
		addresses, ok := recorded[Owner{key(p), p.UID}]
		if _, annotated := p.Networks[a.c.Network.Name]; ok && !annotated && a.reserve(p, addresses) == nil {
			a.publish(p, addresses)
		}
	}
	close(a.recovered)
	for _, p := range all {
		a.settle(key(p))
		a.c.Poke(key(p))
	}
}

// local are the pods of this node that have a place on the network, the oldest first.
func (a *Agent) local(v world.View) []*world.Pod {
	var out []*world.Pod
	for p := range v.Pods {
		if a.mine(v, p) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(p, q *world.Pod) int {
		if p == q {
			return 0
		}
		if world.OldestPod([]*world.Pod{p, q}) == p {
			return -1
		}
		return 1
	})
	return out
}

func (a *Agent) mine(v world.View, p *world.Pod) bool {
	return p.Node == v.LocalNode() && p.Networked()
}

// drain settles what the world told.
func (a *Agent) drain() {
	a.inbox.Lock()
	pods, subnets := a.inbox.order, a.inbox.subnets
	a.inbox.order, a.inbox.subnets = nil, false
	clear(a.inbox.pods)
	a.inbox.Unlock()
	if subnets && a.refreshSubnets() {
		a.c.Store.Read(func(v world.View) {
			for _, p := range a.local(v) {
				pods = append(pods, key(p))
			}
		})
	}
	freed := false
	for _, k := range pods {
		freed = a.settle(k) || freed
	}
	if freed {
		for _, k := range slices.SortedFunc(maps.Keys(a.waiting), compare) {
			a.settle(k)
		}
	}
}

// refreshSubnets makes a new pool when the node's subnets are others than before. Pods
// that run keep what fits.
func (a *Agent) refreshSubnets() (changed bool) {
	var subnets []netip.Prefix
	a.c.Store.Read(func(v world.View) {
		if n, ok := v.Node(v.LocalNode()); ok {
			subnets = v.NodeSubnets(&a.c.Network, n)
		}
	})
	a.mu.Lock()
	defer a.mu.Unlock()
	if slices.Equal(subnets, a.pool.Subnets()) || len(subnets) == 0 {
		return false
	}
	if len(a.pool.blocks) > 0 {
		a.c.Logger.Warn("node subnets changed", "from", a.pool.Subnets(), "to", subnets)
	}
	a.pool = NewPool(subnets)
	for k, r := range a.records {
		if a.pool.Reserve(r.owner, r.addresses) != nil {
			delete(a.records, k)
		}
	}
	return true
}

// settle makes one pod's addresses what they should be and tells whether some were freed.
func (a *Agent) settle(k world.PodKey) (freed bool) {
	var p *world.Pod
	a.c.Store.Read(func(v world.View) {
		if q, ok := v.Pod(k); ok && a.mine(v, q) {
			p = q
		}
	})
	if r, ok := a.records[k]; ok && (p == nil || p.UID != r.owner.UID) {
		a.mu.Lock()
		freed = a.pool.Release(r.owner, r.addresses)
		delete(a.records, k)
		a.mu.Unlock()
	}
	if p == nil {
		a.setWaiting(k, "")
		return freed
	}
	n, ok := p.Networks[a.c.Network.Name]
	var taken error
	if ok {
		_, held := a.records[k]
		if held && p.Overruled { // the pod's interface did not change with the annotation
			a.c.Report(p.Ref(), AddressReplaced, fmt.Sprintf("annotation %s was changed or removed; it was put back to %v", annotation.PodNetworks.Key(), n.Addresses),
				"do not change this annotation by hand")
			a.annotate(p, n)
		}
		if held {
			return freed
		}
		if taken = a.reserve(p, n.Addresses); taken == nil {
			a.c.Store.Allocate(k, p.UID, a.c.Network.Name, n)
			return freed
		}
	}
	a.allocate(p, taken)
	return freed
}

// allocate finds addresses for a pod that has none, or none that it can have.
func (a *Agent) allocate(p *world.Pod, taken error) {
	k := key(p)
	if taken != nil && p.Started {
		a.wait(p, AddressUnusable, fmt.Sprintf("annotation %s: %v; the pod runs with it and is left alone", annotation.PodNetworks.Key(), taken),
			"delete the pod, so that its owner makes a new one")
		return
	}
	if len(a.pool.blocks) == 0 {
		a.setWaiting(k, "the node has no pod subnets yet: is `ovnkctl controller` running?")
		return
	}
	a.mu.Lock()
	addresses, held := a.records[k].addresses, a.records[k].owner.UID == p.UID
	var err error
	if !held {
		addresses, err = a.pool.Allocate(Owner{k, p.UID})
	}
	a.mu.Unlock()
	var full *FullError
	if errors.As(err, &full) {
		a.wait(p, AddressesExhausted, full.Error(), "the pod gets an address as soon as another pod of the node goes; for more, use larger host subnets in network.clusterSubnets")
		return
	}
	switch problem := annotationProblem(p); {
	case taken != nil:
		a.c.Report(p.Ref(), AddressReplaced, fmt.Sprintf("annotation %s: %v; the pod got %v instead", annotation.PodNetworks.Key(), taken, addresses), "do not set this annotation by hand")
	case problem != "":
		a.c.Report(p.Ref(), AddressReplaced, fmt.Sprintf("annotation %s: %s; the pod got %v instead", annotation.PodNetworks.Key(), problem, addresses), "do not set this annotation by hand")
	}
	a.hold(p, addresses)
	a.publish(p, addresses)
}

// annotationProblem is what is wrong with a pod's own annotation, empty if nothing.
func annotationProblem(p *world.Pod) string {
	for _, problem := range p.Problems {
		if problem.Field == annotation.PodNetworks.Key() {
			return problem.Message
		}
	}
	return ""
}

// wait notes why a pod has no address, and reports it when it is new.
func (a *Agent) wait(p *world.Pod, code, message, remedy string) {
	if a.setWaiting(key(p), message) {
		a.c.Report(p.Ref(), code, message, remedy)
		a.c.Logger.Warn("pod has no address", "key", key(p), "code", code, "reason", message)
	}
}

func (a *Agent) setWaiting(k world.PodKey, why string) (changed bool) {
	a.mu.Lock()
	changed = a.waiting[k] != why
	if why == "" {
		delete(a.waiting, k)
	} else {
		a.waiting[k] = why
	}
	a.mu.Unlock()
	if changed {
		a.c.Poke(k)
	}
	return changed
}

// reserve takes the addresses that a pod is known to have.
func (a *Agent) reserve(p *world.Pod, addresses []netip.Prefix) error {
	a.mu.Lock()
	err := a.pool.Reserve(Owner{key(p), p.UID}, addresses)
	a.mu.Unlock()
	if err == nil {
		a.hold(p, addresses)
	}
	return err
}

func (a *Agent) hold(p *world.Pod, addresses []netip.Prefix) {
	a.mu.Lock()
	a.records[key(p)] = record{Owner{key(p), p.UID}, addresses}
	delete(a.waiting, key(p))
	a.mu.Unlock()
	a.c.Poke(key(p))
}

// publish tells the world, which programs the pod's port, and has the annotation written.
func (a *Agent) publish(p *world.Pod, addresses []netip.Prefix) {
	a.annotate(p, a.attachment(addresses))
}

func (a *Agent) annotate(p *world.Pod, n world.PodNetwork) {
	if !a.c.Store.Allocate(key(p), p.UID, a.c.Network.Name, n) {
		return // gone; the world tells
	}
	value := annotation.PodNetwork{
		Addresses: n.Addresses, MAC: n.MAC, Gateways: n.Gateways, Role: annotation.RolePrimary,
	}
	for _, r := range n.Routes {
		value.Routes = append(value.Routes, annotation.Route(r))
	}
	out := map[string]string{}
	annotation.PodNetworks.Put(out, map[string]annotation.PodNetwork{a.c.Network.Name: value})
	a.c.Annotate(p.Ref(), out)
}

// attachment is everything that follows from a pod's addresses: MAC, gateways, and routes
// to what must not leave by another network's default route.
func (a *Agent) attachment(addresses []netip.Prefix) world.PodNetwork {
	n := world.PodNetwork{Addresses: addresses, MAC: plan.MACOf(plan.Addrs(addresses)...)}
	for _, s := range addresses {
		gateway := plan.Gateway(s.Masked())
		n.Gateways = append(n.Gateways, gateway)
		for _, dest := range a.destinations() {
			if dest.Addr().Is4() == gateway.Is4() {
				n.Routes = append(n.Routes, world.Route{Dest: dest, NextHop: gateway})
			}
		}
	}
	return n
}

func (a *Agent) destinations() []netip.Prefix {
	var out []netip.Prefix
	for _, c := range a.c.Network.ClusterSubnets {
		out = append(out, c.Prefix)
	}
	out = append(out, a.c.Network.ServiceSubnets...)
	for _, m := range a.c.Network.Masquerade {
		if hairpin, ok := plan.MasqueradeAddr(m, plan.MasqueradeHairpin); ok {
			out = append(out, netip.PrefixFrom(hairpin, hairpin.BitLen()))
		}
	}
	return append(out, a.c.Network.JoinSubnets...)
}

func key(p *world.Pod) world.PodKey { return world.PodKey{Namespace: p.Namespace, Name: p.Name} }

func compare(p, q world.PodKey) int {
	return cmp.Or(cmp.Compare(p.Namespace, q.Namespace), cmp.Compare(p.Name, q.Name))
}
