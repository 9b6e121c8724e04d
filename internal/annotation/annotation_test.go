package annotation

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	prefix = netip.MustParsePrefix
	addr   = netip.MustParseAddr
	opaque = cmp.Options{cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })}
)

// goldenCase is a text as OVN-Kubernetes writes it; check compares it both ways.
type goldenCase struct {
	name, text string
	check      func(t *testing.T, text string)
}

func both[T any](c *Codec[T], value T) func(*testing.T, string) {
	return func(t *testing.T, text string) {
		t.Helper()
		if got := c.Encode(value); got != text {
			t.Errorf("Encode:\n got %s\nwant %s", got, text)
		}
		got, err := c.Decode(text)
		if err != nil {
			t.Fatalf("Decode: %v", err)
		}
		if diff := cmp.Diff(value, got, opaque); diff != "" {
			t.Errorf("Decode (-want +got):\n%s", diff)
		}
	}
}

// read checks forms that are read but no longer written.
func read[T any](c *Codec[T], value T) func(*testing.T, string) {
	return func(t *testing.T, text string) {
		t.Helper()
		got, err := c.Decode(text)
		if err != nil {
			t.Fatalf("Decode: %v", err)
		}
		if diff := cmp.Diff(value, got, opaque); diff != "" {
			t.Errorf("Decode (-want +got):\n%s", diff)
		}
	}
}

func TestFormats(t *testing.T) {
	t.Parallel()
	shared := Gateway{
		Mode: ModeShared, BridgeID: "breth0", InterfaceID: "breth0_ovn-worker", MAC: "02:42:ac:12:00:03",
		Addresses: []netip.Prefix{prefix("172.18.0.3/16")}, NextHops: []netip.Addr{addr("172.18.0.1")}, NodePort: true,
	}
	dual := shared
	dual.Mode, dual.VLAN, dual.NodePort = ModeLocal, 100, false
	dual.Addresses = []netip.Prefix{prefix("172.18.0.3/16"), prefix("fc00:f853::3/64")}
	dual.NextHops = []netip.Addr{addr("172.18.0.1"), addr("fc00:f853::1")}
	older := shared
	older.BridgeID, older.NodePort = "", false

	cases := []goldenCase{
		{"id", "2", both(NodeID, 2)},
		{"greatest id", "32767", both(NodeID, 32767)},
		{"subnets", `{"default":["10.244.1.0/24","fd00:10:244:2::/64"]}`,
			both(NodeSubnets, map[string][]netip.Prefix{"default": {prefix("10.244.1.0/24"), prefix("fd00:10:244:2::/64")}})},
		{"subnets of several networks", `{"blue":["10.1.0.0/24"],"default":["10.244.1.0/24"]}`,
			both(NodeSubnets, map[string][]netip.Prefix{"default": {prefix("10.244.1.0/24")}, "blue": {prefix("10.1.0.0/24")}})},
		{"subnets, old form", `{"default":"10.130.0.0/23"}`,
			read(NodeSubnets, map[string][]netip.Prefix{"default": {prefix("10.130.0.0/23")}})},
		{"transit", `{"ipv4":"100.88.0.2/16","ipv6":"fd97::2/64"}`,
			both(NodeTransit, []netip.Prefix{prefix("100.88.0.2/16"), prefix("fd97::2/64")})},
		{"network ids", `{"blue":"5","default":"0"}`, both(NetworkIDs, map[string]int{"default": 0, "blue": 5})},
		{"chassis id", "5ce2a7b0-9f5b-4c3d-8f0e-1d1c3c6e9a10", both(NodeChassisID, "5ce2a7b0-9f5b-4c3d-8f0e-1d1c3c6e9a10")},
		{"primary address, IPv6 only", `{"ipv6":"fc00::3/64"}`, both(NodePrimaryAddrs, []netip.Prefix{prefix("fc00::3/64")})},
		{"host addresses", `["172.18.0.3/16","10.0.0.3/24"]`,
			both(NodeHostAddrs, []netip.Prefix{prefix("172.18.0.3/16"), prefix("10.0.0.3/24")})},
		{"no host addresses", `[]`, both(NodeHostAddrs, nil)},
		{"tunnel end points", `["172.18.0.3"]`, both(NodeEncapIPs, []netip.Addr{addr("172.18.0.3")})},
		{"masquerade", `{"ipv4":"169.254.0.0/17","ipv6":"fd69::/112"}`,
			both(NodeMasquerade, []netip.Prefix{prefix("169.254.0.0/17"), prefix("fd69::/112")})},
		{"no gateway_mtu", "false", both(GatewayMTUSupport, false)},
		{"gateway_mtu said outright", "true", read(GatewayMTUSupport, true)},
		{"gateway", `{"default":{"mode":"shared","bridge-id":"breth0","interface-id":"breth0_ovn-worker",` +
			`"mac-address":"02:42:ac:12:00:03","ip-addresses":["172.18.0.3/16"],"ip-address":"172.18.0.3/16",` +
			`"next-hops":["172.18.0.1"],"next-hop":"172.18.0.1","node-port-enable":"true","vlan-id":"0"}}`, both(L3Gateway, shared)},
		{"dual-stack gateway has no singular keys", `{"default":{"mode":"local","bridge-id":"breth0","interface-id":"breth0_ovn-worker",` +
			`"mac-address":"02:42:ac:12:00:03","ip-addresses":["172.18.0.3/16","fc00:f853::3/64"],` +
			`"next-hops":["172.18.0.1","fc00:f853::1"],"node-port-enable":"false","vlan-id":"100"}}`, both(L3Gateway, dual)},
		{"gateway of an old writer", `{"default":{"mode":"shared","interface-id":"breth0_ovn-worker","mac-address":"02:42:AC:12:00:03",` +
			`"ip-address":"172.18.0.3/16","next-hop":"172.18.0.1","some-new-key":1}}`, read(L3Gateway, older)},
		{"gateway disabled", `{"default":{"mode":""}}`, both(L3Gateway, Gateway{})},
		{"pod", `{"default":{"ip_addresses":["10.244.1.5/24"],"mac_address":"0a:58:0a:f4:01:05","gateway_ips":["10.244.1.1"],` +
			`"routes":[{"dest":"10.244.0.0/16","nextHop":"10.244.1.1"}],"ip_address":"10.244.1.5/24","gateway_ip":"10.244.1.1","role":"primary"}}`,
			both(PodNetworks, map[string]PodNetwork{"default": {
				Addresses: []netip.Prefix{prefix("10.244.1.5/24")}, MAC: "0a:58:0a:f4:01:05", Gateways: []netip.Addr{addr("10.244.1.1")},
				Routes: []Route{{prefix("10.244.0.0/16"), addr("10.244.1.1")}}, Role: RolePrimary}})},
		{"dual-stack pod has no singular keys", `{"default":{"ip_addresses":["10.244.1.5/24","fd00:10:244:2::5/64"],"mac_address":"0a:58:0a:f4:01:05",` +
			`"gateway_ips":["10.244.1.1","fd00:10:244:2::1"]}}`,
			both(PodNetworks, map[string]PodNetwork{"default": {
				Addresses: []netip.Prefix{prefix("10.244.1.5/24"), prefix("fd00:10:244:2::5/64")}, MAC: "0a:58:0a:f4:01:05",
				Gateways: []netip.Addr{addr("10.244.1.1"), addr("fd00:10:244:2::1")}}})},
		{"layer-2 pod", `{"ns/nad":{"ip_addresses":null,"mac_address":"0a:58:0a:f4:01:05","tunnel_id":7,"role":"secondary"}}`,
			both(PodNetworks, map[string]PodNetwork{"ns/nad": {MAC: "0a:58:0a:f4:01:05", TunnelID: 7, Role: RoleSecondary}})},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.check(t, c.text)
		})
	}
}

type refusedCase struct {
	name   string
	decode func(string) error
	text   string
	want   string // part of the message
}

func refuse[T any](c *Codec[T]) func(string) error {
	return func(text string) error { _, err := c.Decode(text); return err }
}

func TestRefused(t *testing.T) {
	t.Parallel()
	cases := []refusedCase{
		{"id of the cluster router", refuse(NodeID), "1", "from 2 to 32767"},
		{"id too great for a tunnel key", refuse(NodeID), "32768", "from 2 to 32767"},
		{"id with a sign", refuse(NodeID), "+7", "decimal number"},
		{"id that is a word", refuse(NodeID), "two", "decimal number"},
		{"subnets that are no JSON", refuse(NodeSubnets), "10.244.1.0/24", "want a JSON object"},
		{"null subnets", refuse(NodeSubnets), "null", "want a JSON object"},
		{"trailing text", refuse(NodeSubnets), `{"default":[]} x`, "want a JSON object"},
		{"subnet with host bits", refuse(NodeSubnets), `{"default":["10.244.1.5/24"]}`, "its first address is 10.244.1.0/24"},
		{"subnet without length", refuse(NodeSubnets), `{"default":["10.244.1.0"]}`, `network "default": "10.244.1.0" is not a subnet`},
		{"two IPv4 subnets", refuse(NodeSubnets), `{"default":["10.244.1.0/24","10.244.2.0/24"]}`, "more than one entry of a family"},
		{"subnets of a number", refuse(NodeSubnets), `{"default":7}`, "want a list of subnets"},
		{"transit of the other family", refuse(NodeTransit), `{"ipv4":"fd97::2/64"}`, "of the other family"},
		{"empty transit", refuse(NodeTransit), `{}`, "neither ipv4 nor ipv6"},
		{"network id as a word", refuse(NetworkIDs), `{"default":"x"}`, `network "default": "x" is not an id`},
		{"chassis id with a comma", refuse(NodeChassisID), "a,b", "no spaces and commas"},
		{"mapped address", refuse(NodeHostAddrs), `["::ffff:10.0.0.1/112"]`, "not an IP address"},
		{"no tunnel end point", refuse(NodeEncapIPs), `[]`, "at least one"},
		{"masquerade with host bits", refuse(NodeMasquerade), `{"ipv4":"169.254.0.1/17"}`, "its first address is 169.254.0.0/17"},
		{"gateway_mtu of another word", refuse(GatewayMTUSupport), "no", `want "false"`},
		{"gateway without default", refuse(L3Gateway), `{"blue":{"mode":"shared"}}`, `no network "default"`},
		{"gateway of null", refuse(L3Gateway), `{"default":null}`, `no network "default"`},
		{"gateway mode", refuse(L3Gateway), `{"default":{"mode":"both"}}`, `mode "both"`},
		{"gateway without MAC", refuse(L3Gateway), `{"default":{"mode":"local","interface-id":"a"}}`, `"" is not a MAC address`},
		{"gateway without addresses", refuse(L3Gateway), `{"default":{"mode":"local","interface-id":"a","mac-address":"02:42:ac:12:00:03"}}`, "ip-addresses is missing"},
		{"gateway VLAN", refuse(L3Gateway), `{"default":{"mode":"local","interface-id":"a","mac-address":"02:42:ac:12:00:03","ip-address":"10.0.0.1/8","vlan-id":"4096"}}`, "0 to 4095"},
		{"pod without MAC", refuse(PodNetworks), `{"default":{"ip_addresses":["10.244.1.5/24"]}}`, "mac_address"},
		{"pod with an EUI-64", refuse(PodNetworks), `{"default":{"mac_address":"02:00:5e:10:00:00:00:01"}}`, "not a MAC address"},
		{"pod with two truths", refuse(PodNetworks), `{"default":{"ip_addresses":["10.244.1.5/24"],"ip_address":"10.244.1.6/24","mac_address":"0a:58:0a:f4:01:05"}}`, "singular form"},
		{"pod with a default route", refuse(PodNetworks), `{"default":{"mac_address":"0a:58:0a:f4:01:05","routes":[{"dest":"0.0.0.0/0","nextHop":"10.0.0.1"}]}}`, "belongs into gateway_ips"},
		{"pod with a mixed route", refuse(PodNetworks), `{"default":{"mac_address":"0a:58:0a:f4:01:05","routes":[{"dest":"10.0.0.0/8","nextHop":"fd00::1"}]}}`, "mixes IPv4 and IPv6"},
		{"pod with a role of its own", refuse(PodNetworks), `{"default":{"mac_address":"0a:58:0a:f4:01:05","role":"king"}}`, `role "king"`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := c.decode(c.text)
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want an *Error", err)
			}
			if !strings.Contains(e.Problem, c.want) {
				t.Errorf("problem %q does not say %q", e.Problem, c.want)
			}
			if e.Value != c.text || e.Remedy == "" || !strings.HasPrefix(e.Key, "k8s.ovn.org/") {
				t.Errorf("incomplete error %+v", e)
			}
		})
	}
}

func TestErrorText(t *testing.T) {
	t.Parallel()
	_, err := NodeID.Decode("x")
	want := "annotation k8s.ovn.org/node-id is \"x\": want a decimal number from 2 to 32767; " +
		"remove the annotation and `ovnkctl controller` writes it again"
	if err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
	_, err = NodeSubnets.Decode(strings.Repeat("x", 5000))
	if len(err.Error()) > 600 {
		t.Errorf("a long value makes an error of %d bytes", len(err.Error()))
	}
}

func TestGetAndPut(t *testing.T) {
	t.Parallel()
	annotations := map[string]string{}
	if _, ok, err := NodeID.Get(annotations); ok || err != nil {
		t.Errorf("absent: ok %v, error %v", ok, err)
	}
	NodeID.Put(annotations, 9)
	if id, ok, err := NodeID.Get(annotations); id != 9 || !ok || err != nil {
		t.Errorf("got %d, ok %v, error %v", id, ok, err)
	}
	annotations[NodeID.Key()] = "-"
	if _, ok, err := NodeID.Get(annotations); ok || err == nil {
		t.Errorf("malformed: ok %v, error %v", ok, err)
	}
	GatewayMTUSupport.Put(annotations, true)
	if v, there := annotations[GatewayMTUSupport.Key()]; v != "" || !there {
		t.Errorf("support should be said by removal, got %q (%v)", v, there)
	}
}
