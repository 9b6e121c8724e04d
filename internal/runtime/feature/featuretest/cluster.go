package featuretest

import (
	"net/netip"

	"github.com/ovnkctl/ovnkctl/internal/policy"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

// nodeBits are the lengths of the nodes' subnets in clusters of the reference evaluator.
var nodeBits = map[bool]int{true: 24, false: 64}

// ClusterNetwork is the default network of a cluster of the reference evaluator: that of its
// families.
func ClusterNetwork(c policy.Cluster) world.Network {
	n := world.Network{
		Name:        world.DefaultNetwork,
		JoinSubnets: []netip.Prefix{netip.MustParsePrefix("100.64.0.0/16"), netip.MustParsePrefix("fd98::/64")},
		Masquerade:  []netip.Prefix{netip.MustParsePrefix("169.254.0.0/17"), netip.MustParsePrefix("fd69::/112")},
	}
	for _, s := range c.ClusterSubnets {
		for _, a := range c.Nodes[0].ManagementIPs {
			if s.Contains(a) {
				n.ClusterSubnets = append(n.ClusterSubnets, world.ClusterSubnet{Prefix: s, HostLength: nodeBits[a.Is4()]})
			}
		}
	}
	return n
}

// ClusterObjects are the objects of a cluster of the reference evaluator. Domain names are
// none: see world.Store.SetDomain.
func ClusterObjects(c policy.Cluster) []Object {
	var out []Object
	for i := range c.Nodes {
		out = append(out, Object{Node: clusterNode(i, &c.Nodes[i])})
	}
	for _, n := range c.Namespaces {
		out = append(out, Object{Namespace: &world.Namespace{Name: n.Name, Labels: n.Labels}})
	}
	for i := range c.Pods {
		out = append(out, Object{Pod: clusterPod(&c.Pods[i])})
	}
	add := func(p *world.Policy) { out = append(out, Object{Policy: p}) }
	for i := range c.NetworkPolicies {
		add(world.FromNetworkPolicy(&c.NetworkPolicies[i]))
	}
	for i := range c.AdminNetworkPolicies {
		add(world.FromAdminNetworkPolicy(&c.AdminNetworkPolicies[i]))
	}
	if c.BaselineAdminNetworkPolicy != nil {
		add(world.FromBaselineAdminNetworkPolicy(c.BaselineAdminNetworkPolicy))
	}
	for i := range c.ClusterNetworkPolicies {
		add(world.FromClusterNetworkPolicy(&c.ClusterNetworkPolicies[i]))
	}
	for i := range c.EgressFirewalls {
		add(world.FromEgressFirewall(&c.EgressFirewalls[i]))
	}
	return out
}

// clusterNode makes node number i, whose management addresses are in its subnets.
func clusterNode(i int, n *policy.Node) *world.Node {
	out := &world.Node{
		Name: n.Name, UID: n.Name, Labels: n.Labels, ID: i + plan.FirstNodeID, ChassisID: "chassis-" + n.Name,
		InternalIPs: n.StatusIPs, Subnets: map[string][]netip.Prefix{},
	}
	for _, a := range n.ManagementIPs {
		p := netip.PrefixFrom(a, nodeBits[a.Is4()])
		out.Subnets[world.DefaultNetwork] = append(out.Subnets[world.DefaultNetwork], p.Masked())
		out.HostAddrs = append(out.HostAddrs, p)
	}
	for _, a := range n.HostIPs {
		out.HostAddrs = append(out.HostAddrs, netip.PrefixFrom(a, a.BitLen()))
	}
	return out
}

func clusterPod(p *policy.Pod) *world.Pod {
	out := &world.Pod{
		Namespace: p.Namespace, Name: p.Name, UID: p.Namespace + "/" + p.Name, Node: p.Node, Labels: p.Labels,
		HostNetwork: p.HostNetwork, Finished: p.Finished, Deleting: p.Deleting,
	}
	for _, o := range p.Ports {
		if o.Name != "" {
			protocol := map[string]world.Protocol{"TCP": world.TCP, "UDP": world.UDP, "SCTP": world.SCTP}[string(o.Protocol)]
			out.Ports = append(out.Ports, world.PodPort{Name: o.Name, Protocol: protocol, Port: o.Port})
		}
	}
	if len(p.IPs) > 0 {
		n := world.PodNetwork{MAC: plan.MACOf(p.IPs...)}
		for _, a := range p.IPs {
			n.Addresses = append(n.Addresses, netip.PrefixFrom(a, nodeBits[a.Is4()]))
		}
		out.Networks = map[string]world.PodNetwork{world.DefaultNetwork: n}
	}
	return out
}

// Set puts the object into a store.
func (o Object) Set(s *world.Store) { o.set(s) }

// Remove takes the object out of a store.
func (o Object) Remove(s *world.Store) { o.remove(s) }
