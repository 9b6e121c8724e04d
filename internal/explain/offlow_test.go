package explain

import (
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
)

func TestOfFlow(t *testing.T) {
	const match = "outport == @pg && ip"
	acl := func(uuid, direction string, tier int, options map[string]string) *nb.ACL {
		return &nb.ACL{UUID: uuid + "-0000-4000-8000-000000000000", Direction: direction, Priority: 900, Tier: tier, Match: match, Options: options}
	}
	x := NewIndex("node1")
	table, _ := ovn.Northbound().Table(nb.ACLTable)
	for _, a := range []*nb.ACL{
		acl("0000000a", nb.ACLDirectionToLport, 0, nil),
		acl("0000000b", nb.ACLDirectionToLport, 1, nil),
		acl("0000000c", nb.ACLDirectionFromLport, 1, nil),
		acl("0000000d", nb.ACLDirectionFromLport, 1, map[string]string{"apply-after-lb": "true"}),
	} {
		x.Add(table, a)
	}
	const tiered = "reg8[30..31] == 1 && reg0[9] == 1 && (" + match + ")"
	for _, tt := range []struct {
		name string
		key  FlowKey
		want string
	}{
		{"by its hint", FlowKey{"0000000c", "ls_out_acl_eval", 1900, tiered}, "0000000c"},
		{"by what it says", FlowKey{"ffffffff", "ls_out_acl_eval", 1900, tiered}, "0000000b"},
		{"no tiers", FlowKey{"ffffffff", "ls_out_acl_eval", 1900, "(" + match + ")"}, "0000000a"},
		{"from the pod", FlowKey{"ffffffff", "ls_in_acl_eval", 1900, tiered}, "0000000c"},
		{"after load balancers", FlowKey{"ffffffff", "ls_in_acl_after_lb_eval", 1900, tiered}, "0000000d"},
		{"another priority", FlowKey{"ffffffff", "ls_out_acl_eval", 1901, tiered}, ""},
		{"another match", FlowKey{"ffffffff", "ls_out_acl_eval", 1900, "(outport == @other && ip)"}, ""},
		{"not of an ACL", FlowKey{"ffffffff", "ls_in_lb", 1900, tiered}, ""},
		{"of no row", FlowKey{"", "ls_out_acl_eval", 1900, tiered}, ""},
	} {
		got := ""
		if e, ok := x.OfFlow(tt.key); ok {
			got = e.UUID[:prefixDigits]
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
