package trace

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovnkctl/ovnkctl/internal/explain"
)

// TestText: what an operator sees of a drop.
func TestText(t *testing.T) {
	t.Parallel()
	acl := &explain.RowRef{Node: "n2", Database: "nb", Table: "ACL", UUID: "22222222", Name: "NP:shop:web:Ingress", Object: explain.Object{Kind: "Namespace", Name: "shop"}}
	r := &Result{
		Source:      End{Kind: EndPod, Object: explain.Object{Kind: "Pod", Namespace: "shop", Name: "a"}},
		Destination: End{Kind: EndService, Object: explain.Object{Kind: "Service", Namespace: "shop", Name: "web"}},
		Protocol:    TCP, Port: 80, Verdict: Dropped,
		Paths: []*Path{{
			Verdict: Dropped, Backend: netip.MustParseAddrPort("10.244.2.5:8080"), Backends: make([]netip.AddrPort, 2),
			Decision: Decision{
				Text: "denied: isolated by NetworkPolicy shop/web, and no rule allows it", Node: "n2", Stage: "ls_out_acl_eval", Row: acl,
				Isolating: []explain.Object{{Kind: "NetworkPolicy", Namespace: "shop", Name: "web"}},
				Nearest: []Near{{
					Rule:   Rule{Object: explain.Object{Kind: "NetworkPolicy", Namespace: "shop", Name: "web"}, Direction: "ingress"},
					Failed: []Term{{Kind: "Port", Wants: "TCP 443", Has: "TCP 8080"}},
				}},
			},
			Problems: []string{"something is odd"},
			Hops: []Hop{
				{Node: "n1", Kind: HopLogical, Datapath: "n1", Pipeline: "ingress", Inport: "shop_a", Flow: &Flow{Table: 0, Stage: "ls_in_check_port_sec", Match: "1", Actions: []string{"next;"}}},
				{Node: "n1", Kind: HopLogical, Datapath: "n1", Pipeline: "ingress", Inport: "shop_a", Flow: &Flow{Table: 13, Stage: "ls_in_lb", Priority: 120, Match: "tcp", Actions: []string{"ct_lb_mark(backends=10.244.2.5:8080,10.244.1.5:8080);"}}},
				{Node: "n1", Kind: HopLogical, Datapath: "n1", Pipeline: "egress", Inport: "shop_a", Outport: "stor-n1", Flow: &Flow{Table: 3, Stage: "ls_out_pre_lb", Match: "1", Row: &explain.RowRef{}}},
				{Node: "n1", Kind: HopTunnel, Text: "GENEVE to node n2"},
				{Node: "n2", Kind: HopLogical, Datapath: "n2", Pipeline: "egress", Inport: "stor-n2", Outport: "shop_b", Flow: &Flow{Table: 6, Stage: "ls_out_acl_eval", Match: "ip", Row: &explain.RowRef{Part: "undecided/ingress/1"}}},
				{Node: "n2", Kind: HopLogical, Datapath: "n2", Pipeline: "egress", Inport: "stor-n2", Outport: "shop_b", Flow: &Flow{Table: 6, Stage: "ls_out_acl_eval", Match: "ip", Actions: []string{"reg8[17] = 1;", "next;"}, Row: acl}},
			},
		}},
	}
	var narrow, wide strings.Builder
	if err := r.Text(&narrow, false); err != nil {
		t.Fatal(err)
	}
	if err := r.Text(&wide, true); err != nil {
		t.Fatal(err)
	}
	want := `DROPPED: Pod shop/a to Service shop/web, tcp/80
  why      denied: isolated by NetworkPolicy shop/web, and no rule allows it
  row      ACL NP:shop:web:Ingress on node n2
           ovnkctl explain 22222222
  backend  10.244.2.5:8080 of 2
  nearest  NetworkPolicy shop/web ingress[0] would have allowed it
           port: the rule wants TCP 443, the packet has TCP 8080
  warning  something is odd
  n1       switch n1 (shop_a → stor-n1)
            ls_in_lb                ct_lb_mark(backends=10.244.2.5:8080,10.244.1.5:8080);
  n1       GENEVE to node n2
  n2       switch n2 (stor-n2 → shop_b)
            ls_out_acl_eval         drop  [ACL NP:shop:web:Ingress, Namespace shop]
`
	if d := cmp.Diff(want, narrow.String()); d != "" {
		t.Error(d)
	}
	for _, line := range []string{"           0 ls_in_check_port_sec    0 1\n", "               reg8[17] = 1;\n"} {
		if !strings.Contains(wide.String(), line) {
			t.Errorf("wide has no line %q:\n%s", line, wide.String())
		}
	}
}
