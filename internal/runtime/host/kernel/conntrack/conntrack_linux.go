// Package conntrack ends connections that the kernel leads where they no longer should go:
// the host's own, and those of an Open vSwitch that forwards in the kernel. The kernel asks its rules for the first packet of a connection only, and a UDP
// client that never falls silent would go on to a backend that is gone, or to nobody, if
// there was no backend when it began.
package conntrack

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Attributes of dump requests that the netlink library does not know
// (linux/netfilter/nfnetlink_conntrack.h). Kernels before 5.8 ignore them and dump all.
const (
	ctaFilter          = 25
	ctaFilterOrigFlags = 1
	// filterProtocol compares the protocol of the tuple that is given, and nothing else.
	filterProtocol = 1 << 3
)

// Of netlink messages (linux/netlink.h, linux/netfilter/nfnetlink.h).
const (
	headerLen = 4 // struct nfgenmsg, of which the first byte is the family
	kindMask  = 1<<14 - 1
)

// Backends are where the connections to each destination may lead.
type Backends map[netip.AddrPort][]netip.AddrPort

// Zones says whose connections are meant.
type Zones bool

// Own is the host's own zone; Others are all others, which are Open vSwitch's.
const (
	Own    Zones = false
	Others Zones = true
)

// ForgetUDP removes, of the UDP connections with the given destinations, those that lead
// elsewhere than to the destination's backends, and returns how many those were.
//
// It is to be called when the rules are what they should be: connections that begin later
// follow them, and are left alone even where they take the place of one that was listed.
func ForgetUDP(ctx context.Context, zones Zones, backends Backends) (int, error) {
	total := 0
	var errs []error
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if !backends.has(family) {
			continue
		}
		stale, err := staleOf(family, zones, backends)
		if err != nil {
			errs = append(errs, fmt.Errorf("list connections: %w", err))
		}
		for _, e := range stale {
			if ctx.Err() != nil {
				return total, ctx.Err()
			}
			switch err := e.remove(family); {
			case err == nil:
				total++
			case !errors.Is(err, unix.ENOENT): // it ended by itself
				errs = append(errs, fmt.Errorf("remove the connection to %s: %w", e.to, err))
			}
		}
	}
	return total, errors.Join(errs...)
}

// has tells whether there are destinations of a family.
func (b Backends) has(family uint8) bool {
	for at := range b {
		if at.Addr().Is4() == (family == unix.AF_INET) {
			return true
		}
	}
	return false
}

// staleOf lists the connections that are to be removed.
func staleOf(family uint8, zones Zones, backends Backends) ([]*entry, error) {
	r := request(family, nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP)
	protocol := nl.NewRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_PROTO, nil)
	protocol.AddRtAttr(nl.CTA_PROTO_NUM, []byte{unix.IPPROTO_UDP})
	tuple := nl.NewRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_ORIG, nil)
	tuple.AddChild(protocol)
	filter := nl.NewRtAttr(unix.NLA_F_NESTED|ctaFilter, nil)
	filter.AddRtAttr(ctaFilterOrigFlags, nl.Uint32Attr(filterProtocol))
	r.AddData(tuple)
	r.AddData(filter)
	var stale []*entry
	// The messages are looked at one by one: the table may have a million.
	err := r.ExecuteIter(unix.NETLINK_NETFILTER, 0, func(m []byte) bool {
		if e, ok := parse(m); ok && e.udp && (e.zone != nil) == bool(zones) {
			if to, ours := backends[e.to]; ours && !slices.Contains(to, e.backend) {
				e.id, e.reply, e.zone = slices.Clone(e.id), slices.Clone(e.reply), slices.Clone(e.zone)
				stale = append(stale, &e)
			}
		}
		return true
	})
	return stale, err
}

func request(family uint8, operation, flags int) *nl.NetlinkRequest {
	r := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|operation, flags)
	r.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	return r
}

// entry is one connection.
type entry struct {
	udp         bool
	to, backend netip.AddrPort // where it was sent, who answers
	reply, id   []byte         // as the kernel told them
	zone        []byte         // the same; nil for the default zone, which the kernel does not tell
}

// remove asks the kernel to remove the connection. It is named by its answers' addresses: a
// successor has the same of its own, and often the same id, which the kernel computes from
// its place in memory, but another backend.
func (e *entry) remove(family uint8) error {
	r := request(family, nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK)
	r.AddData(nl.NewRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_REPLY, e.reply))
	r.AddData(nl.NewRtAttr(nl.CTA_ID, e.id))
	if e.zone != nil {
		r.AddData(nl.NewRtAttr(nl.CTA_ZONE, e.zone))
	}
	_, err := r.Execute(unix.NETLINK_NETFILTER, 0)
	return err
}

// parse reads what is needed of a message. Its slices are the message's.
func parse(m []byte) (entry, bool) {
	var e entry
	if len(m) < headerLen || (m[0] != unix.AF_INET && m[0] != unix.AF_INET6) {
		return e, false
	}
	for kind, value := range attributes(m[headerLen:]) {
		switch kind {
		case nl.CTA_TUPLE_ORIG:
			t := parseTuple(value)
			e.udp, e.to = t.protocol == unix.IPPROTO_UDP, netip.AddrPortFrom(t.dst, t.dstPort)
		case nl.CTA_TUPLE_REPLY:
			t := parseTuple(value)
			e.backend, e.reply = netip.AddrPortFrom(t.src, t.srcPort), value
		case nl.CTA_ZONE:
			e.zone = value
		case nl.CTA_ID:
			e.id = value
		}
	}
	return e, e.to.IsValid() && e.backend.IsValid() && len(e.id) > 0
}

type tuple struct {
	src, dst         netip.Addr
	srcPort, dstPort uint16
	protocol         uint8
}

func parseTuple(data []byte) (t tuple) {
	for kind, nested := range attributes(data) {
		for inner, value := range attributes(nested) {
			switch {
			case kind == nl.CTA_TUPLE_IP && (inner == nl.CTA_IP_V4_SRC || inner == nl.CTA_IP_V6_SRC):
				t.src, _ = netip.AddrFromSlice(value)
			case kind == nl.CTA_TUPLE_IP && (inner == nl.CTA_IP_V4_DST || inner == nl.CTA_IP_V6_DST):
				t.dst, _ = netip.AddrFromSlice(value)
			case kind == nl.CTA_TUPLE_PROTO && inner == nl.CTA_PROTO_NUM && len(value) == 1:
				t.protocol = value[0]
			case kind == nl.CTA_TUPLE_PROTO && inner == nl.CTA_PROTO_SRC_PORT && len(value) == 2:
				t.srcPort = binary.BigEndian.Uint16(value)
			case kind == nl.CTA_TUPLE_PROTO && inner == nl.CTA_PROTO_DST_PORT && len(value) == 2:
				t.dstPort = binary.BigEndian.Uint16(value)
			}
		}
	}
	return t
}

// attributes yields the netlink attributes in data: kind, without flags, and value. It ends
// at what is none.
func attributes(data []byte) func(yield func(uint16, []byte) bool) {
	return func(yield func(uint16, []byte) bool) {
		for len(data) >= unix.SizeofNlAttr {
			length := int(nl.NativeEndian().Uint16(data))
			kind := nl.NativeEndian().Uint16(data[2:]) & kindMask
			if length < unix.SizeofNlAttr || length > len(data) {
				return
			}
			if !yield(kind, data[unix.SizeofNlAttr:length]) {
				return
			}
			data = data[min(len(data), (length+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1)):]
		}
	}
}
