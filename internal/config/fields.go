package config

import (
	"reflect"
	"strings"
	"unicode"
)

// Field describes one key of the configuration.
type Field struct {
	Path string // network.clusterSubnets
	Flag string // network.cluster-subnets
	Type string // string, int or bool
	Help string
	// index leads from the Config to the field.
	index []int
}

// Fields are all keys in the order of the document. apiVersion and kind, which only a
// document has, are not among them.
func Fields() []Field {
	var fields []Field
	var walk func(t reflect.Type, path string, index []int)
	walk = func(t reflect.Type, path string, index []int) {
		for i := range t.NumField() {
			f := t.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			at := append(index[:len(index):len(index)], i)
			full := strings.TrimPrefix(path+"."+name, ".")
			switch {
			case f.Type.Kind() == reflect.Struct:
				walk(f.Type, full, at)
			case full != "apiVersion" && full != "kind":
				fields = append(fields, Field{
					Path: full, Flag: flagName(full), Type: f.Type.Kind().String(), Help: help[full], index: at,
				})
			}
		}
	}
	walk(reflect.TypeFor[Config](), "", nil)
	return fields
}

// value is the field in a configuration.
func (f Field) value(c *Config) reflect.Value { return reflect.ValueOf(c).Elem().FieldByIndex(f.index) }

// flagName turns camel case into the dashes that flags have: encapIP → encap-ip.
func flagName(path string) string {
	var b strings.Builder
	runes := []rune(path)
	for i, r := range runes {
		starts := unicode.IsUpper(r) && i > 0 && !unicode.IsUpper(runes[i-1])
		ends := unicode.IsUpper(r) && i+1 < len(runes) && unicode.IsLower(runes[i+1])
		if (starts || ends) && i > 0 && runes[i-1] != '.' {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// help says what each key means. Back quotes name the value in the help text of flags.
var help = map[string]string{
	"network.clusterSubnets":    "`CIDR/HOST`s that node subnets are cut from, comma-separated, each with the prefix length of a node's subnet (24 and 64 when left out)",
	"network.serviceSubnets":    "`CIDR`s of Services, one per family, as the API server has them",
	"network.joinSubnets":       "`CIDR`s between gateway routers and the cluster router, one per family",
	"network.transitSubnets":    "`CIDR`s of the transit switch between zones, one per family",
	"network.masqueradeSubnets": "`CIDR`s for traffic between a host and its OVN, one per family; used on each node alone",
	"network.mtu":               "MTU of pods in `bytes`; 0 takes that of the gateway NIC less the encapsulation",
	"network.encapPort":         "UDP `port` of GENEVE",
	"network.encapIP":           "`address` of the tunnels; empty for the node's primary address",
	"network.enableMulticast":   "let pods of namespaces with the annotation k8s.ovn.org/multicast-enabled=\"true\" send to each other by multicast, on all nodes, and nobody else; without it multicast is left alone and does not leave the node",

	"gateway.mode":            "how pods reach the outside: `shared` (OVN and the external bridge) or local (through the host's routing)",
	"gateway.interface":       "`NIC` of the external bridge; empty for that of the default route",
	"gateway.bridge":          "external `bridge`",
	"gateway.nextHops":        "`addresses` of the next hops, one per family; empty for those of the default routes",
	"gateway.vlan":            "VLAN `id` of the external network; 0 for none",
	"gateway.disableMTUCheck": "do not let routers answer packets larger than the MTU with an ICMP error; always so on the netdev datapath",

	"policy.allowICMPNetworkPolicy": "let pods that a NetworkPolicy isolates send and get ICMP all the same",
	"policy.aclLoggingRateLimit":    "`packets` per second that each rule of a policy logs at most, where a namespace or policy asks for it (annotation k8s.ovn.org/acl-logging)",
	"policy.dnsService":             "the cluster's DNS service, `namespace/name`; from its answers to pods the node learns the addresses of domain names in policies",
	"policy.dnsProxyPort":           "`port` of the management port's addresses where the node gets these queries; nobody else gets an answer there",

	"datapath": "datapath of all bridges: `system` (kernel) or netdev (userspace)",

	"kubernetes.apiServer":               "`URL` of the API server, the only one to use; empty for whichever answers of its Service, the Service's endpoints and the bootstrap servers",
	"kubernetes.bootstrapServers":        "`URL`s of API servers, or of their load balancer, that work before Services do, comma-separated",
	"kubernetes.kubeconfig":              "kubeconfig `file`; empty for the pod's ServiceAccount",
	"kubernetes.stateDir":                "`directory` of the host where the node remembers the API servers over a reboot; empty for not at all",
	"kubernetes.emptyLoadBalancerEvents": "report connections to Services that sleep (annotation k8s.ovn.org/idled-at or alike) as events (NeedPods), for controllers that start pods on demand",

	"cni.confDir":    "`directory` where the container runtime looks for network configurations",
	"cni.binDir":     "`directory` where the container runtime looks for plugins",
	"cni.socket":     "unix `socket` of the CNI server",
	"cni.cniVersion": "`version` of the network configuration: 0.4.0, 1.0.0 or 1.1.0; every container runtime must know it",

	"ovn.nb":                 "`socket` of the northbound database",
	"ovn.sb":                 "`socket` of the southbound database",
	"ovn.ovs":                "`socket` of the Open vSwitch database; the run directory of OVS is the one it is in",
	"ovn.runDir":             "run `directory` of OVN: control sockets and pid files",
	"ovn.nbDatabase":         "`file` of the northbound database",
	"ovn.sbDatabase":         "`file` of the southbound database",
	"ovn.ovsDatabase":        "`file` of the Open vSwitch database",
	"ovn.handlerThreads":     "`number` of vswitchd's handler threads; 0 lets it choose",
	"ovn.revalidatorThreads": "`number` of vswitchd's revalidator threads; 0 lets it choose",

	"serving.controllerMetrics": "`address` of the controller's /metrics, /livez and /readyz; empty for none",
	"serving.nodeMetrics":       "`address` of the node's /metrics, /livez and /readyz; empty for none",
	"serving.pprof":             "loopback `address` of the profiler and the log level; empty for none",

	"log.level":  "`level` of the log: debug, info, warn or error",
	"log.format": "`format` of the log: json or text",

	"leaderElection.leaseSeconds": "`seconds` after which another controller may take over from one that is silent",
	"leaderElection.renewSeconds": "`seconds` for which the leader tries to renew before it gives up",
	"leaderElection.retrySeconds": "`seconds` between tries",
}
