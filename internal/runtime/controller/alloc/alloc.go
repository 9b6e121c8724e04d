// Package alloc decides which node gets which id and which pod subnets. It is pure: what
// nodes already have (Claim) goes in, what they have now (Result) comes out, and the
// allocator's memory is all there is beside the annotations that the caller writes.
//
//	Load      at start, all nodes at once: every valid claim is kept, then gaps are filled
//	Allocate  one node, any time later: what it holds stays, what it lacks is filled
//	Release   the node is gone: all it held is free again
//
// A node holds one id and one subnet per family of the cluster subnets. Of two nodes that
// claim the same, the older one keeps it (by creation time, then by name), so the order in
// which nodes are seen at start does not matter. No two nodes ever hold subnets that
// overlap.
package alloc

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

// Allocation is what one node has; zero values where it has nothing.
type Allocation struct {
	ID      int
	Subnets []netip.Prefix // at most one per family, IPv4 first
}

// Claim is what a node says that it has.
type Claim struct {
	Node    string
	Created time.Time
	Allocation
}

// Result is what a node has from now on.
type Result struct {
	Node string
	Allocation
	// Findings are what was just decided against the node's claim, each told once.
	Findings []Finding
	// Problem is what keeps the node from having all it needs; nil when it has.
	Problem *Finding
}

// Finding is something that the operator should know of a node.
type Finding struct {
	Code    string // CamelCase, stable
	Message string // what is wrong, with the decisive value
	Remedy  string // what to do next
}

// The codes of findings.
const (
	NodeIDConflict        = "NodeIDConflict"
	NodeIDOutOfRange      = "NodeIDOutOfRange"
	NodeIDsExhausted      = "NodeIDsExhausted"
	SubnetConflict        = "SubnetConflict"
	SubnetInvalid         = "SubnetInvalid"
	SubnetOutsideCluster  = "SubnetOutsideCluster"
	SubnetReleased        = "SubnetReleased"
	ClusterSubnetsFull    = "ClusterSubnetsExhausted"
	recreatePods          = "delete the pods of this node that still have addresses of %s, so that they get new ones"
	enlargeClusterSubnets = "add a block to network.clusterSubnets, or remove nodes that are no more"
)

// family is an index of IPv4 and IPv6.
type family int

const (
	ipv4 family = iota
	ipv6
)

func (f family) String() string { return [...]string{"IPv4", "IPv6"}[f] }

func familyOf(p netip.Prefix) family {
	if p.Addr().Is4() {
		return ipv4
	}
	return ipv6
}

// Allocator holds what all nodes have. It is not for concurrent use.
type Allocator struct {
	pools [2]*pool // by family; nil for one that the cluster does not have
	ids   ids
	// foreign are subnets with another use, which no node's may overlap.
	foreign []netip.Prefix
	nodes   map[string]*holding
}

// holding is what one node has, by family.
type holding struct {
	id      int
	subnets [2]netip.Prefix
}

// New makes an allocator without nodes for a network's plan of addresses.
func New(n world.Network) *Allocator {
	a := &Allocator{
		ids:     ids{last: plan.Capacity(slices.Concat(n.JoinSubnets, n.TransitSubnets)), used: map[int]string{}},
		foreign: slices.Concat(n.ServiceSubnets, n.JoinSubnets, n.TransitSubnets, n.Masquerade),
		nodes:   map[string]*holding{},
	}
	for _, c := range n.ClusterSubnets {
		f := familyOf(c.Prefix)
		if a.pools[f] == nil {
			a.pools[f] = &pool{}
		}
		a.pools[f].add(c)
	}
	return a
}

// Load takes the claims of all nodes there are at the start, and returns what each has, in
// order of age.
func (a *Allocator) Load(claims []Claim) []Result {
	claims = slices.SortedFunc(slices.Values(claims), Older)
	results := make([]Result, len(claims))
	for i, c := range claims {
		results[i].Findings = a.keep(c)
	}
	for i, c := range claims {
		r := a.fill(c.Node)
		r.Findings = results[i].Findings
		results[i] = r
	}
	return results
}

// Older orders claims by creation time, then by name.
func Older(a, b Claim) int {
	return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Node, b.Node))
}

// Allocate returns what a node has, after trying to give it what it lacks. Its claim
// matters only for what it does not hold yet.
func (a *Allocator) Allocate(c Claim) Result {
	findings := a.keep(c)
	r := a.fill(c.Node)
	r.Findings = findings
	return r
}

// Release frees what a node holds, and tells whether that was anything.
func (a *Allocator) Release(node string) bool {
	h := a.nodes[node]
	if h == nil {
		return false
	}
	delete(a.nodes, node)
	freed := false
	if h.id != 0 {
		a.ids.release(h.id)
		freed = true
	}
	for f, p := range h.subnets {
		if p.IsValid() {
			a.pools[f].release(p)
			freed = true
		}
	}
	return freed
}

// keep lets a node hold what it claims where it holds nothing and the claim is valid.
func (a *Allocator) keep(c Claim) []Finding {
	h := a.nodes[c.Node]
	if h == nil {
		h = &holding{}
		a.nodes[c.Node] = h
	}
	var findings []Finding
	if c.ID != 0 && h.id == 0 {
		if f := a.keepID(h, c); f != nil {
			findings = append(findings, *f)
		}
	}
	for _, p := range c.Subnets {
		if h.subnets[familyOf(p)].IsValid() {
			continue
		}
		if f := a.keepSubnet(h, c.Node, p); f != nil {
			findings = append(findings, *f)
		}
	}
	return findings
}

func (a *Allocator) keepID(h *holding, c Claim) *Finding {
	owner := a.ids.used[c.ID]
	switch {
	case owner != "":
		return &Finding{NodeIDConflict, fmt.Sprintf("node id %d belongs to node %s; this node gets another", c.ID, owner),
			"nothing: the node takes the new id over by itself"}
	case c.ID < plan.FirstNodeID || c.ID > a.ids.last:
		return &Finding{NodeIDOutOfRange, fmt.Sprintf("node id %d is not between %d and %d, which join and transit subnets have addresses for; this node gets another",
			c.ID, plan.FirstNodeID, a.ids.last), "nothing: the node takes the new id over by itself"}
	}
	a.ids.take(c.ID, c.Node)
	h.id = c.ID
	return nil
}

func (a *Allocator) keepSubnet(h *holding, node string, p netip.Prefix) *Finding {
	f := familyOf(p)
	remedy := fmt.Sprintf(recreatePods, p)
	if a.pools[f] == nil {
		return &Finding{SubnetReleased, fmt.Sprintf("%s is given back: the cluster has no %s any more", p, f), remedy}
	}
	if err := plan.CheckNodeSubnet(p); err != nil {
		return &Finding{SubnetInvalid, fmt.Sprintf("%v; this node gets another", err), remedy}
	}
	if other, ok := a.pools[f].overlap(p); ok {
		return &Finding{SubnetConflict, fmt.Sprintf("%s overlaps %s of node %s; this node gets another", p, other.prefix, other.node), remedy}
	}
	if i := slices.IndexFunc(a.foreign, p.Overlaps); i >= 0 {
		return &Finding{SubnetConflict, fmt.Sprintf("%s overlaps %s, which has another use; this node gets another", p, a.foreign[i]), remedy}
	}
	a.pools[f].take(p, node)
	h.subnets[f] = p
	return nil
}

// fill gives a node what it lacks: all of it, or, if any of it is exhausted, nothing.
func (a *Allocator) fill(node string) Result {
	h := a.nodes[node]
	after := *h
	var problem *Finding
	if after.id == 0 {
		id, ok := a.ids.next()
		if !ok {
			problem = &Finding{NodeIDsExhausted, fmt.Sprintf("all node ids up to %d are in use", a.ids.last),
				"enlarge network.joinSubnets and network.transitSubnets, or remove nodes that are no more"}
		}
		after.id = id
	}
	for f, pool := range a.pools {
		if pool == nil || after.subnets[f].IsValid() {
			continue
		}
		p, ok := pool.next()
		if !ok && problem == nil {
			problem = &Finding{ClusterSubnetsFull, fmt.Sprintf("all %s subnets of %s are in use", family(f), pool), enlargeClusterSubnets}
		}
		after.subnets[f] = p
	}
	if problem == nil {
		a.take(node, h, after)
		problem = a.outside(h)
	}
	return Result{Node: node, Allocation: h.allocation(), Problem: problem}
}

// take makes the node hold what was found for it.
func (a *Allocator) take(node string, h *holding, after holding) {
	if h.id == 0 {
		a.ids.take(after.id, node)
	}
	for f, p := range after.subnets {
		if p.IsValid() && !h.subnets[f].IsValid() {
			a.pools[f].take(p, node)
		}
	}
	*h = after
}

// outside tells of a subnet that is in none of the cluster subnets, because those were
// changed. It is kept: a new one would cut off every pod on the node.
func (a *Allocator) outside(h *holding) *Finding {
	for f, p := range h.subnets {
		if p.IsValid() && !a.pools[f].contains(p) {
			return &Finding{SubnetOutsideCluster, fmt.Sprintf("%s is in none of the cluster subnets (%s); it is kept, but pods on this node are not reached everywhere", p, a.pools[f]),
				"put the old block back into network.clusterSubnets; or drain the node, delete the Node and restart its kubelet, so that it gets a new subnet"}
		}
	}
	return nil
}

func (h *holding) allocation() Allocation {
	a := Allocation{ID: h.id}
	for _, p := range h.subnets {
		if p.IsValid() {
			a.Subnets = append(a.Subnets, p)
		}
	}
	return a
}

// Usage counts subnets of one family, or ids.
type Usage struct {
	Used  int
	Total float64 // an IPv6 block may have 2^60 subnets
}

// SubnetUsage is how many node subnets there are by family, "ipv4" and "ipv6", of those
// that the cluster has.
func (a *Allocator) SubnetUsage() map[string]Usage {
	usage := map[string]Usage{}
	for f, name := range []string{"ipv4", "ipv6"} {
		if p := a.pools[f]; p != nil {
			usage[name] = Usage{len(p.used), p.total()}
		}
	}
	return usage
}

// IDUsage is how many node ids there are.
func (a *Allocator) IDUsage() Usage {
	return Usage{len(a.ids.used), float64(max(0, a.ids.last-plan.FirstNodeID+1))}
}
