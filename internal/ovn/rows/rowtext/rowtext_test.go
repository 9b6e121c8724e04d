package rowtext

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
)

const want = `Copp c (copp)
    meters  arp=a, bfd=b
Logical_Switch_Port p (port) in Logical_Switch n1.ports, Port_Group all.ports
    addresses  m1 a, m2 b
    enabled    true
Meter m (meter)
    bands  @band
    unit   pktps
Meter_Band (band)
    rate  25
Address_Set web.addresses += 10.0.0.1
Load_Balancer_Group lbs.load_balancer += @Load_Balancer/x
NB_Global.options += name=n1
`

func TestText(t *testing.T) {
	t.Parallel()
	enabled := true
	var s rows.Set
	s.AddTo(rows.Target{Table: nb.LogicalSwitchTable, Name: "n1"}, "ports", "port",
		&nb.LogicalSwitchPort{Name: "p", Addresses: []string{"m2 b", "m1 a"}, Enabled: &enabled})
	s.Members = append(s.Members,
		rows.Member{Parent: rows.Target{Table: nb.PortGroupTable, Name: "all"}, Column: "ports", Value: rows.Ref("port")},
		rows.Member{Parent: rows.Target{Table: nb.AddressSetTable, Name: "web"}, Column: "addresses", Value: "10.0.0.1"},
		rows.Member{Parent: rows.Target{Table: nb.LoadBalancerGroupTable, Name: "lbs"}, Column: "load_balancer", Value: rows.Named(nb.LoadBalancerTable, "x")})
	band := s.Add("band", &nb.MeterBand{Rate: 25})
	s.Add("meter", &nb.Meter{Name: "m", Unit: nb.MeterUnitPktps, Bands: []string{band}})
	s.Add("copp", &nb.Copp{Name: "c", Meters: map[string]string{"bfd": "b", "arp": "a"}})
	s.Put(rows.Target{Table: nb.NBGlobalTable}, "options", "name", "n1")
	if diff := cmp.Diff(want, Text(s)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	slices.Reverse(s.Rows)
	slices.Reverse(s.Members)
	if diff := cmp.Diff(want, Text(s)); diff != "" {
		t.Errorf("the order of rows shows (-want +got):\n%s", diff)
	}
}
