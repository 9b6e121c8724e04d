package topology

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/featuretest"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

func TestGolden(t *testing.T) {
	t.Parallel()
	given := featuretest.Golden(t, Feature{})
	for _, code := range Codes {
		if !given[code] {
			t.Errorf("no golden case gives the reason %s", code)
		}
		delete(given, code)
	}
	for code := range given {
		t.Errorf("reason %s is not in Codes", code)
	}
}

func TestOtherNetworksAndObjects(t *testing.T) {
	t.Parallel()
	store := cluster(2)
	store.Read(func(v world.View) {
		if out, reasons := (Feature{}).Desired(v, feature.Key{Network: "blue", Name: "node-0"}); len(out.NB.Rows) > 0 || reasons != nil {
			t.Errorf("a network that is not there has rows: %v %v", out, reasons)
		}
		if out, _ := (Feature{}).Desired(v, feature.Key{Name: "gone"}); len(out.NB.Rows)+len(out.NB.Members) > 0 {
			t.Errorf("a node that is not there has rows: %v", out)
		}
		if keys := (Feature{}).Keys(v, world.Change{Ref: world.ObjectRef{Kind: world.KindPod, Name: "p"}}); keys != nil {
			t.Errorf("a pod touches %v", keys)
		}
	})
}

// cluster is a store with n nodes, of which node-0 is local.
func cluster(n int) *world.Store {
	network := world.Network{
		Name: world.DefaultNetwork, MTU: 1400, GatewayMTUCheck: true, EncapPort: genevePort,
		ClusterSubnets: []world.ClusterSubnet{
			{Prefix: netip.MustParsePrefix("10.0.0.0/8"), HostLength: 24}, {Prefix: netip.MustParsePrefix("fd00::/32"), HostLength: 64},
		},
		JoinSubnets:    []netip.Prefix{netip.MustParsePrefix("100.64.0.0/16"), netip.MustParsePrefix("fd98::/64")},
		TransitSubnets: []netip.Prefix{netip.MustParsePrefix("100.88.0.0/16"), netip.MustParsePrefix("fd97::/64")},
		Masquerade:     []netip.Prefix{netip.MustParsePrefix("169.254.0.0/17"), netip.MustParsePrefix("fd69::/112")},
	}
	s := world.New(world.Config{LocalNode: "node-0", Networks: []world.Network{network}})
	for i := range n {
		transit, err := plan.Transit(network.TransitSubnets, i+plan.FirstNodeID)
		if err != nil {
			panic(err)
		}
		host := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i)}), 12)
		s.SetNode(&world.Node{
			Name: fmt.Sprintf("node-%d", i), UID: fmt.Sprint(i), ID: i + plan.FirstNodeID, ChassisID: fmt.Sprintf("chassis-%d", i),
			Subnets: map[string][]netip.Prefix{world.DefaultNetwork: {
				netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i)}), 24),
				netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 5: byte(i >> 8), 6: byte(i)}), 64),
			}},
			Transit: transit, EncapIPs: []netip.Addr{host.Addr()}, HostAddrs: []netip.Prefix{host},
			Gateway: &world.Gateway{
				Mode: world.GatewayShared, BridgeID: "br-ex", InterfaceID: fmt.Sprintf("br-ex_node-%d", i), MAC: plan.MAC(host.Addr()),
				Addresses: []netip.Prefix{host}, NextHops: []netip.Addr{netip.MustParseAddr("172.16.255.254")},
			},
		})
	}
	return s
}

// BenchmarkDesired computes one key in clusters of several sizes: the time must not grow
// with the number of nodes.
func BenchmarkDesired(b *testing.B) {
	for _, size := range []int{10, 1_000, 10_000} {
		store := cluster(size)
		for _, name := range []string{"node-0", "node-1"} {
			kind := map[string]string{"node-0": "local", "node-1": "remote"}[name]
			b.Run(fmt.Sprintf("%s/nodes=%d", kind, size), func(b *testing.B) {
				b.ReportAllocs()
				store.Read(func(v world.View) {
					for b.Loop() {
						if out, _ := (Feature{}).Desired(v, feature.Key{Name: name}); len(out.NB.Rows) == 0 {
							b.Fatal("no rows")
						}
					}
				})
			})
		}
	}
}

// BenchmarkKeys asks which keys a changed node touches.
func BenchmarkKeys(b *testing.B) {
	store := cluster(10_000)
	store.Read(func(v world.View) {
		n, _ := v.Node("node-7")
		changed := *n
		changed.ID = 8
		b.ReportAllocs()
		for b.Loop() {
			(Feature{}).Keys(v, world.Change{Ref: n.Ref(), OldNode: n, NewNode: &changed})
		}
	})
}
