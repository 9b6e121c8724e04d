//go:build linux

package main

import "fmt"

// policiesBenchmark begins the names of the figures of policies.
const policiesBenchmark = "sim Policies/"

// policyParts are the processes in the order of the report, as the benchmark's units name
// them.
var policyParts = []string{
	"ovn-controller", "ovn-northd", "ovnkctl-node", "ovs-vswitchd", "ovsdb-server-conf", "ovsdb-server-ovnnb", "ovsdb-server-ovnsb",
}

// policies writes what was measured of policies.
func (w *markdown) policies(r Results) {
	ours, floor := r.Programs[policiesBenchmark+"ours"], r.Programs[policiesBenchmark+"floor"]
	if ours == nil || floor == nil {
		return
	}
	w.line("## Policies\n")
	w.line("5,000 NetworkPolicies in 250 namespaces of 10 pods: ports, ranges, named ports, selectors of pods and of namespaces, CIDRs " +
		"with exceptions; beside them a namespace of 1,000 pods. 25 nodes, dual stack. One of them is measured, with its 140 pods: " +
		"the node's program in a process of its own, an API server in memory, real OVN and Open vSwitch with dummy interfaces. " +
		"The **floor** is a zone like it without the program, where `ovn-nbctl` puts the same rows. Times end when Open vSwitch " +
		"has confirmed the flows of `nb_cfg`.\n")
	if load, ok := ours["load"]; ok {
		w.line("Load average %.1f at the beginning.\n", load)
	}
	w.policySizes(ours, floor)
	w.policyTimes(ours, floor)
	w.policyMemory(ours, floor)
	if alone := r.Programs[policiesBenchmark+"alone"]; alone != nil {
		w.line("All 3,500 pods and 5,000 policies on one node, the program with its databases alone: rows after %.1f s, %.0f transactions; "+
			"restart %s ms with %.0f transactions; %.0f MiB anonymous.\n",
			alone["s-sync-rows"], alone["txns-sync"], alone.stat("restart"), alone["txns-restart"], alone["MiB-ovnkctl-node-with"])
	}
}

// stat has the percentiles that the benchmark gave that name.
func (b Benchmark) stat(name string) string {
	return fmt.Sprintf("%.0f / %.0f / %.0f", b["ms-"+name+"-p50"], b["ms-"+name+"-p90"], b["ms-"+name+"-p99"])
}

func (w *markdown) policySizes(ours, floor Benchmark) {
	w.line("| | ACLs | port groups | address sets | addresses in them | logical flows | flows of br-int |")
	w.line("|---|---|---|---|---|---|---|")
	for _, row := range []struct {
		what, when string
		b          Benchmark
	}{{"without policies", "before", ours}, {"with them", "with", ours}, {"floor", "with", floor}} {
		w.line("| %s | %.0f | %.0f | %.0f | %.0f | %.0f | %.0f |", row.what, row.b["acls-"+row.when], row.b["groups-"+row.when],
			row.b["sets-"+row.when], row.b["addresses-"+row.when], row.b["lflows-"+row.when], row.b["flows-"+row.when])
	}
	w.line("")
}

func (w *markdown) policyTimes(ours, floor Benchmark) {
	w.line("Start with all policies where OVN knows none: rows there after %.1f s (%.0f transactions), flows after %.1f s; the floor %.1f s "+
		"(%.0f calls of `ovn-nbctl`) and %.1f s: **%s**.\n", ours["s-sync-rows"], ours["txns-sync"], ours["s-sync"],
		floor["s-sync-rows"], floor["txns-sync"], floor["s-sync"], ratio(ours["s-sync"], floor["s-sync"]))
	w.line("Restart with them: ready after %s ms (p50 / p90 / p99), %.0f transactions (target 0).\n", ours.stat("restart"), ours["txns-restart"])
	w.line("Changes; milliseconds, p50 / p90 / p99. Of the floors, one is the change of the rows by `ovn-nbctl --wait=hv`, the other by " +
		"one request of a running process.\n")
	w.line("| change | rows there | flows there | floor: `ovn-nbctl` | floor: request | p50 ours : `ovn-nbctl` | ours : request |")
	w.line("|---|---|---|---|---|---|---|")
	for _, c := range []struct{ name, what string }{
		{"change", "another port in one policy"},
		{"flip", "label: 1,000 pods become peers of 30 policies, or no peers"},
		{"all", "label: the same with 500 policies"},
	} {
		p50 := "ms-" + c.name + "-p50"
		w.line("| %s | %s | %s | %s | %s | %s | %s |", c.what, ours.stat(c.name+"-rows"), ours.stat(c.name), floor.stat(c.name),
			floor.stat(c.name+"-request"), ratio(ours[p50], floor[p50]), ratio(ours[p50], floor["ms-"+c.name+"-request-p50"]))
	}
	w.line("")
}

func (w *markdown) policyMemory(ours, floor Benchmark) {
	w.line("| process | anonymous MiB without policies | with them | floor | CPU of the start, s | floor |")
	w.line("|---|---|---|---|---|---|")
	cell := func(b Benchmark, unit string) string {
		if v, ok := b[unit]; ok {
			return fmt.Sprintf("%.1f", v)
		}
		return "–"
	}
	for _, p := range policyParts {
		w.line("| %s | %s | %s | %s | %s | %s |", p, cell(ours, "MiB-"+p+"-before"), cell(ours, "MiB-"+p+"-with"), cell(floor, "MiB-"+p+"-with"),
			cell(ours, "s-cpu-"+p), cell(floor, "s-cpu-"+p))
	}
	w.line("")
}
