package topology

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

const (
	// northdBackoffMS is how long northd may put off its next run in milliseconds: as long
	// as the last one took, up to this.
	northdBackoffMS = 300
	// northdProbeMS is how often northd asks whether a database is alive, in milliseconds.
	northdProbeMS = 5000
	// packetsPerSecond is the rate of each meter: what ovn-controller can answer without
	// falling behind.
	packetsPerSecond = 25
	// hostPriority is the priority of the policies that send pods to their own node's
	// addresses, above those of egress features.
	hostPriority = 1004
)

// metered are the packets that reach ovn-controller and must not drown it.
var metered = []string{
	"arp", "arp-resolve", "bfd", "event-elb", "icmp4-error", "icmp6-error", "reject", "svc-monitor", "tcp-reset",
}

func (z *zone) switchNamed(name string) rows.Target {
	return rows.Target{Table: nb.LogicalSwitchTable, Name: name}
}

func (z *zone) routerNamed(name string) rows.Target {
	return rows.Target{Table: nb.LogicalRouterTable, Name: name}
}

// fabric makes what does not depend on any annotation.
func (z *zone) fabric() {
	if z.network.ID == 0 {
		z.global()
		z.controlPlaneProtection()
	}
	copp := namedCopp()
	router := z.names.ClusterRouter()
	z.out.Add("cluster-router", &nb.LogicalRouter{
		Name:        router,
		Copp:        &copp,
		Options:     map[string]string{"always_learn_from_arp_request": "false"},
		ExternalIDs: map[string]string{names.KeyClusterRouter: "yes"},
	})
	z.out.Add("join-switch", &nb.LogicalSwitch{Name: z.names.JoinSwitch()})
	z.out.Add("transit-switch", &nb.LogicalSwitch{
		Name: z.names.TransitSwitch(),
		OtherConfig: map[string]string{
			"interconn-ts":             z.names.TransitSwitch(),
			"requested-tnl-key":        strconv.Itoa(plan.TransitTunnelKey(z.network.ID)),
			"mcast_snoop":              "true",
			"mcast_querier":            "false",
			"mcast_flood_unregistered": "true",
		},
	})
	if join := z.clusterRouterJoin(); len(join) > 0 {
		z.joinRouter("cluster-router", router, join, nil)
	}
	z.loadBalancerGroups()
}

// loadBalancerGroups make the groups that services put their load balancers in: one row
// more per service, instead of one element in every switch and router.
func (z *zone) loadBalancerGroups() {
	for _, g := range [][2]string{
		{"lb-group/cluster", z.names.ClusterGroup()}, {"lb-group/switch", z.names.SwitchGroup()}, {"lb-group/router", z.names.RouterGroup()},
	} {
		z.out.Add(g[0], &nb.LoadBalancerGroup{Name: g[1]})
	}
}

// balance gives a switch or router the load balancers of groups.
func (z *zone) balance(t rows.Target, groups ...string) {
	for _, g := range groups {
		z.out.Members = append(z.out.Members, rows.Member{Parent: t, Column: "load_balancer_group", Value: rows.Named(nb.LoadBalancerGroupTable, g)})
	}
}

// global names the zone and sets northd's pace. Reports of empty load balancers are
// switched on once, and not with the first service that sleeps: northd computes all anew
// when these options change.
func (z *zone) global() {
	g := rows.Target{Table: nb.NBGlobalTable}
	z.out.Put(g, "options", "name", z.node.Name)
	z.out.Put(g, "options", "northd-backoff-interval-ms", strconv.Itoa(northdBackoffMS))
	z.out.Put(g, "options", "northd_probe_interval", strconv.Itoa(northdProbeMS))
	if z.network.EmptyLoadBalancerEvents {
		z.out.Put(g, "options", "controller_event", "true")
	}
}

// controlPlaneProtection limits what packets can cost ovn-controller.
func (z *zone) controlPlaneProtection() {
	band := z.out.Add("meter-band", &nb.MeterBand{Action: nb.MeterBandActionDrop, Rate: packetsPerSecond})
	meters := map[string]string{}
	for _, protocol := range metered {
		meters[protocol] = protocol + "-rate-limiter"
		fair := true
		z.out.Add("meter/"+protocol, &nb.Meter{
			Name: meters[protocol], Unit: nb.MeterUnitPktps, Bands: []string{band}, Fair: &fair,
		})
	}
	z.out.Add("copp", &nb.Copp{Name: names.ControlPlaneProtection, Meters: meters})
}

func namedCopp() string { return rows.Named(nb.CoppTable, names.ControlPlaneProtection) }

// clusterRouterJoin are the cluster router's addresses on the join switch. Join subnets
// too small for the first address do not pass the configuration's checks.
func (z *zone) clusterRouterJoin() []netip.Prefix {
	join, err := plan.JoinClusterRouter(z.network.OfFamilies(z.network.JoinSubnets))
	if err != nil {
		return nil
	}
	return join
}

// joinRouter puts a router on the join switch.
func (z *zone) joinRouter(id, router string, join []netip.Prefix, options map[string]string) {
	port := names.RouterToJoin(router)
	z.out.AddTo(z.routerNamed(router), "ports", id+"/join-port", &nb.LogicalRouterPort{
		Name: port, MAC: plan.MACOf(plan.Addrs(join)...), Networks: texts(join), Options: options,
	})
	z.out.AddTo(z.switchNamed(z.names.JoinSwitch()), "ports", id+"/join-switch-port", routerPort(names.JoinToRouter(router), port))
}

// nodeSwitch makes the switch of the node's pods and its management port.
func (z *zone) nodeSwitch() {
	if len(z.subnets) == 0 {
		return
	}
	node := z.node.Name
	config := map[string]string{}
	var gateways []netip.Prefix
	var gatewayAddrs, management []netip.Addr
	for _, s := range z.subnets {
		gateways = append(gateways, plan.With(plan.Gateway(s), s))
		gatewayAddrs = append(gatewayAddrs, plan.Gateway(s))
		management = append(management, plan.Management(s))
		if s.Addr().Is4() {
			config["subnet"] = s.String()
			config["exclude_ips"] = plan.Management(s).String()
		} else {
			config["ipv6_prefix"] = s.Addr().String()
		}
	}
	name := z.names.NodeSwitch(node)
	z.out.Add("switch", &nb.LogicalSwitch{Name: name, OtherConfig: config})
	z.balance(z.switchNamed(name), z.names.ClusterGroup(), z.names.SwitchGroup())
	z.multicast(name, gatewayAddrs)

	port := z.names.RouterToSwitch(node)
	z.out.AddTo(z.routerNamed(z.names.ClusterRouter()), "ports", "switch/router-port", &nb.LogicalRouterPort{
		Name: port, MAC: plan.MACOf(gatewayAddrs...), Networks: texts(gateways), Options: z.mtuOptions(),
	})
	if z.chassis != "" {
		z.out.AddTo(rows.Target{Table: nb.LogicalRouterPortTable, Name: port}, "gateway_chassis", "switch/gateway-chassis",
			&nb.GatewayChassis{Name: names.GatewayChassis(port, z.chassis), ChassisName: z.chassis, Priority: 1})
	}
	z.out.AddTo(z.switchNamed(name), "ports", "switch/port", routerPort(z.names.SwitchToRouter(node), port))
	z.out.AddTo(z.switchNamed(name), "ports", "management/port", &nb.LogicalSwitchPort{
		Name: z.names.Management(node), Addresses: []string{addresses(plan.MACOf(management...), texts(management))},
	})
	z.hostPolicies(management)
}

// hostPolicies let pods reach the addresses of their own node through the management
// port: through the gateway router they would come to the host with its own address.
func (z *zone) hostPolicies(management []netip.Addr) {
	for _, host := range hostAddrs(z.node) {
		via, ok := plan.AddrOfFamily(management, host)
		if !ok || host.IsLinkLocalUnicast() || z.ours(host) {
			continue
		}
		z.out.AddTo(z.routerNamed(z.names.ClusterRouter()), "policies", "host/"+host.String(), &nb.LogicalRouterPolicy{
			Priority: hostPriority, Action: nb.LogicalRouterPolicyActionReroute, Nexthops: []string{via.String()},
			Match: fmt.Sprintf(`inport == "%s" && %s.dst == %s /* %s */`,
				z.names.RouterToSwitch(z.node.Name), family(host), host, z.names.NodeSwitch(z.node.Name)),
		})
	}
}

// ours tells addresses that the network's own ports on the host have: the management port
// and the masquerade addresses.
func (z *zone) ours(a netip.Addr) bool {
	for _, list := range [][]netip.Prefix{z.subnets, z.network.Masquerade} {
		for _, p := range list {
			if p.Contains(a) {
				return true
			}
		}
	}
	return false
}

// transitPort connects the cluster router with the other zones.
func (z *zone) transitPort() {
	if z.id == 0 || len(z.transit) == 0 {
		return
	}
	port := z.names.RouterToTransit(z.node.Name)
	z.out.AddTo(z.routerNamed(z.names.ClusterRouter()), "ports", "transit/router-port", &nb.LogicalRouterPort{
		Name: port, MAC: plan.MACOf(plan.Addrs(z.transit)...), Networks: texts(z.transit),
		Options: map[string]string{"mcast_flood": "true"},
	})
	p := routerPort(z.names.TransitToRouter(z.node.Name), port)
	p.Options["requested-tnl-key"] = strconv.Itoa(z.id)
	p.ExternalIDs = map[string]string{names.KeyNode: z.node.Name}
	z.out.AddTo(z.switchNamed(z.names.TransitSwitch()), "ports", "transit/port", p)
}

// mtuOptions let a router port answer "fragmentation needed" for packets that are longer
// than the pods' MTU.
func (z *zone) mtuOptions() map[string]string {
	if !z.network.GatewayMTUCheck || z.node.NoGatewayMTU || z.network.MTU == 0 {
		return nil
	}
	return map[string]string{"gateway_mtu": strconv.Itoa(z.network.MTU)}
}

// routerPort is the switch's side of a connection between switch and router.
func routerPort(name, peer string) *nb.LogicalSwitchPort {
	return &nb.LogicalSwitchPort{
		Name: name, Type: "router", Addresses: []string{"router"}, Options: map[string]string{"router-port": peer},
	}
}

// hostAddrs are all known addresses of a node's host, each once.
func hostAddrs(n *world.Node) []netip.Addr {
	var out []netip.Addr
	seen := map[netip.Addr]bool{}
	lists := [][]netip.Prefix{n.HostAddrs, n.PrimaryAddrs}
	if n.Gateway != nil {
		lists = append(lists, n.Gateway.Addresses)
	}
	for _, list := range lists {
		for _, a := range plan.Addrs(list) {
			if !seen[a] {
				seen[a] = true
				out = append(out, a)
			}
		}
	}
	return out
}

// family is how OVN's matches call an address family.
func family(a netip.Addr) string {
	if a.Is4() {
		return "ip4"
	}
	return "ip6"
}

// addresses is an element of Logical_Switch_Port.addresses.
func addresses(mac string, ips []string) string { return mac + " " + strings.Join(ips, " ") }

func texts[T fmt.Stringer](list []T) []string {
	out := make([]string, 0, len(list))
	for _, e := range list {
		out = append(out, e.String())
	}
	return out
}
