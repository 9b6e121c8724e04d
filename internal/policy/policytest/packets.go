package policytest

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"

	"github.com/ovnkctl/ovnkctl/internal/policy"
)

// probes are the destination ports of packets: those that policies and pods speak of, what
// lies just behind them, and one that nobody speaks of.
var probes = []uint16{53, 80, 81, 82, 443, 8080, 9999}

// Packet draws a packet between any two ends of a cluster.
func Packet(t *rapid.T, c policy.Cluster) policy.Packet {
	family := pick(drawer{t: t}, "family", families(c))
	ends := Endpoints(c, family)
	p := policy.Packet{
		Source:      rapid.SampledFrom(ends).Draw(t, "source"),
		Destination: rapid.SampledFrom(ends).Draw(t, "destination"),
		Protocol:    rapid.SampledFrom(append(protocols, policy.ICMP)).Draw(t, "protocol"),
		Family:      family,
	}
	if p.Protocol != policy.ICMP {
		p.Port = rapid.SampledFrom(probes).Draw(t, "port")
	}
	return p
}

// Packets are all packets between two pods, or a pod and something else, of the protocols
// given: what a test must look at to know that it looked at everything.
func Packets(c policy.Cluster, of ...corev1.Protocol) []policy.Packet {
	var out []policy.Packet
	for _, family := range families(c) {
		ends := Endpoints(c, family)
		for _, src := range ends {
			for _, dst := range ends {
				if src.Pod == "" && dst.Pod == "" {
					continue
				}
				for _, protocol := range of {
					ports := probes
					if protocol == policy.ICMP {
						ports = []uint16{0}
					}
					for _, port := range ports {
						out = append(out, policy.Packet{
							Source: src, Destination: dst, Protocol: protocol, Port: port, Family: family,
						})
					}
				}
			}
		}
	}
	return out
}

// Endpoints are the ends that have an address of a family: pods that have not finished,
// nodes by each of their addresses, and addresses outside.
func Endpoints(c policy.Cluster, family policy.Family) []policy.Endpoint {
	is := func(a netip.Addr) bool { return a.Is4() == (family == policy.IPv4) }
	var out []policy.Endpoint
	for _, p := range c.Pods {
		if !p.Finished {
			out = append(out, policy.Endpoint{Namespace: p.Namespace, Pod: p.Name})
		}
	}
	for _, n := range c.Nodes {
		for _, a := range append(n.HostIPs[:len(n.HostIPs):len(n.HostIPs)], n.ManagementIPs...) {
			if is(a) {
				out = append(out, policy.Endpoint{Node: n.Name, IP: a})
			}
		}
	}
	for _, s := range outside {
		if a := netip.MustParseAddr(s); is(a) {
			out = append(out, policy.Endpoint{IP: a})
		}
	}
	return out
}

// families are those that the cluster's pods have.
func families(c policy.Cluster) []policy.Family {
	var out []policy.Family
	for _, a := range c.Nodes[0].StatusIPs {
		if a.Is4() {
			out = append(out, policy.IPv4)
		} else {
			out = append(out, policy.IPv6)
		}
	}
	return out
}
