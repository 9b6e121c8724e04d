package barrier_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/barrier"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
)

func open(t *testing.T, s *ovntest.Server, d *ovn.Database, columns map[string][]string) *ovn.DB {
	t.Helper()
	db, err := ovn.Open(t.Context(), ovn.Config{Endpoint: s.Endpoint(), Database: d, Columns: columns})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

func transact(t *testing.T, db *ovn.DB, ops ...ovsdb.Operation) {
	t.Helper()
	if _, err := db.Transact(t.Context(), "", ops...); err != nil {
		t.Fatal(err)
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	b := barrier.Barrier{
		NB: open(t, ovntest.NB(t), ovn.Northbound(), nil), OVS: open(t, ovntest.OVS(t), ovn.OpenVSwitch(), nil), Bridge: "br-int",
	}
	if err := b.Wait(t.Context()); err == nil || !strings.Contains(err.Error(), "NB_Global") {
		t.Errorf("without NB_Global: %v", err)
	}
	transact(t, b.NB, ovn.Insert(&nb.NBGlobal{NbCfg: 41}, "g"))
	transact(t, b.OVS,
		ovn.Insert(&vswitch.Bridge{Name: "br-int", ExternalIDs: map[string]string{"ovn-nb-cfg": "41"}}, "b"),
		ovn.Insert(&vswitch.OpenvSwitch{Bridges: []string{"b"}}, "o"))
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := b.Wait(short); err == nil || !strings.Contains(err.Error(), "41, not yet 42") {
		t.Errorf("while nobody reports: %v", err)
	}
	done := make(chan error, 1)
	asked := make(chan struct{})
	stop := ovn.Watch(b.NB, func(_, now *nb.NBGlobal) {
		if now != nil && now.NbCfg == 43 {
			close(asked)
		}
	})
	defer stop()
	go func() { done <- b.Wait(t.Context()) }()
	<-asked
	bridge, _ := ovn.Find[vswitch.Bridge](b.OVS, "br-int")
	report := func(n string) {
		transact(t, b.OVS, ovn.Update(&vswitch.Bridge{ExternalIDs: map[string]string{"ovn-nb-cfg": n}}, bridge.UUID, "external_ids"))
	}
	report("42")
	select {
	case err := <-done:
		t.Fatalf("the wait ended with the report of an earlier configuration: %v", err)
	default:
	}
	report("44") // of somebody's who came later
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestWaitOfDatabaseAnew: a Northbound database that was made anew counts from the beginning,
// and what ovn-controller reported of the old one does not count.
func TestWaitOfDatabaseAnew(t *testing.T) {
	t.Parallel()
	b := barrier.Barrier{
		NB: open(t, ovntest.NB(t), ovn.Northbound(), nil), OVS: open(t, ovntest.OVS(t), ovn.OpenVSwitch(), nil), Bridge: "br-int",
	}
	transact(t, b.NB, ovn.Insert(&nb.NBGlobal{NbCfg: 3}, "g"))
	transact(t, b.OVS,
		ovn.Insert(&vswitch.Bridge{Name: "br-int", ExternalIDs: map[string]string{"ovn-nb-cfg": "70"}}, "b"),
		ovn.Insert(&vswitch.OpenvSwitch{Bridges: []string{"b"}}, "o"))
	asked := make(chan int, 10)
	defer ovn.Watch(b.NB, func(_, now *nb.NBGlobal) {
		if now != nil {
			asked <- now.NbCfg
		}
	})()
	done := make(chan error, 1)
	go func() { done <- b.Wait(t.Context()) }()
	if n := <-asked; n != 3 {
		t.Fatalf("nb_cfg is %d", n)
	}
	if n := <-asked; n != 71 {
		t.Errorf("waits for %d; ovn-controller has reported 70 already", n)
	}
	global, _ := ovn.Find[nb.NBGlobal](b.NB, "")
	transact(t, b.NB, ovn.Update(&nb.NBGlobal{NbCfg: 5}, global.UUID, "nb_cfg"))
	if n := <-asked; n != 5 {
		t.Fatalf("nb_cfg is %d", n)
	}
	if n := <-asked; n != 71 {
		t.Errorf("counts to %d after the database was made anew", n)
	}
	bridge, _ := ovn.Find[vswitch.Bridge](b.OVS, "br-int")
	transact(t, b.OVS, ovn.Update(&vswitch.Bridge{ExternalIDs: map[string]string{"ovn-nb-cfg": "71"}}, bridge.UUID, "external_ids"))
	if err := <-done; err != nil {
		t.Error(err)
	}
}
