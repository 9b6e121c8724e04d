package config

// The identity of the document.
const (
	APIVersion = "ovnkctl.io/v1alpha1"
	Kind       = "Configuration"
)

// Sizes and ports that have a meaning outside this package.
const (
	// GenevePort is the UDP port of GENEVE (RFC 8926).
	GenevePort = 6081
	// MinMTUv4 is the smallest datagram every IPv4 host accepts, in bytes (RFC 791).
	MinMTUv4 = 576
	// MinMTUv6 is the smallest MTU of a link that carries IPv6, in bytes (RFC 8200).
	MinMTUv6 = 1280
	// MaxMTU is the longest IP packet, in bytes.
	MaxMTU = 65535
)

// MaxLoggingRate bounds policy.aclLoggingRateLimit: ovn-controller logs in its main loop,
// which flows wait for.
const MaxLoggingRate = 100_000

// Default is the configuration of a cluster that sets nothing; the subnets are those
// OVN-Kubernetes has by default, so that a cluster can migrate.
func Default() *Config {
	return &Config{
		APIVersion: APIVersion,
		Kind:       Kind,
		Network: Network{
			ClusterSubnets: "10.128.0.0/14/23",
			ServiceSubnets: "10.96.0.0/16",
			JoinSubnets:    "100.64.0.0/16,fd98::/64",
			TransitSubnets: "100.88.0.0/16,fd97::/64",
			Masquerade:     "169.254.0.0/17,fd69::/112",
			MTU:            1400,
			EncapPort:      GenevePort,
		},
		Gateway:  Gateway{Mode: "shared", Bridge: "br-ex"},
		Policy:   Policy{ACLLoggingRateLimit: 20, DNSService: "kube-system/kube-dns", DNSProxyPort: 9412}, // as OVN-Kubernetes has them
		Datapath: DatapathSystem,
		CNI: CNI{
			ConfDir:    "/etc/cni/net.d",
			BinDir:     "/opt/cni/bin",
			Socket:     "/var/run/ovn-kubernetes/cni/ovn-cni-server.sock",
			CNIVersion: "1.0.0",
		},
		OVN: OVN{
			NB:          "unix:/var/run/ovn/ovnnb_db.sock",
			SB:          "unix:/var/run/ovn/ovnsb_db.sock",
			OVS:         "unix:/var/run/openvswitch/db.sock",
			RunDir:      "/var/run/ovn",
			NBDatabase:  "/etc/ovn/ovnnb_db.db",
			SBDatabase:  "/etc/ovn/ovnsb_db.db",
			OVSDatabase: "/etc/openvswitch/conf.db",
		},
		Kubernetes: Kubernetes{StateDir: "/var/lib/ovnkctl"},

		Serving: Serving{ControllerMetrics: ":9411", NodeMetrics: ":9410"},
		Log:     Log{Level: "info", Format: "json"},
		// OVN-Kubernetes' durations: they survive an API server that is away for a minute.
		Leader: Leader{LeaseSeconds: 137, RenewSeconds: 107, RetrySeconds: 26},
	}
}
