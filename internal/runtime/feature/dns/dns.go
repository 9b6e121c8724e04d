// Package dns leads DNS queries of pods to the node's program, which learns from the answers
// what domain names in policies stand for.
//
// There is one key. While a policy with a domain name is for a pod of the local node, it owns
// policies of the cluster router, one for each family and protocol:
//
//	pod ──query──> switch: load balancer of the DNS service, ACLs ──> ovn_cluster_router
//	    from the port groups of those policies, to a backend of the service:
//	        reroute to the management port, where the host hands the query to the program
//
// The packet keeps its destination: what a pod may ask is decided, before it comes here, for
// the very backend that the load balancer chose, and a host whose program does not listen
// passes the query on to it. Queries of other pods, and of the host, go their usual way. A
// packet that a load balancer led somewhere is for the router even where the backend is on
// the same switch; who asks such a backend by its own address does not come by.
package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
	"github.com/ovnkctl/ovnkctl/internal/world/proxy"
)

// Name is the feature's name.
const Name = "dns"

// priority is above that of the policies that lead pods to their own node (1004), which a
// DNS server on the host's network is part of.
const priority = 1006

// NoDNSService is the code of the reason that there is nobody whose answers could be read.
const NoDNSService = "NoDNSService"

// Codes lists the codes of all reasons that the feature gives.
var Codes = []string{NoDNSService}

// key is the only key.
var key = feature.Key{Name: "queries"}

// Feature leads queries to the program.
type Feature struct {
	// Service is the cluster's DNS service.
	Service world.ServiceKey
}

var _ feature.Feature = Feature{}

// Name implements feature.Feature.
func (Feature) Name() string { return Name }

// Keys implements feature.Feature.
func (f Feature) Keys(v world.View, c world.Change) []feature.Key {
	switch {
	case len(c.Policy.Policies)+len(c.Policy.Domains) > 0,
		c.Ref.Kind == world.KindNode && c.Ref.Name == v.LocalNode(),
		slices.Contains(proxy.Touched(v, c), f.Service):
		return []feature.Key{key}
	}
	return nil
}

// Desired implements feature.Feature.
func (f Feature) Desired(v world.View, k feature.Key) (out feature.Output, reasons []feature.Reason) {
	network, ok := v.Network(k.Network)
	subjects := v.DomainSubjects()
	if !ok || len(subjects) == 0 {
		return out, nil
	}
	node, ok := v.Node(v.LocalNode())
	if !ok {
		return out, nil
	}
	subnets := v.NodeSubnets(network, node)
	if len(subnets) == 0 || names.Reserved(node.Name) {
		return out, nil
	}
	servers := proxy.DNSServers(v, network, f.Service)
	if len(servers) == 0 {
		reasons = append(reasons, feature.Reason{
			Code: NoDNSService, Object: world.ObjectRef{Kind: world.KindService, Namespace: f.Service.Namespace, Name: f.Service.Name},
			Message: "policies with domain names are in force, but the cluster's DNS service has no end points: pods cannot ask for names, and the rules match nothing",
			Remedy:  "see to its pods, or name the service in the configuration (policy.dnsService)",
		})
	}
	b := builder{node: node.Name, names: names.Of(network.Name), subjects: subjects, servers: servers, out: &out.NB}
	for _, s := range subnets {
		b.family(plan.Management(s))
	}
	return out, reasons
}

// builder makes the rows.
type builder struct {
	node     string
	names    names.Network
	subjects []*world.PodSelector
	servers  []proxy.DNSServer
	out      *rows.Set
}

// family makes the rows of the family of the management port's address.
func (b *builder) family(via netip.Addr) {
	ip, suffix := "ip6", "_ip6"
	if via.Is4() {
		ip, suffix = "ip4", "_ip4"
	}
	sources := make([]string, 0, len(b.subjects))
	for _, s := range b.subjects {
		sources = append(sources, "$"+b.names.Pods(s.ID)+suffix) // OVN keeps these for each port group
	}
	for _, protocol := range []world.Protocol{world.UDP, world.TCP} {
		for _, port := range b.ports(protocol, via) {
			b.out.AddTo(rows.Target{Table: nb.LogicalRouterTable, Name: b.names.ClusterRouter()}, "policies",
				fmt.Sprintf("%s/%s/%d", ip, protocol, port.number), &nb.LogicalRouterPolicy{
					Priority: priority, Action: nb.LogicalRouterPolicyActionReroute, Nexthops: []string{via.String()},
					Match: fmt.Sprintf(`inport == "%s" && %s.src == {%s} && %s.dst == {%s} && %s.dst == %d`,
						b.names.RouterToSwitch(b.node), ip, strings.Join(sources, ", "), ip, strings.Join(port.servers, ", "), protocol, port.number),
				})
		}
	}
}

// serverPort is the servers that have a port.
type serverPort struct {
	number  uint16
	servers []string
}

func (b *builder) ports(protocol world.Protocol, family netip.Addr) []serverPort {
	var out []serverPort
	for _, s := range b.servers {
		if s.Protocol != protocol || s.At.Addr().Is4() != family.Is4() {
			continue
		}
		i := slices.IndexFunc(out, func(p serverPort) bool { return p.number == s.At.Port() })
		if i < 0 {
			i = len(out)
			out = append(out, serverPort{number: s.At.Port()})
		}
		out[i].servers = append(out[i].servers, s.At.Addr().String())
	}
	return out
}
