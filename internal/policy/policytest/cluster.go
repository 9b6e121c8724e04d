package policytest

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"

	"github.com/ovnkctl/ovnkctl/internal/policy"
)

// Cluster draws a cluster with policies: 3–5 namespaces, 2–4 nodes, 8–15 pods.
func Cluster(t *rapid.T, cfg Config) policy.Cluster {
	c := Bare(t)
	d := drawer{t, cfg, &c}
	has := func(kind string) bool { return !slices.Contains(cfg.Without, kind) }
	if has("NetworkPolicy") {
		for i := range d.count(0, 6, "network policies") {
			c.NetworkPolicies = append(c.NetworkPolicies, d.networkPolicy(fmt.Sprintf("np%d", i)))
		}
	}
	if has("AdminNetworkPolicy") {
		for i := range d.count(0, 3, "admin network policies") {
			c.AdminNetworkPolicies = append(c.AdminNetworkPolicies, d.adminNetworkPolicy(fmt.Sprintf("anp%d", i)))
		}
	}
	if has("ClusterNetworkPolicy") {
		for i := range d.count(0, 4, "cluster network policies") {
			c.ClusterNetworkPolicies = append(c.ClusterNetworkPolicies, d.clusterNetworkPolicy(fmt.Sprintf("cnp%d", i)))
		}
	}
	if has("BaselineAdminNetworkPolicy") && d.chance(40, "baseline admin network policy") {
		banp := d.baselineAdminNetworkPolicy()
		c.BaselineAdminNetworkPolicy = &banp
	}
	if has("EgressFirewall") {
		for _, n := range c.Namespaces {
			if d.chance(40, "egress firewall") {
				c.EgressFirewalls = append(c.EgressFirewalls, d.egressFirewall(n.Name))
			}
		}
	}
	return c
}

// Bare draws a cluster without policies, of one or both families.
func Bare(t *rapid.T) policy.Cluster {
	c := policy.Cluster{DomainNames: map[string][]netip.Addr{}}
	d := drawer{t: t, c: &c}
	v4, v6 := true, true
	switch d.count(0, 3, "families") {
	case 1:
		v6 = false
	case 2:
		v4 = false
	}
	addrs := func(four, six string) []netip.Addr {
		var out []netip.Addr
		if v4 {
			out = append(out, netip.MustParseAddr(four))
		}
		if v6 {
			out = append(out, netip.MustParseAddr(six))
		}
		return out
	}
	c.ClusterSubnets = []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd01::/48")}
	c.AllowICMP = d.chance(20, "allow ICMP")
	for _, n := range knownNames {
		c.DomainNames[n] = d.addrs(outside, 3, "addresses of "+n)
	}
	for i := range d.count(3, 5, "namespaces") {
		n := policy.Namespace{Name: fmt.Sprintf("ns%d", i), Labels: d.labels(namespaceLabels)}
		n.Labels["kubernetes.io/metadata.name"] = n.Name
		c.Namespaces = append(c.Namespaces, n)
	}
	nodes := d.count(2, 4, "nodes")
	for i := 1; i <= nodes; i++ {
		n := policy.Node{
			Name: fmt.Sprintf("node%d", i), Labels: d.labels(nodeLabels),
			StatusIPs:     addrs(fmt.Sprintf("192.0.2.%d", i), fmt.Sprintf("fd00:10::%x", i)),
			ManagementIPs: addrs(fmt.Sprintf("10.244.%d.2", i), fmt.Sprintf("fd01:0:0:%x::2", i)),
		}
		n.HostIPs = slices.Concat(n.StatusIPs, addrs(fmt.Sprintf("172.16.0.%d", i), fmt.Sprintf("fd00:20::%x", i)))
		c.Nodes = append(c.Nodes, n)
	}
	for i := range d.count(8, 15, "pods") {
		node := d.count(1, nodes, "node")
		p := policy.Pod{
			Namespace: pick(d, "namespace", c.Namespaces).Name, Name: fmt.Sprintf("pod%d", i),
			Node: c.Nodes[node-1].Name, Labels: d.labels(podLabels), Ports: d.containerPorts(),
			HostNetwork: d.chance(10, "host network"), Finished: d.chance(8, "finished"), Deleting: d.chance(8, "deleting"),
		}
		switch {
		case p.HostNetwork:
		case p.Finished && i > 0 && d.chance(70, "address in use again"):
			p.IPs = pick(d, "by", c.Pods).IPs
		default:
			p.IPs = addrs(fmt.Sprintf("10.244.%d.%d", node, 3+i), fmt.Sprintf("fd01:0:0:%x::%x", node, 3+i))
		}
		c.Pods = append(c.Pods, p)
	}
	return c
}

// containerPorts draws ports whose names mean other numbers and protocols in other pods.
func (d drawer) containerPorts() []policy.ContainerPort {
	var out []policy.ContainerPort
	for range d.count(0, 3, "container ports") {
		p := policy.ContainerPort{Protocol: corev1.ProtocolTCP, Port: uint16(pick(d, "container port", portNumbers))}
		if d.chance(30, "not TCP") {
			p.Protocol = pick(d, "protocol", protocols)
		}
		if d.chance(80, "named") {
			p.Name = pick(d, "port name", portNames)
		}
		out = append(out, p)
	}
	return out
}

func keys(of map[string][]string) []string { return slices.Sorted(maps.Keys(of)) }
