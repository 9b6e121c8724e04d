//go:build linux

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// services writes what was measured of services.
func (w *markdown) services(r Results) {
	if len(r.Services) == 0 {
		return
	}
	w.line("## Services\n")
	for _, s := range r.Services {
		w.line("Nodes of the sandbox %d: %s, load average %s.\n", s.Nodes, s.Machine.When, s.Machine.Load)
	}
	w.line("An end point of a service changes, and a client on the same node begins a connection every millisecond, until one " +
		"reaches the new backend. Ours begins with the PATCH of the EndpointSlice. Of the **floors**, one is the same change of " +
		"the same row by `ovn-nbctl --wait=hv`, the other by one JSON-RPC request of a running process, with `ovnkctl node` " +
		"stopped; they change this node alone. Ours is worked on by all nodes of the sandbox at the same time, on the same " +
		"processors: where there are several, the **floor of all nodes** is the one to compare, `ovn-nbctl --wait=hv` on each of them " +
		"at once, with `ovnkctl node` stopped on all. The pod's connections pass its switch, the host's the bridge and the gateway router. Milliseconds, " +
		"p50 / p90 / p99.\n")
	w.changes(r.Services)
	for _, s := range r.Services {
		if s.Crowd != nil {
			w.crowd(s)
			w.nodePorts(s.Crowd)
		}
	}
}

func (w *markdown) changes(list []*Services) {
	rows := func(f func(name string, e EndpointChange, c ClientChange)) {
		for _, s := range list {
			for _, e := range s.Changes {
				for _, c := range e.Clients {
					f(fmt.Sprintf("%d | %d | %s", s.Nodes, e.Services, c.Client), e, c)
				}
			}
		}
	}
	w.line("| nodes | services | client | samples | ours | of it the API | row there | floor: all nodes | floor: `ovn-nbctl`, one node | floor: request, one node | NB transactions |")
	w.line("|---|---|---|---|---|---|---|---|---|---|---|")
	everywhere := func(c ClientChange) Change {
		if c.Everywhere.Answered.N == 0 {
			return c.Command // there are no others
		}
		return c.Everywhere
	}
	rows(func(name string, e EndpointChange, c ClientChange) {
		w.line("| %s | %d | %s | %s | %s | %s | %s | %s | %.2f |", name, c.Ours.Answered.N, c.Ours.Answered, c.Ours.Told,
			c.Ours.Row, everywhere(c).Answered, c.Command.Answered, c.Raw.Answered, e.Transactions)
	})
	w.line("\n\"After the row\" compares what follows when the row is there. Connections without an answer within "+
		"%d ms are those whose packet came while the flows were changed.\n", askPatience.Milliseconds())
	w.line("| nodes | services | client | p50 ours : all nodes (target ≤ 1.2) | ours : `ovn-nbctl`, one node | ours : request | after the row | without an answer, per change: ours, `ovn-nbctl`, request |")
	w.line("|---|---|---|---|---|---|---|---|---|")
	rows(func(name string, _ EndpointChange, c ClientChange) {
		lost := func(c Change) string { return ratio(float64(c.Lost), float64(c.Answered.N)) }
		w.line("| %s | %s | %s | %s | %s | %s, %s, %s |", name, ratio(c.Ours.Answered.P50, everywhere(c).Answered.P50),
			ratio(c.Ours.Answered.P50, c.Command.Answered.P50), ratio(c.Ours.Answered.P50, c.Raw.Answered.P50),
			ratio(c.Ours.Answered.P50-c.Ours.Row.P50, c.Raw.Answered.P50-c.Raw.Row.P50), lost(c.Ours), lost(c.Command), lost(c.Raw))
	})
	w.line("\nOVN-Kubernetes on a machine like this: 33 ms from the API write to the first answer, 11 of them the API, p99 63.\n")
}

func (w *markdown) crowd(s *Services) {
	c := s.Crowd
	w.line("### %d services with %d end points each; nodes: %d\n", c.Services, c.Endpoints, s.Nodes)
	w.line("Created by the API, %d requests at a time: the API server had all after %.1f s, the Northbound database after %.1f s "+
		"(%.0f transactions), Open vSwitch after %.1f s (`hv_cfg`). Deleted from the API after %.1f s, from Open vSwitch after %.1f s.\n",
		crowdWriters, c.Created/1000, c.Rows/1000, c.Transacted, c.Installed/1000, c.DeleteCalls/1000, c.Deleted/1000)
	w.line("| | rows in NB | logical flows | flows of br-int | flows of br-ex |")
	w.line("|---|---|---|---|---|")
	for _, s := range []struct {
		when string
		Sizes
	}{{"before", c.Before}, {"with them", c.With}} {
		w.line("| %s | %d | %d | %d | %d |", s.when, s.NB, s.SB, s.Flows, s.Bridge)
	}
	w.line("\n| process | CPU until installed, s | anonymous MiB (RSS) before | with them | after a restart of `ovnkctl node` |")
	w.line("|---|---|---|---|---|")
	for _, p := range c.Idle {
		w.line("| %s | %.1f | %.1f (%.1f) | %s | %s |", p.Name, c.CPU[p.Name]/1000, p.AnonymousMiB, p.RSSMiB, named(c.Full, p.Name), named(c.AfterStart, p.Name))
	}
	if t := c.Restart; t != nil {
		w.line("\nRestart of `ovnkctl node` with them: ready after %.0f ms; transactions NB %.0f, SB %.0f, OVS %.0f (target 0).\n",
			t.Ready, t.Transactions["nb"], t.Transactions["sb"], t.Transactions["ovs"])
	}
}

// named is the memory of the process with a name.
func named(list []process, name string) string {
	i := slices.IndexFunc(list, func(p process) bool { return p.Name == name })
	if i < 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f (%.1f)", list[i].AnonymousMiB, list[i].RSSMiB)
}

func (w *markdown) nodePorts(c *Crowd) {
	if len(c.NodePorts) == 0 {
		return
	}
	w.line("### Node ports, one service after another\n")
	w.line("With the %d services there. CPU milliseconds of this node per added service, with its slice; \"served\" is the time from "+
		"the creation of one more until this host reaches it at the node's address, behind all those before.\n", c.Services)
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(c.NodePorts[0].CPU)) {
		if name != "ovnkctl controller" {
			parts = append(parts, name)
		}
	}
	w.line("| node ports before | added | ms between | served, ms | %s | commands of `ovnkctl node` |", strings.Join(parts, " | "))
	w.line("|---|---|---|---|---|%s", strings.Repeat("---|", len(parts)))
	for _, n := range c.NodePorts {
		cells := each(parts, func(name string) string { return fmt.Sprintf("%.1f", n.CPU[name]) })
		w.line("| %d | %d | %.1f | %.0f | %s | %.1f |", n.Before, n.Added, n.Each, n.Served, strings.Join(cells, " | "), n.Children)
	}
	w.line("")
}

// changeCosts writes what one change costs in the node's own program.
func (w *markdown) changeCosts(r Results) {
	header := false
	for _, services := range []int{100, 1000, 5000} {
		for _, kind := range []string{"ClusterIP", "NodePort"} {
			b, ok := r.Programs[fmt.Sprintf("sim EndpointChange/services=%d/%s", services, kind)]
			if !ok {
				continue
			}
			if !header {
				header = true
				w.line("### Cost of one change in the node's program\n")
				w.line("From the object to the committed row and what the host does for services, in a process of its own against a real " +
					"ovsdb-server; one service in ten has a node port. Must not grow.\n")
				w.line("| services | kind | CPU µs | allocations | bytes allocated | bytes to NB | transactions |")
				w.line("|---|---|---|---|---|---|---|")
			}
			w.line("| %d | %s | %.0f | %.0f | %.0f | %.0f | %.2f |", services, kind, b["cpu-us/op"], b["allocs/op"], b["B/op"], b["nb-bytes/op"], b["txns/op"])
		}
	}
	if header {
		w.line("")
	}
	if b, ok := r.Programs["sim Simulated/services=5000"]; ok {
		w.line("Simulated, 5,000 services with 3 end points each: first start in sync after %.0f ms with %.0f transactions, "+
			"restart after %.0f ms (%.0f ms CPU) with %.0f; %.0f MiB anonymous, %.0f KiB per service.\n",
			b["ms-first"], b["txns-first"], b["ms-restart"], b["cpu-ms-restart"], b["txns-restart"], b["MiB-anonymous"],
			(b["MiB-anonymous"]-r.Programs["sim Simulated/nodes=1/pods=0"]["MiB-anonymous"])*1024/5000)
	}
}

// hostCosts writes what one more service costs the host that serves 5,000.
func (w *markdown) hostCosts(r Results) {
	steps := []struct{ what, benchmark string }{
		{"services of the host, computed from the world", "host ServiceUpdate"},
		{"flows of the bridge, computed", "host ServiceFlows"},
		{"nftables, computed", "host ServiceTable"},
		{"flows compared with the switch's and changed, by `ovs-ofctl`", "openflow ChangeOne"},
		{"nftables changed, by `nft`", "nft Real/installed/one"},
		{"their digest read back, by `nft`", "nft Real/installed/digest"},
	}
	var sum float64
	for _, s := range steps {
		sum += r.Programs[s.benchmark]["ns/op"]
	}
	if sum == 0 {
		return
	}
	w.line("### Host: one service more among 5,000\n")
	w.line("All with a node port and an external address of both families: 20,000 places. Milliseconds of one pass; services that " +
		"come during a pass share the next.\n")
	w.line("| step | ms |")
	w.line("|---|---|")
	for _, s := range steps {
		w.line("| %s | %.1f |", s.what, r.Programs[s.benchmark]["ns/op"]/1e6)
	}
	w.line("| together | %.0f |\n", sum/1e6)
}
