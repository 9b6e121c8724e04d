//go:build linux

package plumb

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// HostNameLength is how much of a sandbox's id names the node's end of its veth: all
// that fits an interface name.
const HostNameLength = unix.IFNAMSIZ - 1

// HostName is the name of the node's end of a sandbox's veth.
func HostName(sandbox string) string { return sandbox[:min(len(sandbox), HostNameLength)] }

// Interface is what the interface of a pod should be.
type Interface struct {
	Host    string // name of the node's end
	Name    string // name in the pod, e.g. eth0
	MTU     int    // in bytes, of both ends
	Network world.PodNetwork
}

// ErrForeign says that the pod already has an interface of that name which is not ours.
var ErrForeign = errors.New("exists already and was not made by this plugin: is another network configuration or plugin active for this pod?")

// Host is the node's network namespace.
type Host struct{ file *os.File }

// NewHost is the namespace of this process.
func NewHost() *Host { return &Host{} }

// HostAt is another namespace in the role of the node's, for tests of several nodes in
// one process.
func HostAt(path string) (*Host, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("node's network namespace: %w", err)
	}
	return &Host{file: file}, nil
}

// Close releases what HostAt opened.
func (h *Host) Close() {
	if h.file != nil {
		_ = h.file.Close()
	}
}

// with calls f with a netlink socket of its own. A shared one would make every request
// wait for the slowest: the deletion of a link takes tens of milliseconds in the kernel.
func (h *Host) with(f func(*netlink.Handle) error) error {
	var handle *netlink.Handle
	open := func() (err error) {
		handle, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	}
	var err error
	if h.file == nil {
		err = open()
	} else {
		err = inNetns(int(h.file.Fd()), open)
	}
	if err != nil {
		return fmt.Errorf("netlink socket: %w", err)
	}
	defer func() { _ = handle.Close() }()
	return f(handle)
}

// Connect makes the veth pair, both ends in their place from birth, and leaves it
// alone if it is there. It tells whether the pair is new. The MAC may still be unknown.
func (h *Host) Connect(pod *Netns, i Interface) (created bool, err error) {
	err = h.with(func(host *netlink.Handle) error {
		err := addVeth(host, pod, i)
		if errors.Is(err, unix.EEXIST) {
			var ours bool
			if ours, err = h.reclaim(host, pod, i); err != nil {
				return err
			}
			if !ours {
				created, err = true, addVeth(host, pod, i)
			}
		} else {
			created = true
		}
		if err != nil {
			return fmt.Errorf("create veth pair %s (node), %s (pod): %w", i.Host, i.Name, err)
		}
		return raise(host, i.Host, i.MTU)
	})
	return created && err == nil, err
}

func addVeth(host *netlink.Handle, pod *Netns, i Interface) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = i.Host, i.MTU
	veth := &netlink.Veth{
		LinkAttrs:     attrs,
		PeerName:      i.Name,
		PeerMTU:       uint32(i.MTU),
		PeerNamespace: netlink.NsFd(int(pod.file.Fd())),
	}
	if mac, err := parseMAC(i.Network.MAC); err == nil {
		veth.PeerHardwareAddr = mac
	}
	return host.LinkAdd(veth)
}

// reclaim looks at the links that are in the way of a new pair: the whole pair is ours
// (true), the node's end is left over and goes away (false), or it is an error.
func (h *Host) reclaim(host *netlink.Handle, pod *Netns, i Interface) (ours bool, err error) {
	there, err := find(host, i.Host)
	if err != nil {
		return false, err
	}
	inside, err := find(pod.handle, i.Name)
	if err != nil {
		return false, err
	}
	switch {
	case there != nil && there.Type() != "veth":
		return false, fmt.Errorf("interface %s of the node %w", i.Host, ErrForeign)
	case inside != nil && !peers(there, inside):
		return false, fmt.Errorf("interface %s of the pod %w", i.Name, ErrForeign)
	case inside != nil:
		return true, nil
	case there != nil:
		if err := host.LinkDel(there); err != nil && !notFound(err) {
			return false, fmt.Errorf("delete left-over veth %s: %w", i.Host, err)
		}
	}
	return false, nil
}

// peers tells whether two links are the ends of one veth pair.
func peers(a, b netlink.Link) bool {
	return a != nil && b != nil && a.Type() == "veth" && b.Type() == "veth" &&
		a.Attrs().ParentIndex == b.Attrs().Index && b.Attrs().ParentIndex == a.Attrs().Index
}

// raise sets the node's end up, without an IPv6 address of its own: it is a switch
// port, and link-local traffic from it would be noise on the pod network.
func raise(host *netlink.Handle, name string, mtu int) error {
	link, err := host.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	if link.Attrs().MTU != mtu {
		if err := host.LinkSetMTU(link, mtu); err != nil {
			return fmt.Errorf("set MTU %d of %s: %w", mtu, name, err)
		}
	}
	if err := noAutomaticAddress(host, link); err != nil {
		return err
	}
	if err := host.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	return nil
}

// noAutomaticAddress stops the kernel from giving the link an IPv6 link-local address.
// By netlink, because sysctl files are read-only in an unprivileged container.
func noAutomaticAddress(handle *netlink.Handle, link netlink.Link) error {
	const addrGenModeNone = 1
	err := handle.LinkSetIP6AddrGenMode(link, addrGenModeNone)
	if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) { // a kernel without IPv6
		return fmt.Errorf("switch automatic IPv6 addresses of %s off: %w", link.Attrs().Name, err)
	}
	return nil
}

// Disconnect deletes the veth pair of a sandbox, from either end. The pod's namespace
// may be gone (nil), as may be everything else.
func (h *Host) Disconnect(pod *Netns, hostName, podName string) error {
	err := h.with(func(host *netlink.Handle) error { return deleteVeth(host, hostName) })
	if err != nil || pod == nil {
		return err
	}
	// Usually gone with its peer. Left over if the node's end was moved or renamed.
	return deleteVeth(pod.handle, podName)
}

func deleteVeth(handle *netlink.Handle, name string) error {
	link, err := find(handle, name)
	if err != nil || link == nil || link.Type() != "veth" {
		return err
	}
	if err := handle.LinkDel(link); err != nil && !notFound(err) {
		return fmt.Errorf("delete veth %s: %w", name, err)
	}
	return nil
}

// Veths lists the names of the node's veth devices.
func (h *Host) Veths() (map[string]bool, error) {
	names := map[string]bool{}
	err := h.with(func(host *netlink.Handle) error {
		links, err := host.LinkList()
		for errors.Is(err, netlink.ErrDumpInterrupted) {
			links, err = host.LinkList()
		}
		for _, l := range links {
			if l.Type() == "veth" {
				names[l.Attrs().Name] = true
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list links of the node: %w", err)
	}
	return names, nil
}

// Policed tells whether a traffic policer is at work on packets from the pod, i.e.
// whether OVS could install the one that was asked of it.
func (h *Host) Policed(hostName string) (bool, error) {
	policed := false
	err := h.with(func(host *netlink.Handle) error {
		link, err := host.LinkByName(hostName)
		if err != nil {
			return err
		}
		filters, err := host.FilterList(link, netlink.MakeHandle(0xffff, 0))
		policed = len(filters) > 0
		return err
	})
	if err != nil {
		return false, fmt.Errorf("traffic filters of %s: %w", hostName, err)
	}
	return policed, nil
}

// find returns nil for a link that does not exist.
func find(handle *netlink.Handle, name string) (netlink.Link, error) {
	link, err := handle.LinkByName(name)
	if notFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", name, err)
	}
	return link, nil
}

func notFound(err error) bool {
	return errors.As(err, new(netlink.LinkNotFoundError)) || errors.Is(err, unix.ENODEV)
}
