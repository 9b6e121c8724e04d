package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// OVN makes an inequality of addresses a flow per bit, and several of them all combinations.
// So what is excepted from ranges is computed here, and expressions have ranges only.

// subtract is what is left of a range without another one.
func subtract(p, hole netip.Prefix) []netip.Prefix {
	if !p.Overlaps(hole) {
		return []netip.Prefix{p}
	}
	if hole.Bits() <= p.Bits() {
		return nil
	}
	var out []netip.Prefix
	for p.Bits() < hole.Bits() {
		low, high := halves(p)
		if low.Overlaps(hole) {
			p, low = low, high
		} else {
			p = high
		}
		out = append(out, low)
	}
	return out
}

// halves splits a range in two.
func halves(p netip.Prefix) (low, high netip.Prefix) {
	b := p.Masked().Addr().AsSlice()
	bits := p.Bits()
	low = netip.PrefixFrom(p.Masked().Addr(), bits+1)
	b[bits/8] |= 0x80 >> (bits % 8)
	a, _ := netip.AddrFromSlice(b)
	return low, netip.PrefixFrom(a, bits+1)
}

// without is what is left of a range without several.
func without(p netip.Prefix, holes []netip.Prefix) []netip.Prefix {
	left := []netip.Prefix{p}
	for _, h := range holes {
		var next []netip.Prefix
		for _, l := range left {
			next = append(next, subtract(l, h)...)
		}
		left = next
	}
	return left
}

// unite sorts ranges and leaves out those that others contain.
func unite(list []netip.Prefix) []netip.Prefix {
	slices.SortFunc(list, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	var out []netip.Prefix
	for _, p := range list {
		if len(out) == 0 || !out[len(out)-1].Overlaps(p) {
			out = append(out, p)
		}
	}
	return out
}

// family is how expressions call an address family.
func family(is4 bool) string {
	if is4 {
		return "ip4"
	}
	return "ip6"
}

// side is the field of the other end's address.
func side(d world.Direction) string {
	if d == world.Ingress {
		return "src"
	}
	return "dst"
}

// ends are expressions for the other end of packets, by family. Where one expression has both
// families, OVN makes a flow for each pair of a port of the group and an address; where it has
// one, a flow for each port and one for each address. So each family has its own ACL.
type ends struct{ v4, v6 []string }

// add adds an alternative. All of a family make the others superfluous.
func (e *ends) add(is4 bool, term string) {
	list := &e.v6
	if is4 {
		list = &e.v4
	}
	switch all := family(is4); {
	case slices.Contains(*list, all) || slices.Contains(*list, term):
	case term == all:
		*list = []string{all}
	default:
		*list = append(*list, term)
	}
}

// join adds the alternatives of others.
func (e *ends) join(o ends) {
	for _, t := range o.v4 {
		e.add(true, t)
	}
	for _, t := range o.v6 {
		e.add(false, t)
	}
}

func (e ends) none() bool { return len(e.v4)+len(e.v6) == 0 }

// and are the ends that are both.
func (e ends) and(o ends) ends {
	var out ends
	for _, f := range []struct {
		is4  bool
		a, b []string
	}{{true, e.v4, o.v4}, {false, e.v6, o.v6}} {
		if len(f.a) > 0 && len(f.b) > 0 {
			out.add(f.is4, "("+anyOf(f.a)+" && "+anyOf(f.b)+")")
		}
	}
	return out
}

// each calls f with the expression of each family, and with the family for the ACL's id.
func (e ends) each(f func(family, match string)) {
	if len(e.v4) > 0 {
		f(family(true), anyOf(e.v4))
	}
	if len(e.v6) > 0 {
		f(family(false), anyOf(e.v6))
	}
}

// blocks matches the other end's address with ranges, which may be of both families.
func blocks(d world.Direction, list []netip.Prefix) ends {
	var out ends
	for _, is4 := range []bool{true, false} {
		var words []string
		for _, p := range unite(slices.DeleteFunc(slices.Clone(list), func(p netip.Prefix) bool { return p.Addr().Is4() != is4 })) {
			if p.Bits() == 0 {
				words = nil
				out.add(is4, family(is4))
				break
			}
			words = append(words, p.String())
		}
		switch len(words) {
		case 0:
		case 1:
			out.add(is4, fmt.Sprintf("%s.%s == %s", family(is4), side(d), words[0]))
		default:
			out.add(is4, fmt.Sprintf("%s.%s == {%s}", family(is4), side(d), strings.Join(words, ", ")))
		}
	}
	return out
}

// anyOf is a disjunction.
func anyOf(terms []string) string {
	if len(terms) == 1 {
		return terms[0]
	}
	return "(" + strings.Join(terms, " || ") + ")"
}

// span is a range of ports.
type span struct{ first, last uint16 }

// portMatch matches the destination port of a protocol.
func portMatch(protocol world.Protocol, spans []span) string {
	slices.SortFunc(spans, func(a, b span) int { return int(a.first) - int(b.first) })
	var merged []span
	for _, s := range spans {
		if last := len(merged) - 1; last >= 0 && int(s.first) <= int(merged[last].last)+1 {
			merged[last].last = max(merged[last].last, s.last)
			continue
		}
		merged = append(merged, s)
	}
	var single, terms []string
	for _, s := range merged {
		if s.first == s.last {
			single = append(single, strconv.Itoa(int(s.first)))
		} else {
			terms = append(terms, fmt.Sprintf("%d <= %s.dst <= %d", s.first, protocol, s.last))
		}
	}
	switch len(single) {
	case 0:
	case 1:
		terms = append(terms, fmt.Sprintf("%s.dst == %s", protocol, single[0]))
	default:
		terms = append(terms, fmt.Sprintf("%s.dst == {%s}", protocol, strings.Join(single, ", ")))
	}
	return anyOf(terms)
}
