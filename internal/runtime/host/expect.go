package host

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/kernel"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/nft"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/ovs"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Expected is what the host of a node should hold, for tools that compare it with what it
// holds. The host's own addresses and routes are not in it.
type Expected struct {
	// Switch is what the Open vSwitch database lacks, in words.
	Switch []string
	// Flows are those of the external bridge, one per line; empty while one of its ports is
	// missing.
	Flows string
	// FlowOwners are the services and pods, "namespace/name", that flows are for, by line.
	FlowOwners map[string]string
	// Table is the table of nftables; it has no name while the node has no pod subnets.
	Table nft.Table
	// Addresses, Routes and Neighbors are in the words of ip(8): "10.244.1.2/24 dev
	// ovn-k8s-mp0", "10.96.0.0/16 via 169.254.0.4 dev br-ex src 169.254.0.2",
	// "169.254.0.4 lladdr 0a:58:a9:fe:00:04 dev br-ex".
	Addresses, Routes, Neighbors []string
}

// RouteProtocol marks the routes that are ours.
const RouteProtocol = protocol

// Expect computes it of what the cluster knows of the node, as the node's own program does of
// what it finds on the host. have is what the Open vSwitch database holds. The view's local
// node is the node.
func Expect(c Config, v world.View, have *ovs.State) Expected {
	n, ok := v.Node(c.Node)
	if !ok || n.Gateway == nil {
		return Expected{}
	}
	services := ServicesOf(v, &c.Network)
	in := input{Config: c, zone: ZoneOf(v, c.Node), services: &services, chassis: n.ChassisID}
	in.facts = Facts{
		ChassisID: n.ChassisID, Bridge: n.Gateway.BridgeID, MAC: n.Gateway.MAC, Addresses: n.Gateway.Addresses, Primary: n.PrimaryAddrs,
		NextHops: n.Gateway.NextHops, EncapIPs: n.EncapIPs, HostAddrs: n.HostAddrs, NoGatewayMTU: n.NoGatewayMTU,
	}
	in.uplink.link.Name = uplinkOf(c, have)
	out := Expected{}
	for _, change := range desiredSwitch(in, have) {
		out.Switch = append(out.Switch, lacking(change, have)...)
	}
	if p := portsOf(c, in.uplink.link.Name, have); p.nic > 0 && p.patch > 0 {
		out.Flows, out.FlowOwners = ownedFlows(in, p)
	}
	if len(in.subnets()) > 0 {
		out.Table = desiredTable(in)
	}
	stack := desiredNetwork(in)
	for i := range stack.addrs {
		out.Addresses = append(out.Addresses, stack.addrs[i].Prefix.String()+" dev "+stack.addrs[i].Dev)
	}
	for i := range stack.routes {
		out.Routes = append(out.Routes, routeText(&stack.routes[i]))
	}
	for _, x := range stack.neighbors {
		out.Neighbors = append(out.Neighbors, fmt.Sprintf("%s lladdr %s dev %s", x.Addr, x.MAC, x.Dev))
	}
	return out
}

// uplinkOf is the NIC in the external bridge, which the bridge itself may have forgotten.
func uplinkOf(c Config, have *ovs.State) string {
	b, ok := have.Bridges[c.bridge()]
	if !ok {
		return ""
	}
	if nic := b.ExternalIDs[keyUplink]; nic != "" {
		return nic
	}
	for _, name := range slices.Sorted(maps.Keys(b.Ports)) {
		if p := b.Ports[name]; p.Type == "" && name != c.bridge() {
			return name
		}
	}
	return ""
}

// RouteText is a route in the words of ip(8); via and src may be invalid.
func RouteText(dst netip.Prefix, dev string, via, src netip.Addr) string {
	text := dst.String()
	if via.IsValid() {
		text += " via " + via.String()
	}
	text += " dev " + dev
	if src.IsValid() {
		text += " src " + src.String()
	}
	return text
}

func routeText(r *kernel.Route) string {
	return RouteText(r.Dst, r.Hops[0].Dev, r.Hops[0].Via, r.Src)
}

// ZoneOf is what the cluster says of a node and of the others.
func ZoneOf(v world.View, node string) Zone {
	var z Zone
	network, _ := v.Network(world.DefaultNetwork)
	for _, n := range v.Nodes() {
		if n.Name != node {
			z.RemoteNodes = append(z.RemoteNodes, n.InternalIPs...)
			continue
		}
		z.Subnets = v.NodeSubnets(network, n)
		z.InternalIPs = n.InternalIPs
		z.ChassisID = n.ChassisID
	}
	slices.SortFunc(z.RemoteNodes, netip.Addr.Compare)
	return z
}

// lacking says what a change of the switch's database would put right.
func lacking(change ovs.Change, have *ovs.State) []string {
	var out []string
	entries := func(what string, is, want map[string]string) {
		for _, k := range slices.Sorted(maps.Keys(want)) {
			out = append(out, fmt.Sprintf("%s:%s is %q, should be %q", what, k, is[k], want[k]))
		}
	}
	value := func(what, is, want string) {
		if want != "" {
			out = append(out, fmt.Sprintf("%s is %q, should be %q", what, is, want))
		}
	}
	switch c := change.(type) {
	case ovs.SetRoot:
		entries("Open_vSwitch external_ids", have.ExternalIDs, c.ExternalIDs)
		entries("Open_vSwitch other_config", have.OtherConfig, c.OtherConfig)
	case ovs.PutBridge:
		b, ok := have.Bridges[c.Name]
		if !ok {
			return []string{"bridge " + c.Name + " is missing"}
		}
		value("datapath_type of bridge "+c.Name, b.DatapathType, c.DatapathType)
		value("fail_mode of bridge "+c.Name, b.FailMode, c.FailMode)
		entries("Bridge "+c.Name+" external_ids", b.ExternalIDs, c.ExternalIDs)
		entries("Bridge "+c.Name+" other_config", b.OtherConfig, c.OtherConfig)
	case ovs.PutPort:
		p, ok := have.Port(c.Bridge, c.Name)
		if !ok {
			return []string{"port " + c.Name + " of bridge " + c.Bridge + " is missing"}
		}
		value("type of port "+c.Name, p.Type, c.Type)
		value("mac of port "+c.Name, p.MAC, c.MAC)
		if c.MTURequest != 0 {
			value("mtu_request of port "+c.Name, itoa(p.MTURequest), itoa(c.MTURequest))
		}
		entries("Interface "+c.Name+" external_ids", p.ExternalIDs, c.ExternalIDs)
	}
	return out
}
