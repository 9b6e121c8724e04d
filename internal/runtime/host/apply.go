package host

import (
	"context"
	"fmt"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/kernel"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/nft"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/ovs"
)

// applier makes changes and collects what went wrong: one route that the kernel refuses
// must not keep the others away.
type applier struct {
	ctx     context.Context
	r       *Reconciler
	wrote   bool
	reasons []*Reason
}

func (a *applier) do(c changes) {
	if !a.transact("settings", c.settings) {
		return
	}
	a.kernel(c.build)
	if a.transact("gateway NIC becomes a port", c.attach) && a.transact("remember the gateway NIC", c.memory) {
		a.kernel(c.release)
		a.kernel(c.silence)
	}
}

func (a *applier) transact(cause string, changes []ovs.Change) bool {
	if len(changes) == 0 {
		return true
	}
	if err := a.r.cfg.Host.Switch.Apply(a.ctx, "host "+a.r.cfg.Node+" "+cause, changes); err != nil {
		a.fail("Open vSwitch database", err)
		return false
	}
	a.wrote = true
	a.r.cfg.Log.Info("switch changed", "cause", cause, "changes", describe(changes))
	return true
}

func (a *applier) kernel(changes []kernel.Change) {
	for _, c := range changes {
		if err := a.r.cfg.Host.Kernel.Apply(a.ctx, c); err != nil {
			a.fail("network stack", err)
			continue
		}
		a.wrote = true
		a.r.cfg.Log.Info("host changed", "change", c.String())
	}
}

func (a *applier) fail(what string, err error) {
	a.reasons = append(a.reasons, reason(CodeHost, "", "%s: %v", what, err))
}

func describe(changes []ovs.Change) []string {
	var out []string
	for _, c := range changes {
		out = append(out, fmt.Sprintf("%T%+v", c, c))
	}
	return out
}

// firewall makes the tables what they should be.
func (a *applier) firewall(in input, guard *bool, what scope) {
	if len(in.subnets()) > 0 {
		t, text := a.r.wanted.tableFor(in)
		a.table(t, text, what, in.services != nil)
	}
	if guard == nil {
		return
	}
	t := guardTable(in.uplink.link.Name)
	if *guard {
		// The chain vanishes with its device, of which nft tells nobody.
		a.table(t, itoa(in.uplink.link.Index)+tableText(t), what, true)
		return
	}
	delete(a.r.lastTables, t.Family+" "+t.Name+" text")
	if have, err := a.r.cfg.Host.Firewall.List(a.ctx, t.Family, t.Name); err == nil && have != nil {
		a.apply(t, []nft.Op{{Verb: nft.DeleteTable, Family: t.Family, Table: t.Name}})
	}
}

// table compares a table if its text is another than when it was last right, or if
// somebody changed it. One of which not all is known is only made, not changed.
func (a *applier) table(want nft.Table, text string, what scope, known bool) {
	key := want.Family + " " + want.Name
	seen := a.r.lastTables[key+" text"] == text
	if seen && what&scopeFirewall == 0 {
		return
	}
	have, err := a.r.cfg.Host.Firewall.List(a.ctx, want.Family, want.Name)
	if err != nil {
		a.fail("nftables", err)
		return
	}
	if !known && have != nil {
		return
	}
	ops := nft.Diff(have, want)
	if len(ops) == 0 && seen && have.Digest != a.r.lastTables[key] {
		ops = nft.Rewrite(have, want) // changed behind the comments
	}
	var digest string
	if len(ops) == 0 {
		digest = have.Digest
	} else {
		if !a.apply(want, ops) {
			return
		}
		if digest, err = a.r.cfg.Host.Firewall.Digest(a.ctx, want.Family, want.Name); err != nil || digest == "" {
			return
		}
	}
	a.r.lastTables[key], a.r.lastTables[key+" text"] = digest, text
}

func (a *applier) apply(t nft.Table, ops []nft.Op) bool {
	if err := a.r.cfg.Host.Firewall.Apply(a.ctx, ops); err != nil {
		a.fail("nftables", err)
		return false
	}
	a.wrote = true
	a.r.cfg.Log.Info("nftables changed", "table", t.Name, "changes", len(ops))
	return true
}
