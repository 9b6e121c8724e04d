package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// The multicast groups of NETLINK_ROUTE that matter, as bits for bind(2).
const routeGroups = 1<<(unix.RTNLGRP_LINK-1) | 1<<(unix.RTNLGRP_NEIGH-1) |
	1<<(unix.RTNLGRP_IPV4_IFADDR-1) | 1<<(unix.RTNLGRP_IPV6_IFADDR-1) |
	1<<(unix.RTNLGRP_IPV4_ROUTE-1) | 1<<(unix.RTNLGRP_IPV6_ROUTE-1)

// watchBuffer is the receive buffer in bytes: a burst of 300 pods makes some thousand
// link messages of 1.5 KiB.
const watchBuffer = 4 << 20

// Watch calls notify after each change that concerns what interest names, every global
// address and every default route, until ctx ends. It must run in its own goroutine;
// notify must not block.
func (n *Netlink) Watch(ctx context.Context, interest func() Interest, notify func()) error {
	return Listen(ctx, unix.NETLINK_ROUTE, routeGroups, func(m Message) bool {
		return n.concerns(m, interest())
	}, notify)
}

// Message is one netlink message.
type Message struct {
	Type    uint16
	Payload []byte
}

// Listen subscribes to multicast groups (a bit mask) of a netlink protocol and calls
// notify for each message that wanted lets pass, and when messages were lost.
func Listen(ctx context.Context, protocol int, groups uint32, wanted func(Message) bool, notify func()) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return fmt.Errorf("netlink socket: %w", err)
	}
	// A smaller buffer only means that messages are lost sooner, which is noticed.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, watchBuffer)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("netlink socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), "netlink") // non-blocking, so Close ends a Read
	defer f.Close()
	stop := context.AfterFunc(ctx, func() { _ = f.Close() })
	defer stop()
	notify() // what happened before the subscription was not seen
	buf := make([]byte, 64<<10)
	for {
		size, err := f.Read(buf)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, unix.ENOBUFS) {
			notify()
			continue
		}
		if err != nil {
			return fmt.Errorf("netlink socket: %w", err)
		}
		if anyMessage(buf[:size], wanted) {
			notify()
		}
	}
}

func anyMessage(b []byte, wanted func(Message) bool) bool {
	for len(b) >= unix.SizeofNlMsghdr {
		length := int(binary.NativeEndian.Uint32(b))
		if length < unix.SizeofNlMsghdr || length > len(b) {
			return true // not understood: look
		}
		m := Message{Type: binary.NativeEndian.Uint16(b[4:]), Payload: b[unix.SizeofNlMsghdr:length]}
		if wanted(m) {
			return true
		}
		b = b[min(align4(length), len(b)):]
	}
	return false
}

func align4(n int) int { return (n + 3) &^ 3 }

// Attribute finds an attribute behind a message's fixed header of size bytes.
func (m Message) Attribute(header int, kind uint16) ([]byte, bool) {
	if len(m.Payload) < header {
		return nil, false
	}
	for b := m.Payload[header:]; len(b) >= 4; {
		length, t := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if length < 4 || length > len(b) {
			return nil, false
		}
		if t&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER) == kind {
			return b[4:length], true
		}
		b = b[min(align4(length), len(b)):]
	}
	return nil, false
}

// text is a NUL-terminated attribute.
func text(b []byte) string {
	if i := slices.Index(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// Text finds an attribute that is a string.
func (m Message) Text(header int, kind uint16) (string, bool) {
	b, ok := m.Attribute(header, kind)
	return text(b), ok
}

// concerns decides by the fixed header wherever it can: a node with 250 pods sees
// thousands of messages of their veths and neighbours.
func (n *Netlink) concerns(m Message, in Interest) bool {
	switch m.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return n.linkConcerns(m, in)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR: // struct ifaddrmsg: family, prefixlen, flags, scope, index
		return len(m.Payload) >= unix.SizeofIfAddrmsg &&
			(m.Payload[3] < ScopeLink || n.watched(binary.NativeEndian.Uint32(m.Payload[4:]), in))
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE: // struct rtmsg: family, dst_len, src_len, tos, table, …, flags at 8
		if len(m.Payload) < unix.SizeofRtMsg || m.Payload[4] == TableLocal {
			return false
		}
		if m.Payload[1] == 0 || binary.NativeEndian.Uint32(m.Payload[8:])&unix.RTM_F_CLONED != 0 {
			return m.Payload[1] == 0
		}
		oif, ok := m.Attribute(unix.SizeofRtMsg, unix.RTA_OIF)
		return !ok || len(oif) < 4 || n.watched(binary.NativeEndian.Uint32(oif), in)
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH: // struct ndmsg: family, pad, index at 4
		if len(m.Payload) < 12 || !n.watched(binary.NativeEndian.Uint32(m.Payload[4:]), in) {
			return false
		}
		b, _ := m.Attribute(12, unix.NDA_DST)
		a, _ := netip.AddrFromSlice(b)
		return slices.Contains(in.Neighbors, a.Unmap())
	}
	return false
}

func (n *Netlink) linkConcerns(m Message, in Interest) bool {
	if len(m.Payload) < unix.SizeofIfInfomsg {
		return false
	}
	if n.watched(binary.NativeEndian.Uint32(m.Payload[4:]), in) {
		return true
	}
	name, _ := m.Text(unix.SizeofIfInfomsg, unix.IFLA_IFNAME)
	return slices.Contains(in.Devs, name)
}

func (n *Netlink) watched(index uint32, in Interest) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, dev := range in.Devs {
		if i, ok := n.indexes[dev]; ok && uint32(i) == index {
			return true
		}
	}
	return false
}
