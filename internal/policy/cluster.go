package policy

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha2"

	egressfirewallv1 "github.com/ovnkctl/ovnkctl/api/egressfirewall/v1"
)

// Cluster is everything that a verdict depends on.
type Cluster struct {
	Namespaces []Namespace
	Pods       []Pod
	Nodes      []Node

	NetworkPolicies            []networkingv1.NetworkPolicy
	AdminNetworkPolicies       []v1alpha1.AdminNetworkPolicy
	BaselineAdminNetworkPolicy *v1alpha1.BaselineAdminNetworkPolicy // at most one exists
	ClusterNetworkPolicies     []v1alpha2.ClusterNetworkPolicy
	EgressFirewalls            []egressfirewallv1.EgressFirewall

	// ClusterSubnets are the subnets that pods have their addresses from.
	ClusterSubnets []netip.Prefix
	// DomainNames are the addresses that full names, such as www.example.com, resolve to.
	DomainNames map[string][]netip.Addr
	// AllowICMP lets ICMP through to and from pods that a NetworkPolicy isolates, as
	// OVN-Kubernetes has it as an option.
	AllowICMP bool
}

// Namespace has the labels that selectors see; the API server sets
// kubernetes.io/metadata.name, so it must be among them.
type Namespace struct {
	Name   string
	Labels map[string]string
}

// Pod is a pod with its addresses on the default network.
type Pod struct {
	Namespace, Name string
	Labels          map[string]string
	Node            string
	IPs             []netip.Addr // at most one per family; unused on the host network
	Ports           []ContainerPort
	HostNetwork     bool
	// Finished is true once the pod has Succeeded or Failed: its addresses are free.
	Finished bool
	// Deleting is true once a deletion time stamp is set. It changes nothing: the pod sends
	// and receives until it has finished.
	Deleting bool
}

// ContainerPort is a port that a container declares.
type ContainerPort struct {
	Name     string // empty for none
	Protocol corev1.Protocol
	Port     uint16
}

// Node is a node with the addresses of its host.
type Node struct {
	Name   string
	Labels map[string]string
	// StatusIPs are the addresses in status.addresses, of any type.
	StatusIPs []netip.Addr
	// HostIPs are all addresses of the host's network cards, StatusIPs included.
	HostIPs []netip.Addr
	// ManagementIPs are the node's addresses in the cluster subnets, which its processes
	// have as their source on the way to pods.
	ManagementIPs []netip.Addr
}

// ICMP is the protocol of packets that have no ports. Only rules without ports match them.
const ICMP corev1.Protocol = "ICMP"

// Family is an IP version.
type Family int

// The IP versions.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// Packet opens a connection, after a service's address has been replaced by a backend's.
type Packet struct {
	Source, Destination Endpoint
	Protocol            corev1.Protocol // TCP, UDP, SCTP or ICMP
	Port                uint16          // destination port, 0 for ICMP
	// Family chooses among the addresses of pods and nodes; 0 takes it from an endpoint that
	// has an IP, or else IPv4.
	Family Family
}

// Endpoint is one end of a connection: a pod, a node or just an address.
type Endpoint struct {
	Namespace, Pod string
	Node           string
	// IP is the address of an endpoint outside of the cluster. Without a pod or node it also
	// finds the pod or node that has the address. With a node it chooses one of its
	// addresses; the first of StatusIPs is taken otherwise.
	IP netip.Addr
}
