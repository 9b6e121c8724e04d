// Package plan is the sandbox's address plan: which machine, node, pod and
// service has which address in each IP family. It is pure, so that every other
// package can ask it instead of repeating a literal.
//
//	               fabric 172.30.250.0/24, fd30:250::/64 (one bridge)
//	.1 outside ────┬──────────────┬──────────────┬───────────── .254 this machine
//	(gateway, web) │ .11 node1    │ .12 node2    │ .13 node3
//	               │ + control    │              │
//	                 plane
package plan

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// Sizes and ports that do not depend on the family.
const (
	// FabricMTU is the MTU of every link of the fabric, in bytes.
	FabricMTU = 1500
	// PodMTU leaves room for Geneve over IPv6 (78 bytes) on the fabric, rounded down as installers do.
	PodMTU = 1400
	// APIPort is where the API server listens on node 1.
	APIPort = 6443
	// OutsideHTTPPort and OutsideUDPPort are the outside host's echo services.
	OutsideHTTPPort = 8080
	OutsideUDPPort  = 8081
	// MaxNodes keeps node addresses (.11, .12, …) clear of the machine's own .254.
	MaxNodes = 99
)

// Family says which IP families the cluster has.
type Family string

// The families that a cluster can have.
const (
	Dual Family = "dual"
	IPv4 Family = "ipv4"
	IPv6 Family = "ipv6"
)

// ParseFamily accepts the value of --ip-family.
func ParseFamily(s string) (Family, error) {
	switch f := Family(s); f {
	case Dual, IPv4, IPv6:
		return f, nil
	}
	return "", fmt.Errorf("IP family %q: use dual, ipv4 or ipv6", s)
}

// Plan answers questions about addresses for one cluster.
type Plan struct{ Family Family }

// New returns the plan of a cluster with the given families.
func New(f Family) Plan { return Plan{Family: f} }

// pick returns the values that the families have, IPv4 first because that is
// the primary family of a dual-stack cluster here.
func (p Plan) pick(v4, v6 string) []netip.Prefix {
	var out []netip.Prefix
	if p.Family != IPv6 {
		out = append(out, netip.MustParsePrefix(v4))
	}
	if p.Family != IPv4 {
		out = append(out, netip.MustParsePrefix(v6))
	}
	return out
}

// host returns the fabric addresses that end in the given decimal digits; IPv6
// repeats the digits so that 172.30.250.11 and fd30:250::11 are one host.
func (p Plan) host(n int) []netip.Prefix {
	return p.pick(fmt.Sprintf("172.30.250.%d/24", n), fmt.Sprintf("fd30:250::%d/64", n))
}

// Fabric is the network that nodes, the outside host and this machine share.
func (p Plan) Fabric() []netip.Prefix { return p.pick("172.30.250.0/24", "fd30:250::/64") }

// Node returns the addresses of the node with the given index (1 is the first), primary family first.
func (p Plan) Node(index int) []netip.Prefix { return p.host(10 + index) }

// Outside returns the fabric addresses of the outside host, the nodes' default gateway.
func (p Plan) Outside() []netip.Prefix { return p.host(1) }

// Beyond returns addresses of the outside host that are on no common link with
// the nodes, so that traffic to them takes the nodes' default route.
func (p Plan) Beyond() []netip.Prefix { return p.pick("203.0.113.1/32", "2001:db8:203::1/128") }

// Machine returns the addresses of the machine that runs the sandbox.
func (p Plan) Machine() []netip.Prefix {
	return p.pick("172.30.250.254/24", "fd30:250::fe/64")
}

// Pods returns the ranges that pod addresses come from.
func (p Plan) Pods() []netip.Prefix { return p.pick("10.244.0.0/16", "fd00:10:244::/48") }

// Services returns the ranges that cluster IPs come from.
func (p Plan) Services() []netip.Prefix { return p.pick("10.96.0.0/16", "fd00:10:96::/112") }

// KubernetesService returns the cluster IPs of the API server: the first of each range.
func (p Plan) KubernetesService() []netip.Addr { return nth(p.Services(), 1) }

// DNSService returns the cluster IPs of cluster DNS: the tenth of each range.
func (p Plan) DNSService() []netip.Addr { return nth(p.Services(), 10) }

func nth(ranges []netip.Prefix, n int) []netip.Addr {
	var out []netip.Addr
	for _, r := range ranges {
		a := r.Masked().Addr()
		for range n {
			a = a.Next()
		}
		out = append(out, a)
	}
	return out
}

// ClusterSubnets is the pod ranges with the length of each node's share, as the
// network's configuration wants them.
func (p Plan) ClusterSubnets() string {
	var out []string
	for _, r := range p.Pods() {
		share := 24
		if r.Addr().Is6() {
			share = 64
		}
		out = append(out, fmt.Sprintf("%s/%d", r, share))
	}
	return strings.Join(out, ",")
}

// APIServer is the URL of the API server: node 1's primary address.
func (p Plan) APIServer() string {
	return fmt.Sprintf("https://%s", netip.AddrPortFrom(p.Node(1)[0].Addr(), APIPort))
}

// Reserved returns every range that the sandbox uses, for finding conflicts
// with the networks that the machine already has.
func (p Plan) Reserved() []netip.Prefix {
	var out []netip.Prefix
	for _, set := range [][]netip.Prefix{p.Fabric(), p.Pods(), p.Services(), p.Beyond()} {
		out = append(out, set...)
	}
	return out
}

// NodeMAC is the MAC address of a node's NIC. It is fixed, as hardware is: a
// rebooted node comes back with the address its neighbours remember.
func NodeMAC(index int) net.HardwareAddr {
	return net.HardwareAddr{0x02, 0x1e, 0xfa, 0, 0, byte(index)}
}

// Addrs drops the prefix lengths.
func Addrs(ps []netip.Prefix) []netip.Addr {
	out := make([]netip.Addr, len(ps))
	for i, p := range ps {
		out[i] = p.Addr()
	}
	return out
}

// zones are what a cluster is spread over: three, as specs of traffic distribution ask.
const zones = "abc"

// Zone is the zone of a node: each has a node of three, and two of six.
func Zone(index int) string { return "zone-" + string(zones[(index-1)%len(zones)]) }

// Join writes values with commas between them, the way Kubernetes' flags take lists.
func Join[T fmt.Stringer](vs []T) string {
	out := make([]string, len(vs))
	for i, v := range vs {
		out[i] = v.String()
	}
	return strings.Join(out, ",")
}
