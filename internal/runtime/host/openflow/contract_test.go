package openflow_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/openflow"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/openflow/openflowtest"
)

// bridge is one of the fake or of the real switch.
type bridge interface {
	Diff(ctx context.Context, bridge, flows string) (openflow.Changes, error)
	Apply(ctx context.Context, bridge string, c openflow.Changes) error
	// Add adds flows by another hand, Delete removes all, and Flows lists them.
	Add(bridge string, flows ...string)
	Delete(bridge string)
	Flows(bridge string) []string
}

func TestContractOfFake(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := openflowtest.New()
		f.Serve("br0")
		contract(t, f)
	})
}

const ours, foreign = "0xdeff105", "0x77"

// table is a flow table: cookie and actions by what identifies a flow.
type table map[string][2]string

func (b table) lines() []string {
	var out []string
	for key, f := range b {
		out = append(out, fmt.Sprintf("cookie=%s,%s,actions=%s", f[0], key, f[1]))
	}
	slices.Sort(out)
	return out
}

func drawFlows(t *rapid.T, label string, cookies ...string) table {
	out := table{}
	for _, key := range []string{
		"table=0,priority=0", "table=0,priority=7,udp,tp_dst=53", "table=0,priority=5,ip,nw_dst=10.0.0.1", "table=1,priority=5,ip,nw_dst=10.0.0.1",
		"table=1,priority=6,tcp6,ipv6_dst=fd00::1,tp_dst=80", "table=2,priority=1,dl_dst=02:00:00:00:00:01",
	} {
		if rapid.Bool().Draw(t, label+" "+key) {
			out[key] = [2]string{
				rapid.SampledFrom(cookies).Draw(t, "cookie"),
				rapid.SampledFrom([]string{"drop", "NORMAL", "set_field:02:00:00:00:00:02->eth_dst,LOCAL"}).Draw(t, "actions"),
			}
		}
	}
	return out
}

// contract checks Diff and Apply against what they promise.
func contract(t *rapid.T, b bridge) {
	ctx := context.Background()
	b.Delete("br0")
	have, want := drawFlows(t, "have", ours, foreign), drawFlows(t, "want", ours)
	b.Add("br0", have.lines()...)
	later := drawFlows(t, "later", ours, foreign) // added between Diff and Apply
	expected, wrong := table{}, 0
	var taken []string
	for key, f := range have {
		if _, ok := want[key]; f[0] == foreign && !ok {
			expected[key] = f
		} else if f[0] == foreign {
			taken = append(taken, table{key: f}.lines()...)
		}
		if w, ok := want[key]; w != f && (ok || f[0] == ours) {
			wrong++
		}
	}
	for key, f := range want {
		if expected[key] = f; have[key] == ([2]string{}) {
			wrong++
		}
	}
	flows := strings.Join(want.lines(), "\n") + "\n"
	c, err := b.Diff(ctx, "br0", flows)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(c.Add) + len(c.Delete); n != wrong || len(c.Taken) != len(taken) {
		t.Fatalf("%d changes instead of %d; taken %q instead of %q:\n%s", n, wrong, c.Taken, taken, c)
	}
	if err := b.Apply(ctx, "br0", c); err != nil {
		t.Fatal(err)
	}
	sorted := cmp.Options{cmpopts.SortSlices(func(a, b string) bool { return a < b }), cmpopts.EquateEmpty()}
	if d := cmp.Diff(expected.lines(), b.Flows("br0"), sorted); d != "" {
		t.Fatalf("(-want +got)\n%s", d)
	}
	if again, err := b.Diff(ctx, "br0", flows); err != nil || !again.Empty() {
		t.Fatalf("still differs: %v %v", again, err)
	}
	// Somebody takes over flows that are about to be deleted: they stay.
	if c, err = b.Diff(ctx, "br0", ""); err != nil {
		t.Fatal(err)
	}
	b.Add("br0", later.lines()...)
	if err := b.Apply(ctx, "br0", c); err != nil {
		t.Fatal(err)
	}
	for key, f := range later {
		if expected[key] = f; f[0] == ours && slices.Contains(c.Delete, key) {
			delete(expected, key)
		}
	}
	for key := range want {
		if _, ok := later[key]; !ok {
			delete(expected, key)
		}
	}
	if d := cmp.Diff(expected.lines(), b.Flows("br0"), sorted); d != "" {
		t.Fatalf("taken over (-want +got)\n%s", d)
	}
}
