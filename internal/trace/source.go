package trace

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/explain"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/policy"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Source is what a trace reads: a cluster, or a record of one.
type Source interface {
	// World is the Kubernetes objects. Of pods it has addresses and labels, whatever node
	// they are on.
	World(ctx context.Context) (*world.Store, error)
	// Policies is the same for the reference evaluator, which says why, with the addresses of
	// domain names that a node knows; no node knows none.
	Policies(ctx context.Context, node string) (policy.Cluster, error)
	// Zone is the OVN of a node.
	Zone(ctx context.Context, node string) (Zone, error)
}

// Zone is the OVN of one node.
type Zone interface {
	// OVNTrace has ovn-trace trace a packet on the zone's Southbound database, and returns
	// what it printed.
	OVNTrace(ctx context.Context, r Request) (string, error)
	// OFProtoTrace has ovs-vswitchd trace a flow, and returns what it printed.
	OFProtoTrace(ctx context.Context, bridge, flow string) (string, error)
	// LogicalFlows are the logical flows whose UUIDs begin with one of these eight digits.
	LogicalFlows(ctx context.Context, starts []string) ([]*sb.LogicalFlow, error)
	// Rows are the rows of the Northbound database, and the tables Port_Binding of the
	// Southbound and Interface of the Open_vSwitch database.
	Rows(ctx context.Context) (*explain.Index, error)
}

// Request is what ovn-trace is asked.
type Request struct {
	Datapath  string
	Microflow string
	// CT is the state of the connection, each time that it is looked up, e.g. "new" or
	// "est,rpl".
	CT string
	// Backend is what load balancers choose; the zero value lets ovn-trace choose.
	Backend netip.AddrPort
}

// lookups is how often a packet's connection can be looked up in one zone: twice in each of
// its switches and routers.
const lookups = 24

// Args are the arguments of ovn-trace. Without --ct as often as connections are looked up it
// takes the rest for established.
func (r Request) Args() []string {
	args := []string{"--detailed", "--minimal"}
	for range lookups {
		args = append(args, "--ct="+r.CT)
	}
	if r.Backend.IsValid() {
		args = append(args, "--lb-dst="+r.Backend.String())
	}
	return append(args, r.Datapath, r.Microflow)
}

// Protocol is a transport protocol, or ARP.
type Protocol string

// The protocols.
const (
	TCP  Protocol = "tcp"
	UDP  Protocol = "udp"
	SCTP Protocol = "sctp"
	ICMP Protocol = "icmp"
	// ARP asks for the MAC of an address; for IPv6 it is neighbour discovery.
	ARP Protocol = "arp"
)

// Protocols are all protocols.
var Protocols = []Protocol{TCP, UDP, SCTP, ICMP, ARP}

// ports tells whether packets have ports.
func (p Protocol) ports() bool { return p == TCP || p == UDP || p == SCTP }

// Packet is a packet at one place.
type Packet struct {
	Protocol Protocol   `json:"protocol"`
	EthSrc   string     `json:"ethSrc"`
	EthDst   string     `json:"ethDst"`
	Src      netip.Addr `json:"src"`
	Dst      netip.Addr `json:"dst"`
	TTL      int        `json:"ttl"`
	SrcPort  uint16     `json:"srcPort,omitempty"`
	DstPort  uint16     `json:"dstPort,omitempty"`
}

// String is "tcp 10.244.0.5:40000 > 10.244.1.7:80".
func (p Packet) String() string {
	if !p.Protocol.ports() {
		return fmt.Sprintf("%s %s > %s", p.Protocol, p.Src, p.Dst)
	}
	return fmt.Sprintf("%s %s > %s", p.Protocol, netip.AddrPortFrom(p.Src, p.SrcPort), netip.AddrPortFrom(p.Dst, p.DstPort))
}

// icmp types of echo requests (RFC 792, RFC 4443).
const (
	echo4 = 8
	echo6 = 128
)

// microflow is the packet at a logical port, as ovn-trace reads it.
func (p Packet) microflow(inport string) string {
	ip := "ip4"
	if p.Src.Is6() {
		ip = "ip6"
	}
	terms := []string{fmt.Sprintf("inport == %q", inport), "eth.src == " + p.EthSrc, "eth.dst == " + p.EthDst}
	add := func(format string, args ...any) { terms = append(terms, fmt.Sprintf(format, args...)) }
	if p.Protocol == ARP && ip == "ip4" {
		add("arp.op == 1 && arp.sha == %s && arp.spa == %s && arp.tpa == %s", p.EthSrc, p.Src, p.Dst)
		return strings.Join(terms, " && ")
	}
	if p.Protocol == ARP { // the solicited-node group of the target (RFC 4861)
		add("ip6.src == %s && ip6.dst == %s && ip.ttl == 255 && icmp6.type == 135 && icmp6.code == 0", p.Src, solicitedNode(p.Dst))
		add("nd.target == %s && nd.sll == %s", p.Dst, p.EthSrc)
		return strings.Join(terms, " && ")
	}
	add("%s.src == %s && %s.dst == %s && ip.ttl == %d", ip, p.Src, ip, p.Dst, p.TTL)
	switch {
	case p.Protocol.ports():
		add("%s && %s.src == %d && %s.dst == %d", p.Protocol, p.Protocol, p.SrcPort, p.Protocol, p.DstPort)
	case ip == "ip4":
		add("icmp4.type == %d && icmp4.code == 0", echo4)
	default:
		add("icmp6.type == %d && icmp6.code == 0", echo6)
	}
	return strings.Join(terms, " && ")
}

// solicitedNode is the multicast address that an address is asked for at.
func solicitedNode(a netip.Addr) netip.Addr {
	b, t := netip.MustParseAddr("ff02::1:ff00:0").As16(), a.As16()
	copy(b[13:], t[13:])
	return netip.AddrFrom16(b)
}

// neighbourMAC is where questions for an address go.
func neighbourMAC(a netip.Addr) string {
	if a.Is4() {
		return "ff:ff:ff:ff:ff:ff"
	}
	t := a.As16()
	return fmt.Sprintf("33:33:ff:%02x:%02x:%02x", t[13], t[14], t[15])
}
