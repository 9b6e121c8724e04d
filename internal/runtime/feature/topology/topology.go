// Package topology makes the routers and switches of a zone (one node, its own databases)
// and connects it with the zones of the other nodes.
//
// The key is a node's name. The local node's key owns all of this:
//
//	pods ── <node> ── rtos-<node> ┐
//	        k8s-<node> (host)     ├─ ovn_cluster_router ─ rtots-<node> ── transit_switch ── remote ports
//	                              │
//	            rtoj-ovn_cluster_router
//	                            join
//	                        rtoj-GR_<node>
//	                              │
//	                          GR_<node> ─ rtoe-GR_<node> ── ext_<node> ── localnet port ── br-ex
//
// A remote node's key owns its remote port on transit_switch, the routes to its subnets
// and to its gateway router on ovn_cluster_router, and its chassis in the Southbound
// database, which ovn-controller makes a tunnel to.
//
// What may exist without what:
//
//	zone       always: Copp, ovn_cluster_router, join, transit_switch, options of NB_Global
//	<node>     needs the node's subnets; its chassis pins the router port, if known
//	transit    needs the node's id and transit addresses
//	gateway    needs the node's id, chassis id and gateway configuration
//	remote     needs id, transit addresses, chassis id, tunnel end point and subnets, and
//	           the local zone: a remote node is connected whole or not at all
//
// What several nodes claim (an id, a chassis id, overlapping subnets, a transit address,
// a tunnel end point) the oldest has, of two equally old ones the first by name; for the
// others it is as if they lacked it. All zones decide alike, so the oldest is not disturbed.
package topology

import (
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Name is the feature's name.
const Name = "topology"

// Feature is the topology. The zero value is ready.
type Feature struct{}

var _ feature.Feature = Feature{}

// Name implements feature.Feature.
func (Feature) Name() string { return Name }

// Keys implements feature.Feature: the node, and the nodes with which it shares (or shared)
// what only one may have.
func (Feature) Keys(v world.View, c world.Change) []feature.Key {
	if c.Ref.Kind != world.KindNode {
		return nil
	}
	keys := []feature.Key{{Name: c.Ref.Name}}
	add := func(nodes []*world.Node) {
		for _, n := range nodes {
			if k := (feature.Key{Name: n.Name}); !slices.Contains(keys, k) {
				keys = append(keys, k)
			}
		}
	}
	for _, n := range []*world.Node{c.OldNode, c.NewNode} {
		if n != nil {
			eachRival(v, n, add)
		}
	}
	if c.Ref.Name == v.LocalNode() && (c.OldNode == nil || c.NewNode == nil) {
		add(v.Nodes())
	}
	return keys
}

// Desired implements feature.Feature.
func (Feature) Desired(v world.View, k feature.Key) (feature.Output, []feature.Reason) {
	var out feature.Output
	network, ok := v.Network(k.Network)
	if !ok {
		return out, nil
	}
	node, ok := v.Node(k.Name)
	if !ok {
		return out, nil
	}
	f := resolve(v, network, node)
	if k.Name == v.LocalNode() {
		z := zone{facts: f, names: names.Of(network.Name), out: &out.NB}
		z.compute()
		return out, z.reasons
	}
	local, ok := v.Node(v.LocalNode())
	if !ok || names.Reserved(local.Name) {
		return out, nil
	}
	r := remote{facts: f, local: local, names: names.Of(network.Name), out: &out}
	r.compute()
	return out, r.reasons
}

// zone computes the local node's rows.
type zone struct {
	*facts
	names names.Network
	out   *rows.Set
}

func (z *zone) compute() {
	if names.Reserved(z.node.Name) {
		z.reason(NodeNameReserved, "the name "+z.node.Name+" is that of a switch of every zone",
			"delete the node and add it again under another name")
		return
	}
	z.fabric()
	z.nodeSwitch()
	z.transitPort()
	z.gateway()
	z.incomplete("the zone of " + z.node.Name + " is not complete")
}
