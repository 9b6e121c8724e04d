package trace

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/explain"
	"github.com/ovnkctl/ovnkctl/internal/output"
	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
)

// nearestShown is how many of the nearest rules are shown; the rest is in JSON.
const nearestShown = 3

// Text writes the result for people: the verdict first, then the way. Wide has every logical
// flow, else those that decide, choose or translate.
func (r *Result) Text(w io.Writer, wide bool) error {
	p := &output.Printer{W: w}
	at := string(r.Protocol)
	if r.Port != 0 {
		at = fmt.Sprintf("%s/%d", r.Protocol, r.Port)
	}
	p.F("%s: %s to %s, %s\n", strings.ToUpper(string(r.Verdict)), r.Source, r.Destination, at)
	for i, path := range r.Paths {
		if len(r.Paths) > 1 {
			p.F("\npath %d of %d: %s\n", i+1, len(r.Paths), path.Verdict)
		}
		path.text(p, wide)
		if path.Reply != nil {
			p.F("\nanswer: %s\n", path.Reply.Verdict)
			path.Reply.text(p, wide)
		}
	}
	return p.Err
}

func (path *Path) text(p *output.Printer, wide bool) {
	d := path.Decision
	p.F("  why      %s\n", d.Text)
	if len(d.Isolating) > 1 { // a single one is in the sentence
		for _, o := range d.Isolating {
			p.F("           isolated by %s\n", o)
		}
	}
	if d.Row != nil {
		p.F("  row      %s on node %s\n", d.Row, d.Row.Node)
		if d.Row.UUID != "" { // it has none before it is applied
			p.F("           ovnkctl explain %s\n", d.Row.UUID)
		}
	}
	if path.Arrives != "" {
		p.F("  arrives  %s: %s\n", path.Arrives, path.Packet)
	}
	if path.Backend.IsValid() {
		p.F("  backend  %s of %d\n", path.Backend, len(path.Backends))
	}
	for i, n := range d.Nearest {
		if i == nearestShown {
			p.F("           and %d more\n", len(d.Nearest)-i)
			break
		}
		word := "nearest"
		if i > 0 {
			word = "       "
		}
		p.F("  %s  %s would have allowed it\n", word, n.Rule)
		for _, t := range n.Failed {
			p.F("           %s: the rule wants %s, the packet has %s\n", strings.ToLower(t.Kind), t.Wants, t.Has)
		}
	}
	for _, text := range path.Problems {
		p.F("  warning  %s\n", text)
	}
	path.hops(p, wide)
	for _, ph := range path.Physical {
		ph.text(p)
	}
}

// hops prints the way, with a line where it enters another datapath.
func (path *Path) hops(p *output.Printer, wide bool) {
	var last *Hop
	for i := range path.Hops {
		h := &path.Hops[i]
		if h.Flow == nil {
			p.F("  %-9s%s\n", h.Node, h.Text)
			last = nil
			continue
		}
		if !h.sameVisit(last) {
			p.F("  %-9s%s %s\n", h.Node, h.datapath(), path.between(i))
		}
		last = h
		if wide {
			h.wide(p)
		} else if h.notable() {
			p.F("            %-24s%s\n", h.Flow.Stage, joined(h.note(), behind(h.Flow.Row)))
		}
	}
}

// sameVisit tells whether a packet is still in the datapath where it was: it leaves one by its
// egress pipeline.
func (h *Hop) sameVisit(last *Hop) bool {
	return last != nil && last.Node == h.Node && last.Datapath == h.Datapath && (last.Pipeline == h.Pipeline || h.Pipeline == "egress")
}

// datapath is what OVN's datapath is, by the names of its stages (ovn-northd(8)).
func (h *Hop) datapath() string {
	if strings.HasPrefix(h.Flow.Stage, "lr_") {
		return "router " + h.Datapath
	}
	return "switch " + h.Datapath
}

// between are the ports of the visit that begins with a hop.
func (path *Path) between(first int) string {
	in, out := path.Hops[first].Inport, ""
	for i := first; i < len(path.Hops) && path.Hops[i].Flow != nil && (i == first || path.Hops[i].sameVisit(&path.Hops[i-1])); i++ {
		if o := path.Hops[i].Outport; o != "" {
			out = " → " + o
		}
	}
	return "(" + in + out + ")"
}

// wide prints everything of a logical flow.
func (h *Hop) wide(p *output.Printer) {
	p.F("          %2d %-24s%s\n", h.Flow.Table, h.Flow.Stage, joined(fmt.Sprintf("%d %s", h.Flow.Priority, h.Flow.Match), h.Text, behind(h.Flow.Row)))
	for _, a := range h.Flow.Actions {
		p.F("               %s\n", a)
	}
	for _, f := range h.OpenFlow {
		p.F("               openflow %s\n", f)
	}
}

// note is what a hop does to a packet, in a word or two.
func (h *Hop) note() string {
	if h.Text != "" {
		return h.Text
	}
	return h.change()
}

// joined are the texts that there are.
func joined(texts ...string) string {
	return strings.Join(slices.DeleteFunc(texts, func(s string) bool { return s == "" }), "  ")
}

func behind(r *explain.RowRef) string {
	if r == nil {
		return ""
	}
	text := "[" + r.String()
	if o := r.Object.String(); o != "" {
		text += ", " + o
	}
	return text + "]"
}

// telling are the stages that are worth a line if a row is behind them; those that only
// prepare them are not.
var (
	telling   = []string{"_acl", "_lb", "_nat", "_snat", "_dnat", "_policy", "_ip_routing", "_qos"}
	preparing = []string{"_pre_acl", "_pre_lb"}
)

// notable tells hops that decide something.
func (h *Hop) notable() bool {
	if h.note() != "" {
		return true
	}
	in := func(list []string) bool {
		return slices.ContainsFunc(list, func(part string) bool { return strings.Contains(h.Flow.Stage, part) })
	}
	row := h.Flow.Row
	return row != nil && in(telling) && !in(preparing) && !strings.HasPrefix(row.Part, names.Undecided+"/")
}

// change is what a flow does to a packet, in a word or two.
func (h *Hop) change() string {
	for _, a := range h.Flow.Actions {
		switch {
		case strings.HasPrefix(a, "ct_lb") && strings.Contains(a, "backends="), strings.HasPrefix(a, "ct_snat("), strings.HasPrefix(a, "ct_dnat("),
			strings.HasPrefix(a, "reject"), strings.HasPrefix(a, "drop"), strings.HasPrefix(a, "*** "):
			return a
		case a == decidedDrop:
			return "drop"
		case a == decidedReject:
			return "reject"
		}
	}
	return ""
}

func (ph *Physical) text(p *output.Printer) {
	p.F("  Open vSwitch on %s: %s\n", ph.Node, ph.Flow)
	for _, pass := range ph.Passes {
		if pass.Recirculation != "" {
			p.F("    recirculation %s\n", pass.Recirculation)
		}
		for _, f := range pass.Flows {
			p.F("      table %3d %-8s %s\n", f.Table, f.Cookie, f)
		}
		for _, n := range pass.Notes {
			p.F("      note: %s\n", n)
		}
		for _, s := range pass.SlowPath {
			p.F("      slow path: %s\n", s)
		}
		p.F("      datapath actions: %s\n", pass.Actions)
	}
	for _, m := range ph.Missing {
		p.F("    warning: no OpenFlow flow was met for %s\n", m)
	}
}
