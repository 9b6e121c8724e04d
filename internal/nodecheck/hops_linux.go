package nodecheck

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
)

const (
	// resolveTime is how long a router may take for an answer: the kernel asks at once, and
	// again after a second and after two.
	resolveTime = 2500 * time.Millisecond
	// lookAgain is how often the kernel's table is read meanwhile.
	lookAgain = 20 * time.Millisecond
)

// resolve has the kernel ask for neighbours on a device and returns what it knows of them then,
// at the latest after resolveTime.
func resolve(ctx context.Context, device int, targets []netip.Addr) ([]Hop, error) {
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	for _, a := range targets {
		// NTF_USE is what a packet to the neighbour does (rtnetlink(7)).
		err := netlink.NeighSet(&netlink.Neigh{LinkIndex: device, IP: a.AsSlice(), State: netlink.NUD_NONE, Flags: netlink.NTF_USE})
		if err != nil {
			return nil, fmt.Errorf("asking for neighbour %s: %w", a, err)
		}
	}
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		out, all, err := known(device, targets)
		if err != nil || all || ctx.Err() != nil {
			return out, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// usable are the states in which the kernel sends to a neighbour.
const usable = netlink.NUD_REACHABLE | netlink.NUD_STALE | netlink.NUD_DELAY | netlink.NUD_PROBE | netlink.NUD_NOARP | netlink.NUD_PERMANENT

// known is what the kernel's table has of neighbours; all tells that it can send to all of them.
func known(device int, targets []netip.Addr) (out []Hop, all bool, err error) {
	list, err := netlink.NeighList(device, netlink.FAMILY_ALL)
	if err != nil {
		return nil, false, fmt.Errorf("neighbours: %w", err)
	}
	states := map[netip.Addr]int{}
	for _, n := range list {
		if a, ok := netip.AddrFromSlice(n.IP); ok {
			states[a.Unmap()] = n.State
		}
	}
	all = true
	for _, a := range targets {
		h := Hop{Address: a, Answers: states[a]&usable != 0, State: stateName(states[a])}
		all = all && h.Answers
		out = append(out, h)
	}
	return out, all, nil
}

func stateName(state int) string {
	names := map[int]string{
		netlink.NUD_NONE: "NONE", netlink.NUD_INCOMPLETE: "INCOMPLETE", netlink.NUD_REACHABLE: "REACHABLE", netlink.NUD_STALE: "STALE",
		netlink.NUD_DELAY: "DELAY", netlink.NUD_PROBE: "PROBE", netlink.NUD_FAILED: "FAILED", netlink.NUD_NOARP: "NOARP", netlink.NUD_PERMANENT: "PERMANENT",
	}
	if name, ok := names[state]; ok {
		return name
	}
	return fmt.Sprintf("%#x", state)
}
