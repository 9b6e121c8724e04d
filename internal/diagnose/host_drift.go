package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/inspect/iproute"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/nft"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/openflow"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/ovs"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

var hostDrift = &Check{
	Code: "OVNK-DRIFT-002", Severity: Error,
	Title: "a node's host is not what it should be",
	Meaning: "Settings of Open vSwitch, the flows of the external bridge, the table of nftables, and addresses, routes and neighbours of the host " +
		"follow from the objects of the cluster and the annotations of the Node, by the same code that the node's program runs. " +
		"The program hears of changes to them and puts them back; what stays different tells that it does not run, or cannot write. " +
		"Of a rule of nftables only the place and the comment are compared, of its sets and maps all elements.",
	Remedy: "See whether ovnkube-controller of the node is ready and what it logs (" + logsOf("ovnkube-controller") + "). " +
		"`ovnkctl diagnose --repair` has it look at the whole host again.",
	causes: nodeDown(
		cause{nodeIncomplete.Code, sameNode}, cause{externalBridge.Code, sameNode}, cause{integrationBridge.Code, sameNode},
		cause{encapAddress.Code, sameNode}, cause{hostTables.Code, sameNode}, cause{nodeNetwork.Code, sameNode}, cause{chassisIdentity.Code, sameNode},
	),
	find: func(c *Cluster, found func(Finding)) {
		for _, n := range c.Nodes {
			lines := c.hostDrifts(n)
			if len(lines) == 0 {
				continue
			}
			f := Finding{Node: n.Name, Object: nodeObject(n.Name), repair: target{host: true}}
			f.tell("the host of node "+n.Name, lines)
			found(f)
		}
	},
}

// mostLines bounds the evidence of one finding.
const mostLines = 10

// tell makes message and evidence of what differs.
func (f *Finding) tell(what string, lines []string) {
	f.Message = what + ": " + lines[0]
	if more := len(lines) - 1; more > 0 {
		f.Message += fmt.Sprintf(", and %d more", more)
		f.Evidence = lines
	}
	if len(lines) > mostLines {
		f.Evidence = append(slices.Clone(lines[:mostLines]), fmt.Sprintf("… %d in all", len(lines)))
	}
}

// hostDrifts says what differs between what a node's host should hold and holds, as far as
// that could be read.
func (c *Cluster) hostDrifts(n *Node) []string {
	o, known := c.node(n.Name)
	if !known || o.Gateway == nil || n.OVS == nil || c.Incomplete {
		return nil
	}
	want := c.expected(n)
	return slices.Concat(want.Switch, n.flowDrifts(c.Config.Gateway.Bridge, want), n.tableDrifts(want), n.stackDrifts(want))
}

func (c *Cluster) expect(n *Node, v world.View) *host.Expected {
	var out host.Expected
	if network, ok := v.Network(world.DefaultNetwork); ok {
		out = host.Expect(host.Config{Node: n.Name, Config: c.Config, Network: *network}, v, n.switchState())
	}
	return &out
}

// switchState is what the node's Open vSwitch database says to the host's side.
func (n *Node) switchState() *ovs.State {
	s := &ovs.State{Bridges: map[string]*ovs.Bridge{}}
	if root := n.root(); root != nil {
		s.ExternalIDs, s.OtherConfig = root.ExternalIDs, root.OtherConfig
	}
	for _, b := range all[vswitch.Bridge](n.OVS) {
		bridge := &ovs.Bridge{
			DatapathType: b.DatapathType, FailMode: value(b.FailMode), ExternalIDs: b.ExternalIDs, OtherConfig: b.OtherConfig, Ports: map[string]*ovs.Port{},
		}
		for _, i := range n.interfaces(b) {
			bridge.Ports[i.Name] = &ovs.Port{
				Type: i.Type, MAC: value(i.MAC), MTURequest: value(i.MTURequest), ExternalIDs: i.ExternalIDs, OFPort: value(i.Ofport), Error: value(i.Error),
			}
		}
		s.Bridges[b.Name] = bridge
	}
	return s
}

func (n *Node) flowDrifts(bridge string, want *host.Expected) []string {
	dump, ok := n.Texts[inspect.TextFlows+bridge]
	if !ok || want.Flows == "" {
		return nil
	}
	changes, err := openflow.Compare(want.Flows, dump, openflow.Cookie{})
	if err != nil {
		return []string{fmt.Sprintf("flows of %s: %v", bridge, err)}
	}
	owners, err := openflow.ByFlow(want.FlowOwners)
	if err != nil {
		return []string{fmt.Sprintf("flows of %s: %v", bridge, err)}
	}
	var out []string
	for _, flow := range changes.Add {
		line := fmt.Sprintf("flow of %s is missing: %s", bridge, flow)
		if owner := owners[flow]; owner != "" {
			line += " (of " + owner + ")"
		}
		out = append(out, line)
	}
	for _, flow := range changes.Taken {
		out = append(out, fmt.Sprintf("flow of %s in the place of ours: %s", bridge, flow))
	}
	for _, flow := range changes.Delete {
		out = append(out, fmt.Sprintf("flow of %s is left over: %s", bridge, flow))
	}
	return out
}

func (n *Node) tableDrifts(want *host.Expected) []string {
	text, ok := n.Texts[inspect.TextNFTJSON]
	if !ok || want.Table.Name == "" {
		return nil
	}
	have, err := nft.Find([]byte(text), want.Table.Family, want.Table.Name)
	if err != nil {
		return []string{err.Error()}
	}
	if have == nil {
		return nil // hostTables tells of that
	}
	var out []string
	for _, op := range nft.Diff(have, want.Table) {
		out = append(out, "nftables need: "+strings.TrimSpace(op.String()))
	}
	return out
}

// stackDrifts compares addresses, routes and neighbours.
func (n *Node) stackDrifts(want *host.Expected) []string {
	var out []string
	lack := func(what string, have map[string]bool, read bool, want []string) {
		for _, x := range want {
			if read && !have[x] {
				out = append(out, what+" is missing: "+x)
			}
		}
	}
	addresses, read := n.addresses()
	lack("address", addresses, read, want.Addresses)
	routes, ours, read := n.routes()
	lack("route", routes, read, want.Routes)
	for _, r := range ours {
		if !slices.Contains(want.Routes, r) {
			out = append(out, "route is left over: "+r)
		}
	}
	neighbours, read := n.neighbours()
	lack("neighbour", neighbours, read, want.Neighbors)
	return out
}

func (n *Node) addresses() (have map[string]bool, read bool) {
	links, read := parsed(n, inspect.TextLinks, iproute.Links)
	have = map[string]bool{}
	for _, l := range links {
		for _, a := range l.Addresses {
			have[fmt.Sprintf("%s/%d dev %s", a.Local, a.PrefixLen, l.IfName)] = true
		}
	}
	return have, read
}

// routes are those of the main table; ours are marked as the network's.
func (n *Node) routes() (have map[string]bool, ours []string, read bool) {
	have = map[string]bool{}
	for text, is4 := range map[string]bool{inspect.TextRoutes: true, inspect.TextRoutes6: false} {
		routes, ok := parsed(n, text, iproute.Routes)
		if !ok {
			return nil, nil, false
		}
		for i := range routes {
			r := &routes[i]
			dst, ok := r.Prefix(is4)
			if !ok || !r.Main() {
				continue
			}
			via, _ := netip.ParseAddr(r.Gateway)
			src, _ := netip.ParseAddr(r.PrefSrc)
			line := host.RouteText(dst, r.Dev, via, src)
			have[line] = true
			if r.Protocol == strconv.Itoa(host.RouteProtocol) {
				ours = append(ours, line)
			}
		}
	}
	slices.Sort(ours)
	return have, ours, true
}

// neighbours are those that somebody has set.
func (n *Node) neighbours() (have map[string]bool, read bool) {
	list, read := parsed(n, inspect.TextNeighbours, iproute.Neighbours)
	have = map[string]bool{}
	for i := range list {
		if x := &list[i]; slices.Contains(x.State, "PERMANENT") {
			have[fmt.Sprintf("%s lladdr %s dev %s", x.Dst, x.LLAddr, x.Dev)] = true
		}
	}
	return have, read
}

// parsed reads a text; false if it is not there, or is something else.
func parsed[T any](n *Node, name string, parse func(string) ([]T, error)) ([]T, bool) {
	text, ok := n.Texts[name]
	if !ok {
		return nil, false
	}
	out, err := parse(text)
	return out, err == nil
}
