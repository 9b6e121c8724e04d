package nft

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// dot is between the parts of a concatenation.
const dot = " . "

func split(text string) []string {
	parts := strings.Split(text, dot)
	for i, p := range parts {
		parts[i] = strings.TrimSpace(p)
	}
	return parts
}

func join(parts []string) string { return strings.Join(parts, dot) }

// canonical writes an element as nft lists it. What cannot be read stays as it is: nft
// will say what is wrong with it.
func canonical(types []string, text string) string {
	if len(types) == 1 {
		return canonicalPart(types[0], strings.TrimSpace(text))
	}
	parts := split(text)
	if len(parts) != len(types) {
		return text
	}
	for i, p := range parts {
		parts[i] = canonicalPart(types[i], p)
	}
	return join(parts)
}

func canonicalPart(kind, text string) string {
	switch kind {
	case Verdict:
		return strings.Join(strings.Fields(text), " ")
	case "ifname":
		return strconv.Quote(strings.Trim(text, `"`))
	}
	s, err := parseSpan(kind, text)
	if err != nil {
		return text
	}
	if kind == "inet_proto" {
		return cmp.Or(protocolNames[s.String()], s.String())
	}
	return s.String()
}

// protocolNames are the protocols that nft knows by keywords, also on a host without
// /etc/protocols; nft --numeric lists numbers.
var protocolNames = map[string]string{
	"1": "icmp", "6": "tcp", "17": "udp", "58": "icmpv6", "132": "sctp",
}

var protocolNumbers = map[string]string{
	"icmp": "1", "tcp": "6", "udp": "17", "icmpv6": "58", "ipv6-icmp": "58", "sctp": "132",
}

// span are the values from lo to hi of one part of an element: an address, prefix, number
// or range.
type span struct {
	lo, hi netip.Addr // a number is an IPv6 address to compare by
	number bool
}

func (s span) overlaps(o span) bool { return s.lo.Compare(o.hi) <= 0 && o.lo.Compare(s.hi) <= 0 }

// String is the prefix or single value that it is, or else a range, as nft lists it.
func (s span) String() string {
	if s.number {
		if s.lo == s.hi {
			return s.integer(s.lo)
		}
		return s.integer(s.lo) + "-" + s.integer(s.hi)
	}
	if s.lo == s.hi {
		return s.lo.String()
	}
	if p, ok := s.prefix(); ok {
		return p.String()
	}
	return s.lo.String() + "-" + s.hi.String()
}

func (s span) integer(a netip.Addr) string {
	b := a.As16()
	return strconv.FormatUint(binary.BigEndian.Uint64(b[8:]), 10)
}

// prefix is the prefix that the span is, if it is one.
func (s span) prefix() (netip.Prefix, bool) {
	lo, hi := s.lo.AsSlice(), s.hi.AsSlice()
	bits := 0
	for ; bits < len(lo)*8; bits++ {
		if mask := byte(0x80) >> (bits % 8); lo[bits/8]&mask != hi[bits/8]&mask {
			break
		}
	}
	p := netip.PrefixFrom(s.lo, bits)
	return p, p.Masked().Addr() == s.lo && last(p) == s.hi
}

// last is the last address of a prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= byte(0x80) >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func parseSpan(kind, text string) (span, error) {
	address := kind == "ipv4_addr" || kind == "ipv6_addr"
	value := func(text string) (netip.Addr, error) { return parseNumber(kind, text) }
	if address {
		value = func(text string) (netip.Addr, error) { return parseAddr(kind, text) }
		if strings.Contains(text, "/") {
			p, err := netip.ParsePrefix(text)
			if err != nil || p.Addr().Is4() != (kind == "ipv4_addr") {
				return span{}, fmt.Errorf("%q is no prefix of %s", text, kind)
			}
			p = p.Masked()
			return span{lo: p.Addr(), hi: last(p)}, nil
		}
	}
	if kind == "inet_proto" {
		text = cmp.Or(protocolNumbers[text], text)
	}
	from, to, isRange := strings.Cut(text, "-")
	lo, err := value(from)
	if err != nil {
		return span{}, err
	}
	s := span{lo: lo, hi: lo, number: !address}
	if isRange {
		if s.hi, err = value(to); err != nil {
			return span{}, err
		}
		if s.hi.Less(s.lo) {
			return span{}, fmt.Errorf("%q ends before it begins", text)
		}
	}
	return s, nil
}

func parseAddr(kind, text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" || a.Is4() != (kind == "ipv4_addr") {
		return netip.Addr{}, fmt.Errorf("%q is no %s", text, kind)
	}
	return a, nil
}

func parseNumber(kind, text string) (netip.Addr, error) {
	bits := 32
	switch kind {
	case "inet_proto":
		bits = 8
	case "inet_service":
		bits = 16
	}
	n, err := strconv.ParseUint(text, 0, bits)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%q is no %s", text, kind)
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[8:], n)
	return netip.AddrFrom16(b), nil
}

// Element is a parsed element of a set, or key of a map.
type Element struct {
	parts  []span
	opaque []string // parts of types that are only compared as texts
}

// ParseElement reads an element and tells what is wrong with it. Parts of types other than
// addresses, protocols, ports and marks may be anything.
func ParseElement(kind, text string) (Element, error) {
	types, parts := split(kind), []string{strings.TrimSpace(text)}
	if len(types) > 1 {
		parts = split(text)
	}
	if len(parts) != len(types) {
		return Element{}, fmt.Errorf("%q has %d parts, but %s has %d", text, len(parts), kind, len(types))
	}
	var e Element
	for i, p := range parts {
		switch types[i] {
		case "ipv4_addr", "ipv6_addr", "inet_proto", "inet_service", "mark":
			s, err := parseSpan(types[i], p)
			if err != nil {
				return Element{}, fmt.Errorf("element %q: %w", text, err)
			}
			e.parts = append(e.parts, s)
		default:
			e.opaque = append(e.opaque, p)
		}
	}
	return e, nil
}

// Range tells that the element is more than one value.
func (e Element) Range() bool {
	return slices.ContainsFunc(e.parts, func(s span) bool { return s.lo != s.hi })
}

// Overlaps tells whether a value is in both elements, which are of the same type.
func (e Element) Overlaps(o Element) bool {
	for i, s := range e.parts {
		if !s.overlaps(o.parts[i]) {
			return false
		}
	}
	return slices.Equal(e.opaque, o.opaque)
}

// Disjoint leaves out the prefixes that lie in others: an interval set takes none that
// overlap. What is left is sorted.
func Disjoint(prefixes []netip.Prefix) []netip.Prefix {
	sorted := make([]netip.Prefix, 0, len(prefixes))
	for _, p := range prefixes {
		sorted = append(sorted, p.Masked())
	}
	slices.SortFunc(sorted, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	var out []netip.Prefix
	for _, p := range sorted {
		// Whatever holds p begins before it, so it is the one kept last.
		if len(out) == 0 || !out[len(out)-1].Overlaps(p) {
			out = append(out, p)
		}
	}
	return out
}
