package policy

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// end is one end of a packet: an address and whose it is.
type end struct {
	addr   netip.Addr
	pod    *Pod // nil if not a pod with a network of its own
	node   *Node
	labels map[string]string // of the pod's namespace
}

// exchange is a packet with its ends found.
type exchange struct {
	src, dst end
	protocol corev1.Protocol
	port     uint16
}

// sides returns the end that policies of a direction select, and its peer.
func (x exchange) sides(d Direction) (subject, peer end) {
	if d == Egress {
		return x.src, x.dst
	}
	return x.dst, x.src
}

func (x exchange) portString() string {
	if x.protocol == ICMP {
		return string(ICMP)
	}
	return fmt.Sprintf("%s/%d", x.protocol, x.port)
}

func (h end) String() string {
	switch {
	case h.pod != nil:
		return fmt.Sprintf("pod %s/%s %s with labels {%s} in a namespace with labels {%s}",
			h.pod.Namespace, h.pod.Name, h.addr, labelString(h.pod.Labels), labelString(h.labels))
	case h.node != nil:
		return fmt.Sprintf("node %s %s", h.node.Name, h.addr)
	default:
		return fmt.Sprintf("%s outside of the cluster", h.addr)
	}
}

func (e *Evaluator) exchange(p Packet) (exchange, error) {
	x := exchange{protocol: p.Protocol, port: p.Port}
	family := p.Family
	for _, ip := range []netip.Addr{p.Source.IP, p.Destination.IP} {
		if family == 0 && ip.IsValid() {
			family = familyOf(ip)
		}
	}
	if family == 0 {
		family = IPv4
	}
	var err error
	if x.src, err = e.end(p.Source, family); err != nil {
		return x, fmt.Errorf("source: %w", err)
	}
	if x.dst, err = e.end(p.Destination, family); err != nil {
		return x, fmt.Errorf("destination: %w", err)
	}
	return x, nil
}

func (e *Evaluator) end(p Endpoint, family Family) (end, error) {
	if p.Pod != "" {
		i := slices.IndexFunc(e.cluster.Pods, func(o Pod) bool {
			return o.Namespace == p.Namespace && o.Name == p.Pod
		})
		if i < 0 {
			return end{}, fmt.Errorf("there is no pod %s/%s", p.Namespace, p.Pod)
		}
		pod := &e.cluster.Pods[i]
		if pod.Finished {
			return end{}, fmt.Errorf("pod %s/%s has finished and has no network", p.Namespace, p.Pod)
		}
		if !pod.HostNetwork {
			return e.podEnd(pod, family, p.IP)
		}
		p = Endpoint{Node: pod.Node, IP: p.IP}
	}
	if p.Node != "" {
		return e.nodeEnd(p, family)
	}
	if !p.IP.IsValid() {
		return end{}, fmt.Errorf("neither a pod nor a node nor an address is given")
	}
	addr, err := pick([]netip.Addr{p.IP}, family, p.IP)
	if err != nil {
		return end{}, err
	}
	return e.owner(addr), nil
}

// owner finds whose an address is.
func (e *Evaluator) owner(addr netip.Addr) end {
	for i := range e.cluster.Pods {
		p := &e.cluster.Pods[i]
		if !p.Finished && !p.HostNetwork && slices.Contains(p.IPs, addr) {
			return end{addr: addr, pod: p, labels: e.namespaces[p.Namespace]}
		}
	}
	for i := range e.cluster.Nodes {
		n := &e.cluster.Nodes[i]
		if slices.Contains(n.addresses(), addr) {
			return end{addr: addr, node: n}
		}
	}
	return end{addr: addr}
}

func (e *Evaluator) podEnd(pod *Pod, family Family, ip netip.Addr) (end, error) {
	addr, err := pick(pod.IPs, family, ip)
	if err != nil {
		return end{}, fmt.Errorf("pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return end{addr: addr, pod: pod, labels: e.namespaces[pod.Namespace]}, nil
}

func (e *Evaluator) nodeEnd(p Endpoint, family Family) (end, error) {
	for i := range e.cluster.Nodes {
		n := &e.cluster.Nodes[i]
		if n.Name != p.Node {
			continue
		}
		addr, err := pick(n.addresses(), family, p.IP)
		if err != nil {
			return end{}, fmt.Errorf("node %s: %w", p.Node, err)
		}
		return end{addr: addr, node: n}, nil
	}
	return end{}, fmt.Errorf("there is no node %s", p.Node)
}

func (n *Node) addresses() []netip.Addr {
	return slices.Concat(n.StatusIPs, n.HostIPs, n.ManagementIPs)
}

// pick returns the first address of the family, or the wanted one if there is one wanted.
func pick(addrs []netip.Addr, family Family, want netip.Addr) (netip.Addr, error) {
	for _, a := range addrs {
		if familyOf(a) == family && (!want.IsValid() || a == want) {
			return a, nil
		}
	}
	if want.IsValid() {
		return netip.Addr{}, fmt.Errorf("%s is not its IPv%d address", want, family)
	}
	return netip.Addr{}, fmt.Errorf("it has no IPv%d address", family)
}

func familyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}
