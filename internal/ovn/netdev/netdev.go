// Package netdev has the rows that load balancers need on the userspace datapath of Open
// vSwitch ("netdev") and nowhere else. They keep alive a connection whose second packet
// comes before the first was answered: a SYN sent again, or two queries from one socket.
//
// OVN's flows look for such a packet by the address it was sent to. On the kernel datapath
// it still has that address, because Linux translates packets of new connections only when
// they are committed. The userspace conntrack translates them at the first look, so that
// the packet reaches the load balancer's stages with the backend's address, and
//
//   - on a switch, a load balancer with affinity_timeout takes it for the packet that
//     teaches the session, and drops it, as it drops every teacher: none of that
//     connection's packets arrives. PassThrough is the way round.
//   - on a gateway router, it misses the flag that has its source translated: the backend
//     sees two clients, or its answer goes astray. NewForceSNAT sets that right.
//
// docs/decisions/0007-session-affinity.md has the measurements.
package netdev

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
)

// PassThrough is a load balancer, without a name, that maps each backend of a service with
// session affinity to itself. It belongs on the switches that have the service, and only
// there. A translated packet matches it, and so leaves the session's learning stage with
// another original address than the one that it looks for.
//
// Protocol and hairpin (the value of options:hairpin_snat_ip) are those of the service's
// own load balancer. Several services may have the same backends: northd makes one flow of
// equal ones. An address that is also a VIP on the switch must be left out.
func PassThrough(protocol nb.LoadBalancerProtocol, hairpin string, backends []netip.AddrPort) *nb.LoadBalancer {
	vips := make(map[string]string, len(backends))
	for _, b := range backends {
		vips[b.String()] = b.String()
	}
	return &nb.LoadBalancer{
		Protocol: &protocol,
		Vips:     vips,
		// No affinity_timeout, or these connections would be dropped in their turn.
		Options: map[string]string{"event": "false", "hairpin_snat_ip": hairpin, "neighbor_responder": "none", "reject": "false"},
	}
}

const (
	// snatMark is pkt.mark between a gateway router's policy and its NAT. Any value would
	// do that no other policy of a gateway router sets.
	snatMark = 0x5a7
	// snatPriority puts the policy before all others of the router (the maximum is 32767):
	// it is about the source alone, and what comes after it decides about the way.
	snatPriority = 32000
	// announcePriority is like it, for the ACL.
	announcePriority = 32000
)

// Port is a port of a gateway router.
type Port struct {
	Name  string
	Addrs []netip.Addr
}

// ForceSNAT are rows that make a gateway router with lb_force_snat_ip=router_ip translate
// the source of every packet of a load balancer's connection, and not only of the first
// and of those after an answer. Connections of load balancers with skip_snat keep theirs.
type ForceSNAT struct {
	// Policy is the gateway router's: it marks the packets. Where the NAT is done, the
	// mark of their connection is not known any more.
	Policy *nb.LogicalRouterPolicy
	// NAT are the gateway router's rules, in the order of its ports and their addresses.
	NAT []*nb.NAT
	// QoS is the join switch's: it takes the mark away. Open vSwitch would look for a
	// route with that mark when it sends the packet through a tunnel, and drop it.
	QoS *nb.QoS
	// ACLs are the external switch's: OVN announces the addresses of NAT outside, but the
	// join addresses are nobody's business there.
	ACLs []*nb.ACL
}

// NewForceSNAT makes the rows for a gateway router with a port on the join switch and one
// outside. Peer is the external switch's port that leads to the router.
func NewForceSNAT(join, external Port, peer string) ForceSNAT {
	marked := fmt.Sprintf("pkt.mark == %d", snatMark)
	f := ForceSNAT{
		Policy: &nb.LogicalRouterPolicy{
			Priority: snatPriority, Action: nb.LogicalRouterPolicyActionAllow,
			Match:   "ct.new && ct_mark.force_snat == 1",
			Options: map[string]string{"pkt_mark": strconv.Itoa(snatMark)},
		},
		QoS: &nb.QoS{
			Priority: snatPriority, Direction: nb.QoSDirectionFromLport, Match: marked,
			Action: map[string]int{nb.QoSActionMark: 0},
		},
	}
	for _, p := range []Port{join, external} {
		for _, a := range p.Addrs {
			f.NAT = append(f.NAT, &nb.NAT{
				Type: nb.NATTypeSNAT, ExternalIP: a.String(), LogicalIP: everything(a),
				Match: fmt.Sprintf("%s && outport == %q", marked, p.Name),
			})
		}
	}
	for _, a := range join.Addrs {
		if a.Is4() { // of IPv6 nothing is announced
			f.ACLs = append(f.ACLs, &nb.ACL{
				Priority: announcePriority, Direction: nb.ACLDirectionFromLport, Action: nb.ACLActionDrop,
				Match: fmt.Sprintf("inport == %q && arp.spa == %s", peer, a),
			})
		}
	}
	return f
}

// everything is the prefix of all addresses of the same family.
func everything(a netip.Addr) string {
	if a.Is4() {
		return "0.0.0.0/0"
	}
	return "::/0"
}
