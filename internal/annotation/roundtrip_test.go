package annotation

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// checkRoundTrip draws values and compares them with what is read back.
func checkRoundTrip[T any](t *testing.T, c *Codec[T], values *rapid.Generator[T]) {
	t.Helper()
	t.Run(c.Key(), func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) {
			want := values.Draw(t, "value")
			got, err := c.Decode(c.Encode(want))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, opaque); diff != "" {
				t.Fatalf("-want +got:\n%s", diff)
			}
		})
	})
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	checkRoundTrip(t, NodeID, rapid.IntRange(MinNodeID, MaxNodeID))
	checkRoundTrip(t, NodeSubnets, rapid.MapOf(names, rapid.Custom(func(t *rapid.T) []netip.Prefix {
		return masked(perFamily.Draw(t, "subnets"))
	})))
	checkRoundTrip(t, NodeTransit, perFamily.Filter(notEmpty))
	checkRoundTrip(t, NetworkIDs, rapid.MapOf(names, rapid.IntMin(0)))
	checkRoundTrip(t, NodeChassisID, rapid.StringMatching(`[a-zA-Z0-9.:-]{1,64}`))
	checkRoundTrip(t, NodePrimaryAddrs, perFamily.Filter(notEmpty))
	checkRoundTrip(t, NodeHostAddrs, listOf(prefixes))
	checkRoundTrip(t, NodeEncapIPs, listOf(addrs).Filter(func(a []netip.Addr) bool { return len(a) > 0 }))
	checkRoundTrip(t, NodeMasquerade, rapid.Custom(func(t *rapid.T) []netip.Prefix {
		return masked(perFamily.Filter(notEmpty).Draw(t, "subnets"))
	}))
	checkRoundTrip(t, GatewayMTUSupport, rapid.Just(false))
	checkRoundTrip(t, L3Gateway, rapid.Custom(drawGateway))
	checkRoundTrip(t, PodNetworks, rapid.MapOf(names, rapid.Custom(drawPodNetwork)))
}

var (
	names = rapid.StringMatching(`[a-z0-9-]{1,12}(/[a-z0-9-]{1,12})?`)
	addr4 = rapid.Custom(func(t *rapid.T) netip.Addr {
		return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "IPv4")))
	})
	addr6 = rapid.Custom(func(t *rapid.T) netip.Addr {
		return netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "IPv6")))
	}).Filter(func(a netip.Addr) bool { return !a.Is4In6() })
	addrs    = rapid.OneOf(addr4, addr6)
	prefixes = rapid.Custom(func(t *rapid.T) netip.Prefix { return withLength(t, addrs.Draw(t, "address")) })
	// perFamily is none to two prefixes, IPv4 first, nil for none.
	perFamily = rapid.Custom(func(t *rapid.T) []netip.Prefix {
		var list []netip.Prefix
		if rapid.Bool().Draw(t, "has IPv4") {
			list = append(list, withLength(t, addr4.Draw(t, "IPv4")))
		}
		if rapid.Bool().Draw(t, "has IPv6") {
			list = append(list, withLength(t, addr6.Draw(t, "IPv6")))
		}
		return list
	})
	macs = rapid.Custom(func(t *rapid.T) string {
		b := rapid.SliceOfN(rapid.Byte(), 6, 6).Draw(t, "MAC")
		return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5])
	})
)

func notEmpty(list []netip.Prefix) bool { return len(list) > 0 }

func withLength(t *rapid.T, a netip.Addr) netip.Prefix {
	return netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(t, "prefix length"))
}

func masked(list []netip.Prefix) []netip.Prefix {
	for i := range list {
		list[i] = list[i].Masked()
	}
	return list
}

// listOf draws nil rather than an empty list, as decoding gives.
func listOf[T any](of *rapid.Generator[T]) *rapid.Generator[[]T] {
	return rapid.Custom(func(t *rapid.T) []T {
		var list []T
		return append(list, rapid.SliceOfN(of, 0, 4).Draw(t, "list")...)
	})
}

func drawGateway(t *rapid.T) Gateway {
	mode := rapid.SampledFrom([]string{ModeDisabled, ModeLocal, ModeShared}).Draw(t, "mode")
	if mode == ModeDisabled {
		return Gateway{}
	}
	return Gateway{
		Mode:        mode,
		BridgeID:    rapid.StringMatching(`[a-z0-9-]{0,15}`).Draw(t, "bridge"),
		InterfaceID: names.Draw(t, "interface"),
		MAC:         macs.Draw(t, "MAC"),
		Addresses:   listOf(prefixes).Filter(notEmpty).Draw(t, "addresses"),
		NextHops:    listOf(addrs).Draw(t, "next hops"),
		VLAN:        rapid.IntRange(0, maxVLAN).Draw(t, "VLAN"),
		NodePort:    rapid.Bool().Draw(t, "node port"),
	}
}

func drawPodNetwork(t *rapid.T) PodNetwork {
	n := PodNetwork{
		Addresses: listOf(prefixes).Draw(t, "addresses"),
		MAC:       macs.Draw(t, "MAC"),
		Gateways:  listOf(addrs).Draw(t, "gateways"),
		TunnelID:  rapid.IntRange(0, 1<<24).Draw(t, "tunnel id"),
		Role:      rapid.SampledFrom([]string{"", RolePrimary, RoleSecondary, RoleInfrastructure}).Draw(t, "role"),
	}
	if rapid.Bool().Draw(t, "has link-local gateway") {
		n.LLAGateway = addr6.Draw(t, "link-local gateway")
	}
	for range rapid.IntRange(0, 3).Draw(t, "routes") {
		hop := addrs.Draw(t, "next hop")
		family := addr6
		if hop.Is4() {
			family = addr4
		}
		dest := family.Draw(t, "destination")
		length := rapid.IntRange(1, dest.BitLen()).Draw(t, "prefix length")
		if rapid.Bool().Draw(t, "on the link") {
			hop = netip.Addr{}
		}
		n.Routes = append(n.Routes, Route{Dest: netip.PrefixFrom(dest, length).Masked(), NextHop: hop})
	}
	return n
}

// FuzzDecode: no text makes a decoder panic, and what is understood is a fixed point of
// encoding and decoding.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		"2", "false", "null", "{}", "[]", `["172.18.0.3/16"]`, `["172.18.0.3"]`, `{"default":"0"}`, `{"default":"10.130.0.0/23"}`,
		`{"default":["10.244.1.0/24","fd00:10:244:2::/64"]}`, `{"ipv4":"100.88.0.2/16","ipv6":"fd97::2/64"}`,
		L3Gateway.Encode(Gateway{Mode: ModeShared, InterfaceID: "a", MAC: "02:42:ac:12:00:03", Addresses: []netip.Prefix{prefix("10.0.0.1/8")}}),
		PodNetworks.Encode(map[string]PodNetwork{"default": {MAC: "0a:58:0a:f4:01:05", Routes: []Route{{prefix("10.0.0.0/8"), addr("10.0.0.1")}}}}),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		fixedPoint(t, NodeID, text)
		fixedPoint(t, NodeSubnets, text)
		fixedPoint(t, NodeTransit, text)
		fixedPoint(t, NetworkIDs, text)
		fixedPoint(t, NodeChassisID, text)
		fixedPoint(t, NodeHostAddrs, text)
		fixedPoint(t, NodeEncapIPs, text)
		fixedPoint(t, NodeMasquerade, text)
		fixedPoint(t, L3Gateway, text)
		fixedPoint(t, PodNetworks, text)
	})
}

func fixedPoint[T any](t *testing.T, c *Codec[T], text string) {
	t.Helper()
	value, err := c.Decode(text)
	if err != nil {
		return
	}
	again, err := c.Decode(c.Encode(value))
	if err != nil {
		t.Fatalf("%s: %q was understood, but not what it encodes to: %v", c.Key(), text, err)
	}
	if diff := cmp.Diff(value, again, opaque); diff != "" {
		t.Fatalf("%s: %q reads differently the second time:\n%s", c.Key(), text, diff)
	}
}
