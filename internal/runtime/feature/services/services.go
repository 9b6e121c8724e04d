// Package services makes the load balancers of services.
//
// The key is a service. For each protocol it owns the load balancers that the local node
// needs, nearly always one:
//
//	Service_<ns>/<name>_<TCP|UDP|SCTP>_cluster
//	    clusterLBGroup: node switch (pods) and gateway router (this host, the outside)
//	…_node_switch_<node>        clusterSwitchLBGroup: what the switch serves otherwise
//	…_node_router_<node>        clusterRouterLBGroup: what the gateway router serves otherwise
//	…_node_local_router_<node>  the same with the client's address kept: external policy Local
//	…_refuse, …_drop            another of these, see below
//
// What differs between switch and router:
//
//	VIP                         switch (pods)              gateway router
//	cluster IPs                 internal policy            the same
//	node addresses:node port    all backends               external policy; own addresses only
//	external and LB addresses   all backends               external policy
//	backend on this very host   the node's address         the host's masquerade address
//
// Packets to a port without backends are refused. Under a policy Local they are dropped
// while other nodes have backends, so that clients try again (as kube-proxy does). Options
// are of a whole load balancer; hence the others when some ports have backends and some none.
//
// The source ranges of a service's load balancer are an ACL of the switch; what comes from
// outside the bridge's flows have filtered.
package services

import (
	"net/netip"
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/proxy"
)

// Name is the feature's name.
const Name = "services"

// Feature is the load balancers of services. The zero value is ready.
type Feature struct{}

var _ feature.Feature = Feature{}

// Name implements feature.Feature.
func (Feature) Name() string { return Name }

// AffinityShortened is the code of the reason that OVN cannot remember clients for as long
// as the service asks.
const AffinityShortened = "AffinityShortened"

// Codes lists the codes of all reasons that the feature gives.
var Codes = append(slices.Clone(proxy.Codes), AffinityShortened)

// Keys implements feature.Feature.
func (Feature) Keys(v world.View, c world.Change) []feature.Key {
	touched := proxy.Touched(v, c)
	keys := make([]feature.Key, 0, len(touched))
	for _, s := range touched {
		keys = append(keys, feature.Key{Namespace: s.Namespace, Name: s.Name})
	}
	return keys
}

// Desired implements feature.Feature.
func (Feature) Desired(v world.View, k feature.Key) (feature.Output, []feature.Reason) {
	var out feature.Output
	network, ok := v.Network(k.Network)
	if !ok {
		return out, nil
	}
	s, ok := v.Service(world.ServiceKey{Namespace: k.Namespace, Name: k.Name})
	if !ok {
		return out, nil
	}
	resolved, refusals := proxy.Resolve(v, network, s)
	reasons := make([]feature.Reason, 0, len(refusals))
	for _, r := range refusals {
		reasons = append(reasons, feature.Reason(r))
	}
	b := builder{here: placeOf(v, network), service: &resolved, out: &out.NB}
	b.build()
	if r, short := b.affinityShortened(); short {
		reasons = append(reasons, r)
	}
	return out, reasons
}

// place is what the rows need of the local node.
type place struct {
	network *world.Network
	name    string
	// hasSwitch is true when the node has a switch for pods.
	hasSwitch bool
	// nodePorts are the addresses that pods reach node ports at; gateway those of them that
	// the gateway router has.
	nodePorts, gateway []netip.Addr
	// own are all addresses of the host.
	own []netip.Addr
}

func placeOf(v world.View, network *world.Network) *place {
	p := &place{network: network, name: v.LocalNode()}
	node, ok := v.Node(p.name)
	if !ok {
		return p
	}
	p.hasSwitch = len(v.NodeSubnets(network, node)) > 0
	p.own = proxy.NodeAddrs(v, network, node)
	if !proxy.ServesNodePorts(node) {
		return p
	}
	p.nodePorts = p.own
	for _, a := range proxy.GatewayAddrs(node) {
		if slices.Contains(p.own, a.Addr()) {
			p.gateway = append(p.gateway, a.Addr())
		}
	}
	return p
}
