package world

import (
	"net/netip"
	"slices"
)

// HasFamily tells whether the network has cluster subnets of the address's family.
func (n *Network) HasFamily(a netip.Addr) bool {
	return slices.ContainsFunc(n.ClusterSubnets, func(c ClusterSubnet) bool { return c.Prefix.Addr().Is4() == a.Is4() })
}

// OfFamilies are the prefixes that are of a family in which the network has cluster
// subnets: a plan may name IPv6 subnets that an IPv4 cluster does not use.
func (n *Network) OfFamilies(prefixes []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range prefixes {
		if n.HasFamily(p.Addr()) {
			out = append(out, p)
		}
	}
	return out
}

// HasSubnet tells whether p is within one of the network's cluster subnets.
func (n *Network) HasSubnet(p netip.Prefix) bool {
	return slices.ContainsFunc(n.ClusterSubnets, func(c ClusterSubnet) bool {
		return c.Prefix.Bits() <= p.Bits() && c.Prefix.Contains(p.Addr())
	})
}

// NodeSubnets are the subnets of the network that the node has: within the cluster
// subnets, and not those of an older node. What is left out topology reports.
func (v View) NodeSubnets(network *Network, node *Node) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range node.Subnets[network.Name] {
		if network.HasSubnet(p) && v.SubnetHolder(network, p) == node {
			out = append(out, p)
		}
	}
	return out
}

// SubnetHolder is the oldest of the nodes with a subnet that overlaps p. Subnets beyond
// the cluster subnets do not count: a typing error in one node's annotation must not cost
// others theirs.
func (v View) SubnetHolder(network *Network, p netip.Prefix) *Node {
	return OldestNode(slices.DeleteFunc(v.NodesOverlapping(network.Name, p), func(n *Node) bool {
		return !slices.ContainsFunc(n.Subnets[network.Name], func(q netip.Prefix) bool { return q.Overlaps(p) && network.HasSubnet(q) })
	}))
}
