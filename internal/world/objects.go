package world

import (
	"net/netip"
)

// DefaultNetwork is the name of the network that every pod is on.
const DefaultNetwork = "default"

// GatewayMode tells how traffic between pods and the outside passes a node.
type GatewayMode string

// The gateway modes.
const (
	// GatewayShared sends it through the gateway router and the external bridge.
	GatewayShared GatewayMode = "shared"
	// GatewayLocal sends it through the management port and the host's routing.
	GatewayLocal GatewayMode = "local"
)

// ClusterSubnet is one block that node subnets are cut from.
type ClusterSubnet struct {
	Prefix netip.Prefix
	// HostLength is the prefix length in bits of each node's subnet.
	HostLength int
}

// Network is one network and its plan of addresses. The default network is the first;
// features are given networks as values.
type Network struct {
	Name            string
	ID              int // 0 for the default network
	ClusterSubnets  []ClusterSubnet
	ServiceSubnets  []netip.Prefix
	JoinSubnets     []netip.Prefix // at most one per family, e.g. 100.64.0.0/16
	TransitSubnets  []netip.Prefix // at most one per family, e.g. 100.88.0.0/16
	Masquerade      []netip.Prefix // at most one per family, e.g. 169.254.0.0/17
	MTU             int            // pod MTU in bytes
	GatewayMode     GatewayMode
	GatewayMTUCheck bool // let routers answer "fragmentation needed" (gateway_mtu)
	EncapPort       int  // UDP port of GENEVE, 6081 unless changed
	// EmptyLoadBalancerEvents has OVN report the first packet for a sleeping service.
	EmptyLoadBalancerEvents bool
	// Multicast says that groups are what namespaces allow (annotation MulticastAnnotation),
	// and that OVN knows their members and forwards between nodes.
	Multicast bool
	// UserspaceDatapath says that Open vSwitch forwards in userspace (datapath netdev), where
	// load balancers need rows of their own (package ovn/netdev).
	UserspaceDatapath bool
}

// Node is what the features need of a Node object: its addresses and the decoded
// k8s.ovn.org annotations. An annotation that does not parse leaves its field empty
// and is named in Problems.
type Node struct {
	Name   string
	UID    string
	Labels map[string]string
	// Created is the object's creation time in Unix seconds: of two nodes that claim the
	// same thing the older one has it.
	Created int64
	// InternalIPs are the addresses of type InternalIP in the node's status.
	InternalIPs []netip.Addr
	// ID is the node id that the controller allocated, 0 while there is none; from 2 on.
	ID int
	// Subnets are the pod subnets by network, at most one per family.
	Subnets map[string][]netip.Prefix
	// Transit are the node's addresses on the transit switch with its prefix length.
	Transit []netip.Prefix
	// ChassisID is the OVS system-id.
	ChassisID string
	// Gateway is the decoded l3-gateway-config of the default network; nil while absent.
	Gateway *Gateway
	// PrimaryAddrs are the node's addresses on its primary NIC.
	PrimaryAddrs []netip.Prefix
	// EncapIPs are the tunnel end points; InternalIPs[0] when absent.
	EncapIPs []netip.Addr
	// HostAddrs are all addresses of the host, with prefix lengths.
	HostAddrs []netip.Prefix
	// NoGatewayMTU is true when the node's datapath cannot check packet lengths.
	NoGatewayMTU bool
	Problems     []Problem
}

// Gateway is how a node is attached to its external network.
type Gateway struct {
	Mode        GatewayMode
	BridgeID    string // external bridge, e.g. "br-ex"
	InterfaceID string // name of the localnet port, "<bridge>_<node>"
	MAC         string
	Addresses   []netip.Prefix
	NextHops    []netip.Addr
	VLAN        int // 0 for none
	NodePort    bool
}

// Pod is what the features need of a Pod object.
type Pod struct {
	Namespace, Name, UID string
	Node                 string
	Labels               map[string]string
	// Created is the object's creation time in Unix seconds.
	Created int64
	// HostNetwork pods have no port of their own.
	HostNetwork bool
	// Finished is true once the pod has Succeeded or Failed: its port and addresses go.
	Finished bool
	// Deleting is true once a deletion time stamp is set.
	Deleting bool
	// Static pods come from a file on the node. Their kubelet knows them by another UID
	// than the API, which shows a mirror.
	Static bool
	// Started is true once the kubelet has reported an address: the pod's network is in
	// use, and its addresses must not change any more.
	Started bool
	// Networks are the pod's attachments by network, from the k8s.ovn.org/pod-networks
	// annotation, overlaid by what this node's allocator decided.
	Networks map[string]PodNetwork
	// Overruled says that somebody changed or removed the annotation after it had said what
	// this node's allocator decided.
	Overruled bool
	// IngressRate and EgressRate are bits per second, 0 for no limit
	// (kubernetes.io/ingress-bandwidth, kubernetes.io/egress-bandwidth).
	IngressRate, EgressRate int64
	// HostPorts are the ports of the node that lead to the pod.
	HostPorts []HostPort
	// Ports are the ports of its containers that have names.
	Ports []PodPort
	// IPs are the addresses of a pod that has no Networks here: one of another node, or on
	// its host's network. See Addrs.
	IPs      []netip.Addr
	Problems []Problem
}

// PodNetwork is the allocation of one pod on one network.
type PodNetwork struct {
	Addresses []netip.Prefix // with the prefix length of the node's subnet
	MAC       string
	Gateways  []netip.Addr
	Routes    []Route
}

// Route is a route inside a pod.
type Route struct {
	Dest    netip.Prefix
	NextHop netip.Addr
}

// Problem is something in an object that could not be understood.
type Problem struct {
	Field   string // e.g. the annotation key
	Message string // what is wrong, with the decisive value
	Remedy  string // what to do next
}

// Ref names the node.
func (n *Node) Ref() ObjectRef { return ObjectRef{Kind: KindNode, Name: n.Name, UID: n.UID} }

// Ref names the pod.
func (p *Pod) Ref() ObjectRef {
	return ObjectRef{Kind: KindPod, Namespace: p.Namespace, Name: p.Name, UID: p.UID}
}

// Networked tells whether the pod should have a port on the pod network now.
func (p *Pod) Networked() bool { return !p.HostNetwork && !p.Finished && p.Node != "" }
