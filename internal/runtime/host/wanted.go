package host

import (
	"fmt"
	"net/netip"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/nft"
)

// wanted remembers what was computed of many services and is good until something that it
// is computed from changes: passes are many more than such changes.
type wanted struct {
	flows     string
	flowsOf   flowsOf
	table     nft.Table
	tableText string
	tableOf   tableOf
	// udp is where connections were last seen to, of udpOf.
	udp   map[netip.AddrPort][]netip.AddrPort
	udpOf flowsOf
	// udpTodo is what could not be seen to.
	udpTodo map[netip.AddrPort][]netip.AddrPort
}

// flowsOf is what flows are computed from, besides the configuration.
type flowsOf struct {
	services *Services
	facts    Facts
	ports    ports
}

// tableOf is what the table is computed from, besides the configuration.
type tableOf struct {
	services *Services
	zone     Zone
}

func (w *wanted) flowsFor(in input, p ports) string {
	of := &w.flowsOf
	if w.flows == "" || of.services != in.services || of.ports != p || !of.facts.Equal(in.facts) {
		w.flows, w.flowsOf = desiredFlows(in, p), flowsOf{in.services, in.facts, p}
	}
	return w.flows
}

// tableFor returns the table and a text that is another for another table.
func (w *wanted) tableFor(in input) (nft.Table, string) {
	of := &w.tableOf
	if w.tableText == "" || of.services != in.services || !of.zone.equal(in.zone) {
		w.table = desiredTable(in)
		w.tableText, w.tableOf = tableText(w.table), tableOf{in.services, in.zone}
	}
	return w.table, w.tableText
}

func tableText(t nft.Table) string { return fmt.Sprint(nft.Diff(nil, t)) }
