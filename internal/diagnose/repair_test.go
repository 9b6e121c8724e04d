package diagnose

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovnkctl/ovnkctl/internal/output"
	"github.com/ovnkctl/ovnkctl/internal/runtime/repair"
)

// What has drifted is asked for once, be it a finding or what one explains; what nobody can
// look at again is not.
func TestRequests(t *testing.T) {
	t.Parallel()
	cart := target{feature: "pods", key: "shop/cart"}
	got := requests([]Finding{
		{Code: "A", Node: "n2", repair: target{host: true}},
		{Code: "B", Node: "n1", repair: target{feature: "services", key: "shop/web"}},
		{Code: "C", Node: "n1", Explains: []Consequence{{Code: "D", Node: "n1", repair: cart}, {Code: "E", Node: "n3"}}},
		{Code: "D", Node: "n1", repair: cart},
		{Code: "F", Node: "n4"},
	})
	want := []request{
		{node: "n1", Request: repair.Request{Keys: []repair.Key{{Feature: "pods", Key: "shop/cart"}, {Feature: "services", Key: "shop/web"}}}},
		{node: "n2", Request: repair.Request{Host: true}},
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(request{})); d != "" {
		t.Error(d)
	}
	if got, want := describe(got), "The programs of 2 nodes are to look again at 2 keys and 1 host, and to put them right."; got != want {
		t.Errorf("got %q", got)
	}
}

// What drifts of a healthy cluster's node is what its program can look at again.
func TestDriftCanBeRepaired(t *testing.T) {
	t.Parallel()
	c := recorded(t)
	n := c.Nodes[1]
	n.Texts["flows/br-ex"] = strings.SplitAfter(n.Texts["flows/br-ex"], "\n")[0]
	checks, err := Select([]string{"drift"})
	if err != nil {
		t.Fatal(err)
	}
	got := requests(Run(c, checks).Findings)
	if len(got) != 1 || got[0].node != n.Name || !got[0].Host || len(got[0].Keys) != 0 {
		t.Errorf("got %+v", got)
	}
}

// A node that does not answer is asked once, and nothing of it is done.
func TestSilentNode(t *testing.T) {
	t.Parallel()
	key := repair.Key{Feature: "pods", Key: "shop/cart"}
	r := &request{node: "n1"}
	ask := repair.Request{Keys: []repair.Key{key}, Host: true}
	got := r.outcomes(ask, repair.Answer{}, errors.New("deaf"))
	deaf := "deaf; 'ovnkctl diagnose' tells what is wrong with the node"
	want := []Repaired{{Node: "n1", Feature: "pods", Key: "shop/cart", Result: repair.Failed, Why: deaf}, {Node: "n1", Result: repair.Failed, Why: deaf}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	got = r.outcomes(ask, repair.Answer{Keys: []repair.Outcome{{Key: key, Result: repair.Done}}}, nil)
	want = []Repaired{{Node: "n1", Feature: "pods", Key: "shop/cart", Result: repair.Done}, {Node: "n1", Result: repair.Failed, Why: "the node's program says nothing of it"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestRepairReport(t *testing.T) {
	t.Parallel()
	r := &RepairReport{Before: 2, After: &Report{Nodes: []string{"n1"}, failOn: Warning}, Asked: []Repaired{
		{Node: "n1", Feature: "pods", Key: "shop/cart", Result: repair.Done},
		{Node: "n1", Result: repair.Failed, Why: "no switch"},
	}}
	var b strings.Builder
	if err := r.Text(&b, output.Style{}, false); err != nil {
		t.Fatal(err)
	}
	want := "node n1: pods of shop/cart: done\nnode n1: the host: failed: no switch\n1 of 2 done; findings: 2 before, 0 now\n"
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
	if got := r.ExitCode(); got != output.Partial {
		t.Errorf("exit code %d", got)
	}
	r.After.Findings = []Finding{{Code: "A", Severity: Error}}
	if got := r.ExitCode(); got != output.Findings {
		t.Errorf("exit code %d with findings", got)
	}
	r.After.Findings, r.Asked = nil, r.Asked[:1]
	if got := r.ExitCode(); got != output.OK {
		t.Errorf("exit code %d when all is done", got)
	}
}
