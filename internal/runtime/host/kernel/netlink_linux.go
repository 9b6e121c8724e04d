package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// dumpTries bounds how often a dump is repeated that a change of the table interrupted.
const dumpTries = 5

// Netlink is the network stack of the process's network namespace.
type Netlink struct {
	h      *netlink.Handle
	sysNet string // where the sysctls below net/ are

	mu      sync.Mutex
	indexes map[string]int // of the links seen last, for Watch
}

// NewNetlink opens the network stack.
func NewNetlink() (*Netlink, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	return &Netlink{h: h, sysNet: sysctlsOfNet(), indexes: map[string]int{}}, nil
}

// hostSysNet is where the chart mounts the host's /proc/sys/net: container runtimes mount
// a container's own read-only. It shows the network namespace of who looks, as all of them.
const hostSysNet = "/host/proc/sys/net"

func sysctlsOfNet() string {
	if stat, err := os.Stat(hostSysNet); err == nil && stat.IsDir() {
		return hostSysNet
	}
	return "/proc/sys/net"
}

// sysctl is the file of a key, for example net/ipv4/ip_forward.
func (n *Netlink) sysctl(key string) string {
	if below, ok := strings.CutPrefix(key, "net/"); ok {
		return filepath.Join(n.sysNet, below)
	}
	return filepath.Join("/proc/sys", key)
}

// Close gives back the sockets.
func (n *Netlink) Close() { n.h.Close() }

// State reads links, addresses, the routes and permanent neighbours of the given devices,
// and all default routes.
func (n *Netlink) State(ctx context.Context, devs []string) (*State, error) {
	links, err := dump(ctx, "links", n.h.LinkList)
	if err != nil {
		return nil, err
	}
	s, names := &State{}, make(map[int]string, len(links))
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	for _, l := range links {
		s.Links = append(s.Links, fromLink(l, names))
	}
	n.remember(names)
	addrs, err := dump(ctx, "addresses", func() ([]netlink.Addr, error) { return n.h.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if c, ok := fromAddr(a, names); ok {
			s.Addrs = append(s.Addrs, c)
		}
	}
	routes, err := dump(ctx, "routes", func() ([]netlink.Route, error) {
		return n.h.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, err
	}
	for _, r := range routes {
		for _, c := range fromRoute(r, names) {
			if c.Default() || usesAny(c, devs) {
				s.Routes = append(s.Routes, c)
			}
		}
	}
	return s, n.neighbors(ctx, s, devs)
}

func (n *Netlink) neighbors(ctx context.Context, s *State, devs []string) error {
	for _, dev := range devs {
		l, ok := s.Link(dev)
		if !ok {
			continue
		}
		neighbors, err := dump(ctx, "neighbours of "+dev, func() ([]netlink.Neigh, error) {
			return n.h.NeighListExecute(netlink.Ndmsg{Index: uint32(l.Index), State: netlink.NUD_PERMANENT})
		})
		if errors.Is(err, unix.ENODEV) {
			continue // gone since the links were read
		}
		if err != nil {
			return err
		}
		for _, e := range neighbors {
			if a, ok := netip.AddrFromSlice(e.IP); ok && e.State == netlink.NUD_PERMANENT {
				s.Neighbors = append(s.Neighbors, Neighbor{Dev: dev, Addr: a.Unmap(), MAC: e.HardwareAddr.String()})
			}
		}
	}
	return nil
}

func (n *Netlink) remember(names map[int]string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.indexes)
	for index, name := range names {
		n.indexes[name] = index
	}
}

func usesAny(r Route, devs []string) bool {
	for _, h := range r.Hops {
		for _, d := range devs {
			if h.Dev == d {
				return true
			}
		}
	}
	return false
}

// dump repeats a read that the kernel says was interrupted by a change.
func dump[T any](ctx context.Context, what string, read func() ([]T, error)) ([]T, error) {
	var out []T
	var err error
	for range dumpTries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		out, err = read()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s from the kernel: %w", what, err)
	}
	return out, nil
}

// Sysctl reads one sysctl; ok is false where the kernel has none of that name, as for a
// device that is gone.
func (n *Netlink) Sysctl(key string) (value string, ok bool, err error) {
	b, err := os.ReadFile(n.sysctl(key))
	if errors.Is(err, os.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("sysctl %s: %w", key, err)
	}
	return strings.TrimSpace(string(b)), true, nil
}

// Apply makes one change. What is already so is no error.
func (n *Netlink) Apply(_ context.Context, c Change) error {
	if err := n.apply(c); err != nil {
		return fmt.Errorf("%s: %w", c, err)
	}
	return nil
}

func (n *Netlink) apply(c Change) error {
	switch c := c.(type) {
	case SetSysctl:
		return os.WriteFile(n.sysctl(c.Key), []byte(c.Value), 0)
	case SetMTU:
		return n.onLink(c.Dev, func(l netlink.Link) error { return n.h.LinkSetMTU(l, c.MTU) })
	case SetUp:
		return n.onLink(c.Dev, n.h.LinkSetUp)
	case DeleteLink:
		return gone(n.onLink(c.Dev, n.h.LinkDel))
	case PutAddr:
		return n.onLink(c.Addr.Dev, func(l netlink.Link) error { return n.putAddr(l, c.Addr) })
	case DeleteAddr:
		return gone(n.onLink(c.Addr.Dev, func(l netlink.Link) error { return n.h.AddrDel(l, toAddr(c.Addr)) }))
	case AppendRoute:
		r, err := n.toRoute(c.Route)
		if err != nil {
			return err
		}
		if err := n.h.RouteAppend(r); !errors.Is(err, unix.EEXIST) {
			return err
		}
		return nil
	case DeleteRoute:
		r, err := n.toRoute(c.Route)
		if err != nil {
			return gone(err)
		}
		return gone(n.h.RouteDel(r))
	case PutNeighbor:
		return n.onLink(c.Neighbor.Dev, func(l netlink.Link) error { return n.neighbor(l, c.Neighbor, n.h.NeighSet) })
	case DeleteNeighbor:
		return gone(n.onLink(c.Neighbor.Dev, func(l netlink.Link) error { return n.neighbor(l, c.Neighbor, n.h.NeighDel) }))
	}
	return fmt.Errorf("unknown change %T", c)
}

// gone makes an error of "it is not there" none.
func gone(err error) error {
	var missing netlink.LinkNotFoundError
	for _, no := range []error{unix.ESRCH, unix.ENOENT, unix.EADDRNOTAVAIL, unix.ENODEV} {
		if errors.Is(err, no) {
			return nil
		}
	}
	if errors.As(err, &missing) {
		return nil
	}
	return err
}

func (n *Netlink) onLink(dev string, f func(netlink.Link) error) error {
	l, err := n.h.LinkByName(dev)
	if err != nil {
		return err
	}
	return f(l)
}

// putAddr adds an IPv6 address without the second that duplicate detection takes, in
// which it could not be used, and then clears the mark if the address is not to have it.
func (n *Netlink) putAddr(l netlink.Link, a Addr) error {
	wire := toAddr(a)
	if a.Prefix.Addr().Is4() || a.NoDAD {
		return n.h.AddrReplace(l, wire)
	}
	wire.Flags |= unix.IFA_F_NODAD
	if err := n.h.AddrReplace(l, wire); err != nil {
		return err
	}
	return n.h.AddrReplace(l, toAddr(a))
}

func (n *Netlink) neighbor(l netlink.Link, e Neighbor, set func(*netlink.Neigh) error) error {
	mac, err := net.ParseMAC(e.MAC)
	if err != nil {
		return err
	}
	return set(&netlink.Neigh{
		LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: e.Addr.AsSlice(), HardwareAddr: mac,
	})
}
