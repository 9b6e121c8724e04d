package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Prefix lengths of node subnets, in bits.
const (
	defaultHostLength4 = 24
	defaultHostLength6 = 64
	// The first three addresses are the router, the management port and one kept free
	// (OVN-Kubernetes gives it to its hybrid overlay); IPv4 loses two more as network and
	// broadcast. A /29 still leaves room for pods.
	maxHostLength4 = 29
	maxHostLength6 = 120
)

// DefaultNetwork is the network that every pod is on. Its MTU is 0 when it is to be
// detected: the caller replaces it.
func (c *Config) DefaultNetwork() (world.Network, error) {
	p := plan{}
	n := p.network(c)
	if err := invalid("", p.problems); err != nil {
		return world.Network{}, err
	}
	return n, nil
}

// plan parses the plan of addresses and gathers what is wrong with it.
type plan struct{ problems []Problem }

func (p *plan) add(field, value, why, remedy string) {
	p.problems = append(p.problems, Problem{Field: field, Value: value, Why: why, Remedy: remedy})
}

func (p *plan) network(c *Config) world.Network {
	n := &c.Network
	return world.Network{
		Name:            world.DefaultNetwork,
		ClusterSubnets:  p.clusterSubnets("network.clusterSubnets", n.ClusterSubnets),
		ServiceSubnets:  p.onePerFamily("network.serviceSubnets", n.ServiceSubnets),
		JoinSubnets:     p.onePerFamily("network.joinSubnets", n.JoinSubnets),
		TransitSubnets:  p.onePerFamily("network.transitSubnets", n.TransitSubnets),
		Masquerade:      p.onePerFamily("network.masqueradeSubnets", n.Masquerade),
		MTU:             n.MTU,
		GatewayMode:     world.GatewayMode(c.Gateway.Mode),
		GatewayMTUCheck: !c.Gateway.DisableMTUCheck && c.Datapath != DatapathNetdev,
		EncapPort:       n.EncapPort,
		Multicast:       n.EnableMulticast,

		UserspaceDatapath:       c.Datapath == DatapathNetdev,
		EmptyLoadBalancerEvents: c.Kubernetes.EmptyLoadBalancerEvents,
	}
}

// clusterSubnets parses "10.244.0.0/16/24,fd00:10:244::/48/64".
func (p *plan) clusterSubnets(field, list string) []world.ClusterSubnet {
	var subnets []world.ClusterSubnet
	for _, entry := range split(list) {
		cidr, host := entry, ""
		if strings.Count(entry, "/") == 2 {
			i := strings.LastIndexByte(entry, '/')
			cidr, host = entry[:i], entry[i+1:]
		}
		prefix, ok := p.prefix(field, entry, cidr)
		if !ok {
			continue
		}
		length, ok := p.hostLength(field, entry, prefix, host)
		if !ok {
			continue
		}
		subnets = append(subnets, world.ClusterSubnet{Prefix: prefix, HostLength: length})
	}
	return subnets
}

func (p *plan) hostLength(field, entry string, prefix netip.Prefix, text string) (int, bool) {
	length, longest := defaultHostLength4, maxHostLength4
	if prefix.Addr().Is6() {
		length, longest = defaultHostLength6, maxHostLength6
	}
	if text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			p.add(field, entry, fmt.Sprintf("the host prefix length %q is not a number", text), fmt.Sprintf("write %s/%d", prefix, length))
			return 0, false
		}
		length = n
	}
	if length <= prefix.Bits() || length > longest {
		p.add(field, entry,
			fmt.Sprintf("nodes cannot get a /%d from a /%d", length, prefix.Bits()),
			fmt.Sprintf("a host prefix length from %d to %d fits", prefix.Bits()+1, longest))
		return 0, false
	}
	return length, true
}

// onePerFamily parses a list of CIDRs with at most one of each family.
func (p *plan) onePerFamily(field, list string) []netip.Prefix {
	var prefixes []netip.Prefix
	for _, entry := range split(list) {
		prefix, ok := p.prefix(field, entry, entry)
		if !ok {
			continue
		}
		for _, other := range prefixes {
			if other.Addr().Is4() == prefix.Addr().Is4() {
				p.add(field, entry, fmt.Sprintf("%s is already the %s subnet", other, family(other.Addr())), "keep one per family")
			}
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes
}

func (p *plan) prefix(field, entry, cidr string) (netip.Prefix, bool) {
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		p.add(field, entry, "is not a CIDR", "write ADDRESS/LENGTH, for example 10.244.0.0/16 or fd00:10:244::/48")
		return prefix, false
	}
	switch a := prefix.Addr(); {
	case a.Is4In6():
		p.add(field, entry, "is an IPv4 address written as IPv6", "write the IPv4 address "+a.Unmap().String())
		return prefix, false
	case prefix != prefix.Masked():
		p.add(field, entry, "has bits set beyond its prefix length", "write "+prefix.Masked().String())
		return prefix, false
	case a.IsMulticast(), a.IsLoopback(), prefix.Bits() == 0:
		p.add(field, entry, "is not a block of unicast addresses", "choose a private block, for example of 10.0.0.0/8 or fd00::/8")
		return prefix, false
	}
	return prefix, true
}

// split cuts a comma-separated list; blanks around and empty entries are no error.
func split(list string) []string {
	var entries []string
	for e := range strings.SplitSeq(list, ",") {
		if e = strings.TrimSpace(e); e != "" {
			entries = append(entries, e)
		}
	}
	return entries
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}
