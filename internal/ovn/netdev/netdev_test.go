package netdev_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/netdev"
)

func TestPassThrough(t *testing.T) {
	t.Parallel()
	got := netdev.PassThrough(nb.LoadBalancerProtocolUDP, "169.254.0.5 fd69::5", []netip.AddrPort{
		netip.MustParseAddrPort("10.244.1.7:53"), netip.MustParseAddrPort("[fd00:10:244:1::7]:53"),
	})
	protocol := nb.LoadBalancerProtocolUDP
	want := &nb.LoadBalancer{
		Protocol: &protocol,
		Vips:     map[string]string{"10.244.1.7:53": "10.244.1.7:53", "[fd00:10:244:1::7]:53": "[fd00:10:244:1::7]:53"},
		Options: map[string]string{
			"event": "false", "hairpin_snat_ip": "169.254.0.5 fd69::5", "neighbor_responder": "none", "reject": "false",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestForceSNAT(t *testing.T) {
	t.Parallel()
	got := netdev.NewForceSNAT(
		netdev.Port{Name: "rtoj-GR_n1", Addrs: []netip.Addr{netip.MustParseAddr("100.64.0.2"), netip.MustParseAddr("fd98::2")}},
		netdev.Port{Name: "rtoe-GR_n1", Addrs: []netip.Addr{netip.MustParseAddr("172.30.0.11")}}, "etor-GR_n1")
	rule := func(external, logical, match string) *nb.NAT {
		return &nb.NAT{Type: nb.NATTypeSNAT, ExternalIP: external, LogicalIP: logical, Match: match}
	}
	want := netdev.ForceSNAT{
		Policy: &nb.LogicalRouterPolicy{
			Priority: 32000, Action: nb.LogicalRouterPolicyActionAllow,
			Match: "ct.new && ct_mark.force_snat == 1", Options: map[string]string{"pkt_mark": "1447"},
		},
		NAT: []*nb.NAT{
			rule("100.64.0.2", "0.0.0.0/0", `pkt.mark == 1447 && outport == "rtoj-GR_n1"`),
			rule("fd98::2", "::/0", `pkt.mark == 1447 && outport == "rtoj-GR_n1"`),
			rule("172.30.0.11", "0.0.0.0/0", `pkt.mark == 1447 && outport == "rtoe-GR_n1"`),
		},
		QoS: &nb.QoS{
			Priority: 32000, Direction: nb.QoSDirectionFromLport,
			Match: "pkt.mark == 1447", Action: map[string]int{"mark": 0},
		},
		ACLs: []*nb.ACL{{
			Priority: 32000, Direction: nb.ACLDirectionFromLport, Action: nb.ACLActionDrop,
			Match: `inport == "etor-GR_n1" && arp.spa == 100.64.0.2`,
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
