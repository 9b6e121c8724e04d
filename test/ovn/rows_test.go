//go:build ovn && linux

package ovn

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/pods"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/topology"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
	"github.com/ovnkctl/ovnkctl/test/ovn/box"
)

// TestRows proves rows whose effect no ordinary connection shows.
func TestRows(t *testing.T) {
	t.Parallel()
	b := program(t, box.Options{Zones: 1, Family: box.Dual, Mode: world.GatewayShared})
	z := b.Zones[0]
	p := z.AddPod("p")
	z.Sync()
	box.Serve(t, b.OutsideNS(), port)
	box.Serve(t, p.NS, port)

	t.Run("SNAT keeps off the node's listening ports", func(t *testing.T) {
		nodePort := 30080
		for i, a := range b.OutsideAddrs() {
			for _, network := range []string{"tcp", "udp"} {
				nodePort++ // the last one is in TIME_WAIT
				r := box.Request{From: p.NS, Network: network, To: netip.AddrPortFrom(a, port), Port: nodePort}
				seen, err := r.Do(t.Context())
				if err != nil || seen.Addr() != z.Addrs[i].Addr() || seen.Port() < 32768 || seen.Port() > 60999 {
					t.Errorf("%s from port %d: the outside saw %s, %v; want a port from 32768 to 60999", network, nodePort, seen, err)
				}
			}
		}
	})

	t.Run("packets to ovn-controller are metered", func(t *testing.T) {
		for _, meter := range []string{"arp-resolve", "icmp4-error", "icmp6-error"} {
			name := meter + "-rate-limiter"
			if z.Run("ovn-sbctl", "--bare", "--columns=_uuid", "find", "Logical_Flow", "controller_meter="+name) == "" {
				t.Errorf("no logical flow has meter %s", name)
			}
		}
	})

	t.Run("the dummy next hops have their MAC", func(t *testing.T) {
		// ovn-trace does not know static bindings: what counts is what the bridge does.
		flows := z.Run("ovs-ofctl", "dump-flows", "br-int")
		for _, m := range b.Network.Masquerade {
			hop, _ := plan.MasqueradeAddr(m, plan.MasqueradeNextHop)
			if !strings.Contains(flows, "mod_dl_dst:"+plan.MAC(hop)) {
				t.Errorf("no flow of br-int sends to %s, the MAC of next hop %s", plan.MAC(hop), hop)
			}
		}
	})

	t.Run("northd's own columns are no drift", func(t *testing.T) {
		const vlan = "30"
		tagged := z.Node.DeepCopy()
		for k, v := range tagged.Annotations {
			tagged.Annotations[k] = strings.Replace(v, `"vlan-id":"0"`, `"vlan-id":"`+vlan+`"`, 1)
		}
		topologyBefore, podsBefore := z.Transactions("nb", topology.Name), z.Transactions("nb", pods.Name)
		z.World.SetNode(world.FromNode(tagged))
		z.Wait(topology.Name, feature.Key{Name: z.Name})
		z.Sync() // northd copies tag_request to tag
		// When the engine has made and removed a pod it has looked at what northd wrote.
		z.DeletePod(z.AddPod("again"))
		n, m := z.Transactions("nb", topology.Name)-topologyBefore, z.Transactions("nb", pods.Name)-podsBefore
		if n != 1 || m != 2 {
			t.Errorf("the engine wrote %d times for the changed node and %d for a pod that came and went, want 1 and 2", n, m)
		}
		localnet, ok := ovn.Find[nb.LogicalSwitchPort](z.NB, "br-ex_"+z.Name)
		if !ok || localnet.Tag == nil || fmt.Sprint(*localnet.Tag) != vlan {
			t.Errorf("the localnet port is %+v, want tag %s", localnet, vlan)
		}
	})
	quietLogs(t, b)
}
