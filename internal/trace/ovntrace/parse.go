package ovntrace

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/trace/outline"
)

var (
	logPattern      = regexp.MustCompile(`^\d{4}-\d\d-\d\dT[\d:.]+Z\|\d+\|[^|]*\|[A-Z]+\|`)
	flowPattern     = regexp.MustCompile(`^( \d|\d{2,3})\. (.*)$`)
	flowTail        = regexp.MustCompile(`^(.*), priority (\d+), uuid ([0-9a-f]{8})$`)
	stagePattern    = regexp.MustCompile(`^(?:(\w+)(?: \(([^()]*)\))?|\(([^()]*)\)): (.*)$`)
	pipelinePattern = regexp.MustCompile(`^(ingress|egress)\(dp="([^"]*)"(?:, inport="([^"]*)")?(?:, outport="([^"]*)")?\)$`)
	groupPattern    = regexp.MustCompile(`^multicast\(dp="([^"]*)", mcgroup="([^"]*)"\)$`)
	outPattern      = regexp.MustCompile(`^/\* output to "([^"]*)", type "([^"]*)" \*/$`)
	outputPattern   = regexp.MustCompile(`^output\("([^"]*)"\)$`)
	namePattern     = regexp.MustCompile(`^([a-z_0-9]+)(?:$|[ (:])`)
)

// transformations are the names that ovn-trace has for packets that it makes.
var transformations = map[string]bool{
	"arp": true, "clone": true, "ct_commit_nat": true, "ct_commit_to_zone": true, "ct_dnat": true, "ct_dnatin_czone": true,
	"ct_lb": true, "ct_lb_mark": true, "ct_next": true, "ct_snat": true, "ct_snatin_czone": true, "icmp4": true, "icmp6": true,
	"nd_na": true, "nd_ns": true, "sctp_abort": true, "select": true, "tcp_reset": true,
}

// failures are the beginnings of what ovn-trace says instead of a trace.
var failures = []string{
	"error parsing flow: ", "unknown datapath ", "unknown port ", "failed to parse flow expression ",
	"microflow does not specify ingress port", "ovn-trace: ",
}

// form is which of its outputs ovn-trace prints.
type form int

const (
	detailed form = iota
	summary
	minimal
)

var headings = map[string]form{"# Detailed trace.": detailed, "# Summary trace.": summary, "# Minimal trace.": minimal}

// parser reads line by line.
type parser struct {
	trace Trace
	form  form
	known bool // the form

	lines []outline.Line // of a detailed trace
	kinds map[int]*Node  // by line number
	stack []*Node        // open braces
}

// Parse reads the output of ovn-trace. It never fails: what is not understood is in the
// result.
func Parse(text string) *Trace {
	p := parser{kinds: map[int]*Node{}}
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		if p.preamble(i+1, lines[i]) {
			continue
		}
		if !p.known { // one form alone has no heading: only details begin with a bare title
			p.known, p.form = true, minimal
			if pipelinePattern.MatchString(lines[i]) {
				p.form = detailed
			}
		}
		if p.form != detailed {
			p.braces(i+1, lines[i])
			continue
		}
		titled := i+1 < len(lines) && isUnderline(lines[i], lines[i+1])
		p.detail(i+1, lines[i], titled)
		if titled {
			i++
		}
	}
	return p.end()
}

// preamble reads what is no part of a tree.
func (p *parser) preamble(number int, line string) bool {
	if strings.TrimSpace(line) == "" {
		return true
	}
	if logPattern.MatchString(line) {
		p.trace.Messages = append(p.trace.Messages, Line{Number: number, Text: line})
		return true
	}
	if f, ok := headings[line]; ok {
		p.form, p.known = f, true
		return true
	}
	if packet, ok := strings.CutPrefix(line, "# "); ok && p.trace.Packet == "" && !p.known {
		p.trace.Packet = packet
		return true
	}
	if p.trace.Packet == "" && p.trace.Failure == "" {
		for _, f := range failures {
			if strings.HasPrefix(line, f) {
				p.trace.Failure = line
				return true
			}
		}
	}
	return false
}

// isUnderline tells whether a line is the dashes under a title.
func isUnderline(title, line string) bool {
	dashes := strings.TrimLeft(line, " ")
	return dashes != "" && strings.Trim(dashes, "-") == "" && len(line) == len(title) &&
		len(dashes) == len(strings.TrimLeft(title, " "))
}

func (p *parser) unknown(number int, text, reason string) {
	p.trace.Unknown = append(p.trace.Unknown, Line{number, text, reason})
}

// detail reads a line of a detailed trace.
func (p *parser) detail(number int, line string, titled bool) {
	text := strings.TrimLeft(line, " ")
	column := len(line) - len(text)
	n := &Node{Text: text, Line: number}
	switch {
	case titled:
		if !title(n) {
			p.unknown(number, line, "not a title that is known")
			return
		}
	case n.readFlow(line):
		column = len(line) - len(strings.TrimLeft(line, " "))
		if n.Flow.Table < 10 { // numbers have two columns
			column--
		}
	case !leaf(n):
		p.unknown(number, line, "neither a flow nor an action")
		return
	}
	if column%4 != 0 {
		p.unknown(number, line, "in a column that no line is in")
		return
	}
	p.kinds[number] = n
	p.lines = append(p.lines, outline.Line{Column: column, Leaf: !n.branch(), Text: text, Number: number})
}

// branch tells whether a node can have children.
func (n *Node) branch() bool {
	switch n.Kind {
	case Pipeline, Multicast, Transformation, Flow:
		return true
	}
	return false
}

// title reads the title of a pipeline or transformation.
func title(n *Node) bool {
	if m := pipelinePattern.FindStringSubmatch(n.Text); m != nil {
		n.Kind, n.Ports = Pipeline, Ports{Ingress: m[1] == "ingress", Datapath: m[2], Inport: m[3], Outport: m[4]}
		return true
	}
	if m := groupPattern.FindStringSubmatch(n.Text); m != nil {
		n.Kind, n.Ports = Multicast, Ports{Datapath: m[1], Group: m[2]}
		return true
	}
	if strings.HasPrefix(n.Text, "LOG: ACL name=") {
		n.Kind = Log
		return true
	}
	m := namePattern.FindStringSubmatch(n.Text)
	if m == nil || !transformations[m[1]] {
		return false
	}
	n.Kind, n.Name = Transformation, m[1]
	return true
}

// readFlow reads a line about a table.
func (n *Node) readFlow(line string) bool {
	// A number below 10 has a blank before it, which belongs to it.
	at := max(0, len(line)-len(strings.TrimLeft(line, " "))-1)
	m := flowPattern.FindStringSubmatch(line[at:])
	if m == nil {
		m = flowPattern.FindStringSubmatch(strings.TrimLeft(line, " "))
	}
	if m == nil {
		return false
	}
	f := &FlowInfo{}
	f.Table, _ = strconv.Atoi(strings.TrimSpace(m[1])) // of digits
	rest := m[2]
	if stage, ok := strings.CutSuffix(rest, "no match (implicit drop)"); ok {
		f.NoMatch, f.Stage = true, strings.TrimSuffix(stage, ": ")
		if stage != "" && (f.Stage == stage || strings.Trim(f.Stage, "abcdefghijklmnopqrstuvwxyz0123456789_") != "") {
			return false
		}
	} else {
		t := flowTail.FindStringSubmatch(rest)
		if t == nil {
			return false
		}
		var err error
		if f.Priority, err = strconv.Atoi(t[2]); err != nil {
			return false
		}
		f.Match, f.UUID = t[1], t[3]
		if s := stagePattern.FindStringSubmatch(t[1]); s != nil {
			f.Stage, f.Source, f.Match = s[1], s[2]+s[3], s[4]
		}
	}
	n.Kind, n.Flow, n.Text = Flow, f, strings.TrimLeft(line, " ")
	return true
}

// leaf reads an action or what became of it.
func leaf(n *Node) bool {
	switch {
	case strings.HasPrefix(n.Text, "*** "), strings.HasPrefix(n.Text, "/* We assume that this packet is "):
		n.Kind = Error
	case strings.HasPrefix(n.Text, "/* output to "):
		m := outPattern.FindStringSubmatch(n.Text)
		if m == nil {
			return false
		}
		n.Kind, n.Out = Output, &PortOut{Port: m[1], Type: m[2]}
	case strings.HasPrefix(n.Text, "/* omitting output "), strings.HasPrefix(n.Text, "/* Replacing type "),
		strings.HasPrefix(n.Text, "/* Flood to "):
		n.Kind = Output
		return strings.HasSuffix(n.Text, "*/")
	case strings.HasPrefix(n.Text, "/*"):
		n.Kind = Comment
		return strings.HasSuffix(n.Text, "*/")
	case strings.HasSuffix(n.Text, ";"):
		n.Kind = Action
	default:
		return false
	}
	return true
}

// end makes the tree of the details, and closes what is open.
func (p *parser) end() *Trace {
	for _, n := range p.stack {
		p.unknown(n.Line, n.Text, "its brace is not closed")
	}
	roots, misplaced := outline.Build(p.lines)
	for _, l := range misplaced {
		p.unknown(l.Number, l.Text, "in a column that does not belong to a line before it")
	}
	var convert func([]*outline.Node) []*Node
	convert = func(list []*outline.Node) []*Node {
		var out []*Node
		for _, o := range list {
			n := p.kinds[o.Number]
			n.Children = convert(o.Children)
			out = append(out, n)
		}
		return out
	}
	p.trace.Detailed = convert(roots)
	return &p.trace
}
