package ovn_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
)

func TestWritesAreSeenAtOnce(t *testing.T) {
	t.Parallel()
	db := ovntest.NB(t).Connect(t)
	ctx := context.Background()
	results, err := db.Transact(ctx, "pods default/web-0 test",
		ovn.Insert(&nb.LogicalSwitch{Name: "n1", Ports: []string{"port"}, OtherConfig: map[string]string{"subnet": "10.244.0.0/24"}}, "ls"),
		ovn.Insert(&nb.LogicalSwitchPort{Name: "default_web-0", Addresses: []string{"dynamic"}, Enabled: new(true)}, "port"))
	if err != nil {
		t.Fatal(err)
	}
	ls, ok := ovn.Find[nb.LogicalSwitch](db, "n1")
	if !ok || !cmp.Equal(ls.Ports, []string{results[1].UUID.GoUUID}) {
		t.Fatalf("after the insert: %v", ls)
	}
	table, _ := ovn.Northbound().Table("Logical_Switch")
	ports, _ := table.Column("ports")
	other, _ := table.Column("other_config")
	lsp := *must(ovn.Find[nb.LogicalSwitchPort](db, "default_web-0"))
	lsp.Addresses = []string{"0a:58:0a:f4:00:05 10.244.0.5"}
	if _, err := db.Transact(ctx, "", ovn.Update(&lsp, lsp.UUID, "addresses"),
		ovn.Mutate(table, ls.UUID, ovn.Mutation{Column: other, Put: map[string]string{"subnet": "10.244.1.0/24", "mcast_snoop": "true"}})); err != nil {
		t.Fatal(err)
	}
	if got := must(ovn.Find[nb.LogicalSwitchPort](db, lsp.Name)); !cmp.Equal(*got, lsp) {
		t.Error(cmp.Diff(lsp, *got))
	}
	if got := must(ovn.Find[nb.LogicalSwitch](db, "n1")).OtherConfig; !cmp.Equal(got, map[string]string{"subnet": "10.244.1.0/24", "mcast_snoop": "true"}) {
		t.Errorf("other_config: %v", got)
	}
	if _, err := db.Transact(ctx, "", ovn.Mutate(table, ls.UUID, ovn.Mutation{Column: ports, Remove: []string{lsp.UUID}})); err != nil {
		t.Fatal(err)
	}
	if _, ok := ovn.Get[nb.LogicalSwitchPort](db, lsp.UUID); ok {
		t.Error("a port that no switch refers to is still there")
	}
}

func must[T any](v *T, ok bool) *T {
	if !ok {
		panic("row not found")
	}
	return v
}
