//go:build linux

package plumb

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Check compares the interface with what it should be and returns every difference.
func (h *Host) Check(pod *Netns, i Interface) error {
	inside, err := find(pod.handle, i.Name)
	if err != nil {
		return err
	}
	if inside == nil {
		return fmt.Errorf("interface %s is missing in the pod", i.Name)
	}
	var there netlink.Link
	err = h.with(func(host *netlink.Handle) error {
		there, err = find(host, i.Host)
		return err
	})
	if err != nil {
		return err
	}
	return errors.Join(
		checkLinks(there, inside, i),
		pod.checkAddresses(inside, i),
		pod.checkRoutes(inside, i))
}

func checkLinks(there, inside netlink.Link, i Interface) error {
	var problems []error
	report := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	in := inside.Attrs()
	switch {
	case there == nil:
		report("interface %s is missing on the node", i.Host)
	case !peers(there, inside):
		report("interface %s of the node is not the other end of %s of the pod", i.Host, i.Name)
	case there.Attrs().Flags&net.FlagUp == 0:
		report("interface %s of the node is down", i.Host)
	}
	if in.Flags&net.FlagUp == 0 {
		report("interface %s is down", i.Name)
	}
	if in.HardwareAddr.String() != i.Network.MAC {
		report("interface %s has MAC %s, want %s", i.Name, in.HardwareAddr, i.Network.MAC)
	}
	if in.MTU != i.MTU {
		report("interface %s has MTU %d, want %d", i.Name, in.MTU, i.MTU)
	}
	return errors.Join(problems...)
}

func (n *Netns) checkAddresses(link netlink.Link, i Interface) error {
	have, err := n.addresses(link)
	if err != nil {
		return err
	}
	var problems []error
	for _, want := range i.Network.Addresses {
		if !slices.Contains(have, want) {
			problems = append(problems, fmt.Errorf("interface %s lacks address %s", i.Name, want))
		}
	}
	return errors.Join(problems...)
}

func (n *Netns) checkRoutes(link netlink.Link, i Interface) error {
	filter := &netlink.Route{LinkIndex: link.Attrs().Index, Table: unix.RT_TABLE_MAIN}
	list, err := n.handle.RouteListFiltered(netlink.FAMILY_ALL, filter, netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE)
	for errors.Is(err, netlink.ErrDumpInterrupted) {
		list, err = n.handle.RouteListFiltered(netlink.FAMILY_ALL, filter, netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE)
	}
	if err != nil {
		return fmt.Errorf("routes of %s: %w", i.Name, err)
	}
	var problems []error
	for _, want := range Routes(i.Network) {
		if !slices.ContainsFunc(list, route(want).is) {
			problems = append(problems, fmt.Errorf("route %s is missing", route(want)))
		}
	}
	return errors.Join(problems...)
}

// is tells whether a kernel route is this one.
func (r route) is(k netlink.Route) bool {
	dest, ok := prefixOf(k.Dst)
	if k.Dst == nil { // older versions of the netlink package: the default route
		ok, dest = true, netip.PrefixFrom(r.NextHop, 0).Masked()
	}
	return ok && dest == r.Dest.Masked() && k.Gw.Equal(r.NextHop.AsSlice())
}
