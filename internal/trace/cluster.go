package trace

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/ovnkctl/ovnkctl/internal/policy"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// ClusterOf is the world for the reference evaluator, without policies: those it reads from
// the objects themselves, for nothing that compiles them must stand between.
func ClusterOf(s *world.Store) policy.Cluster {
	var c policy.Cluster
	s.Read(func(v world.View) {
		network, ok := v.Network("")
		if !ok {
			return
		}
		for _, sub := range network.ClusterSubnets {
			c.ClusterSubnets = append(c.ClusterSubnets, sub.Prefix)
		}
		f := facts{network: *network}
		for _, n := range v.Nodes() {
			c.Nodes = append(c.Nodes, policy.Node{
				Name: n.Name, Labels: n.Labels, StatusIPs: n.InternalIPs, HostIPs: nodeAddrs(n), ManagementIPs: f.management(n),
			})
		}
		for n := range v.Namespaces {
			c.Namespaces = append(c.Namespaces, policy.Namespace{Name: n.Name, Labels: n.Labels})
		}
		for p := range v.Pods {
			c.Pods = append(c.Pods, clusterPod(p))
		}
	})
	return c
}

func clusterPod(p *world.Pod) policy.Pod {
	out := policy.Pod{
		Namespace: p.Namespace, Name: p.Name, Labels: p.Labels, Node: p.Node, IPs: p.Addrs(),
		HostNetwork: p.HostNetwork, Finished: p.Finished, Deleting: p.Deleting,
	}
	for _, port := range p.Ports {
		out.Ports = append(out.Ports, policy.ContainerPort{Name: port.Name, Protocol: corev1.Protocol(strings.ToUpper(string(port.Protocol))), Port: port.Port})
	}
	return out
}
