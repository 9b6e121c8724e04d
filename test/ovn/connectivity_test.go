//go:build ovn && linux

package ovn

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
	"github.com/ovnkctl/ovnkctl/test/ovn/box"
)

const port = 8080

func TestMain(m *testing.M) { box.Main(m) }

// TestConnectivity sends packets between everything that must reach each other, in each
// gateway mode and family, and checks whose address the other end sees.
func TestConnectivity(t *testing.T) {
	t.Parallel()
	for _, o := range []box.Options{
		{Zones: 3, Family: box.Dual, Mode: world.GatewayShared},
		{Zones: 2, Family: box.Dual, Mode: world.GatewayLocal},
		{Zones: 2, Family: box.IPv4, Mode: world.GatewayShared},
		{Zones: 2, Family: box.IPv6, Mode: world.GatewayShared},
		{Zones: 2, Family: box.IPv6, Mode: world.GatewayLocal},
	} {
		t.Run(fmt.Sprintf("%s/%s", o.Family, o.Mode), func(t *testing.T) {
			b := program(t, o)
			n1 := b.Zones[0]
			pods := []*box.Pod{n1.AddPod("a"), n1.AddPod("b")}
			for _, z := range b.Zones[1:] {
				pods = append(pods, z.AddPod("on-"+z.Name))
			}
			for _, z := range b.Zones {
				z.Sync()
				box.Serve(t, z.NS, port)
			}
			for _, p := range pods {
				box.Serve(t, p.NS, port)
			}
			box.Serve(t, b.OutsideNS(), port)

			podsToPods(t, pods)
			hostsAndPods(t, pods[0], pods[len(pods)-1])
			outside(t, b, pods)
			traces(t, b, pods[0], pods[1], pods[2])
			quietLogs(t, b)
		})
	}
}

// program makes a box and has it programmed.
func program(t *testing.T, o box.Options) *box.Box {
	t.Helper()
	b := box.New(t, o)
	b.Program(features...)
	return b
}

// everything sends TCP, UDP and ICMP, long packets too.
func everything(t *testing.T, from string, to, seen netip.Addr) {
	t.Helper()
	for _, network := range []string{"tcp", "udp"} {
		box.Request{From: from, Network: network, To: netip.AddrPortFrom(to, port)}.Check(t, seen)
	}
	for _, size := range []int{8, 1300} {
		box.Echo{From: from, To: to, Size: size}.Check(t)
	}
}

func podsToPods(t *testing.T, pods []*box.Pod) {
	t.Helper()
	for _, p := range pods {
		for _, q := range pods {
			if p == q {
				continue
			}
			for i, a := range q.Addrs {
				everything(t, p.NS, a, p.Addrs[i])
			}
		}
	}
}

// hostsAndPods checks that a node reaches its own and other nodes' pods by its management
// port, and that pods reach nodes: their own with their own address, others as the
// outside, that is with the node's.
func hostsAndPods(t *testing.T, near, far *box.Pod) {
	t.Helper()
	z, other := near.Zone, far.Zone
	for i, s := range z.Subnets {
		everything(t, z.NS, near.Addrs[i], plan.Management(s))
		everything(t, z.NS, far.Addrs[i], plan.Management(s))
		everything(t, near.NS, z.Addrs[i].Addr(), near.Addrs[i])
		everything(t, near.NS, other.Addrs[i].Addr(), z.Addrs[i].Addr())
		everything(t, z.NS, other.Addrs[i].Addr(), z.Addrs[i].Addr())
	}
}

// outside checks that pods and nodes reach the host beyond the nodes' router, with the
// node's address.
func outside(t *testing.T, b *box.Box, pods []*box.Pod) {
	t.Helper()
	for i, a := range b.OutsideAddrs() {
		for _, p := range pods {
			everything(t, p.NS, a, p.Zone.Addrs[i].Addr())
		}
		everything(t, pods[0].Zone.NS, a, pods[0].Zone.Addrs[i].Addr())
	}
}

// traces follows what the machine cannot send: its kernel has no SCTP. The logical flows
// treat it as TCP, whose packets were really sent.
func traces(t *testing.T, b *box.Box, p, near, far *box.Pod) {
	t.Helper()
	for _, protocol := range []string{"tcp", "sctp"} {
		for i := range p.Addrs {
			box.TraceToPod(p, near, near.Addrs[i], protocol)
			box.TraceToPod(p, far, far.Addrs[i], protocol)
			box.TraceToPod(far, p, p.Addrs[i], protocol)
		}
		for i, a := range b.OutsideAddrs() {
			checkWayOut(t, b, box.TraceOutside(p, a, protocol), p, i)
		}
	}
	t.Log("SCTP: not sent, the kernel may have none; followed through the logical flows with ovn-trace")
}

func checkWayOut(t *testing.T, b *box.Box, trace box.Trace, p *box.Pod, family int) {
	t.Helper()
	port, snat := "br-ex_"+p.Zone.Name, p.Zone.Addrs[family].Addr().String()
	if b.Network.GatewayMode == world.GatewayLocal {
		port, snat = "k8s-"+p.Zone.Name, ""
	}
	if len(trace.Outputs) != 1 || trace.Outputs[0] != port || trace.SNAT != snat {
		t.Errorf("to the outside: output to %q with source %q, want %q and %q:\n%s", trace.Outputs, trace.SNAT, port, snat, trace.Text)
	}
}
