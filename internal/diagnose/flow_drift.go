package diagnose

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
)

var flowDrift = &Check{
	Code: "OVNK-DRIFT-003", Severity: Error,
	Title: "flows of br-int are not what the Southbound database says",
	Meaning: "ovn-controller gives each flow of br-int the first 32 bits of the row that it comes from as its cookie. A flow whose row is nowhere was " +
		"made by hand or left over, and may drop or divert packets; a row without its flow is not in force. ovn-controller notices neither: " +
		"it compares its flows with those of the switch when it starts or connects anew. " +
		"Looked for are flows of at least 10 s, logical flows that match everything, and the flows of pods' ports. " +
		"These are many to read: this check runs only if it is asked for, as by `ovnkctl diagnose drift`.",
	Remedy: "Have ovn-controller install all flows anew by restarting the pod ovnkube-node: packets go on meanwhile. " +
		"If flows come back that no row has, find out who else writes to br-int.",
	causes: nodeDown(cause{integrationBridge.Code, sameNode}, cause{controllerBehind.Code, sameNode}, cause{chassisIdentity.Code, sameNode}),
	asked:  true,
	find: func(c *Cluster, found func(Finding)) {
		for _, n := range c.Nodes {
			if lines := c.flowsOfNobody(n); len(lines) > 0 {
				f := Finding{Node: n.Name, Object: nodeObject(n.Name), Next: c.replacePod("ovnkube-node", n.Name)}
				f.tell("br-int of node "+n.Name, lines)
				found(f)
			}
		}
	},
}

// physicalTables are those whose flows may come from no row: ovn-controller's own, between the
// ports and the logical pipelines, with cookie 0 (ovn-architecture(7)).
var physicalTables = regexp.MustCompile(`^(0|3[7-9]|4[0-4]|6[4-9]|[78][0-9])$`)

// bridgeFlow is what is looked at of a flow of br-int.
type bridgeFlow struct {
	cookie uint64
	table  string
	age    time.Duration
	line   string
}

// text is the flow without what changes by itself.
func (f *bridgeFlow) text() string {
	return strings.TrimSpace(flowCounters.ReplaceAllString(f.line, ""))
}

var (
	flowCookie   = regexp.MustCompile(`cookie=0x([0-9a-f]+)`)
	flowTable    = regexp.MustCompile(`table=(\d+)`)
	flowDuration = regexp.MustCompile(`duration=([0-9.]+)s`)
	flowCounters = regexp.MustCompile(`(duration|n_packets|n_bytes|idle_age|hard_age)=[^ ,]*,? ?`)
)

// flowsOfNobody says which flows of br-int have no row, and which rows no flow.
func (c *Cluster) flowsOfNobody(n *Node) []string {
	dump, ok := n.Texts[inspect.TextFlows+names.IntegrationBridge]
	if !ok || n.SB == nil || !n.SB.Has(sb.LogicalFlowTable, "match") {
		return nil
	}
	rows := map[uint64]bool{}
	for _, t := range ovn.Southbound().Tables() {
		for _, m := range n.SB.Rows(t) {
			if prefix, ok := prefixOf(t.UUIDOf(m)); ok {
				rows[prefix] = true
			}
		}
	}
	var out []string
	have := map[uint64]bool{}
	for line := range strings.Lines(dump) {
		f, ok := parseBridgeFlow(line)
		if !ok {
			continue
		}
		have[f.cookie] = true
		nobody := f.cookie != 0 && !rows[f.cookie] || f.cookie == 0 && !physicalTables.MatchString(f.table)
		if nobody && f.age > settling {
			out = append(out, "flow that no row has: "+f.text())
		}
	}
	slices.Sort(out)
	return append(out, c.rowsWithoutFlow(n, have)...)
}

// rowsWithoutFlow are the logical flows that match everything, and the bound ports of pods.
func (c *Cluster) rowsWithoutFlow(n *Node, have map[uint64]bool) []string {
	var out []string
	for _, f := range all[sb.LogicalFlow](n.SB) {
		if prefix, ok := prefixOf(f.UUID); ok && f.Match == "1" && !have[prefix] {
			out = append(out, fmt.Sprintf("logical flow %s (%s, %s) has no flow", f.UUID, f.ExternalIDs["stage-name"], f.Pipeline))
		}
	}
	slices.Sort(out)
	ports := byName(n.SB, func(b *sb.PortBinding) string { return b.LogicalPort })
	for _, p := range c.networked(n.Name) {
		b := ports[names.Pod(p.Namespace, p.Name)]
		if b == nil || b.Chassis == nil || !c.running(p) {
			continue // other checks tell of these
		}
		if prefix, ok := prefixOf(b.UUID); ok && !have[prefix] {
			out = append(out, fmt.Sprintf("port %s has no flows", b.LogicalPort))
		}
	}
	return out
}

// prefixOf is the cookie of flows that come from a row.
func prefixOf(uuid string) (uint64, bool) {
	if len(uuid) < 8 {
		return 0, false
	}
	v, err := strconv.ParseUint(uuid[:8], 16, 32)
	return v, err == nil
}

func parseBridgeFlow(line string) (bridgeFlow, bool) {
	cookie, table := flowCookie.FindStringSubmatch(line), flowTable.FindStringSubmatch(line)
	if cookie == nil || table == nil {
		return bridgeFlow{}, false // the first line
	}
	f := bridgeFlow{table: table[1], line: line}
	var err error
	if f.cookie, err = strconv.ParseUint(cookie[1], 16, 64); err != nil {
		return bridgeFlow{}, false
	}
	if age := flowDuration.FindStringSubmatch(line); age != nil {
		f.age, _ = time.ParseDuration(age[1] + "s") // no age is young
	}
	return f, true
}
