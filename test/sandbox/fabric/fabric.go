// Package fabric is the physical network of the sandbox: a bridge in a network
// namespace of its own, and one veth per host. Hosts are the nodes, the outside
// host (the nodes' gateway, a dead end) and the machine itself as a leaf, so
// that kubectl and tests reach the nodes. Nothing is forwarded to the machine's
// own networks in either direction.
package fabric

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/ovnkctl/ovnkctl/test/sandbox/netspace"
	"github.com/ovnkctl/ovnkctl/test/sandbox/plan"
)

// Names on the machine. They are fixed because the addresses are: there is one sandbox per machine.
const (
	Prefix      = "ovnksb-"
	SwitchNS    = Prefix + "fabric"
	OutsideNS   = Prefix + "outside"
	MachineLink = "ovnksb0"
	bridge      = "br0"
	nic         = "eth0"
)

// NodeNS is the network namespace of a node.
func NodeNS(node string) string { return Prefix + node }

// Fabric builds the network of one cluster.
type Fabric struct {
	Plan plan.Plan
	// Owner is the checkout that the sandbox belongs to. It is kept as the alias
	// of the machine's link: state that cannot outlive the network itself.
	Owner string
}

// Owner returns the checkout whose sandbox is on this machine, "" for none.
func Owner() string {
	l, err := netlink.LinkByName(MachineLink)
	if err != nil {
		return ""
	}
	return l.Attrs().Alias
}

// Ensure builds the bridge, the machine's leaf and the outside host.
func (f Fabric) Ensure() error {
	if err := f.ensureSwitch(); err != nil {
		return fmt.Errorf("fabric: %w", err)
	}
	if err := f.ensureMachine(); err != nil {
		return fmt.Errorf("fabric: this machine's leaf: %w", err)
	}
	if err := netspace.Ensure(OutsideNS); err != nil {
		return err
	}
	if err := f.attach(host{ns: OutsideNS, port: "outside", addrs: f.Plan.Outside()}); err != nil {
		return fmt.Errorf("fabric: outside host: %w", err)
	}
	return inside(OutsideNS, func(h *netlink.Handle) error {
		lo, err := h.LinkByName("lo")
		if err != nil {
			return fmt.Errorf("outside host: %w", err)
		}
		return setAddrs(h, lo, f.Plan.Beyond())
	})
}

func (f Fabric) ensureSwitch() error {
	if err := netspace.Ensure(SwitchNS); err != nil {
		return err
	}
	if err := netspace.Do(SwitchNS, func() error {
		// The bridge must be a wire: no firewall of the machine may see its frames.
		return setSysctls(map[string]string{
			"net.bridge.bridge-nf-call-iptables":  "0",
			"net.bridge.bridge-nf-call-ip6tables": "0",
			"net.bridge.bridge-nf-call-arptables": "0",
			"net.ipv6.conf.all.disable_ipv6":      "1",
			"net.ipv6.conf.default.disable_ipv6":  "1",
		})
	}); err != nil {
		return err
	}
	return inside(SwitchNS, func(h *netlink.Handle) error {
		br, err := h.LinkByName(bridge)
		if err != nil {
			// Snooping would drop the neighbour discovery of hosts that it has not learnt yet.
			off := false
			link := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridge, MTU: plan.FabricMTU}, MulticastSnooping: &off}
			if err := h.LinkAdd(link); err != nil {
				return fmt.Errorf("bridge: %w", err)
			}
			br = link
		}
		return h.LinkSetUp(br)
	})
}

// host is one end of a cable into the switch.
type host struct {
	ns    string
	port  string // name of the switch's end
	mac   net.HardwareAddr
	addrs []netip.Prefix
}

// attach plugs a host in: a veth whose ends are born in their namespaces.
func (f Fabric) attach(x host) error {
	have := false
	if err := inside(x.ns, func(h *netlink.Handle) error {
		_, err := h.LinkByName(nic)
		have = err == nil
		return nil
	}); err != nil {
		return err
	}
	if !have {
		if err := f.plug(x); err != nil {
			return err
		}
	}
	return inside(x.ns, func(h *netlink.Handle) error {
		l, err := h.LinkByName(nic)
		if err != nil {
			return fmt.Errorf("%s: %w", nic, err)
		}
		if err := setAddrs(h, l, x.addrs); err != nil {
			return err
		}
		return h.LinkSetUp(l)
	})
}

func (f Fabric) plug(x host) error {
	peer, err := netns.GetFromPath(netspace.Path(x.ns))
	if err != nil {
		return fmt.Errorf("network namespace %s: %w", x.ns, err)
	}
	defer peer.Close() //nolint:errcheck // nothing was written
	return inside(SwitchNS, func(h *netlink.Handle) error {
		// The other end of a port left by a killed run is in a namespace that is gone.
		if old, err := h.LinkByName(x.port); err == nil {
			if err := h.LinkDel(old); err != nil {
				return fmt.Errorf("old port %s: %w", x.port, err)
			}
		}
		br, err := h.LinkByName(bridge)
		if err != nil {
			return fmt.Errorf("bridge: %w", err)
		}
		veth := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: x.port, MTU: plan.FabricMTU, MasterIndex: br.Attrs().Index},
			PeerName:  nic, PeerHardwareAddr: x.mac, PeerNamespace: netlink.NsFd(peer),
		}
		if err := h.LinkAdd(veth); err != nil {
			return fmt.Errorf("port %s: %w", x.port, err)
		}
		return h.LinkSetUp(veth)
	})
}

// ensureMachine makes this machine a leaf of the fabric.
func (f Fabric) ensureMachine() error {
	l, err := netlink.LinkByName(MachineLink)
	if err != nil {
		sw, err := netns.GetFromPath(netspace.Path(SwitchNS))
		if err != nil {
			return fmt.Errorf("network namespace %s: %w", SwitchNS, err)
		}
		defer sw.Close() //nolint:errcheck // nothing was written
		veth := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: MachineLink, MTU: plan.FabricMTU},
			PeerName:  "machine", PeerNamespace: netlink.NsFd(sw),
		}
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("link %s: %w", MachineLink, err)
		}
		l = veth
	}
	if err := netlink.LinkSetAlias(l, f.Owner); err != nil {
		return fmt.Errorf("owner of %s: %w", MachineLink, err)
	}
	if err := inside(SwitchNS, func(h *netlink.Handle) error {
		port, err := h.LinkByName("machine")
		if err != nil {
			return fmt.Errorf("port machine: %w", err)
		}
		br, err := h.LinkByName(bridge)
		if err != nil {
			return fmt.Errorf("bridge: %w", err)
		}
		if err := h.LinkSetMaster(port, br); err != nil {
			return fmt.Errorf("port machine: %w", err)
		}
		return h.LinkSetUp(port)
	}); err != nil {
		return err
	}
	// Whatever the machine forwards elsewhere (Docker), it is no router of the sandbox.
	if err := setSysctls(map[string]string{
		"net.ipv4.conf." + MachineLink + ".forwarding": "0",
		"net.ipv6.conf." + MachineLink + ".accept_ra":  "0",
	}); err != nil {
		return err
	}
	own, err := netlink.NewHandle()
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	defer own.Close()
	if err := setAddrs(own, l, f.Plan.Machine()); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return fmt.Errorf("link %s: %w", MachineLink, err)
	}
	return eachUnreachable(f.Plan, netlink.RouteReplace)
}

// eachUnreachable applies fn to the routes that keep traffic for pods and
// services from leaving through the machine's default route.
func eachUnreachable(p plan.Plan, fn func(*netlink.Route) error) error {
	for _, cidr := range append(p.Pods(), p.Services()...) {
		dst := ipNet(cidr)
		if err := fn(&netlink.Route{Dst: dst, Type: unix.RTN_UNREACHABLE, Priority: unreachableMetric}); err != nil {
			return fmt.Errorf("unreachable route for %s: %w", cidr, err)
		}
	}
	return nil
}

// unreachableMetric marks our routes and lets a tester add better ones.
const unreachableMetric = 4242

// EnsureNode plugs a node in, with addresses and default routes on eth0, as an
// installer of a distribution leaves a machine that is to become a node.
func (f Fabric) EnsureNode(name string, index int) error {
	ns := NodeNS(name)
	if err := netspace.Ensure(ns); err != nil {
		return err
	}
	if err := netspace.Do(ns, func() error {
		// Kubernetes asks for forwarding before any network is installed.
		return setSysctls(map[string]string{
			"net.ipv4.ip_forward":             "1",
			"net.ipv6.conf.all.forwarding":    "1",
			"net.ipv6.conf.default.accept_ra": "0",
		})
	}); err != nil {
		return fmt.Errorf("node %s: %w", name, err)
	}
	if err := f.attach(host{ns: ns, port: port(name), mac: plan.NodeMAC(index), addrs: f.Plan.Node(index)}); err != nil {
		return fmt.Errorf("fabric: node %s: %w", name, err)
	}
	return inside(ns, func(h *netlink.Handle) error {
		l, err := h.LinkByName(nic)
		if err != nil {
			return fmt.Errorf("node %s: %w", name, err)
		}
		for _, gw := range f.Plan.Outside() {
			r := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: anywhere(gw.Addr()), Gw: net.IP(gw.Addr().AsSlice())}
			if err := h.RouteReplace(r); err != nil {
				return fmt.Errorf("node %s: default route via %s: %w", name, gw.Addr(), err)
			}
		}
		return nil
	})
}

// RemoveNode pulls the cable and drops the namespace.
func (f Fabric) RemoveNode(name string) error {
	if netspace.Exists(SwitchNS) {
		if err := inside(SwitchNS, func(h *netlink.Handle) error {
			l, err := h.LinkByName(port(name))
			if err != nil {
				return nil //nolint:nilerr // not plugged in
			}
			return h.LinkDel(l)
		}); err != nil {
			return fmt.Errorf("fabric: node %s: %w", name, err)
		}
	}
	return netspace.Delete(NodeNS(name))
}

// port names the switch's end of a node's cable; node names are short enough
// for the kernel's 15 characters.
func port(node string) string { return "p-" + node }

// Remove takes the whole fabric down. It removes by name, so it also works on
// what a run that was killed half-way left.
func Remove() error {
	var errs []error
	if l, err := netlink.LinkByName(MachineLink); err == nil {
		errs = append(errs, netlink.LinkDel(l))
	}
	errs = append(errs, eachUnreachable(plan.New(plan.Dual), func(r *netlink.Route) error {
		if err := netlink.RouteDel(r); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
		return nil
	}))
	names, err := netspace.List(Prefix)
	errs = append(errs, err)
	for _, n := range names {
		errs = append(errs, netspace.Delete(n))
	}
	return errors.Join(errs...)
}

// Conflicts names routes of the machine that overlap the sandbox's ranges.
func Conflicts(p plan.Plan) ([]string, error) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("routes of this machine: %w", err)
	}
	ours := 0
	if l, err := netlink.LinkByName(MachineLink); err == nil {
		ours = l.Attrs().Index
	}
	var out []string
	for _, r := range routes {
		if r.Dst == nil || (r.Priority == unreachableMetric && r.Type == unix.RTN_UNREACHABLE) || (ours != 0 && r.LinkIndex == ours) {
			continue
		}
		dst, err := netip.ParsePrefix(r.Dst.String())
		if err != nil || dst.Bits() == 0 {
			continue
		}
		for _, own := range p.Reserved() {
			if dst.Overlaps(own) {
				out = append(out, fmt.Sprintf("%s (route to %s)", own, dst))
			}
		}
	}
	return out, nil
}
