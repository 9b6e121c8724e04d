//go:build ovn && linux

package ovn

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/hostports"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/pods"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/services"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/topology"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/test/ovn/box"
)

var features = []feature.Feature{topology.Feature{}, pods.Feature{}, services.Feature{}, hostports.Feature{}}

// TestLifecycle changes a small cluster and looks at the rows and the packets after each
// step.
func TestLifecycle(t *testing.T) {
	t.Parallel()
	b := program(t, box.Options{Zones: 2, Family: box.Dual, Mode: world.GatewayShared})
	n1, n2 := b.Zones[0], b.Zones[1]
	p, q := n1.AddPod("p"), n2.AddPod("q")
	box.Serve(t, p.NS, port)
	box.Serve(t, q.NS, port)
	reach := func(t *testing.T) {
		t.Helper()
		for i := range p.Addrs {
			box.Request{From: p.NS, Network: "tcp", To: netip.AddrPortFrom(q.Addrs[i], port)}.Check(t, p.Addrs[i])
			box.Request{From: q.NS, Network: "tcp", To: netip.AddrPortFrom(p.Addrs[i], port)}.Check(t, q.Addrs[i])
		}
	}
	n1.Sync()
	n2.Sync()
	reach(t)

	t.Run("a restart writes nothing", func(t *testing.T) {
		names := []string{topology.Name, pods.Name}
		for _, z := range b.Zones {
			nbBefore, sbBefore := z.Transactions("nb", names...), z.Transactions("sb", names...)
			if nbBefore == 0 || sbBefore == 0 {
				t.Fatalf("%s: no transaction of ours was counted (%d, %d): the count counts nothing", z.Name, nbBefore, sbBefore)
			}
			z.Restart(features...)
			if n, s := z.Transactions("nb", names...)-nbBefore, z.Transactions("sb", names...)-sbBefore; n != 0 || s != 0 {
				t.Errorf("%s: the restart made %d transactions in NB and %d in SB", z.Name, n, s)
			}
		}
		reach(t)
	})

	t.Run("a pod that goes leaves nothing", func(t *testing.T) {
		before := rowCount(n1.NB)
		gone := n1.AddPod("gone")
		if rowCount(n1.NB) != before+1 {
			t.Errorf("a pod makes %d rows, want 1", rowCount(n1.NB)-before)
		}
		n1.DeletePod(gone)
		if rowCount(n1.NB) != before {
			t.Errorf("%d rows are left", rowCount(n1.NB)-before)
		}
	})

	t.Run("a node that goes and comes back", func(t *testing.T) {
		nbBefore, sbBefore := rowCount(n1.NB), rowCount(n1.SB)
		n1.World.DeleteNode(n2.Name)
		n1.Wait(topology.Name, feature.Key{Name: n2.Name})
		if names := chassisNames(n1.SB); slices.Contains(names, n2.Node.Annotations["k8s.ovn.org/node-chassis-id"]) {
			t.Errorf("chassis of the deleted node is left: %v", names)
		}
		for _, r := range ovn.List[nb.LogicalRouterStaticRoute](n1.NB) {
			if r.ExternalIDs["ic-node"] == n2.Name {
				t.Errorf("route %s of the deleted node is left", r.IPPrefix)
			}
		}
		n1.Sync()
		box.Request{From: p.NS, Network: "udp", To: netip.AddrPortFrom(q.Addrs[0], port)}.CheckSilence(t)
		n1.World.SetNode(world.FromNode(n2.Node))
		n1.Wait(topology.Name, feature.Key{Name: n2.Name})
		if n, s := rowCount(n1.NB), rowCount(n1.SB); n != nbBefore || s != sbBefore {
			t.Errorf("after the node came back there are %d and %d rows, before it went %d and %d", n, s, nbBefore, sbBefore)
		}
		n1.Sync()
		reach(t)
	})

	t.Run("bad nodes disturb nobody", func(t *testing.T) {
		clone := n2.Node.DeepCopy()
		clone.Name, clone.CreationTimestamp = "clone", later
		n1.World.SetNode(world.FromNode(clone))
		overlapping := n2.Node.DeepCopy()
		overlapping.Name, overlapping.CreationTimestamp = "overlapping", later
		overlapping.Annotations = map[string]string{
			"k8s.ovn.org/node-id": "77", "k8s.ovn.org/node-chassis-id": "chassis-77", "k8s.ovn.org/node-encap-ips": `["172.30.0.77"]`,
			"k8s.ovn.org/node-transit-switch-port-ifaddr": `{"ipv4":"100.88.0.77/16"}`,
			"k8s.ovn.org/node-subnets":                    `{"default":["` + n2.Subnets[0].String() + `"]}`,
		}
		n1.World.SetNode(world.FromNode(overlapping))
		garbage := overlapping.DeepCopy()
		garbage.Name = "garbage"
		for k := range garbage.Annotations {
			garbage.Annotations[k] = "}{"
		}
		n1.World.SetNode(world.FromNode(garbage))
		for _, name := range []string{"clone", "overlapping", "garbage"} {
			n1.Wait(topology.Name, feature.Key{Name: name})
			for _, r := range ovn.List[nb.LogicalSwitchPort](n1.NB) {
				if strings.HasSuffix(r.Name, name) {
					t.Errorf("node %s has port %s", name, r.Name)
				}
			}
		}
		n1.Sync()
		reach(t)
	})
	quietLogs(t, b)
}

// rowCount counts the rows of a database that have an owner.
func rowCount(db *ovn.DB) int {
	n := 0
	db.Read(func(v ovn.View) {
		for owner := range v.Owners() {
			n += len(v.Owned(owner))
		}
	})
	return n
}

func chassisNames(db *ovn.DB) []string {
	var out []string
	for _, c := range ovn.List[sb.Chassis](db) {
		out = append(out, c.Name)
	}
	return out
}
