//go:build linux

package box

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

// Packet is a packet for ovn-trace.
type Packet struct {
	Port       string // logical port that it comes in by
	EthSrc     string
	EthDst     string
	Src, Dst   netip.Addr
	Protocol   string // "tcp", "udp" or "sctp"
	TTL        int
	Datapath   string
	SourcePort int
	DestPort   int
}

func (p Packet) microflow() string {
	l3 := "ip6"
	if p.Src.Is4() {
		l3 = "ip4"
	}
	return fmt.Sprintf("inport==%q && eth.src==%s && eth.dst==%s && %s.src==%s && %s.dst==%s && ip.ttl==%d && %s && %s.src==%d && %s.dst==%d",
		p.Port, p.EthSrc, p.EthDst, l3, p.Src, l3, p.Dst, p.TTL, p.Protocol, p.Protocol, p.SourcePort, p.Protocol, p.DestPort)
}

// Trace is where a packet goes by the logical flows of one zone.
type Trace struct {
	Text    string
	Outputs []string // logical ports
	EthDst  string   // as it leaves, empty when unchanged
	SNAT    string   // the source address it gets, empty when unchanged
}

var (
	outputPattern = regexp.MustCompile(`output\("([^"]+)"\)`)
	ethDstPattern = regexp.MustCompile(`eth\.dst = ([0-9a-f:]+);`)
	snatPattern   = regexp.MustCompile(`ct_snat\(ip[46]\.src=([0-9a-f.:]+)`)
)

// Trace asks ovn-trace.
func (z *Zone) Trace(p Packet) Trace {
	z.box.t.Helper()
	t := Trace{Text: z.Run("ovn-trace", "--db="+z.socket("sb"), "--minimal", "--ct=new", p.Datapath, p.microflow())}
	for _, m := range outputPattern.FindAllStringSubmatch(t.Text, -1) {
		t.Outputs = append(t.Outputs, m[1])
	}
	if m := ethDstPattern.FindAllStringSubmatch(t.Text, -1); m != nil {
		t.EthDst = m[len(m)-1][1]
	}
	if m := snatPattern.FindStringSubmatch(t.Text); m != nil {
		t.SNAT = m[1]
	}
	return t
}

// packetFrom is a pod's packet to an address beyond its subnet.
func packetFrom(p *Pod, to netip.Addr, protocol string) Packet {
	from, _ := plan.AddrOfFamily(p.Addrs, to)
	return Packet{
		Port: p.LogicalPort(), Datapath: names.Network{}.NodeSwitch(p.Zone.Name), EthSrc: p.MAC, EthDst: p.Zone.gatewayMAC(),
		Src: from, Dst: to, Protocol: protocol, TTL: 64, SourcePort: 40000, DestPort: 80,
	}
}

// gatewayMAC is the MAC of the cluster router on the node's switch.
func (z *Zone) gatewayMAC() string {
	var addrs []netip.Addr
	for _, s := range z.Subnets {
		addrs = append(addrs, plan.Gateway(s))
	}
	return plan.MACOf(addrs...)
}

// TraceToPod traces a pod's packet to an address of another pod, through both zones when
// the pods are on different nodes, and fails unless it arrives.
func TraceToPod(p, q *Pod, to netip.Addr, protocol string) {
	p.Zone.box.t.Helper()
	t := p.Zone.box.t
	packet := packetFrom(p, to, protocol)
	if p.Zone == q.Zone {
		packet.EthDst = q.MAC
	}
	trace := p.Zone.Trace(packet)
	want := q.LogicalPort()
	if p.Zone != q.Zone {
		want = names.Network{}.TransitToRouter(q.Zone.Name)
	}
	if strings.Join(trace.Outputs, " ") != want {
		t.Errorf("%s of %s to %s: ovn-trace says output to %q, want %q:\n%s", protocol, p.Key, to, trace.Outputs, want, trace.Text)
		return
	}
	if p.Zone == q.Zone {
		return
	}
	packet.Port, packet.Datapath = names.Network{}.TransitToRouter(p.Zone.Name), names.Network{}.TransitSwitch()
	packet.EthSrc, packet.EthDst, packet.TTL = p.Zone.transitMAC(), trace.EthDst, packet.TTL-1
	trace = q.Zone.Trace(packet)
	if strings.Join(trace.Outputs, " ") != q.LogicalPort() {
		t.Errorf("%s of %s to %s: in the other zone ovn-trace says output to %q, want %q:\n%s", protocol, p.Key, to, trace.Outputs, q.LogicalPort(), trace.Text)
	}
}

// TraceFrom traces a pod's packet to a port of an address beyond its subnet.
func TraceFrom(p *Pod, to netip.AddrPort, protocol string) Trace {
	p.Zone.box.t.Helper()
	packet := packetFrom(p, to.Addr(), protocol)
	packet.DestPort = int(to.Port())
	return p.Zone.Trace(packet)
}

// TraceOutside traces a pod's packet to an address beyond the cluster.
func TraceOutside(p *Pod, to netip.Addr, protocol string) Trace {
	p.Zone.box.t.Helper()
	return p.Zone.Trace(packetFrom(p, to, protocol))
}

func (z *Zone) transitMAC() string {
	n := &z.box.Network
	transit, err := plan.Transit(n.OfFamilies(n.TransitSubnets), z.index+plan.FirstNodeID-1)
	if err != nil {
		z.box.t.Fatal(err)
	}
	return plan.MACOf(plan.Addrs(transit)...)
}
