package ofproto

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/trace/outline"
)

var (
	// actionPattern has the first words of OpenFlow actions (ovs-actions(7)).
	actionPattern = regexp.MustCompile(`^(?:` + strings.Join(strings.Fields(`output controller enqueue group bundle bundle_load
		encap decap push_vlan push_mpls pop_vlan strip_vlan pop_mpls set_field load move mod_dl_src mod_dl_dst mod_nw_src
		mod_nw_dst mod_nw_tos mod_nw_ecn mod_nw_ttl mod_tp_src mod_tp_dst mod_vlan_vid mod_vlan_pcp set_vlan_vid set_vlan_pcp
		push pop multipath fin_timeout dec_ttl set_mpls_label set_mpls_tc set_mpls_ttl dec_mpls_ttl dec_nsh_ttl
		check_pkt_larger delete_field set_tunnel set_tunnel64 set_queue pop_queue ct ct_clear nat learn conjunction note sample
		resubmit clone exit write_actions clear_actions write_metadata meter goto_table drop in_port normal flood all local
		none NORMAL FLOOD ALL LOCAL IN_PORT CONTROLLER NONE`), "|") + `)(?:$|[:(])`)
	tablePattern  = regexp.MustCompile(`^( *)( \d|\d{2,3})\. (.*)$`)
	flowPattern   = regexp.MustCompile(`^(?:(.*), )?priority (\d+)(?:, cookie (0x[0-9a-f]+))?$`)
	bridgePattern = regexp.MustCompile(`^bridge\("([^"]*)"\)$`)
	bucketPattern = regexp.MustCompile(`^bucket \d+$`)
	recircPattern = regexp.MustCompile(`^recirc\((0x[0-9a-f]+)\)(?: - resume conntrack with (default )?ct_state=(\S*)(?: \(use --ct-next to customize\))?)?$`)
)

const slowPath = "This flow is handled by the userspace slow path because it:"

type parser struct {
	trace Trace
	pass  *Pass
	slow  bool // within the reasons for the slow path

	lines []outline.Line // of the pass
	nodes map[int]*Node
}

// Parse reads the output of ofproto/trace. It never fails: what is not understood is in the
// result.
func Parse(text string) *Trace {
	p := parser{nodes: map[int]*Node{}}
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		number, line := i+1, lines[i]
		switch {
		case strings.TrimSpace(line) == "", len(line) > 2 && strings.Trim(line, "=") == "":
			continue
		case p.frame(line):
		case i+1 < len(lines) && isUnderline(line, lines[i+1]) && p.bridge(number, line):
			i++
		case !p.node(number, line):
			p.unknown(number, line, "neither a flow nor an action")
		}
	}
	p.endPass()
	return &p.trace
}

func isUnderline(title, line string) bool {
	dashes := strings.TrimLeft(line, " ")
	return dashes != "" && strings.Trim(dashes, "-") == "" && len(line) == len(title) &&
		len(dashes) == len(strings.TrimLeft(title, " "))
}

func (p *parser) unknown(number int, line, reason string) {
	p.trace.Unknown = append(p.trace.Unknown, Line{number, line, reason})
}

// frame reads what is around a pass.
func (p *parser) frame(line string) bool {
	if m := recircPattern.FindStringSubmatch(line); m != nil {
		p.begin(&Pass{Recirculation: m[1], Assumed: m[2] != "", CTState: m[3]})
		return true
	}
	if flow, ok := strings.CutPrefix(line, "Flow: "); ok && flow != "" {
		if p.pass == nil || p.pass.Flow != "" {
			p.begin(&Pass{})
		}
		p.pass.Flow = flow
		return true
	}
	if strings.HasPrefix(line, "Trace reached the recirculation limit.") || strings.HasPrefix(line, "Queued but not processed: ") {
		p.trace.Limit = strings.TrimSpace(p.trace.Limit + " " + line)
		return true
	}
	return p.pass != nil && p.facts(line)
}

// facts reads what is said about the pass.
func (p *parser) facts(line string) bool {
	for prefix, to := range map[string]*string{
		" Initial flow: ": &p.pass.NATFrom, " Modified flow: ": &p.pass.NATTo, "Final flow: ": &p.pass.Final,
		"Megaflow: ": &p.pass.Megaflow, "Datapath actions: ": &p.pass.Actions,
	} {
		if text, ok := strings.CutPrefix(line, prefix); ok && *to == "" && (text != "" || prefix[0] == ' ') {
			*to = text
			return true
		}
	}
	switch {
	case line == "Replacing src/dst IP/ports to simulate NAT:":
	case line == slowPath:
		p.slow = true
	case p.slow && strings.HasPrefix(line, "  - "):
		p.pass.SlowPath = append(p.pass.SlowPath, line[len("  - "):])
	case strings.HasPrefix(line, "Translation failed ("), strings.HasPrefix(line, "Action execution failed ("):
		p.pass.Failure = strings.TrimSpace(p.pass.Failure + " " + line)
	case line == "." && p.pass.Failure != "":
	default:
		return false
	}
	return true
}

func (p *parser) begin(pass *Pass) {
	p.endPass()
	p.pass, p.slow = pass, false
	p.trace.Passes = append(p.trace.Passes, pass)
}

// endPass makes the tree of the pass.
func (p *parser) endPass() {
	roots, misplaced := outline.Build(p.lines)
	p.lines = nil
	for _, l := range misplaced {
		p.unknown(l.Number, l.Text, "in a column that does not belong to a line before it")
	}
	if p.pass != nil {
		p.pass.Nodes = p.convert(roots)
	}
}

func (p *parser) convert(list []*outline.Node) []*Node {
	var out []*Node
	for _, o := range list {
		n := p.nodes[o.Number]
		n.Children = p.convert(o.Children)
		out = append(out, n)
	}
	return out
}

func (p *parser) bridge(number int, line string) bool {
	text := strings.TrimLeft(line, " ")
	m := bridgePattern.FindStringSubmatch(text)
	return m != nil && p.add(&Node{Kind: Bridge, Text: m[1], Line: number}, len(line)-len(text))
}

// node reads a line of the pass.
func (p *parser) node(number int, line string) bool {
	text := strings.TrimLeft(line, " ")
	column := len(line) - len(text)
	n := &Node{Kind: Action, Text: text, Line: number}
	if m := tablePattern.FindStringSubmatch(line); m != nil {
		f, ok := readFlow(m[2], m[3])
		if !ok {
			return false
		}
		n.Kind, n.Text, n.Flow = Table, m[3], f
		return p.add(n, len(m[1]))
	}
	switch {
	case strings.HasPrefix(text, "-> "): // arrows have a column of their own
		n.Kind, n.Text, column = Detail, text[len("-> "):], column-1
	case strings.HasPrefix(text, ">>>> ") && strings.HasSuffix(text, " <<<<") && len(text) >= len(">>>>  <<<<"):
		n.Kind, n.Text, column = Error, text[len(">>>> "):len(text)-len(" <<<<")], column-1
	case strings.HasPrefix(text, ">> "):
		n.Kind, n.Text, column = Warning, text[len(">> "):], column-1
	case text == "thaw", strings.HasPrefix(text, "Resuming from table "):
		n.Kind = Thaw
	case bucketPattern.MatchString(text):
		n.Kind = Bucket
	default:
		if !actionPattern.MatchString(text) {
			return false
		}
	}
	return p.add(n, column)
}

// add takes a node into the pass, if one is there and nodes are in that column.
func (p *parser) add(n *Node, column int) bool {
	if p.pass == nil || column < 0 || column%4 != 0 {
		return false
	}
	leaf := n.Kind == Action || n.Kind == Detail || n.Kind == Warning || n.Kind == Error
	p.nodes[n.Line] = n
	p.lines = append(p.lines, outline.Line{Column: column, Leaf: leaf, Text: n.Text, Number: n.Line})
	return true
}

func readFlow(table, text string) (*Flow, bool) {
	f := &Flow{}
	f.Table, _ = strconv.Atoi(strings.TrimSpace(table)) // of digits
	if text == "No match." || strings.HasPrefix(text, "Packets are IP fragments and ") {
		f.NoMatch = true
		return f, true
	}
	m := flowPattern.FindStringSubmatch(text)
	if m == nil {
		return nil, false
	}
	f.Match = m[1]
	var err error
	if f.Priority, err = strconv.Atoi(m[2]); err != nil {
		return nil, false
	}
	if m[3] != "" {
		if f.Cookie, err = strconv.ParseUint(m[3], 0, 64); err != nil {
			return nil, false
		}
	}
	return f, true
}
