// Package porttest is an Open_vSwitch database with an integration bridge, and stand-ins
// for ovs-vswitchd and ovn-controller.
package porttest

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
)

// Bridge is the integration bridge of the database.
const Bridge = "br-int"

// Database is a client of a database server of its own.
type Database struct {
	*ovn.DB
	Server    *ovntest.Server
	Committer *ovn.Committer
	metrics   *prometheus.Registry
}

// New starts a database in memory with an empty integration bridge.
func New(t testing.TB) *Database { return On(t, ovntest.OVS(t)) }

// On makes an empty integration bridge in the database of a server.
func On(t testing.TB, s *ovntest.Server) *Database {
	t.Helper()
	d := &Database{Server: s, metrics: prometheus.NewRegistry()}
	d.DB = s.ConnectWith(t, ovn.Config{Metrics: ovn.NewMetrics(d.metrics)})
	d.Committer = ovn.NewCommitter(d.DB)
	root := &vswitch.OpenvSwitch{Bridges: []string{"br"}}
	if _, err := d.Transact(t.Context(), "", ovn.Insert(&vswitch.Bridge{Name: Bridge}, "br"), ovn.Insert(root, "root")); err != nil {
		t.Fatal(err)
	}
	return d
}

// Transactions is how many transactions were committed.
func (d *Database) Transactions(t testing.TB) int {
	t.Helper()
	families, err := d.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "ovnk_ovsdb_txn_duration_seconds" {
			return int(f.Metric[0].GetHistogram().GetSampleCount())
		}
	}
	t.Fatal("no metric of transactions")
	return 0
}

// Interface is the Interface of that name.
func (d *Database) Interface(t testing.TB, name string) *vswitch.Interface {
	t.Helper()
	i, ok := ovn.Find[vswitch.Interface](d.DB, name)
	if !ok {
		t.Fatalf("there is no interface %s", name)
	}
	return i
}

// Set changes columns of an Interface, as other programs do.
func (d *Database) Set(t testing.TB, to *vswitch.Interface, columns ...string) {
	t.Helper()
	if _, err := d.Transact(t.Context(), "", ovn.Update(to, d.Interface(t, to.Name).UUID, columns...)); err != nil {
		t.Fatal(err)
	}
}
