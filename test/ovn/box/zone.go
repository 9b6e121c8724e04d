//go:build linux

package box

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ovnkctl/ovnkctl/internal/annotation"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/runtime/engine"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
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
	pods    int
	halt    context.CancelFunc // ends the engine
	halted  chan struct{}
}

func (b *Box) newZone(index int) *Zone {
	b.t.Helper()
	z := &Zone{Name: fmt.Sprint("n", index), box: b, index: index, daemons: map[string]*daemon{}}
	for _, p := range b.prefixes(underlay) {
		a, _ := plan.Nth(p, uint64(10+index))
		z.Addrs = append(z.Addrs, plan.With(a, p))
	}
	z.MAC = plan.MAC(z.Addrs[0].Addr())
	z.dir = filepath.Join(b.dir, z.Name)
	if err := os.Mkdir(z.dir, 0o700); err != nil {
		b.t.Fatal(err)
	}
	z.NS = b.namespace(z.Name)
	z.makeNIC()
	z.startOVS()
	z.startOVN()
	z.Node = z.node()
	return z
}

// makeNIC connects the node with the fabric. eth0 belongs to Open vSwitch alone: its
// userspace datapath reads copies of the frames, so the kernel's own stack must not answer
// them, too.
func (z *Zone) makeNIC() {
	z.box.t.Helper()
	b := z.box
	b.sysctl(z.NS, "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.conf.all.rp_filter=0",
		"net.ipv4.conf.default.rp_filter=0",
		// Without this the node answers ARP for the management port on pods' interfaces.
		"net.ipv4.conf.all.arp_ignore=1")
	b.ip(b.fabric, "link add "+z.Name+" type veth peer name eth0 netns "+z.NS)
	b.ip(b.fabric, "link set "+z.Name+" master fabric up")
	b.ip(z.NS, "link set eth0 address "+z.MAC+" up")
	b.in(z.NS, `table netdev box {
	chain eth0 {
		type filter hook ingress device "eth0" priority -500; policy drop;
	}
}`, "nft", "-f", "-")
}

func (z *Zone) startOVS() {
	z.box.t.Helper()
	z.startDatabase("db", "vswitch")
	ids := map[string]string{
		"system-id": z.chassis(), "hostname": z.Name,
		"ovn-remote": z.socket("sb"), "ovn-encap-type": "geneve", "ovn-encap-ip": z.Addrs[0].Addr().String(),
		"ovn-bridge-datapath-type": "netdev", "ovn-bridge-mappings": names.PhysicalNetwork + ":br-ex",
		"ovn-monitor-all": "true", "ovn-is-interconn": "true", "ovn-openflow-probe-interval": "0",
	}
	set := []string{"--no-wait", "init", "--", "set", "Open_vSwitch", ".",
		"other_config:n-handler-threads=1", "other_config:n-revalidator-threads=1",
		// Pods' packets come without checksums, as from any veth.
		"other_config:userspace-tso-enable=true"}
	for k, v := range ids {
		set = append(set, fmt.Sprintf("external_ids:%s=%q", k, v))
	}
	z.vsctl(set...)
	z.start("ovs-vswitchd", "", z.socket("db"), "--pidfile="+filepath.Join(z.dir, "ovs-vswitchd.pid"))
	z.vsctl("add-br", "br-ex", "--", "set", "bridge", "br-ex", "datapath_type=netdev", "fail-mode=standalone",
		fmt.Sprintf("other_config:hwaddr=%q", z.MAC), "--", "add-port", "br-ex", "eth0")
	// Until the bridge has its flows: OVN's announcements have the host's MAC and must not
	// move it to the patch port.
	z.Run("ovs-ofctl", "add-flow", "br-ex", "priority=5,dl_dst="+z.MAC+",actions=LOCAL")
	for i, a := range z.Addrs {
		z.box.ip(z.NS, "addr add "+a.String()+" dev br-ex"+nodad(a.Addr()))
		if i == 0 {
			z.box.ip(z.NS, "link set br-ex up")
		}
	}
	for _, r := range z.box.ofFamily(routers) {
		z.box.ip(z.NS, "route add default via "+r.String())
	}
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

// node is the Node object as the controller and the node's agent would leave it.
func (z *Zone) node() *corev1.Node {
	z.box.t.Helper()
	n := &z.box.Network
	id := z.index + plan.FirstNodeID - 1
	for _, c := range n.ClusterSubnets {
		z.Subnets = append(z.Subnets, netip.PrefixFrom(nthSubnet(c.Prefix.Addr(), c.HostLength, z.index), c.HostLength))
	}
	transit, err := plan.Transit(n.OfFamilies(n.TransitSubnets), id)
	if err != nil {
		z.box.t.Fatal(err)
	}
	a := map[string]string{}
	annotation.NodeID.Put(a, id)
	annotation.NodeSubnets.Put(a, map[string][]netip.Prefix{world.DefaultNetwork: z.Subnets})
	annotation.NodeTransit.Put(a, transit)
	annotation.NodeChassisID.Put(a, z.chassis())
	annotation.NodePrimaryAddrs.Put(a, z.Addrs)
	annotation.NodeHostAddrs.Put(a, z.Addrs)
	annotation.NodeEncapIPs.Put(a, []netip.Addr{z.Addrs[0].Addr()})
	annotation.GatewayMTUSupport.Put(a, false)
	annotation.L3Gateway.Put(a, annotation.Gateway{
		Mode: string(z.box.options.Mode), BridgeID: "br-ex", InterfaceID: z.localnet(), MAC: z.MAC,
		Addresses: z.Addrs, NextHops: z.box.ofFamily(routers),
	})
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: z.Name, UID: types.UID("uid-" + z.Name), Annotations: a}}
}

// nthSubnet is the first address of the n-th block of that length from base on.
func nthSubnet(base netip.Addr, length, n int) netip.Addr {
	b := base.AsSlice()
	b[length/8-1] += byte(n) // lengths are whole bytes, and n is small
	a, _ := netip.AddrFromSlice(b)
	return a
}

func (z *Zone) localnet() string { return "br-ex_" + z.Name }

// Program starts the engine with the features, on a world of all the box's nodes, and
// waits until ovn-controller has done what follows.
func (z *Zone) Program(features ...feature.Feature) {
	z.box.t.Helper()
	z.World = world.New(world.Config{LocalNode: z.Name, Networks: []world.Network{z.box.Network}})
	z.startEngine(features, func() {
		for _, other := range z.box.Zones {
			z.World.SetNode(world.FromNode(other.Node))
		}
	})
	z.Sync()
}

// Restart starts another engine in place of the zone's, on the same objects: what a
// restart of `ovnkctl node` is.
func (z *Zone) Restart(features ...feature.Feature) {
	z.box.t.Helper()
	z.haltEngine()
	old := z.World
	z.World = world.New(world.Config{LocalNode: z.Name, Networks: []world.Network{z.box.Network}})
	z.startEngine(features, func() {
		old.Read(func(v world.View) {
			for _, n := range v.Nodes() {
				z.World.SetNode(n)
			}
			for p := range v.Pods {
				z.World.SetPod(p)
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
	timeout, stop := context.WithTimeout(z.box.ctx, Patience)
	defer stop()
	select {
	case <-z.Engine.Synced():
	case <-timeout.Done():
		z.box.t.Fatalf("%s: the databases did not come in sync", z.Name)
	}
}

// Sync waits until northd and ovn-controller have done all that NB asks for.
func (z *Zone) Sync() {
	z.box.t.Helper()
	z.Run("ovn-nbctl", fmt.Sprintf("--timeout=%d", int(Patience.Seconds())), "--wait=hv", "sync")
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
	for _, d := range z.daemons {
		d.kill()
	}
}

// Port is the OpenFlow number of an interface.
func (z *Zone) Port(name string) int {
	z.box.t.Helper()
	z.vsctl("wait-until", "Interface", name, "ofport>0")
	n, err := strconv.Atoi(strings.TrimSpace(z.vsctl("get", "Interface", name, "ofport")))
	if err != nil {
		z.box.t.Fatal(err)
	}
	return n
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
