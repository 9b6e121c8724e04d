package host

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// zoneFragments only puts fragments together, before the flows that look at ports.
const zoneFragments = 64004

// tableFragments has the flows for what came out of zoneFragments.
const tableFragments = 6

// ipProtocolUDP is UDP in the header of IP.
const ipProtocolUDP = 17

// outside leads what OVN serves to the outside between the NIC and OVN, past conntrack:
// an answer is the first packet that zoneOutside would see, and a TCP connection does not
// begin with SYN and ACK.
//
//	client ─ dst: node:30080 ─> NIC ─> patch port ─> OVN ─> back ─ src: node:30080 ─> NIC ─> client
//
// In local gateway mode the host's own stack does all of it.
func (w *flowWriter) outside(in input, f family, p ports) {
	if in.Network.GatewayMode == world.GatewayLocal {
		return
	}
	all := in.outside(f)
	s := serviceFlows{w: w, in: in, family: f, ports: p, foreign: map[netip.Addr]bool{}}
	for _, a := range inFamily(f, in.facts.Addresses, netip.Prefix.Addr) {
		s.own = append(s.own, a.Addr())
	}
	for _, o := range all {
		if !o.ByHost && !o.loopback() {
			w.owner = o.Owner
			s.port(o)
		}
	}
	w.owner = ""
	if len(all) > 0 {
		s.fragments()
		s.tooBig()
	}
}

// serviceFlows writes the flows of outside ports of one family.
type serviceFlows struct {
	w      *flowWriter
	in     input
	family family
	ports  ports
	own    []netip.Addr // that the bridge's host and the gateway router share
	// foreign are the addresses of services that the host does not have.
	foreign map[netip.Addr]bool
}

func (s *serviceFlows) port(o *Outside) {
	if o.everywhere() {
		for _, a := range s.own {
			s.portAt(o, a)
		}
		return
	}
	s.portAt(o, o.Addr)
	if !s.in.hostHas(o.Addr) && !s.foreign[o.Addr] {
		s.foreign[o.Addr] = true
		s.w.add(0, 110, s.fromNIC()+fragmentationNeeded(s.family)+","+destination(s.family)+"="+o.Addr.String(), output(s.ports.patch))
	}
}

// hostHas tells whether an address is one of the host's.
func (in input) hostHas(a netip.Addr) bool {
	for _, p := range in.facts.HostAddrs {
		if p.Addr() == a {
			return true
		}
	}
	return false
}

func (s *serviceFlows) fromNIC() string {
	return "in_port=" + strconv.Itoa(s.ports.nic) + ",dl_dst=" + s.in.facts.MAC + ","
}

func (s *serviceFlows) fromOVN() string {
	return "in_port=" + strconv.Itoa(s.ports.patch) + ",dl_src=" + s.in.facts.MAC + ","
}

// portAt is one port at one address, there and back.
func (s *serviceFlows) portAt(o *Outside, a netip.Addr) {
	protocol, port, addr := flowProtocol(o.Protocol, s.family), strconv.Itoa(int(o.Port)), a.String()
	s.w.add(0, 110, s.fromOVN()+protocol+","+source(s.family)+"="+addr+",tp_src="+port, output(s.ports.nic))
	s.restricted(o, 0, s.fromNIC()+protocol, destination(s.family)+"="+addr+",tp_dst="+port)
	if s.in.netdev() && o.Protocol == world.UDP {
		// In userspace fragments are fragments again after conntrack: only what it says of
		// the whole packet tells the later ones' port.
		s.restricted(o, tableFragments, "ct_state=+trk-inv,"+proto(s.family)+",ct_nw_proto="+strconv.Itoa(ipProtocolUDP),
			destination(s.family)+"="+addr+",ct_tp_dst="+port)
	}
}

// restricted leads to OVN who may come, and drops the others.
func (s *serviceFlows) restricted(o *Outside, table int, head, match string) {
	if !o.Restricted {
		s.w.add(table, 110, head+","+match, output(s.ports.patch))
		return
	}
	s.w.add(table, 110, head+","+match, "drop")
	for _, from := range o.Sources {
		s.w.add(table, 111, head+","+source(s.family)+"="+from.String()+","+match, output(s.ports.patch))
	}
}

// fragments have no ports but the first one: they are put together before ports are looked
// at. What OVN sends in fragments is committed like its other connections, all fragments
// of it, so that conntrack gets each of them.
func (s *serviceFlows) fragments() {
	ip := proto(s.family)
	s.w.add(0, 120, s.fromNIC()+ip+",nw_frag=yes,ct_state=-trk", fmt.Sprintf("ct(zone=%d,table=%d)", zoneFragments, tableFragments))
	s.w.add(tableFragments, 0, ip, "resubmit(,0)")
	s.w.add(0, 120, s.fromOVN()+ip+",nw_frag=yes", commit(markOVN)+output(s.ports.nic))
}

// tooBig lets OVN hear, too, that a packet from one of the host's own addresses was too big
// for a link: whose packet it was, conntrack cannot tell for connections that passed it by.
func (s *serviceFlows) tooBig() {
	s.w.add(tableFromOutside, 20, "dl_dst="+s.in.facts.MAC+","+fragmentationNeeded(s.family), output(s.ports.patch)+",LOCAL")
}

// fragmentationNeeded matches what routers say to packets that are too big (RFC 792, RFC
// 4443).
func fragmentationNeeded(f family) string {
	if f == ipv6 {
		return "icmp6,icmp_type=2"
	}
	return "icmp,icmp_type=3,icmp_code=4"
}

func flowProtocol(p world.Protocol, f family) string {
	if f == ipv6 {
		return string(p) + "6"
	}
	return string(p)
}
