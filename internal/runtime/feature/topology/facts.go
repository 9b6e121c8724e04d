package topology

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/annotation"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

// facts are what a node really has: annotations that parse, follow the plan of addresses
// and belong to no older node.
type facts struct {
	network *world.Network
	node    *world.Node

	id      int            // 0 when the node has none
	chassis string         // empty when the node has none
	subnets []netip.Prefix // of the network
	transit []netip.Prefix
	encaps  []netip.Addr
	join    []netip.Prefix // of the gateway router, by id

	lacks   []lack
	reasons []feature.Reason
}

func resolve(v world.View, network *world.Network, node *world.Node) *facts {
	f := &facts{network: network, node: node}
	for _, p := range node.Problems {
		f.reason(InvalidNodeAnnotation, p.Field+": "+p.Message, p.Remedy)
	}
	f.resolveID(v)
	f.resolveChassis(v)
	f.resolveSubnets(v)
	f.resolveTransit(v)
	f.resolveEncaps(v)
	return f
}

// without notes that an annotation is not there, unless it is there and malformed.
func (f *facts) without(l lack) {
	for _, p := range f.node.Problems {
		if p.Field == l.key {
			return
		}
	}
	f.lacks = append(f.lacks, l)
}

// resolveID finds the node's id and the addresses that follow from it.
func (f *facts) resolveID(v world.View) {
	if f.node.ID == 0 {
		f.without(lackID)
		return
	}
	if h := world.OldestNode(v.NodesWithID(f.node.ID)); h != f.node {
		f.conflict(NodeIDConflict, fmt.Sprintf("node id %d", f.node.ID), h,
			"remove the annotation "+annotation.NodeID.Key()+" from this node and `ovnkctl controller` allocates another")
		return
	}
	join, err := plan.JoinGatewayRouter(f.network.OfFamilies(f.network.JoinSubnets), f.node.ID)
	if err != nil {
		f.reason(AddressPlanExhausted, "the gateway router gets no address: join "+err.Error(),
			"delete nodes that are gone, or install with a larger network.joinSubnets")
		return
	}
	f.id, f.join = f.node.ID, join
}

func (f *facts) resolveChassis(v world.View) {
	if f.node.ChassisID == "" {
		f.without(lackChassis)
		return
	}
	if h := world.OldestNode(v.NodesWithChassis(f.node.ChassisID)); h != f.node {
		f.conflict(ChassisIDConflict, "chassis id "+f.node.ChassisID, h,
			"the machines were probably cloned: on this one remove external_ids:system-id of the Open_vSwitch row "+
				"and the file /etc/openvswitch/system-id.conf, delete the Node, and restart its pods of ovn-kubernetes")
		return
	}
	f.chassis = f.node.ChassisID
}

func (f *facts) resolveSubnets(v world.View) {
	all := f.node.Subnets[f.network.Name]
	if len(all) == 0 {
		f.without(lackSubnets)
		return
	}
	for _, s := range all {
		if err := f.checkSubnet(s); err != nil {
			f.reason(InvalidNodeSubnet, err.Error(),
				"correct "+annotation.NodeSubnets.Key()+", or remove it and `ovnkctl controller` allocates a subnet")
			continue
		}
		if h := v.SubnetHolder(f.network, s); h != f.node {
			f.conflict(NodeSubnetConflict, "subnet "+s.String(), h,
				"drain this node and remove the annotation "+annotation.NodeSubnets.Key()+" from it: `ovnkctl controller` allocates another")
			continue
		}
		f.subnets = append(f.subnets, s)
	}
}

func (f *facts) checkSubnet(s netip.Prefix) error {
	if err := plan.CheckNodeSubnet(s); err != nil {
		return fmt.Errorf("subnet of network %s: %w", f.network.Name, err)
	}
	if !f.network.HasSubnet(s) {
		return fmt.Errorf("subnet %s is in none of the cluster subnets of network %s", s, f.network.Name)
	}
	return nil
}

func (f *facts) resolveTransit(v world.View) {
	transit, subnets := f.network.OfFamilies(f.node.Transit), f.network.OfFamilies(f.network.TransitSubnets)
	if len(transit) == 0 {
		f.without(lackTransit)
		return
	}
	for _, p := range transit {
		if !slices.Contains(subnets, p.Masked()) {
			f.reason(InvalidTransitAddress, fmt.Sprintf("transit address %s is in none of the transit subnets %v", p, subnets),
				"remove the annotation "+annotation.NodeTransit.Key()+" and `ovnkctl controller` writes it again")
			f.transit = nil
			return
		}
		if h := world.OldestNode(v.NodesWithTransit(p)); h != f.node {
			f.conflict(TransitAddressConflict, "transit address "+p.String(), h,
				"remove the annotation "+annotation.NodeTransit.Key()+" from this node and `ovnkctl controller` writes it again")
			f.transit = nil
			return
		}
		f.transit = append(f.transit, p)
	}
}

func (f *facts) resolveEncaps(v world.View) {
	if len(f.node.EncapIPs) == 0 {
		f.without(lackEncap)
		return
	}
	for _, a := range f.node.EncapIPs {
		if h := world.OldestNode(v.NodesWithEncap(a)); h != f.node {
			f.conflict(EncapAddressConflict, "tunnel end point "+a.String(), h,
				"give this node an address of its own, or delete the Node that is no longer there")
			continue
		}
		f.encaps = append(f.encaps, a)
	}
}

func (f *facts) conflict(code, what string, older *world.Node, remedy string) {
	f.reason(code, fmt.Sprintf("%s belongs to the older node %s", what, older.Name), remedy)
}

// eachRival calls add with the nodes that claim something that n claims.
func eachRival(v world.View, n *world.Node, add func([]*world.Node)) {
	if n.ID != 0 {
		add(v.NodesWithID(n.ID))
	}
	if n.ChassisID != "" {
		add(v.NodesWithChassis(n.ChassisID))
	}
	for _, p := range n.Transit {
		add(v.NodesWithTransit(p))
	}
	for _, a := range n.EncapIPs {
		add(v.NodesWithEncap(a))
	}
	for network, subnets := range n.Subnets {
		for _, s := range subnets {
			add(v.NodesOverlapping(network, s))
		}
	}
}
