// Package config is the configuration of the runtime: one YAML document, mounted into
// the pods from a ConfigMap, that flags override. Unknown keys are errors.
//
//	Default() ── file (Load) ── flags (Flags) ──> Validate() ──> DefaultNetwork(), …
//
// Every key has a flag of the same name: network.clusterSubnets is
// --network.cluster-subnets. What each key means is said once, in fields.go, from where
// the help text and the reference page take it.
package config

import (
	"fmt"
	"net"
	"net/url"
)

// Config is the whole configuration of `ovnkctl controller` and `ovnkctl node`.
type Config struct {
	APIVersion string `json:"apiVersion"` // ovnkctl.io/v1alpha1
	Kind       string `json:"kind"`       // Configuration

	Network    Network    `json:"network"`
	Gateway    Gateway    `json:"gateway"`
	Policy     Policy     `json:"policy"`
	Datapath   Datapath   `json:"datapath"` // system (kernel) or netdev (userspace)
	Kubernetes Kubernetes `json:"kubernetes"`
	CNI        CNI        `json:"cni"`
	OVN        OVN        `json:"ovn"`
	Serving    Serving    `json:"serving"`
	Log        Log        `json:"log"`
	Leader     Leader     `json:"leaderElection"`
}

// Datapath is the OVS datapath type of all bridges.
type Datapath string

// The datapaths.
const (
	DatapathSystem Datapath = "system"
	DatapathNetdev Datapath = "netdev"
)

// Network is the cluster's plan of addresses. Lists are comma-separated, at most one
// entry per family except for clusterSubnets.
type Network struct {
	// ClusterSubnets are CIDRs with the host prefix length: "10.244.0.0/16/24,fd00:10:244::/48/64".
	ClusterSubnets string `json:"clusterSubnets"`
	ServiceSubnets string `json:"serviceSubnets"`
	JoinSubnets    string `json:"joinSubnets"`
	TransitSubnets string `json:"transitSubnets"`
	Masquerade     string `json:"masqueradeSubnets"`
	// MTU of pods in bytes; 0 takes the gateway NIC's MTU less the encapsulation.
	MTU       int    `json:"mtu"`
	EncapPort int    `json:"encapPort"`
	EncapIP   string `json:"encapIP,omitempty"` // empty: the node's primary address
	// EnableMulticast lets namespaces allow it (k8s.ovn.org/multicast-enabled) and denies it
	// to all others.
	EnableMulticast bool `json:"enableMulticast,omitempty"`
}

// Gateway is how nodes reach the outside.
type Gateway struct {
	Mode      string `json:"mode"`                // shared or local
	Interface string `json:"interface,omitempty"` // empty: the NIC of the default route
	Bridge    string `json:"bridge"`              // external bridge, br-ex
	NextHops  string `json:"nextHops,omitempty"`  // empty: those of the default routes
	VLAN      int    `json:"vlan,omitempty"`
	// DisableMTUCheck leaves gateway_mtu off the routers; forced on the netdev datapath,
	// whose check_pkt_larger measures whole TSO super-packets.
	DisableMTUCheck bool `json:"disableMTUCheck,omitempty"`
}

// Policy is what is left open by policies' own APIs. The names are OVN-Kubernetes'.
type Policy struct {
	// AllowICMPNetworkPolicy lets pods that a NetworkPolicy isolates have ICMP.
	AllowICMPNetworkPolicy bool `json:"allowICMPNetworkPolicy,omitempty"`
	// ACLLoggingRateLimit is in packets per second and ACL.
	ACLLoggingRateLimit int `json:"aclLoggingRateLimit"`
	// DNSService is the cluster's DNS service, "namespace/name": what pods learn from it
	// policies with domain names learn, too.
	DNSService string `json:"dnsService"`
	// DNSProxyPort is where nodes listen for these queries.
	DNSProxyPort int `json:"dnsProxyPort"`
}

// Kubernetes is how to reach the API server; empty fields are the pod's own ServiceAccount.
type Kubernetes struct {
	// APIServer is the one address to use, https://host:port; empty for whichever answers
	// of the Service, its endpoints and BootstrapServers.
	APIServer string `json:"apiServer,omitempty"`
	// BootstrapServers work before Services do: "https://192.0.2.1:6443,https://192.0.2.2:6443".
	BootstrapServers string `json:"bootstrapServers,omitempty"`
	Kubeconfig       string `json:"kubeconfig,omitempty"`
	StateDir         string `json:"stateDir"` // /var/lib/ovnkctl on the host: outlives a reboot
	// EmptyLoadBalancerEvents reports connections to Services that sleep, for controllers
	// that start pods on demand.
	EmptyLoadBalancerEvents bool `json:"emptyLoadBalancerEvents,omitempty"`
}

// Servers are the bootstrap addresses as host:port.
func (k Kubernetes) Servers() ([]string, error) {
	var out []string
	for _, entry := range split(k.BootstrapServers) {
		u, err := url.Parse(entry)
		if err != nil || u.Scheme != "https" || u.Hostname() == "" || (u.Path != "" && u.Path != "/") || u.RawQuery != "" {
			return nil, fmt.Errorf("%q is not https://HOST:PORT", entry)
		}
		port := u.Port()
		if port == "" {
			port = "443"
		}
		out = append(out, net.JoinHostPort(u.Hostname(), port))
	}
	return out, nil
}

// CNI is where the container runtime looks.
type CNI struct {
	ConfDir    string `json:"confDir"`    // /etc/cni/net.d
	BinDir     string `json:"binDir"`     // /opt/cni/bin
	Socket     string `json:"socket"`     // /var/run/ovn-kubernetes/cni/ovn-cni-server.sock
	CNIVersion string `json:"cniVersion"` // version written to the configuration: 1.0.0 unless every runtime knows 1.1.0
}

// OVN are the local databases, their sockets and the run directories of the daemons.
type OVN struct {
	NB     string `json:"nb"`     // unix:/var/run/ovn/ovnnb_db.sock
	SB     string `json:"sb"`     // unix:/var/run/ovn/ovnsb_db.sock
	OVS    string `json:"ovs"`    // unix:/var/run/openvswitch/db.sock
	RunDir string `json:"runDir"` // /var/run/ovn: control sockets and pid files of northd and ovn-controller

	NBDatabase  string `json:"nbDatabase"`  // /etc/ovn/ovnnb_db.db
	SBDatabase  string `json:"sbDatabase"`  // /etc/ovn/ovnsb_db.db
	OVSDatabase string `json:"ovsDatabase"` // /etc/openvswitch/conf.db

	// HandlerThreads and RevalidatorThreads of vswitchd; 0 lets it choose by the CPUs.
	HandlerThreads     int `json:"handlerThreads,omitempty"`
	RevalidatorThreads int `json:"revalidatorThreads,omitempty"`
}

// Serving are the listen addresses; empty switches one off.
type Serving struct {
	ControllerMetrics string `json:"controllerMetrics"` // /metrics /livez /readyz, :9411
	NodeMetrics       string `json:"nodeMetrics"`       // :9410
	Pprof             string `json:"pprof,omitempty"`   // loopback only
}

// Log is the form of the log on standard error.
type Log struct {
	Level  string `json:"level"`  // debug, info, warn, error
	Format string `json:"format"` // json or text
}

// Leader are the leader election's durations in seconds.
type Leader struct {
	LeaseSeconds int `json:"leaseSeconds"`
	RenewSeconds int `json:"renewSeconds"`
	RetrySeconds int `json:"retrySeconds"`
}
