package topology

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/netdev"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

const (
	// macBindingAgeS is how long the gateway router remembers a neighbour, in seconds: a
	// next hop that changes its MAC silently is found again.
	macBindingAgeS = "300"
	// snatPorts are the source ports of pods outside, Linux' own ephemeral ports
	// (net.ipv4.ip_local_port_range): ports below are left to the node's listening
	// sockets and to NodePorts, whose packets look alike from outside.
	snatPorts = "32768-60999"
)

// gatewayRouter is what the gateway's rows have in common.
type gatewayRouter struct {
	name     string
	external string         // its port on the external switch
	addrs    []netip.Prefix // of the node outside, of the network's families
	config   *world.Gateway
}

// gateway makes the router to the outside and what leads there.
func (z *zone) gateway() {
	if z.node.Gateway == nil {
		z.without(lackGateway)
		return
	}
	if z.id == 0 || z.chassis == "" {
		return
	}
	name := z.names.GatewayRouter(z.node.Name)
	g := gatewayRouter{
		name: name, external: names.RouterToExternal(name), config: z.node.Gateway,
		addrs: z.network.OfFamilies(z.node.Gateway.Addresses),
	}
	z.checkGatewayFamilies(g.addrs)
	if len(g.addrs) == 0 {
		return
	}
	z.router(g)
	z.joinRouter("gateway", name, z.join, z.mtuOptions())
	z.externalSwitch(g)
	z.gatewayRoutes(g)
	z.masquerade(g)
	z.snat(g)
	if z.network.UserspaceDatapath {
		z.forceSNAT(g)
	}
	z.routesToGateway()
}

// checkGatewayFamilies reports the families of the network in which pods cannot reach the
// outside.
func (z *zone) checkGatewayFamilies(addrs []netip.Prefix) {
	for _, j := range z.join {
		if _, ok := plan.OfFamily(addrs, j.Addr()); !ok {
			z.reason(GatewayFamilyMissing,
				fmt.Sprintf("the gateway of %s has no %s address: its pods cannot reach the outside by %s",
					z.node.Name, familyName(j.Addr()), familyName(j.Addr())),
				fmt.Sprintf("give %s an %s address and restart `ovnkctl node`, or leave the family out of network.clusterSubnets",
					z.node.Gateway.BridgeID, familyName(j.Addr())))
		}
	}
}

func familyName(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

func (z *zone) router(g gatewayRouter) {
	copp := namedCopp()
	ips := texts(plan.Addrs(g.addrs))
	z.out.Add("gateway", &nb.LogicalRouter{
		Name: g.name,
		Copp: &copp,
		Options: map[string]string{
			"chassis":                       z.chassis,
			"always_learn_from_arp_request": "false",
			"dynamic_neigh_routers":         "false",
			"lb_force_snat_ip":              "router_ip",
			"mac_binding_age_threshold":     macBindingAgeS,
			// The host's connections and OVN's share the node's address, hence the zone.
			"snat-ct-zone": "0",
		},
		ExternalIDs: map[string]string{names.KeyPhysicalIP: ips[0], names.KeyPhysicalIPs: strings.Join(ips, ",")},
	})
	z.balance(z.routerNamed(g.name), z.names.ClusterGroup(), z.names.RouterGroup())
}

// externalSwitch connects the gateway router with the external bridge. The router has the
// bridge's own MAC and addresses: the flows of the bridge tell its packets from the host's.
func (z *zone) externalSwitch(g gatewayRouter) {
	z.out.AddTo(z.routerNamed(g.name), "ports", "external/router-port", &nb.LogicalRouterPort{
		Name: g.external, MAC: g.config.MAC, Networks: texts(g.addrs),
		ExternalIDs: map[string]string{names.KeyGatewayPort: "yes"},
	})
	sw := z.switchNamed(z.names.ExternalSwitch(z.node.Name))
	z.out.Add("external", &nb.LogicalSwitch{Name: sw.Name})
	localnet := &nb.LogicalSwitchPort{
		Name: g.config.InterfaceID, Type: "localnet", Addresses: []string{"unknown"},
		Options: map[string]string{"network_name": names.PhysicalNetwork},
	}
	if vlan := g.config.VLAN; vlan != 0 {
		localnet.TagRequest = &vlan
	}
	z.out.AddTo(sw, "ports", "external/localnet", localnet)

	p := routerPort(names.ExternalToRouter(g.name), g.external)
	p.Addresses = []string{g.config.MAC}
	// Announce the router's addresses, but not every load balancer's.
	p.Options["nat-addresses"] = "router"
	p.Options["exclude-lb-vips-from-garp"] = "true"
	z.out.AddTo(sw, "ports", "external/port", p)
}

// gatewayRoutes lead back to the pods and out to the next hops.
func (z *zone) gatewayRoutes(g gatewayRouter) {
	join := plan.Addrs(z.clusterRouterJoin())
	for _, c := range z.network.ClusterSubnets {
		if via, ok := plan.AddrOfFamily(join, c.Prefix.Addr()); ok {
			z.route(g.name, "gateway/route/"+c.Prefix.String(), nb.LogicalRouterStaticRoute{
				IPPrefix: c.Prefix.String(), Nexthop: via.String(),
			})
		}
	}
	for _, hop := range g.config.NextHops {
		if _, ok := plan.OfFamily(g.addrs, hop); !ok {
			continue
		}
		all := netip.PrefixFrom(unspecified(hop), 0)
		z.route(g.name, "gateway/default/"+hop.String(), nb.LogicalRouterStaticRoute{
			IPPrefix: all.String(), Nexthop: hop.String(), OutputPort: &g.external,
		})
	}
}

func unspecified(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// masquerade leads traffic for the host's masquerade address out of the external port. It
// needs a next hop, and as nobody has that address, a fixed MAC.
func (z *zone) masquerade(g gatewayRouter) {
	for _, m := range z.network.Masquerade {
		if _, ok := plan.OfFamily(g.addrs, m.Addr()); !ok {
			continue
		}
		hop, ok := plan.MasqueradeAddr(m, plan.MasqueradeNextHop)
		if !ok {
			continue // the configuration's checks want room for the dummy next hop
		}
		z.route(g.name, "gateway/masquerade/"+m.String(), nb.LogicalRouterStaticRoute{
			IPPrefix: m.String(), Nexthop: hop.String(), OutputPort: &g.external,
		})
		z.out.Add("gateway/neighbour/"+hop.String(), &nb.StaticMACBinding{
			LogicalPort: g.external, IP: hop.String(), MAC: plan.MAC(hop), OverrideDynamicMAC: true,
		})
	}
}

// snat gives pods the node's address outside. The join address is the source of packets
// that the cluster router itself sends, such as ICMP errors.
func (z *zone) snat(g gatewayRouter) {
	add := func(logical, ports string, inside netip.Addr) {
		outside, ok := plan.OfFamily(g.addrs, inside)
		if !ok {
			return
		}
		z.out.AddTo(z.routerNamed(g.name), "nat", "gateway/snat/"+logical, &nb.NAT{
			Type: nb.NATTypeSNAT, ExternalIP: outside.Addr().String(), LogicalIP: logical, ExternalPortRange: ports,
		})
	}
	for _, j := range z.join {
		add(j.Addr().String(), "", j.Addr())
	}
	for _, c := range z.network.ClusterSubnets {
		add(c.Prefix.String(), snatPorts, c.Prefix.Addr())
	}
}

// forceSNAT makes up for what the userspace conntrack does to the second packets of load
// balancers' connections.
func (z *zone) forceSNAT(g gatewayRouter) {
	f := netdev.NewForceSNAT(
		netdev.Port{Name: names.RouterToJoin(g.name), Addrs: plan.Addrs(z.join)},
		netdev.Port{Name: g.external, Addrs: plan.Addrs(g.addrs)}, names.ExternalToRouter(g.name))
	router := z.routerNamed(g.name)
	z.out.AddTo(router, "policies", "gateway/force-snat", f.Policy)
	for _, n := range f.NAT {
		z.out.AddTo(router, "nat", "gateway/force-snat/"+n.ExternalIP, n)
	}
	z.out.AddTo(z.switchNamed(z.names.JoinSwitch()), "qos_rules", "gateway/force-snat/unmark", f.QoS)
	for i, a := range f.ACLs {
		z.out.AddTo(z.switchNamed(z.names.ExternalSwitch(z.node.Name)), "acls", fmt.Sprintf("gateway/force-snat/silence/%d", i), a)
	}
}

// routesToGateway lead the node's pods out: in shared mode through the gateway router, in
// local mode through the host. Routes by source come after those by destination of the
// same length, so pods of other nodes are not affected.
func (z *zone) routesToGateway() {
	router := z.names.ClusterRouter()
	join := plan.Addrs(z.join)
	for _, a := range join {
		// Replies to the gateway router's own connections go where they came from.
		z.route(router, "gateway/join/"+a.String(), nb.LogicalRouterStaticRoute{IPPrefix: single(a), Nexthop: a.String()})
	}
	for _, s := range z.subnets {
		via, ok := plan.AddrOfFamily(join, s.Addr())
		if z.node.Gateway.Mode == world.GatewayLocal {
			via, ok = plan.Management(s), true
		}
		if !ok {
			continue
		}
		bySource := nb.LogicalRouterStaticRoutePolicySrcIP
		z.route(router, "gateway/source/"+s.String(), nb.LogicalRouterStaticRoute{
			IPPrefix: s.String(), Nexthop: via.String(), Policy: &bySource,
		})
	}
}

func (z *zone) route(router, id string, r nb.LogicalRouterStaticRoute) {
	z.out.AddTo(z.routerNamed(router), "static_routes", id, &r)
}

// single is the prefix of one address alone.
func single(a netip.Addr) string { return netip.PrefixFrom(a, a.BitLen()).String() }
