//go:build linux

package sim

import (
	"strings"
	"testing"
	"time"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/runtime/kube/kubetest"
)

// How often what is measured is done.
const (
	restarts = 5
	flips    = 30 // also changes of a policy
	allFlips = 10
)

// BenchmarkPolicies measures one node of a cluster with 5,000 policies and 3,500 pods beside
// the floor: the same rows in a zone like it, put there by ovn-nbctl.
//
//	sync     the program starts, and OVN knows nothing of the policies yet
//	restart  the program starts, and OVN has all of them
//	flip     a label makes a namespace of 1,000 pods a peer of 30 policies in 10 namespaces,
//	         or no peer
//	all      the same with 500 policies in all namespaces
//	change   one policy allows another port
//
// Times end when Open vSwitch has the flows; those of rows when the Northbound database has
// the rows. The node has a share of the pods; alone, without OVN, also all of them.
func BenchmarkPolicies(b *testing.B) {
	c := crowd{nodes: 25, namespaces: 250, pods: 10, policies: 20, big: 1000}
	if testing.Short() {
		c.namespaces, c.big = 25, 100
	}
	// The floor is made of what ours leaves.
	var left *remains
	b.Run("ours", func(b *testing.B) { left = ours(b, c) })
	b.Run("floor", func(b *testing.B) {
		if left == nil {
			b.Skip("there is nothing to compare with: run it after ours")
		}
		floor(b, c, left)
	})
	c.nodes = 1
	b.Run("alone", func(b *testing.B) { alone(b, c) })
}

// alone measures the program with databases only, on a node with all pods.
func alone(b *testing.B, c crowd) {
	objects := kubetest.New()
	objects.Put(c.base()...)
	objects.Put(c.allPolicies()...)
	api := serve(b, objects, crowdSubnets)
	api.NB = database(b, ovn.Northbound(), "ovn-nb", &nb.NBGlobal{Name: "zone"}).Endpoint()
	api.SB = database(b, ovn.Southbound(), "ovn-sb").Endpoint()
	first, _, stop := api.start(b)
	b.ReportMetric(stop().Seconds(), "s-cpu-ovnkctl-node")
	b.ReportMetric(first.ReadyMillis/1000, "s-sync-rows")
	b.ReportMetric(first.Transactions["nb"], "txns-sync")
	pid, stop := restart(b, api)
	b.ReportMetric(anonymousMiB(b, pid), "MiB-ovnkctl-node-with")
	stop()
}

// restart starts the program again and again, and leaves it running.
func restart(b *testing.B, api cluster) (pid int, stop func() time.Duration) {
	b.Helper()
	var took []time.Duration
	written := 0.0
	for i := range restarts {
		var r report
		r, pid, stop = api.start(b)
		took = append(took, time.Duration(r.ReadyMillis*float64(time.Millisecond)))
		written += r.Transactions["nb"] + r.Transactions["sb"]
		if i < restarts-1 {
			stop()
		}
	}
	percentiles(b, "restart", took)
	b.ReportMetric(written, "txns-restart")
	return pid, stop
}

// remains is what the floor is made of.
type remains struct {
	northbound []byte // a database without policies
	script     [][]string
	// What changes do to rows, there and back.
	flip, all, change [2][]edit
}

// ours measures the node's program.
func ours(b *testing.B, c crowd) *remains {
	b.ReportMetric(loadAverage(b), "load")
	objects := kubetest.New()
	objects.Put(c.base()...)
	z := newZone(b, nil)
	api := serve(b, objects, crowdSubnets)
	api.NB, api.SB = z.socket("nb"), z.socket("sb")
	_, pid, stop := api.start(b)
	z.plug(c)
	z.sync()
	z.report("before", pid)
	stop()
	before := z.rows()
	left := &remains{northbound: z.backup()}

	objects.Put(c.allPolicies()...)
	cpu, start := z.cpu(), time.Now()
	first, _, stop := api.start(b, func() {
		z.sync()
		b.ReportMetric(time.Since(start).Seconds(), "s-sync")
	})
	if first.Transactions["nb"] == 0 {
		b.Fatal("nothing was written")
	}
	z.reportCPU(cpu)
	b.ReportMetric(stop().Seconds(), "s-cpu-ovnkctl-node")
	b.ReportMetric(first.ReadyMillis/1000, "s-sync-rows")
	b.ReportMetric(first.Transactions["nb"], "txns-sync")

	pid, stop = restart(b, api)
	defer stop()
	z.report("with", pid)
	left.script = script(b, before, z.rows())

	addresses := z.addresses()
	peer := func(label, value string) func(int) func() bool {
		return func(i int) func() bool {
			var labels map[string]string
			want := addresses
			if i%2 == 0 {
				labels = map[string]string{label: value}
				want += 2 * c.big // one of each family
			}
			objects.Put(c.clients(labels))
			return func() bool { return z.addresses() == want }
		}
	}
	left.flip = z.measure("flip", flips, peer(accessSome, "group-0"))
	left.all = z.measure("all", allFlips, peer(accessAll, "granted"))
	left.change = z.measure("change", flips, func(i int) func() bool {
		objects.Put(c.policy(0, 0, (i+1)%2))
		return func() bool { return z.allows(changedPort) == (i%2 == 0) }
	})
	return left
}

// changedPort is the port that only a changed policy allows; see crowd.policy.
const changedPort = "9000"

// floor measures the same rows without the program.
func floor(b *testing.B, c crowd, left *remains) {
	z := newZone(b, left.northbound)
	z.plug(c)
	z.sync()
	z.report("before", 0)
	cpu, start := z.cpu(), time.Now()
	for _, call := range left.script {
		z.run("ovn-nbctl", call[1:]...)
	}
	b.ReportMetric(time.Since(start).Seconds(), "s-sync-rows")
	z.sync()
	b.ReportMetric(time.Since(start).Seconds(), "s-sync")
	b.ReportMetric(float64(len(left.script)), "txns-sync")
	z.reportCPU(cpu)
	z.report("with", 0)
	z.repeat("flip", flips, left.flip)
	z.repeat("all", allFlips, left.all)
	z.repeat("change", flips, left.change)
}

// repeat does the edits there and back, by ovn-nbctl and by one request to the database in
// turn, each of them n times.
func (z *zone) repeat(name string, n int, edits [2][]edit) {
	z.b.Helper()
	uuids := make([]string, len(edits[0]))
	for i, e := range edits[0] {
		uuids[i] = strings.Fields(z.run("ovn-nbctl", "--bare", "--columns=_uuid", "find", e.table, e.key+"="+text(e.where)))[0]
	}
	var command, request []time.Duration
	for i := range 2 * n {
		var args []string
		var ops []ovsdb.Operation
		// The way back has the same rows in another order.
		for _, e := range edits[i%2] {
			uuid := uuids[e.place(edits[0], i%2)]
			args, ops = append(args, e.command(uuid)...), append(ops, e.operations(uuid)...)
		}
		start := time.Now()
		if i%4 < 2 {
			z.run("ovn-nbctl", append([]string{"--wait=hv"}, args...)...)
			command = append(command, time.Since(start))
			continue
		}
		if _, err := z.nb.Transact(z.b.Context(), "floor", ops...); err != nil {
			z.b.Fatal(err)
		}
		z.sync()
		request = append(request, time.Since(start))
	}
	percentiles(z.b, name, command)
	percentiles(z.b, name+"-request", request)
}
