// Package barrier waits until what is committed to the Northbound database is in force on
// the local node.
//
//	NB_Global.nb_cfg += 1 ──northd──> SB_Global.nb_cfg ──ovn-controller──> flows, their barrier
//	                                                                          └──> br-int external_ids:ovn-nb-cfg
//
// northd copies the number in the transaction that has the logical flows of what was
// committed before it; ovn-controller reports it once Open vSwitch has confirmed the flows.
// The report that ovn-controller leaves on the bridge is nearer than hv_cfg, which has to go
// back through both databases.
package barrier

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
)

// reported is the key of the integration bridge's external_ids in which ovn-controller
// reports (ovn-controller(8)).
const reported = "ovn-nb-cfg"

// Barrier waits for the local node. Callers that wait at the same time share nothing: who
// has many gathers them.
type Barrier struct {
	NB, OVS *ovn.DB
	// Bridge is the integration bridge; OVS must watch the external_ids of bridges.
	Bridge string
}

// Wait returns when everything that was committed before the call is in force. It lasts as
// long as ovn-northd or ovn-controller are not there, or until ctx ends.
func (b Barrier) Wait(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	poke := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	defer ovn.Watch(b.OVS, func(_, now *vswitch.Bridge) {
		if now != nil && now.Name == b.Bridge {
			poke()
		}
	})()
	defer ovn.Watch(b.NB, func(_, _ *nb.NBGlobal) { poke() })()
	want, err := b.count(ctx)
	if err != nil {
		return err
	}
	for {
		switch asked, have := b.progress(); {
		case asked < want: // the Northbound database was made anew
			if want, err = b.count(ctx); err != nil {
				return err
			}
			continue
		case have >= want:
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			_, have := b.progress()
			return fmt.Errorf("the flows on this node are those of configuration %d, not yet %d: check containers ovn-northd and ovn-controller of pod ovnkube-node: %w",
				have, want, context.Cause(ctx))
		}
	}
}

// count asks OVN to report once more, and returns what the report will be.
func (b Barrier) count(ctx context.Context) (int, error) {
	global, ok := ovn.Find[nb.NBGlobal](b.NB, "")
	if !ok {
		return 0, errors.New("the Northbound database has no row NB_Global yet: ovn-northd makes it when it starts")
	}
	// Of a database before this one more may have been reported.
	_, have := b.progress()
	results, err := b.NB.Transact(ctx, "barrier",
		ovsdb.Operation{
			Op: ovsdb.OperationMutate, Table: nb.NBGlobalTable, Where: row(global.UUID),
			Mutations: []ovsdb.Mutation{*ovsdb.NewMutation("nb_cfg", ovsdb.MutateOperationAdd, max(1, have-global.NbCfg+1))},
		},
		ovsdb.Operation{Op: ovsdb.OperationSelect, Table: nb.NBGlobalTable, Where: row(global.UUID), Columns: []string{"nb_cfg"}})
	if err != nil {
		return 0, fmt.Errorf("barrier: %w", err)
	}
	return number(results[1])
}

// progress is what OVN was asked to report, and what ovn-controller reported last.
func (b Barrier) progress() (asked, have int) {
	if global, ok := ovn.Find[nb.NBGlobal](b.NB, ""); ok {
		asked = global.NbCfg
	}
	if bridge, ok := ovn.Find[vswitch.Bridge](b.OVS, b.Bridge); ok {
		if n, err := strconv.Atoi(bridge.ExternalIDs[reported]); err == nil {
			have = n
		}
	}
	return asked, have
}

func row(uuid string) []ovsdb.Condition {
	return []ovsdb.Condition{ovsdb.NewCondition("_uuid", ovsdb.ConditionEqual, ovsdb.UUID{GoUUID: uuid})}
}

// number reads the new nb_cfg; JSON has made it a float.
func number(r ovsdb.OperationResult) (int, error) {
	if len(r.Rows) == 1 {
		switch n := r.Rows[0]["nb_cfg"].(type) {
		case float64:
			return int(n), nil
		case int:
			return n, nil
		}
	}
	return 0, fmt.Errorf("barrier: the Northbound database did not tell its nb_cfg: %v", r.Rows)
}
