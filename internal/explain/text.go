package explain

import (
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/output"
)

// Text writes the explanation for people. Wide has all columns of the rows, and the
// OpenFlow flows.
func (e *Explanation) Text(w io.Writer, wide bool) error {
	p := &output.Printer{W: w}
	p.F("%s: %s\n", e.Subject, e.What)
	e.facts(p)
	node := ""
	at := func(n string) {
		if n != node {
			node = n
			p.F("node %s\n", node)
		}
	}
	for i := range e.Rows {
		at(e.Rows[i].Node)
		e.Rows[i].text(p, wide)
	}
	for _, f := range e.Flows {
		p.F("logical flow %s\n  node %s, %s, table %d %s, priority %d\n  match    %s\n  actions  %s\n", f.UUID, f.Node, f.Pipeline, f.Table, f.Stage, f.Priority, f.Match, f.Actions)
		if f.Row != nil {
			p.F("  made for %s\n", f.Row)
		}
		f.openFlow(p, wide)
	}
	node = ""
	for _, h := range e.Host {
		if h.Node != node {
			node = h.Node
			p.F("host of node %s\n", node)
		}
		p.F("  %s: %s\n", h.Where, h.Text)
	}
	for _, text := range e.Problems {
		p.F("warning: %s\n", text)
	}
	return p.Err
}

// facts writes them in a column; a name is there once for several.
func (e *Explanation) facts(p *output.Printer) {
	width := 0
	for _, f := range e.Facts {
		width = max(width, len(f.Name))
	}
	before := ""
	for _, f := range e.Facts {
		name := f.Name
		if name == before {
			name = ""
		}
		before = f.Name
		p.F("  %-*s  %s\n", width, name, f.Text)
	}
}

func (f *FlowDetail) openFlow(p *output.Printer, wide bool) {
	if len(f.OpenFlow) == 0 {
		return
	}
	p.F("  br-int   %s, %s\n", output.Counted(len(f.OpenFlow), "flow"), packets(f.Packets))
	if !wide {
		return
	}
	for _, line := range f.OpenFlow {
		p.F("           %s\n", line)
	}
}

func packets(n uint64) string {
	if n == 1 {
		return "1 packet"
	}
	return fmt.Sprintf("%d packets", n)
}

// telling are the columns of each table that people look for first.
var telling = map[string][]string{
	"ACL":                         {"direction", "tier", "priority", "match", "action"},
	"Load_Balancer":               {"vips"},
	"Logical_Switch_Port":         {"addresses", "type", "up"},
	"Logical_Router_Port":         {"mac", "networks"},
	"Logical_Router_Static_Route": {"policy", "output_port"},
	"Logical_Router_Policy":       {"action", "nexthops"},
	"NAT":                         {"match", "logical_port"},
	"Address_Set":                 {"addresses"},
	"Port_Binding":                {"type", "chassis", "tunnel_key", "up"},
	"MAC_Binding":                 {"ip", "mac"},
	"Interface":                   {"ofport", "link_state", "error"},
}

// longest bounds a column in bytes where not all of it was asked for.
const longest = 160

func (d *Detail) text(p *output.Printer, wide bool) {
	p.F("  %-3s %s\n", d.Database, strings.TrimSpace(fmt.Sprintf("%s %s", d.Table, d.Name)))
	p.F("      uuid       %s\n", d.UUID)
	switch {
	case d.Object != Object{} && d.Rule != nil:
		p.F("      of         %s, %s\n", d.Object, d.Rule)
	case d.Object != Object{}:
		p.F("      of         %s\n", d.Object)
	}
	if d.Feature != "" {
		p.F("      made by    %s (%s)\n", d.Feature, d.Part)
	}
	for _, r := range d.ReferredBy {
		p.F("      in         %s.%s", r.RowRef, r.Column)
		if len(r.For) > 0 {
			p.F(", for %s", texts(r.For))
		}
		p.F("\n")
	}
	if wide {
		for _, c := range slices.Sorted(maps.Keys(d.Columns)) {
			p.F("      %-22s %s\n", c, valueText(d.Columns[c]))
		}
		return
	}
	for _, c := range telling[d.Table] {
		if v, ok := d.Columns[c]; ok {
			text := valueText(v)
			if len(text) > longest {
				text = strings.ToValidUTF8(text[:longest], "") + "…"
			}
			p.F("      %-10s %s\n", c, text)
		}
	}
}

// valueText is a column's value as ovn-nbctl writes it.
func valueText(v any) string { return textOf(reflect.ValueOf(v)) }

func textOf(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return "[]"
		}
		return textOf(v.Elem())
	case reflect.Slice:
		words := make([]string, 0, v.Len())
		for i := range v.Len() {
			words = append(words, textOf(v.Index(i)))
		}
		return "[" + strings.Join(words, ", ") + "]"
	case reflect.Map:
		words := make([]string, 0, v.Len())
		for _, k := range v.MapKeys() {
			words = append(words, textOf(k)+"="+textOf(v.MapIndex(k)))
		}
		slices.Sort(words)
		return "{" + strings.Join(words, ", ") + "}"
	}
	return fmt.Sprint(v)
}
