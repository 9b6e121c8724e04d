//go:build linux

package sim

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
)

// measure changes something there and back, n times: how long it takes until the
// Northbound database has it and until Open vSwitch has it. It returns what the first two
// changes did to the rows. change tells how to see that the rows are there.
func (z *zone) measure(name string, n int, change func(i int) (there func() bool)) (edits [2][]edit) {
	z.b.Helper()
	poke := make(chan struct{}, 1)
	defer z.nb.Follow(func([]ovn.Change) {
		select {
		case poke <- struct{}{}:
		default:
		}
	})()
	var inRows, done []time.Duration
	state := z.rows()
	for i := range n {
		start := time.Now()
		there := change(i)
		for limit := time.After(zonePatience); !there(); {
			select {
			case <-poke:
			case <-limit:
				z.b.Fatalf("%s: no rows within %s", name, zonePatience)
			}
		}
		inRows = append(inRows, time.Since(start))
		z.sync()
		done = append(done, time.Since(start))
		if i < len(edits) {
			now := z.rows()
			edits[i] = difference(z.b, state, now)
			state = now
		}
	}
	percentiles(z.b, name+"-rows", inRows)
	percentiles(z.b, name, done)
	return edits
}

// addresses counts the elements of all address sets.
func (z *zone) addresses() int {
	n := 0
	for _, s := range ovn.List[nb.AddressSet](z.nb) {
		n += len(s.Addresses)
	}
	return n
}

// allows tells whether an ACL is about a port that only a changed policy has.
func (z *zone) allows(port string) bool {
	return slices.ContainsFunc(ovn.List[nb.ACL](z.nb), func(a *nb.ACL) bool { return strings.Contains(a.Match, port) })
}

// report has what there is, and what memory it takes; when is part of the units' names.
func (z *zone) report(when string, agent int) {
	z.b.Helper()
	z.b.ReportMetric(float64(z.count("ovn-nbctl", "ACL")), "acls-"+when)
	z.b.ReportMetric(float64(z.count("ovn-nbctl", "Port_Group")), "groups-"+when)
	z.b.ReportMetric(float64(z.count("ovn-nbctl", "Address_Set")), "sets-"+when)
	z.b.ReportMetric(float64(z.addresses()), "addresses-"+when)
	z.b.ReportMetric(float64(z.count("ovn-sbctl", "Logical_Flow")), "lflows-"+when)
	z.b.ReportMetric(float64(z.flows()), "flows-"+when)
	memory := z.memory()
	if agent != 0 {
		memory["ovnkctl node"] = anonymousMiB(z.b, agent)
	}
	for part, m := range memory {
		z.b.ReportMetric(m, "MiB-"+unit(part)+"-"+when)
	}
}

// reportCPU has what the daemons computed since.
func (z *zone) reportCPU(since map[string]time.Duration) {
	z.b.Helper()
	for part, d := range z.cpu() {
		z.b.ReportMetric((d - since[part]).Seconds(), "s-cpu-"+unit(part))
	}
}

// loadAverage is the machine's, of the last minute.
func loadAverage(b *testing.B) float64 {
	b.Helper()
	raw, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		b.Fatal(err)
	}
	var load float64
	if _, err := fmt.Sscan(string(raw), &load); err != nil {
		b.Fatal(err)
	}
	return load
}

// unit is a part's name as the unit of a figure, which has no blanks.
func unit(part string) string { return strings.ReplaceAll(part, " ", "-") }

func percentiles(b *testing.B, name string, took []time.Duration) {
	b.Helper()
	sorted := slices.Sorted(slices.Values(took))
	for unit, p := range map[string]int{"p50": 50, "p90": 90, "p99": 99} {
		b.ReportMetric(float64(sorted[(len(sorted)-1)*p/100].Microseconds())/1000, "ms-"+name+"-"+unit)
	}
}

// sortedKeys are a map's keys, so that what is made of it is the same each time.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
