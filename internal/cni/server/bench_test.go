//go:build ovn && linux

package server_test

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovnkctl/ovnkctl/internal/cni/wire"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/test/sandbox/netspace"
)

// BenchmarkAdd is one pod at a time on real OVN, from the moment the node hears of the
// pod until the CNI result; BenchmarkFloor is the least that anybody has to do for it: a
// veth with addresses, one row in the Northbound and one port in the Open_vSwitch
// database, and waiting for ovn-installed. Compare them in one run.
func BenchmarkAdd(b *testing.B) {
	z := realZone(b)
	ns := z.namespace("bench")
	var took []time.Duration
	for n := 0; b.Loop(); n++ {
		name, sandbox := fmt.Sprint("bench-", n), burstSandbox(n)
		start := time.Now()
		p := z.pod(name, nil)
		z.must(wire.Add, sandbox, p, ns)
		took = append(took, time.Since(start))
		b.StopTimer()
		z.must(wire.Del, sandbox, p, ns)
		z.World.DeletePod(world.PodKey{Namespace: "default", Name: name})
		b.StartTimer()
	}
	percentiles(b, took)
}

// BenchmarkFloor: see BenchmarkAdd.
func BenchmarkFloor(b *testing.B) {
	z := realZone(b)
	f := newFloor(z)
	var took []time.Duration
	for n := 0; b.Loop(); n++ {
		p := z.draft(fmt.Sprint("floor-", n))
		start := time.Now()
		f.add(p, fmt.Sprint("floor", n))
		took = append(took, time.Since(start))
		b.StopTimer()
		f.del(fmt.Sprint("floor", n))
		b.StartTimer()
	}
	percentiles(b, took)
}

func percentiles(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	for _, p := range []int{50, 90, 99} {
		b.ReportMetric(float64(took[(len(took)-1)*p/100].Microseconds())/1000, fmt.Sprintf("ms-p%d", p))
	}
}

// floor does the least, with nothing around it.
type floor struct {
	z       *zone
	pod     *os.File
	inside  *netlink.Handle
	outside *netlink.Handle
	ls, br  string // UUIDs
}

func newFloor(z *zone) *floor {
	f := &floor{z: z}
	var err error
	if f.pod, err = os.Open("/run/netns/" + z.namespace("floor")); err != nil {
		z.t.Fatal(err)
	}
	open := func(h **netlink.Handle) func() error {
		return func() (err error) {
			*h, err = netlink.NewHandle(unix.NETLINK_ROUTE)
			return err
		}
	}
	if err := netspace.Do(z.NS, open(&f.outside)); err != nil {
		z.t.Fatal(err)
	}
	if err := netspace.Do(z.NS+"-floor", open(&f.inside)); err != nil {
		z.t.Fatal(err)
	}
	// A switch of its own: what others put on the node's switch the engine takes away.
	results, err := z.NB.Transact(z.t.Context(), "", ovn.Insert(&nb.LogicalSwitch{Name: "floor"}, "ls"))
	if err != nil {
		z.t.Fatal(err)
	}
	br, _ := ovn.Find[vswitch.Bridge](z.ovs, names.IntegrationBridge)
	f.ls, f.br = results[0].UUID.GoUUID, br.UUID
	return f
}

// members makes the operation that changes the ports of a switch or bridge.
func members(d *ovn.Database, table, parent string, m ovn.Mutation) ovsdb.Operation {
	t, _ := d.Table(table)
	m.Column, _ = t.Column("ports")
	return ovn.Mutate(t, parent, m)
}

func (f *floor) must(err error) {
	if err != nil {
		f.z.t.Fatal(err)
	}
}

func (f *floor) add(p *world.Pod, veth string) {
	n := p.Networks[world.DefaultNetwork]
	addresses := n.MAC
	for _, a := range n.Addresses {
		addresses += " " + a.Addr().String()
	}
	_, err := f.z.NB.Transact(f.z.t.Context(), "", ovn.Insert(&nb.LogicalSwitchPort{
		Name: "default_" + p.Name, Addresses: []string{addresses}, PortSecurity: []string{addresses},
	}, "lsp"), members(ovn.Northbound(), nb.LogicalSwitchTable, f.ls, ovn.Mutation{Insert: []string{"lsp"}}))
	f.must(err)

	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.Flags = veth, mtu, 1 // IFF_UP
	f.must(f.outside.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(f.pod.Fd()))}))
	eth0, err := f.inside.LinkByName("eth0")
	f.must(err)
	f.must(f.inside.LinkSetUp(eth0))
	for _, a := range n.Addresses {
		addr, _ := netlink.ParseAddr(a.String())
		f.must(f.inside.AddrAdd(eth0, addr))
	}

	installed := make(chan struct{})
	cancel := ovn.Watch(f.z.ovs, func(_, now *vswitch.Interface) {
		if now != nil && now.Name == veth && now.ExternalIDs["ovn-installed"] == "true" {
			select {
			case <-installed:
			default:
				close(installed)
			}
		}
	})
	defer cancel()
	_, err = f.z.ovs.Transact(f.z.t.Context(), "",
		ovn.Insert(&vswitch.Interface{Name: veth, ExternalIDs: map[string]string{"iface-id": "default_" + p.Name}}, "iface"),
		ovn.Insert(&vswitch.Port{Name: veth, Interfaces: []string{"iface"}}, "port"),
		members(ovn.OpenVSwitch(), vswitch.BridgeTable, f.br, ovn.Mutation{Insert: []string{"port"}}))
	f.must(err)
	select {
	case <-installed:
	case <-time.After(time.Minute):
		f.z.t.Fatal("the floor's port was not installed")
	}
}

func (f *floor) del(veth string) {
	port, _ := ovn.Find[vswitch.Port](f.z.ovs, veth)
	_, err := f.z.ovs.Transact(f.z.t.Context(), "", members(ovn.OpenVSwitch(), vswitch.BridgeTable, f.br, ovn.Mutation{Remove: []string{port.UUID}}))
	f.must(err)
	link, err := f.outside.LinkByName(veth)
	f.must(err)
	f.must(f.outside.LinkDel(link))
	for _, p := range ovn.List[nb.LogicalSwitchPort](f.z.NB) {
		if len(p.Name) > 14 && p.Name[:14] == "default_floor-" {
			_, err := f.z.NB.Transact(f.z.t.Context(), "", members(ovn.Northbound(), nb.LogicalSwitchTable, f.ls, ovn.Mutation{Remove: []string{p.UUID}}))
			f.must(err)
		}
	}
}
