package world

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/ovnkctl/ovnkctl/internal/annotation"
)

// PodPort is a port of a pod that has a name.
type PodPort struct {
	Name     string
	Protocol Protocol
	Port     uint16
}

// FromRemotePod takes out of a pod of another node what others need to know: its names and
// labels, where it is, its addresses and its named ports. A node has few pods of its own
// and may see 100,000 others, and every byte of these counts on every node. What is wrong
// with the pod its own node reports.
func FromRemotePod(o *corev1.Pod) *Pod {
	p := &Pod{
		Namespace:   interned(o.Namespace),
		Name:        o.Name,
		UID:         string(o.UID),
		Node:        interned(o.Spec.NodeName),
		Labels:      o.Labels,
		HostNetwork: o.Spec.HostNetwork,
		Finished:    finished(o),
	}
	if p.Finished {
		return p // its addresses may be another's
	}
	p.IPs = remoteIPs(o)
	lastingPorts(&o.Spec, p.namedPort)
	return p
}

func finished(o *corev1.Pod) bool {
	return o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed
}

// remoteIPs are what the pod's node allocated, which is known before the pod starts and
// Kubernetes reports the same.
func remoteIPs(o *corev1.Pod) []netip.Addr {
	if !o.Spec.HostNetwork {
		networks, _, err := annotation.PodNetworks.Get(o.Annotations)
		if n := networks[DefaultNetwork]; err == nil && len(n.Addresses) > 0 {
			out := make([]netip.Addr, 0, len(n.Addresses))
			for _, p := range n.Addresses {
				out = append(out, p.Addr())
			}
			return out
		}
	}
	return reportedIPs(o)
}

// reportedIPs are the addresses in the pod's status.
func reportedIPs(o *corev1.Pod) []netip.Addr {
	var out []netip.Addr
	for _, ip := range o.Status.PodIPs {
		if a, err := parseAddr(ip.IP); err == nil { // else the kubelet is broken
			out = append(out, a)
		}
	}
	return out
}

// namedPort adds a container's port if it has a name.
func (p *Pod) namedPort(port *corev1.ContainerPort) {
	protocol, ok := protocolOf(&port.Protocol)
	if port.Name != "" && ok && port.ContainerPort >= 1 && port.ContainerPort <= 65535 {
		p.Ports = append(p.Ports, PodPort{Name: interned(port.Name), Protocol: protocol, Port: uint16(port.ContainerPort)})
	}
}

// Addrs are the pod's addresses on the default network, of the local and of other nodes;
// those of its host for a pod on the host's network.
func (p *Pod) Addrs() []netip.Addr {
	n := p.Networks[DefaultNetwork]
	if len(n.Addresses) == 0 {
		return p.IPs
	}
	out := make([]netip.Addr, 0, len(n.Addresses))
	for _, a := range n.Addresses {
		out = append(out, a.Addr())
	}
	return out
}
