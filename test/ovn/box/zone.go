//go:build linux

package box

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ovnkctl/ovnkctl/internal/annotation"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/runtime/engine"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

// Zone is one node with its databases and daemons.
type Zone struct {
	Name    string
	NS      string         // network namespace of the node
	Addrs   []netip.Prefix // of the node on the underlay
	Subnets []netip.Prefix // of its pods
	MAC     string         // of eth0 and br-ex
	Node    *corev1.Node
	NB, SB  *ovn.DB
	World   *world.Store
	Engine  *engine.Engine

	box     *Box
	index   int
	dir     string
	daemons map[string]*daemon
	agent   *agent
	outside *outside
	pods    int
	halt    context.CancelFunc // ends the engine
	halted  chan struct{}
}

// newZone makes a node with a NIC and starts its programs. The zone is in the box from the
// beginning, so that a failure leaves nothing behind.
func (b *Box) newZone(index int) {
	b.t.Helper()
	z := &Zone{Name: fmt.Sprint("n", index), box: b, index: index, Addrs: b.nodeAddrs(index), daemons: map[string]*daemon{}}
	b.Zones = append(b.Zones, z)
	z.MAC = plan.MAC(z.Addrs[0].Addr())
	for _, c := range b.Network.ClusterSubnets {
		z.Subnets = append(z.Subnets, netip.PrefixFrom(nthSubnet(c.Prefix.Addr(), c.HostLength, index), c.HostLength))
	}
	z.dir = filepath.Join(b.dir, z.Name)
	if err := os.Mkdir(z.dir, 0o700); err != nil {
		b.t.Fatal(err)
	}
	z.NS = b.namespace(z.Name)
	z.makeNIC()
	z.startOVS()
	z.startOVN()
	z.makeNode(z.startAgent())
}

// nodeAddrs are the addresses of a node on the underlay.
func (b *Box) nodeAddrs(index int) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range b.prefixes(underlay) {
		a, _ := plan.Nth(p, uint64(10+index))
		out = append(out, plan.With(a, p))
	}
	return out
}

// makeNIC connects the node with the fabric, as a distribution would set it up.
func (z *Zone) makeNIC() {
	z.box.t.Helper()
	b := z.box
	b.ip(b.fabric, "link add "+z.Name+" type veth peer name eth0 netns "+z.NS)
	b.ip(b.fabric, "link set "+z.Name+" master fabric up")
	b.ip(z.NS, "link set eth0 address "+z.MAC+" up")
	for _, a := range z.Addrs {
		b.ip(z.NS, "addr add "+a.String()+" dev eth0"+nodad(a.Addr()))
	}
	for _, r := range b.ofFamily(routers) {
		b.ip(z.NS, "route add default via "+r.String())
	}
}

// startOVS starts an Open vSwitch that knows who it is and nothing else.
func (z *Zone) startOVS() {
	z.box.t.Helper()
	z.startDatabase("db", "vswitch")
	z.vsctl("--no-wait", "init", "--", "set", "Open_vSwitch", ".", fmt.Sprintf("external_ids:system-id=%q", z.chassis()),
		"other_config:n-handler-threads=1", "other_config:n-revalidator-threads=1",
		// Read at the start only: pods' packets come without checksums, as from any veth.
		"other_config:userspace-tso-enable=true")
	z.start("ovs-vswitchd", "", z.socket("db"), "--pidfile="+filepath.Join(z.dir, "ovs-vswitchd.pid"))
}

func (z *Zone) startOVN() {
	z.box.t.Helper()
	z.startDatabase("nb", "ovn-nb")
	z.startDatabase("sb", "ovn-sb")
	z.Run("ovn-nbctl", "--no-wait", "init")
	z.Run("ovn-sbctl", "init")
	z.start("ovn-northd", "", "--ovnnb-db="+z.socket("nb"), "--ovnsb-db="+z.socket("sb"), "--pidfile="+filepath.Join(z.dir, "ovn-northd.pid"))
	z.StartController()
	z.NB, z.SB = z.open("nb", ovn.Northbound()), z.open("sb", ovn.Southbound(), "SB_Global", "Chassis", "Encap")
}

// StartController starts ovn-controller, at first or after Kill.
func (z *Zone) StartController() {
	z.box.t.Helper()
	z.start("ovn-controller", "", z.socket("db"), "--pidfile="+filepath.Join(z.dir, "ovn-controller.pid"))
}

func (z *Zone) open(db string, d *ovn.Database, tables ...string) *ovn.DB {
	z.box.t.Helper()
	ctx, cancel := context.WithTimeout(z.box.ctx, Patience)
	defer cancel()
	c, err := ovn.Open(ctx, ovn.Config{Endpoint: z.socket(db), Database: d, Tables: tables})
	if err != nil {
		z.box.t.Fatalf("connect to %s of %s: %v", db, z.Name, err)
	}
	return c
}

func (z *Zone) chassis() string { return "chassis-" + z.Name }

// makeNode makes the Node object as the controller and the node's agent leave it.
func (z *Zone) makeNode(f host.Facts) {
	z.box.t.Helper()
	n := &z.box.Network
	id := z.index + plan.FirstNodeID - 1
	transit, err := plan.Transit(n.OfFamilies(n.TransitSubnets), id)
	if err != nil {
		z.box.t.Fatal(err)
	}
	g := f.Gateway(z.Name, n.GatewayMode)
	a := map[string]string{}
	annotation.NodeID.Put(a, id)
	annotation.NodeSubnets.Put(a, map[string][]netip.Prefix{world.DefaultNetwork: z.Subnets})
	annotation.NodeTransit.Put(a, transit)
	annotation.NodeChassisID.Put(a, f.ChassisID)
	annotation.NodePrimaryAddrs.Put(a, f.Primary)
	annotation.NodeHostAddrs.Put(a, f.HostAddrs)
	annotation.NodeEncapIPs.Put(a, f.EncapIPs)
	annotation.GatewayMTUSupport.Put(a, !f.NoGatewayMTU)
	annotation.L3Gateway.Put(a, annotation.Gateway{
		Mode: string(g.Mode), BridgeID: g.BridgeID, InterfaceID: g.InterfaceID, MAC: g.MAC,
		Addresses: g.Addresses, NextHops: g.NextHops, VLAN: g.VLAN, NodePort: g.NodePort,
	})
	z.Node = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: z.Name, UID: types.UID("uid-" + z.Name), Annotations: a}}
}

// nthSubnet is the first address of the n-th block of that length from base on.
func nthSubnet(base netip.Addr, length, n int) netip.Addr {
	b := base.AsSlice()
	b[length/8-1] += byte(n) // lengths are whole bytes, and n is small
	a, _ := netip.AddrFromSlice(b)
	return a
}

// program starts the engine with the features, on a world of all the box's nodes.
func (z *Zone) program(features []feature.Feature) {
	z.box.t.Helper()
	z.World = world.New(world.Config{LocalNode: z.Name, Networks: []world.Network{z.box.Network}})
	z.follow()
	z.startEngine(features, func() {
		for _, other := range z.box.Zones {
			z.World.SetNode(world.FromNode(other.Node))
		}
	})
}

// Restart starts another engine in place of the zone's, on the same objects: what a
// restart of `ovnkctl node` is.
func (z *Zone) Restart(features ...feature.Feature) {
	z.box.t.Helper()
	z.haltEngine()
	old := z.World
	z.World = world.New(world.Config{LocalNode: z.Name, Networks: []world.Network{z.box.Network}})
	z.follow()
	z.startEngine(features, func() {
		old.Read(func(v world.View) {
			for _, n := range v.Nodes() {
				z.World.SetNode(n)
			}
			for p := range v.Pods {
				z.World.SetPod(p)
			}
			for s := range v.Services {
				z.World.SetService(s)
			}
			for s := range v.EndpointSlices {
				z.World.SetSlice(s)
			}
		})
	})
}

func (z *Zone) startEngine(features []feature.Feature, fill func()) {
	z.box.t.Helper()
	z.Engine = engine.New(engine.Config{
		World: z.World, NB: z.NB, SB: z.SB, Features: features,
		OnReasons: func(name string, k feature.Key, reasons []feature.Reason) {
			for _, r := range reasons {
				z.box.t.Logf("%s: %s %s: %s: %s", z.Name, name, k, r.Code, r.Message)
			}
		},
	})
	fill()
	z.World.MarkSynced()
	ctx, cancel := context.WithCancel(context.WithoutCancel(z.box.ctx))
	z.halt, z.halted = cancel, make(chan struct{})
	go func() {
		defer close(z.halted)
		z.Engine.Run(ctx) //nolint:errcheck // ends with its context
	}()
	z.await("the databases", func(ctx context.Context) {
		select {
		case <-z.Engine.Synced():
		case <-ctx.Done():
		}
	})
}

// Sync waits until northd and ovn-controller have done all that NB asks for, the host its part
// in services, and the switch has looked again at the ways that packets took before: it says
// that it has new flows before they hold for packets like those (a query was seen to get an
// answer 10 ms after hv_cfg said that it is denied).
func (z *Zone) Sync() {
	z.box.t.Helper()
	z.tellAgent()
	z.Run("ovn-nbctl", fmt.Sprintf("--timeout=%d", int(Patience.Seconds())), "--wait=hv", "sync")
	z.Run("ovs-appctl", "-t", "ovs-vswitchd", "revalidator/wait")
}

func (z *Zone) haltEngine() {
	if z.halt != nil {
		z.halt()
		<-z.halted
		z.halt = nil
	}
}

func (z *Zone) stop() {
	z.haltEngine()
	for _, db := range []*ovn.DB{z.NB, z.SB} {
		if db != nil {
			db.Close()
		}
	}
	if z.agent != nil {
		z.agent.kill()
	}
	for _, d := range z.daemons {
		d.kill()
	}
}

// Log is what a daemon has logged.
func (z *Zone) Log(daemon string) string {
	z.box.t.Helper()
	data, err := os.ReadFile(filepath.Join(z.dir, daemon+".log"))
	if err != nil {
		z.box.t.Fatal(err)
	}
	return string(data)
}

// Transactions counts the engine's transactions in the file of a database, by the comments
// that begin with a feature's name.
func (z *Zone) Transactions(db string, features ...string) int {
	z.box.t.Helper()
	data, err := os.ReadFile(filepath.Join(z.dir, db+".db"))
	if err != nil {
		z.box.t.Fatal(err)
	}
	n := 0
	for _, f := range features {
		n += strings.Count(string(data), fmt.Sprintf(`"_comment":"%s/`, f))
	}
	return n
}
