package trace

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

// start is where a packet enters OVN.
type start struct {
	node, datapath, inport string
	packet                 Packet
	from                   string // node whose tunnel it came by
	hops                   []Hop  // before OVN
	// arrived is set when OVN has no part in it: the packet is where it was to go.
	arrived string
	// routed is set when the host's own routes decide, without OVN.
	routed bool
	// behind is the table from which on the packet's way is not known yet, source the address
	// that it has got there already; see resume.
	behind int
	source netip.Addr
}

const (
	initialTTL = 64
	// sourcePort is of the ephemeral range of Linux (net.ipv4.ip_local_port_range).
	sourcePort = 40000
	// outsideMAC is for hosts beyond the external bridge, whose MAC does not matter.
	outsideMAC = "0a:58:00:00:00:01"
)

// start finds where a packet for an address enters OVN.
func (f *facts) start(o Options, src End, p Packet) (start, error) {
	src4, ok := src.addr(p.Dst.Is4())
	if !ok {
		return start{}, &UnknownError{Text: src.String(), Why: fmt.Sprintf("it has no %s address, which %s is", family(p.Dst), p.Dst), Next: "use --family, or another destination"}
	}
	p.Src, p.TTL = src4, initialTTL
	switch {
	case src.Kind == EndPod && !src.pod.HostNetwork:
		return f.fromPod(src, p)
	case src.node != nil:
		return f.fromHost(src.node, p)
	case src.Kind == EndService:
		return start{}, &UnknownError{Text: src.String(), Why: "a service does not send packets", Next: "use one of its pods as the source"}
	}
	return f.fromOutside(o, p)
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// podMAC is the MAC of a pod's port. That of a pod of another node is not kept, and follows
// from its addresses unless its annotation says otherwise.
func (f *facts) podMAC(p *world.Pod) string {
	if n := p.Networks[f.network.Name]; n.MAC != "" {
		return n.MAC
	}
	return plan.MACOf(p.Addrs()...)
}

// subnets are those of a node's pods.
func (f *facts) subnets(n *world.Node) []netip.Prefix { return n.Subnets[f.network.Name] }

func (f *facts) gatewayMAC(n *world.Node) string {
	var gateways []netip.Addr
	for _, s := range f.subnets(n) {
		gateways = append(gateways, plan.Gateway(s))
	}
	return plan.MACOf(gateways...)
}

// nextMAC is whom a port of a node's switch sends a packet to: a neighbour in the same
// subnet, or the router.
func (f *facts) nextMAC(n *world.Node, to netip.Addr) (string, error) {
	for _, s := range f.subnets(n) {
		if !s.Contains(to) {
			continue
		}
		if plan.Management(s) == to {
			return plan.MACOf(f.management(n)...), nil
		}
		if plan.Gateway(s) == to {
			break
		}
		for _, p := range f.pods {
			if !p.HostNetwork && !p.Finished && slices.Contains(p.Addrs(), to) {
				return f.podMAC(p), nil
			}
		}
		return "", &UnknownError{Text: to.String(), Why: fmt.Sprintf("no pod has that address, which is in the subnet %s of node %s", s, n.Name), Next: "look for the pod that had it: it is gone or has another address"}
	}
	return f.gatewayMAC(n), nil
}

func (f *facts) fromPod(src End, p Packet) (start, error) {
	if src.node == nil {
		return start{}, &UnknownError{Text: src.String(), Why: "it is on no node that is known", Next: "wait until it is scheduled"}
	}
	s := start{node: src.node.Name, datapath: names.Of("").NodeSwitch(src.node.Name), inport: names.Pod(src.pod.Namespace, src.pod.Name), packet: p}
	s.packet.EthSrc = f.podMAC(src.pod)
	if slices.Contains(src.Addrs, p.Dst) && p.Protocol != ARP {
		s.arrived = src.String() + " itself, without leaving it"
		return s, nil
	}
	if err := f.address(&s, src.node); err != nil {
		return start{}, err
	}
	return s, nil
}

// address finds the MAC that the packet of a port on the node's switch is for.
func (f *facts) address(s *start, n *world.Node) (err error) {
	if s.packet.Protocol == ARP {
		s.packet.EthDst = neighbourMAC(s.packet.Dst)
		return nil
	}
	s.packet.EthDst, err = f.nextMAC(n, s.packet.Dst)
	return err
}

// inCluster tells whether an address is one of pods.
func (f *facts) inCluster(a netip.Addr) bool {
	return f.network.HasSubnet(netip.PrefixFrom(a, a.BitLen()))
}

func (f *facts) isService(a netip.Addr) bool {
	return slices.ContainsFunc(f.network.ServiceSubnets, func(p netip.Prefix) bool { return p.Contains(a) }) ||
		slices.ContainsFunc(f.services, func(s *world.Service) bool { return slices.Contains(s.ClusterIPs, a) })
}

// fromHost is a packet of the node's own. It comes to pods by the management port, and to
// services by the external bridge, with the host's masquerade address.
func (f *facts) fromHost(n *world.Node, p Packet) (start, error) {
	s := start{node: n.Name, packet: p}
	if f.inCluster(p.Dst) {
		src, ok := plan.AddrOfFamily(f.management(n), p.Dst)
		if !ok {
			return start{}, &UnknownError{Text: n.Name, Why: "the node has no " + family(p.Dst) + " subnet", Next: "ovnkctl explain node/" + n.Name}
		}
		if src == p.Dst {
			s.arrived = "the host of node " + n.Name
			return s, nil
		}
		s.datapath, s.inport = names.Of("").NodeSwitch(n.Name), names.Of("").Management(n.Name)
		s.packet.Src, s.packet.EthSrc = src, plan.MACOf(f.management(n)...)
		s.hops = []Hop{{Node: n.Name, Kind: HopHost, Text: fmt.Sprintf("the host routes %s to ovn-k8s-mp0, source %s", p.Dst, src)}}
		if err := f.address(&s, n); err != nil {
			return start{}, err
		}
		return s, nil
	}
	other := f.hostWith(p.Dst)
	if to, port, ok := f.clusterIP(p); ok && (other == nil || other == n) {
		if to != p.Dst {
			s.hops = append(s.hops, Hop{Node: n.Name, Kind: HopHost, Text: fmt.Sprintf("nftables (services-output) translates %s to the cluster IP %s", p.Dst, to)})
		}
		s.packet.Dst, s.packet.DstPort = to, port
		return f.byBridge(s, n)
	}
	if other != nil && other != n { // only its own addresses are translated
		if there, err := f.enter(other, p); err == nil && there.arrived == "" {
			there.hops = append([]Hop{{Node: n.Name, Kind: HopHost, Text: fmt.Sprintf("the host sends it to node %s by its own routes", other.Name)}}, there.hops...)
			return there, nil
		}
	}
	if other != nil {
		s.arrived = "the host of node " + other.Name + ", without OVN"
	} else {
		s.routed = true
	}
	s.hops = []Hop{{Node: n.Name, Kind: HopHost, Text: "the host sends it by its own routes: OVN has no part in it"}}
	return s, nil
}

// hostWith is the node that has an address.
func (f *facts) hostWith(a netip.Addr) *world.Node {
	for _, n := range f.nodes {
		if slices.Contains(nodeAddrs(n), a) {
			return n
		}
	}
	return nil
}

// clusterIP is the cluster IP of the service that listens at the packet's destination, and
// its port there.
func (f *facts) clusterIP(p Packet) (netip.Addr, uint16, bool) {
	if f.isService(p.Dst) {
		return p.Dst, p.DstPort, true
	}
	host := f.hostWith(p.Dst) != nil
	for _, s := range f.services {
		to, ok := plan.AddrOfFamily(s.ClusterIPs, p.Dst)
		if !ok {
			continue
		}
		external := slices.Contains(s.ExternalIPs, p.Dst) || slices.Contains(s.Ingress, p.Dst)
		for _, port := range s.Ports {
			if Protocol(port.Protocol) == p.Protocol && (external && port.Port == p.DstPort || host && port.NodePort == p.DstPort && p.DstPort != 0) {
				return to, port.Port, true
			}
		}
	}
	return netip.Addr{}, 0, false
}

// byBridge is a packet of the host for a service.
func (f *facts) byBridge(s start, n *world.Node) (start, error) {
	host, hop, err := f.masquerade(n, s.packet.Dst)
	if err != nil {
		return start{}, err
	}
	s.packet.Src, s.packet.EthSrc, s.packet.EthDst = host, plan.MAC(hop), n.Gateway.MAC
	s.datapath, s.inport = names.Of("").ExternalSwitch(n.Name), n.Gateway.InterfaceID
	s.hops = append(s.hops, Hop{Node: n.Name, Kind: HopHost, Text: fmt.Sprintf("a flow of %s leads %s to OVN, source %s", n.Gateway.BridgeID, s.packet.Dst, host)})
	return s, nil
}

// masquerade are the host's masquerade address and the next hop that goes with it.
func (f *facts) masquerade(n *world.Node, to netip.Addr) (host, hop netip.Addr, err error) {
	if n.Gateway == nil {
		return host, hop, &UnknownError{Text: n.Name, Why: "the node has no gateway: its host cannot reach services", Next: "ovnkctl explain node/" + n.Name}
	}
	for _, m := range f.network.Masquerade {
		if m.Addr().Is4() == to.Is4() {
			host, _ = plan.MasqueradeAddr(m, plan.MasqueradeHost)
			hop, _ = plan.MasqueradeAddr(m, plan.MasqueradeNextHop)
			return host, hop, nil
		}
	}
	return host, hop, fmt.Errorf("the network has no %s masquerade subnet", family(to))
}

// fromOutside is a packet that comes to a node by its external bridge.
func (f *facts) fromOutside(o Options, p Packet) (start, error) {
	n := f.hostWith(p.Dst)
	if o.Via != "" {
		if n = f.node(o.Via); n == nil {
			return start{}, &UnknownError{Text: o.Via, Why: "no node of that name", Next: "ovnkctl status"}
		}
	}
	if f.inCluster(p.Dst) || slices.ContainsFunc(f.services, func(s *world.Service) bool { return slices.Contains(s.ClusterIPs, p.Dst) }) {
		return start{}, &UnknownError{
			Text: p.Dst.String(), Why: "addresses of pods and cluster IPs are not known outside of the cluster",
			Next: "trace to a node port, an external IP or a load balancer's address",
		}
	}
	if _, _, ok := f.clusterIP(p); n == nil && ok && len(f.nodes) > 0 {
		n = f.nodes[0]
	}
	if n == nil {
		return start{}, &UnknownError{Text: p.Dst.String(), Why: "neither a node nor a service has that address", Next: "trace to an address of the cluster"}
	}
	return f.enter(n, p)
}

// enter is a packet that comes to a node from its network card.
func (f *facts) enter(n *world.Node, p Packet) (start, error) {
	to, port, ok := f.clusterIP(p)
	s := start{node: n.Name, packet: p}
	if !ok || n.Gateway == nil {
		s.arrived = "the host of node " + n.Name
		s.hops = []Hop{{Node: n.Name, Kind: HopHost, Text: "no service listens there: the packet is for the host"}}
		return s, nil
	}
	if f.network.GatewayMode == world.GatewayLocal {
		s.hops = append(s.hops, Hop{Node: n.Name, Kind: HopHost, Text: fmt.Sprintf("nftables (services-prerouting) translates %s to the cluster IP %s", p.Dst, to)})
		s.packet.Dst, s.packet.DstPort = to, port
		return f.byBridge(s, n)
	}
	s.packet.EthSrc, s.packet.EthDst = outsideMAC, n.Gateway.MAC
	s.datapath, s.inport = names.Of("").ExternalSwitch(n.Name), n.Gateway.InterfaceID
	s.hops = []Hop{{Node: n.Name, Kind: HopHost, Text: fmt.Sprintf("a flow of %s leads %s to the gateway router", n.Gateway.BridgeID, netip.AddrPortFrom(p.Dst, p.DstPort))}}
	return s, nil
}
