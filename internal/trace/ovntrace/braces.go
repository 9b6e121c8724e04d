package ovntrace

import (
	"strings"
)

// braces reads a line of a summary or minimal trace.
func (p *parser) braces(number int, line string) {
	text := strings.TrimLeft(line, " ")
	if text == "}" || text == "};" {
		if len(p.stack) == 0 {
			p.unknown(number, line, "it closes what is not open")
			return
		}
		p.stack = p.stack[:len(p.stack)-1]
		return
	}
	n := &Node{Line: number}
	opened := false
	if n.Text, opened = strings.CutSuffix(text, " {"); opened {
		if !title(n) {
			p.unknown(number, line, "not a title that is known")
			n.Kind = Transformation // its brace will be closed
		}
	} else if !p.statement(n, text) {
		p.unknown(number, line, "neither an action nor a change of the packet")
		return
	}
	if n.Kind == Pipeline {
		p.form = summary // minimal traces have none
	}
	p.add(n)
	if opened {
		p.stack = append(p.stack, n)
	}
}

func (p *parser) add(n *Node) {
	if len(p.stack) > 0 {
		top := p.stack[len(p.stack)-1]
		top.Children = append(top.Children, n)
		return
	}
	if p.form == summary {
		p.trace.Summary = append(p.trace.Summary, n)
	} else {
		p.trace.Minimal = append(p.trace.Minimal, n)
	}
}

// statement reads a line without braces. In a summary it is mostly an action, in a minimal
// trace a change of the packet.
func (p *parser) statement(n *Node, text string) bool {
	n.Text = text
	if strings.HasPrefix(text, "/*") || strings.HasPrefix(text, "*** ") {
		n.Text = strings.TrimSuffix(text, ";")
		return leaf(n)
	}
	if inner, ok := strings.CutSuffix(text, ";"); ok && strings.HasPrefix(inner, "LOG: ACL name=") {
		n.Text, n.Kind = inner, Log
		return true
	}
	inner, ok := strings.CutSuffix(text, ";")
	if !ok {
		return false
	}
	if p.form == summary {
		n.Kind = Action
		return true
	}
	n.Text, n.Kind = inner, Modify
	if m := outputPattern.FindStringSubmatch(inner); m != nil {
		n.Kind, n.Out = Output, &PortOut{Port: m[1]}
		return true
	}
	if title(n) && n.Kind == Transformation { // one that nothing comes of
		return true
	}
	n.Kind, n.Name = Modify, ""
	return modification(inner)
}

// modification tells whether a text is a change of a packet.
func modification(s string) bool {
	return s == "ip.ttl--" || strings.Contains(s, " = ") || strings.HasPrefix(s, "push(") || strings.HasPrefix(s, "pop(")
}
