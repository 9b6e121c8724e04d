package host

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

// Conntrack zones of the external bridge, as OVN-Kubernetes numbers them; OVN's own zones
// are small numbers that ovn-controller gives out.
const (
	zoneOutside = 64000 // connections with the outside, marked by who made them
	zoneHost    = 64001 // the host's connections with services
	zoneOVN     = 64002 // OVN's connections with the host
)

// Connection marks in zoneOutside.
const (
	markOVN  = "0x1"
	markHost = "0x2"
)

// cookie marks our flows, as in OVN-Kubernetes.
const cookie = "0xdeff105"

// Tables of the external bridge.
const (
	tableFromOutside = 1 // after conntrack
	tableToOVN       = 2
	tableToHost      = 3
	tableHairpin     = 4 // OVN to the host: the source becomes OVN's masquerade address
	tableUnhairpin   = 5 // and back
)

// ports are OpenFlow port numbers on the external bridge. Names cannot be used: that of
// the patch port is longer than OpenFlow allows.
type ports struct {
	nic   int
	patch int // 0 while ovn-controller has not made it
}

// desiredFlows are the flows of the external bridge, which the host and the gateway
// router share with one MAC and one address per family: connections are told apart by who
// made them.
func desiredFlows(in input, p ports) string {
	w := &flowWriter{}
	w.all(in, p)
	return w.String()
}

// ownedFlows are the same, with the services and pods that they are for.
func ownedFlows(in input, p ports) (flows string, owners map[string]string) {
	w := &flowWriter{owners: map[string]string{}}
	w.all(in, p)
	return w.String(), w.owners
}

func (w *flowWriter) all(in input, p ports) {
	if p.nic <= 0 || p.patch <= 0 {
		bootstrapFlows(w, in.facts.MAC)
		return
	}
	mac := in.facts.MAC
	w.tunnels(in, p)
	w.neighbours(in, p)
	for _, f := range in.families() {
		w.services(in, f, p)
		w.outside(in, f, p)
		ip := proto(f)
		w.add(0, 100, fmt.Sprintf("in_port=%d,dl_src=%s,%s", p.patch, mac, ip), commit(markOVN)+output(p.nic))
		w.add(0, 100, "in_port=LOCAL,"+ip, commit(markHost)+output(p.nic))
		w.add(0, 50, ip+",dl_dst="+mac, fmt.Sprintf("ct(zone=%d,nat,table=%d)", zoneOutside, tableFromOutside))
		for _, state := range []string{"+trk+est", "+trk+rel"} {
			w.add(tableFromOutside, 100, "ct_state="+state+",ct_mark="+markOVN+","+ip, output(p.patch))
			w.add(tableFromOutside, 100, "ct_state="+state+",ct_mark="+markHost+","+ip, "LOCAL")
		}
	}
	// What is left with our MAC is ARP's answers: whoever asked, both may hear them.
	w.add(0, 10, fmt.Sprintf("in_port=%d,dl_dst=%s", p.nic, mac), output(p.patch)+",LOCAL")
	w.add(0, 10, fmt.Sprintf("in_port=%d,dl_src=%s", p.patch, mac), "NORMAL")
	w.add(0, 9, fmt.Sprintf("in_port=%d", p.patch), "drop")
	w.add(0, 0, "", "NORMAL")
	w.add(tableFromOutside, 10, "dl_dst="+mac, "LOCAL")
	w.add(tableFromOutside, 0, "", "NORMAL")
}

// bootstrapFlows let the bridge switch, but pin the host's MAC to the host: as soon as the
// patch port is there, OVN announces the same MAC from it, and a bridge that learns would
// cut the host off.
func bootstrapFlows(w *flowWriter, mac string) {
	w.add(0, 5, "dl_dst="+mac, "LOCAL")
	w.add(0, 0, "", "NORMAL")
}

// tunnels pass conntrack by: the outer packets are the host's own.
func (w *flowWriter) tunnels(in input, p ports) {
	for _, udp := range []string{"udp", "udp6"} {
		w.add(0, 205, fmt.Sprintf("in_port=%d,dl_dst=%s,%s,udp_dst=%d", p.nic, in.facts.MAC, udp, in.Network.EncapPort), "LOCAL")
		w.add(0, 200, fmt.Sprintf("in_port=LOCAL,%s,udp_dst=%d", udp, in.Network.EncapPort), output(p.nic))
	}
}

// neighbours keep the host and the gateway router, which have the same addresses, from
// hearing each other ask for or announce them: duplicate address detection would find
// the other one, and the kernel would complain. conntrack knows no neighbour discovery, so
// it is never sent there.
func (w *flowWriter) neighbours(in input, p ports) {
	patch := fmt.Sprintf("in_port=%d,dl_src=%s,", p.patch, in.facts.MAC)
	shared := plan.Addrs(in.facts.Addresses)
	if a, ok := linkLocal(in.facts.MAC); ok {
		shared = append(shared, a)
	}
	for _, a := range shared {
		if a.Is4() {
			w.add(0, 110, "in_port=LOCAL,arp,arp_tpa="+a.String(), output(p.nic))
			w.add(0, 110, patch+"arp,arp_spa="+a.String()+",arp_tpa="+a.String(), output(p.nic))
			continue
		}
		for _, kind := range neighbourDiscovery {
			match := fmt.Sprintf("icmp6,icmp_type=%d,nd_target=%s", kind, a)
			w.add(0, 110, "in_port=LOCAL,"+match, output(p.nic))
			w.add(0, 110, patch+match, output(p.nic))
		}
	}
	for _, kind := range neighbourDiscovery {
		match := fmt.Sprintf("icmp6,icmp_type=%d", kind)
		w.add(0, 109, "in_port=LOCAL,"+match, "NORMAL")
		w.add(0, 109, patch+match, "NORMAL")
		w.add(0, 60, fmt.Sprintf("in_port=%d,dl_dst=%s,%s", p.nic, in.facts.MAC, match), output(p.patch)+",LOCAL")
	}
}

// linkLocal is the IPv6 address that OVN, and the kernel by default, make from a MAC
// (RFC 4291, appendix A).
func linkLocal(mac string) (netip.Addr, bool) {
	m, err := net.ParseMAC(mac)
	if err != nil || len(m) != 6 {
		return netip.Addr{}, false
	}
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]}), true
}

// neighbourDiscovery are the ICMPv6 types of solicitation and advertisement (RFC 4861).
var neighbourDiscovery = []int{135, 136}

// services carry the host's connections with services through OVN, and OVN's with the
// host when the chosen end point is the host itself:
//
//	host ─ src: host masquerade ─> OVN ─> end point
//	OVN ─ src: node, dst: host masquerade ─> src: OVN masquerade, dst: node ─> host
func (w *flowWriter) services(in input, f family, p ports) {
	host, _, okHost := in.masquerade(f, plan.MasqueradeHost)
	ovn, _, okOVN := in.masquerade(f, plan.MasqueradeOVN)
	hop, _, okHop := in.masquerade(f, plan.MasqueradeNextHop)
	node, okNode := in.primaryOf(f)
	if !okHost || !okOVN || !okHop || !okNode {
		return
	}
	ip, src, dst := proto(f), source(f), destination(f)
	patch := fmt.Sprintf("in_port=%d,dl_src=%s,%s,", p.patch, in.facts.MAC, ip)
	w.add(0, 550, fmt.Sprintf("%s%s=%s,%s=%s", patch, src, node, dst, host),
		fmt.Sprintf("ct(commit,zone=%d,nat(dst=%s),table=%d)", zoneHost, node, tableHairpin))
	w.add(0, 550, fmt.Sprintf("in_port=LOCAL,%s,%s=%s", ip, dst, ovn),
		fmt.Sprintf("ct(zone=%d,nat,table=%d)", zoneOVN, tableUnhairpin))
	for _, s := range in.ranges(f) {
		w.add(0, 500, fmt.Sprintf("in_port=LOCAL,%s,%s=%s", ip, dst, s),
			fmt.Sprintf("ct(commit,zone=%d,nat(src=%s),table=%d)", zoneHost, host, tableToOVN))
		w.add(0, 500, fmt.Sprintf("%s%s=%s,%s=%s", patch, src, s, dst, host),
			fmt.Sprintf("ct(zone=%d,nat,table=%d)", zoneHost, tableToHost))
		// A service without an end point must not be looked for outside.
		w.add(0, 115, fmt.Sprintf("%s%s=%s", patch, dst, s), "drop")
	}
	w.add(tableHairpin, 100, ip, fmt.Sprintf("ct(commit,zone=%d,nat(src=%s),table=%d)", zoneOVN, ovn, tableToHost))
	w.add(tableUnhairpin, 100, ip, fmt.Sprintf("ct(zone=%d,nat,table=%d)", zoneHost, tableToOVN))
	// From the next hop's MAC, too: the gateway router has the host's, and what it refuses
	// goes back to the frame's sender, not through the neighbour table.
	w.add(tableToOVN, 100, ip, fmt.Sprintf("set_field:%s->eth_src,set_field:%s->eth_dst,%s", plan.MAC(hop), in.facts.MAC, output(p.patch)))
	// The stack does not take frames from its own MAC for granted: the next hop's is used.
	w.add(tableToHost, 100, ip, fmt.Sprintf("move:NXM_OF_ETH_DST[]->NXM_OF_ETH_SRC[],set_field:%s->eth_dst,LOCAL", in.facts.MAC))
}

func commit(mark string) string {
	return fmt.Sprintf("ct(commit,zone=%d,exec(set_field:%s->ct_mark)),", zoneOutside, mark)
}

func output(port int) string { return fmt.Sprintf("output:%d", port) }

func proto(f family) string {
	if f == ipv6 {
		return "ipv6"
	}
	return "ip"
}

func source(f family) string {
	if f == ipv6 {
		return "ipv6_src"
	}
	return "nw_src"
}

func destination(f family) string {
	if f == ipv6 {
		return "ipv6_dst"
	}
	return "nw_dst"
}

type flowWriter struct {
	strings.Builder
	// owner is whom the flows are for that are added now; owners are all of them by flow, nil
	// if nobody wants to know.
	owner  string
	owners map[string]string
}

func (w *flowWriter) add(table, priority int, match, actions string) {
	if match != "" {
		match += ","
	}
	from := w.Len()
	for _, s := range [...]string{
		"cookie=", cookie, ",table=", strconv.Itoa(table), ",priority=", strconv.Itoa(priority), ",", match, "actions=", actions, "\n",
	} {
		w.WriteString(s)
	}
	if w.owners != nil && w.owner != "" {
		w.owners[strings.TrimSuffix(w.String()[from:], "\n")] = w.owner
	}
}
