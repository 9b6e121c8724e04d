package engine_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/runtime/engine"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// chassis makes a remote chassis per node, whose tunnel end point cannot carry an owner.
type chassis struct{ addTo bool }

func (chassis) Name() string { return "chassis" }

func (chassis) Keys(_ world.View, c world.Change) []feature.Key {
	return []feature.Key{{Name: c.Ref.Name}}
}

func (f chassis) Desired(v world.View, k feature.Key) (out feature.Output, reasons []feature.Reason) {
	n, ok := v.Node(k.Name)
	if !ok {
		return out, nil
	}
	encap := &sb.Encap{Type: "geneve", IP: n.Labels["ip"], ChassisName: n.Name, Options: map[string]string{"csum": "true"}}
	row := &sb.Chassis{Name: n.Name, Hostname: n.Name, OtherConfig: map[string]string{"is-remote": "true"}}
	if f.addTo {
		out.SB.AddTo(rows.Target{Table: sb.ChassisTable, Name: n.Name}, "encaps", "encap", encap)
	} else {
		row.Encaps = []string{out.SB.Add("encap", encap)}
	}
	out.SB.Add("chassis", row)
	return out, nil
}

func dumpChassis(db *ovn.DB) []string {
	var out []string
	for _, c := range ovn.List[sb.Chassis](db) {
		line := "chassis " + c.Name
		for _, e := range c.Encaps {
			if row, ok := ovn.Get[sb.Encap](db, e); ok {
				line += fmt.Sprint(" ", row.Type, " ", row.IP, " of ", row.ChassisName)
			}
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return append(out, fmt.Sprint(len(ovn.List[sb.Encap](db)), " encaps"))
}

// TestSouthbound writes rows with a required reference, and has two nodes with one address.
func TestSouthbound(t *testing.T) {
	t.Parallel()
	schema, err := os.ReadFile("../../ovn/schema/ovn-sb.ovsschema")
	if err != nil {
		t.Fatal(err)
	}
	memory := func(t *testing.T) *ovntest.Server { return ovntest.SB(t) }
	daemon := func(t *testing.T) *ovntest.Server { return ovntest.Real(t, ovn.Southbound(), schema) }
	for name, c := range map[string]struct {
		server  func(*testing.T) *ovntest.Server
		feature chassis
	}{
		"memory":               {memory, chassis{}},
		"memory, added":        {memory, chassis{addTo: true}},
		"ovsdb-server":         {daemon, chassis{}},
		"ovsdb-server, add to": {daemon, chassis{addTo: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := c.server(t)
			south := s.Connect(t, "Chassis", "Encap")
			f := start(t, ovntest.NB(t), newWorld(), func(cfg *engine.Config) {
				cfg.SB, cfg.Features = south, []feature.Feature{c.feature}
			})
			set := func(name, ip string) {
				f.world.SetNode(&world.Node{Name: name, Labels: map[string]string{"ip": ip}})
			}
			holds := func(want ...string) {
				t.Helper()
				if got := dumpChassis(south); !slices.Equal(got, want) {
					t.Errorf("got %q, want %q", got, want)
				}
			}
			set("n2", "10.0.0.2")
			f.wait("chassis", "n2")
			holds("chassis n2 geneve 10.0.0.2 of n2", "1 encaps")
			set("n3", "10.0.0.2")
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if err := f.engine.Wait(ctx, "chassis", key("n3")); err == nil || !strings.Contains(err.Error(), "belongs to chassis/n2") {
				t.Errorf("Wait: %v", err)
			}
			set("n2", "10.0.0.22")
			f.wait("chassis", "n2")
			f.wait("chassis", "n3")
			holds("chassis n2 geneve 10.0.0.22 of n2", "chassis n3 geneve 10.0.0.2 of n3", "2 encaps")
			f.world.DeleteNode("n2")
			f.wait("chassis", "n2")
			holds("chassis n3 geneve 10.0.0.2 of n3", "1 encaps")
			f.world.DeleteNode("n3")
			f.wait("chassis", "n3")
			holds("0 encaps")
		})
	}
}
