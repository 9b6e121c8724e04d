package nft_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/nft"
)

// nft itself takes what Diff makes, and lists it so that nothing differs.
func TestExec(t *testing.T) {
	t.Parallel()
	e := installed(t)
	inNamespace(t, func() { useNFT(t, e) })
	inNamespace(t, func() { rulesComeLater(t, e) })
}

// rulesComeLater makes sets and maps of every kind, and then rules that look into them: nft
// reads anew from the kernel what it declared, and understands less of it.
func rulesComeLater(t *testing.T, e nft.Exec) {
	ctx := t.Context()
	before := nft.Table{Family: "inet", Name: "later"}
	after := nft.Chain{Name: "in", Base: &nft.Base{Type: "nat", Hook: "prerouting", Priority: -100, Policy: "accept"}}
	for i, k := range kinds {
		name := fmt.Sprintf("x%d", i)
		if k.value == "" {
			before.Sets = append(before.Sets, nft.Set{Name: name, Type: k.name, Flags: k.flags})
		} else {
			before.Maps = append(before.Maps, nft.Map{Name: name, Type: k.name, Value: k.value, Flags: k.flags})
		}
		after.Rules = append(after.Rules, nft.Rule{Text: fmt.Sprintf(k.rule, name), Comment: "later"})
	}
	apply(ctx, t, e, nft.Diff(nil, before))
	have := list(ctx, t, e, before)
	for _, rule := range after.Rules {
		want := before
		want.Chains = []nft.Chain{{Name: after.Name, Base: after.Base, Rules: []nft.Rule{rule}}}
		apply(ctx, t, e, nft.Diff(have, want))
		have = list(ctx, t, e, want)
	}
}

// installed is the machine's own nft.
func installed(t testing.TB) nft.Exec {
	t.Helper()
	path, err := exec.LookPath("nft")
	if err != nil || os.Getuid() != 0 {
		t.Skip("needs nft, and root for a network namespace")
	}
	return nft.Exec{Path: path}
}

// inNamespace runs f in a network namespace of its own.
func inNamespace(t testing.TB, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the namespace ends with the thread
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("network namespace: %v", err)
			return
		}
		f()
	}()
	<-done
}

func useNFT(t *testing.T, e nft.Exec) {
	ctx := t.Context()
	table := nft.Table{Family: "inet", Name: "ovn-kubernetes", Sets: []nft.Set{
		{Name: "nodes", Type: "ipv4_addr", Elements: []string{"172.30.0.12"}}, {Name: "empty", Type: "ipv6_addr"},
	}, Chains: []nft.Chain{
		{Name: "helper", Rules: []nft.Rule{{Text: "counter drop", Comment: "because"}}},
		{Name: "in", Base: &nft.Base{Type: "filter", Hook: "input", Priority: -5, Policy: "accept"}, Rules: []nft.Rule{
			{Text: "ip saddr @nodes icmp type destination-unreachable icmp code frag-needed counter drop", Comment: "it's 50% of all"},
			{Text: "jump helper", Comment: "x"},
		}},
		{Name: "out", Base: &nft.Base{Type: "nat", Hook: "postrouting", Priority: 100, Policy: "accept"}, Rules: []nft.Rule{
			{Text: `oifname "mp0" ip saddr != 10.0.0.1 counter snat ip to 10.0.0.1`, Comment: "y"},
		}},
	}}
	guard := nft.Table{Family: "netdev", Name: "guard", Chains: []nft.Chain{
		{Name: "lo", Base: &nft.Base{Type: "filter", Hook: "ingress", Priority: -500, Policy: "drop", Device: "lo"}},
	}}
	for _, want := range []nft.Table{table, guard} {
		if have, err := e.List(ctx, want.Family, want.Name); have != nil || err != nil {
			t.Errorf("%s before it is made: %v %v", want.Name, have, err)
		}
		apply(ctx, t, e, nft.Diff(nil, want))
		have := list(ctx, t, e, want)
		if ops := nft.Diff(have, want); len(ops) > 0 {
			t.Errorf("%s differs from itself: %v", want.Name, ops)
		}
		apply(ctx, t, e, nft.Rewrite(have, want))
		if again := list(ctx, t, e, want); len(nft.Diff(again, want)) > 0 {
			t.Errorf("%s differs after it was rewritten", want.Name)
		}
	}
	digest := list(ctx, t, e, table).Digest
	if list(ctx, t, e, table).Digest != digest {
		t.Error("the digest changes though nothing does")
	}
	changed := table
	changed.Sets = []nft.Set{{Name: "nodes", Type: "ipv4_addr", Elements: []string{"172.30.0.13"}}}
	changed.Chains = []nft.Chain{
		{Name: "in", Base: &nft.Base{Type: "filter", Hook: "input", Priority: 7, Policy: "accept"}, Rules: table.Chains[1].Rules[:1]},
	}
	apply(ctx, t, e, nft.Diff(list(ctx, t, e, table), changed))
	if ops := nft.Diff(list(ctx, t, e, changed), changed); len(ops) > 0 {
		t.Errorf("still differs: %v", ops)
	}
	if list(ctx, t, e, table).Digest == digest {
		t.Error("the digest stays though the table changed")
	}
	if err := e.Apply(ctx, []nft.Op{{Verb: nft.DeleteTable, Family: "inet", Table: "none"}}); err == nil {
		t.Error("a table that is not there was deleted")
	}
}

func apply(ctx context.Context, t *testing.T, e nft.Exec, ops []nft.Op) {
	if err := e.Apply(ctx, ops); err != nil {
		t.Error(err)
	}
}

func list(ctx context.Context, t *testing.T, e nft.Exec, table nft.Table) *nft.Table {
	have, err := e.List(ctx, table.Family, table.Name)
	if err != nil || have == nil {
		t.Errorf("%s: %v %v", table.Name, have, err)
		return &nft.Table{}
	}
	return have
}
