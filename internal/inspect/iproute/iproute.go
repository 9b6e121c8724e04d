// Package iproute reads what `ip -json` prints of a node's host (ip(8)).
package iproute

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
)

// Route is a line of `ip -json -details route show table all`.
type Route struct {
	Type, Dst, Gateway, Dev, Table, Protocol, PrefSrc string
	Metric                                            int
	Via                                               struct{ Host string }
	NextHops                                          []struct{ Gateway, Dev string }
}

// Neighbour is a line of `ip -json neighbour show`.
type Neighbour struct {
	Dst, Dev, LLAddr string
	State            []string
}

// Link is a line of `ip -json address show`.
type Link struct {
	IfName, OperState, Address string // Address is the MAC
	MTU                        int
	Addresses                  []Address `json:"addr_info"`
}

// Address is an address of a link.
type Address struct {
	Local     string
	PrefixLen int
}

// Routes reads routes.
func Routes(text string) ([]Route, error) { return read[Route]("routes", text) }

// Neighbours reads neighbours.
func Neighbours(text string) ([]Neighbour, error) { return read[Neighbour]("neighbours", text) }

// Links reads links with their addresses.
func Links(text string) ([]Link, error) { return read[Link]("links", text) }

func read[T any](what, text string) ([]T, error) {
	if strings.TrimSpace(text) == "" { // ip prints nothing for an empty table
		return nil, nil
	}
	var out []T
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return out, nil
}

// Prefix is what the route is for; false if that is no prefix of the family.
func (r Route) Prefix(is4 bool) (netip.Prefix, bool) {
	if r.Dst == "default" {
		if is4 {
			return netip.PrefixFrom(netip.IPv4Unspecified(), 0), true
		}
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0), true
	}
	if a, err := netip.ParseAddr(r.Dst); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), a.Is4() == is4
	}
	p, err := netip.ParsePrefix(r.Dst)
	return p, err == nil && p.Addr().Is4() == is4
}

// Next are the neighbour that a packet for an address is given to, and the device.
func (r Route) Next(to netip.Addr) (neighbour, dev string) {
	neighbour, dev = r.Gateway, r.Dev
	if len(r.NextHops) > 0 {
		neighbour, dev = r.NextHops[0].Gateway, r.NextHops[0].Dev
	}
	if r.Via.Host != "" {
		neighbour = r.Via.Host
	}
	if neighbour == "" {
		neighbour = to.String()
	}
	return neighbour, dev
}

// String is "default via 172.30.250.1 dev br-ex".
func (r Route) String() string {
	text := r.Dst
	if r.Type != "" && r.Type != "unicast" {
		text = r.Type + " " + text
	}
	if neighbour, dev := r.Next(netip.Addr{}); dev != "" {
		if r.Gateway != "" || r.Via.Host != "" || len(r.NextHops) > 0 {
			text += " via " + neighbour
		}
		text += " dev " + dev
	}
	return text
}

// Main tells whether the route is in the table that holds without a rule.
func (r Route) Main() bool { return r.Table == "" || r.Table == "main" }
