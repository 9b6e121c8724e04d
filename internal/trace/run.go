package trace

import (
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/trace/ovntrace"
)

// step is a table that the packet met in one zone.
type step struct {
	pipeline int // which one, in order
	ports    ovntrace.Ports
	flow     *ovntrace.FlowInfo
	actions  []string
	side     bool // not the packet's own way: an answer to it, or a question on its behalf
	errors   []string
}

// exit is where the packet leaves a zone.
type exit struct {
	port, typ string // type of the logical port; empty for those of pods
	side      bool
	packet    Packet
}

// run is what one zone does with a packet.
type run struct {
	steps    []step
	exits    []exit
	problems []string
	// last is the packet as it was when the zone was done with it, also if it was dropped.
	last Packet
}

// answers are the packets that OVN makes on behalf of another.
var answers = map[string]bool{
	"arp": true, "clone": true, "icmp4": true, "icmp6": true, "nd_ns": true, "sctp_abort": true, "tcp_reset": true,
}

// transformation is one that ovn-trace went through, with the action that made it.
type transformation struct {
	action string
	side   bool
}

// newRun reads a trace.
func newRun(t *ovntrace.Trace, p Packet, backend netip.AddrPort) run {
	var r run
	for _, l := range t.Unknown {
		r.problems = append(r.problems, "ovn-trace printed what is not understood: "+l.String())
	}
	made := r.details(t.Detailed)
	again := replay{backend: backend, made: made, last: p}
	again.packet(t.Minimal, p, false)
	packets := again.out
	r.last = again.last
	if len(packets) != len(r.exits) || again.met != len(made) {
		r.problems = append(r.problems, "the two traces of ovn-trace, detailed and minimal, differ: the packet's headers are not certain")
	}
	for j := range r.exits {
		r.exits[j].packet = p
		if j < len(packets) {
			r.exits[j].packet = packets[j]
		}
	}
	return r
}

// details collects the steps and exits, and returns the transformations in order.
func (r *run) details(nodes []*ovntrace.Node) []transformation {
	var made []transformation
	pipelines := -1
	var walk func(list []*ovntrace.Node, ports ovntrace.Ports, pipeline, at int, side bool)
	walk = func(list []*ovntrace.Node, ports ovntrace.Ports, pipeline, at int, side bool) {
		action := ""
		for i, n := range list {
			inner, innerPorts, innerPipeline, innerSide := at, ports, pipeline, side
			switch n.Kind {
			case ovntrace.Pipeline, ovntrace.Multicast:
				pipelines++
				innerPorts, innerPipeline = n.Ports, pipelines
				if innerPorts.Inport == "" {
					innerPorts.Inport = ports.Inport
				}
			case ovntrace.Flow:
				r.steps = append(r.steps, step{pipeline: pipeline, ports: ports, flow: n.Flow, side: side})
				inner = len(r.steps) - 1
			case ovntrace.Action:
				action = n.Text
				if at >= 0 {
					r.steps[at].actions = append(r.steps[at].actions, n.Text)
				}
			case ovntrace.Error, ovntrace.Comment:
				if at >= 0 {
					r.steps[at].errors = append(r.steps[at].errors, n.Text)
				}
			case ovntrace.Transformation:
				innerSide = side || answers[n.Name]
				made = append(made, transformation{action, innerSide})
			case ovntrace.Log:
				made = append(made, transformation{action, side})
			case ovntrace.Output:
				peer := i+1 < len(list) && list[i+1].Kind == ovntrace.Pipeline
				if n.Out != nil && !peer {
					r.exits = append(r.exits, exit{port: n.Out.Port, typ: n.Out.Type, side: side})
				} else if n.Out == nil && at >= 0 {
					r.steps[at].errors = append(r.steps[at].errors, n.Text)
				}
			}
			walk(n.Children, innerPorts, innerPipeline, inner, innerSide)
		}
	}
	walk(nodes, ovntrace.Ports{}, -1, -1, false)
	return made
}

var (
	natPattern      = regexp.MustCompile(`^ct_[sd]nat(?:in_czone)?\(ip[46]\.(src|dst)=([0-9a-fA-F.:]+)\)`)
	changePattern   = regexp.MustCompile(`^(eth|ip4|ip6|tcp|udp|sctp)\.(src|dst) = (\S+)$`)
	backendsPattern = regexp.MustCompile(`^ct_lb(?:_mark)?\(backends=([^;)]*)`)
)

// replay applies the changes of a minimal trace to a packet.
type replay struct {
	backend netip.AddrPort
	made    []transformation // of the detailed trace, in order
	met     int              // how many of these there were
	out     []Packet         // what the packet is at each output
	last    Packet           // what it was at last, on its own way
}

// next is the transformation that comes now.
func (r *replay) next() transformation {
	if r.met++; r.met <= len(r.made) {
		return r.made[r.met-1]
	}
	return transformation{}
}

func (r *replay) packet(nodes []*ovntrace.Node, p Packet, side bool) {
	is := func() {
		if !side {
			r.last = p
		}
	}
	is()
	for _, n := range nodes {
		switch n.Kind {
		case ovntrace.Modify:
			p.change(n.Text)
			is()
		case ovntrace.Log:
			r.next()
		case ovntrace.Output:
			if n.Out != nil {
				r.out = append(r.out, p)
			}
		case ovntrace.Transformation:
			t, q := r.next(), p
			q.transform(n, t.action, r.backend)
			r.packet(n.Children, q, side || t.side)
		}
	}
}

// change applies a modification.
func (p *Packet) change(text string) {
	if text == "ip.ttl--" {
		p.TTL--
		return
	}
	m := changePattern.FindStringSubmatch(text)
	if m == nil {
		return // a field that we do not follow
	}
	src := m[2] == "src"
	switch m[1] {
	case "eth":
		*either(src, &p.EthSrc, &p.EthDst) = m[3]
	case "ip4", "ip6":
		if a, err := netip.ParseAddr(m[3]); err == nil {
			*either(src, &p.Src, &p.Dst) = a
		}
	default:
		if n, err := strconv.ParseUint(m[3], 10, 16); err == nil {
			*either(src, &p.SrcPort, &p.DstPort) = uint16(n)
		}
	}
}

func either[T any](first bool, a, b *T) *T {
	if first {
		return a
	}
	return b
}

// transform applies what connection tracking does to the packet, and what answers are.
func (p *Packet) transform(n *ovntrace.Node, action string, backend netip.AddrPort) {
	switch n.Name {
	case "ct_lb", "ct_lb_mark":
		b, ok := chosen(action, backend, p.Dst)
		if !ok {
			return
		}
		p.Dst = b.Addr()
		if b.Port() != 0 {
			p.DstPort = b.Port()
		}
	case "icmp4", "icmp6", "tcp_reset", "sctp_abort":
		if strings.HasPrefix(action, "reject ") || strings.HasPrefix(action, "reject{") {
			p.EthSrc, p.EthDst, p.Src, p.Dst, p.TTL = p.EthDst, p.EthSrc, p.Dst, p.Src, 255
		}
	default:
		m := natPattern.FindStringSubmatch(n.Text)
		if m == nil {
			return
		}
		if a, err := netip.ParseAddr(m[2]); err == nil {
			*either(m[1] == "src", &p.Src, &p.Dst) = a
		}
	}
}

// chosen is the backend that ovn-trace took: the only one, or the one that it was told to.
// A lookup without backends takes the one it was told to, too.
func chosen(action string, told netip.AddrPort, of netip.Addr) (netip.AddrPort, bool) {
	list, balances := backendsOf(action)
	list = slices.DeleteFunc(list, func(b netip.AddrPort) bool { return b.Addr().Is4() != of.Is4() })
	if told.IsValid() && told.Addr().Is4() == of.Is4() && (!balances || slices.Contains(list, told)) {
		return told, true
	}
	if len(list) == 1 {
		return list[0], true
	}
	return netip.AddrPort{}, false
}

// backendsOf are the backends among which an action chooses.
func backendsOf(action string) (list []netip.AddrPort, balances bool) {
	m := backendsPattern.FindStringSubmatch(action)
	if m == nil {
		return nil, false
	}
	for _, text := range strings.Split(m[1], ",") {
		text = strings.TrimSpace(text)
		if b, err := netip.ParseAddrPort(text); err == nil {
			list = append(list, b)
		} else if a, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
			list = append(list, netip.AddrPortFrom(a, 0))
		}
	}
	return list, true
}

// balanced is the first step in which a load balancer chooses among backends of the packet's
// family.
func (r *run) balanced(is4 bool) (at int, list []netip.AddrPort) {
	for i, s := range r.steps {
		if s.side {
			continue
		}
		for _, a := range s.actions {
			all, ok := backendsOf(a)
			if !ok {
				continue
			}
			for _, b := range all {
				if b.Addr().Is4() == is4 {
					list = append(list, b)
				}
			}
			return i, list
		}
	}
	return -1, nil
}

// follow is this run up to the choice of a backend, and from there on the run of another one
// that was told which to take. Told so, ovn-trace replaces the destination as soon as the
// connection is looked up, and passes by the flow that chooses.
func (r *run) follow(at int, told run) run {
	if i, _ := told.balanced(true); i >= 0 {
		return told // it did pass the flow that chooses
	}
	if i, _ := told.balanced(false); i >= 0 {
		return told
	}
	choice := r.steps[at]
	out := run{steps: slices.Clone(r.steps[:at+1]), exits: told.exits, last: told.last, problems: append(r.problems[:len(r.problems):len(r.problems)], told.problems...)}
	for _, s := range told.steps {
		if s.pipeline > choice.pipeline || s.pipeline == choice.pipeline && s.flow.Table > choice.flow.Table {
			out.steps = append(out.steps, s)
		}
	}
	return out
}

// behind is the run from where the start resumes, with the source that the packet got before.
func (r run) behind(s start) run {
	if s.behind == 0 {
		return r
	}
	r.steps = slices.DeleteFunc(r.steps, func(t step) bool { return t.pipeline == 0 && t.flow.Table <= s.behind })
	if s.source.IsValid() {
		r.last.Src = s.source
	}
	for i := range r.exits {
		if s.source.IsValid() {
			r.exits[i].packet.Src = s.source
		}
	}
	return r
}
