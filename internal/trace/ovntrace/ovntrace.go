// Package ovntrace reads what ovn-trace prints, strictly: each line is understood, or
// reported with its number and text. ovn-trace has no output for programs; what it prints
// is the truth about logical flows, so it is read as it is (ovn-trace(8), 23.03 and later).
//
//	# tcp,reg14=0x2,…                              the packet
//	ingress(dp="n1", inport="p11")                 a pipeline
//	------------------------------
//	 5. ls_in_pre_lb (northd.c:6109): ip, priority 100, uuid e52c3bf2      a logical flow
//	    reg0[2] = 1;                               what it does
//	    /* output to "stor-n1", type "patch" */    what comes of it
package ovntrace

import (
	"fmt"
)

// Kind is what a node of a trace is.
type Kind string

// The kinds.
const (
	// Pipeline is the ingress or egress pipeline of a datapath.
	Pipeline Kind = "Pipeline"
	// Multicast is a packet sent to each port of a group; its children are pipelines.
	Multicast Kind = "Multicast"
	// Transformation is a packet that is made of this one (connection tracking, a clone, an
	// answer) and its way.
	Transformation Kind = "Transformation"
	// Log is a message that an ACL logs.
	Log Kind = "Log"
	// Flow is a logical flow that matched, or a table without one.
	Flow Kind = "Flow"
	// Action is one action of a flow.
	Action Kind = "Action"
	// Output is what a packet's output amounts to.
	Output Kind = "Output"
	// Comment is a remark of ovn-trace.
	Comment Kind = "Comment"
	// Error is what ovn-trace cannot do, or would not do.
	Error Kind = "Error"
	// Modify is a change of the packet, in minimal traces.
	Modify Kind = "Modify"
)

// Node is a node of a trace.
type Node struct {
	Kind     Kind
	Text     string // without blanks and the semicolon of summaries
	Line     int    // in the input, from 1
	Children []*Node

	Ports Ports     // of pipelines and multicast
	Flow  *FlowInfo // of flows
	Out   *PortOut  // of outputs that name a port
	// Name is the first word of a transformation, e.g. "ct_lb_mark".
	Name string
}

// Ports are where a pipeline is.
type Ports struct {
	Ingress         bool
	Datapath        string
	Inport, Outport string
	Group           string // of multicast
}

// FlowInfo is a logical flow as ovn-trace names it.
type FlowInfo struct {
	Table    int
	Stage    string // e.g. ls_in_acl_eval; empty if the database does not say
	Source   string // e.g. northd.c:6109
	Match    string
	Priority int
	UUID     string // the first 8 hex digits, which are the OpenFlow cookie
	// NoMatch is true for a table without a matching flow, which drops.
	NoMatch bool
}

// PortOut is a port that a packet leaves by.
type PortOut struct {
	Port string
	Type string // of the logical port; empty for ports of pods, and unknown in minimal traces
}

// Trace is one run of ovn-trace.
type Trace struct {
	// Packet is the packet as ovn-trace understood it.
	Packet string
	// Failure is what ovn-trace refused to do, e.g. a packet that it does not understand.
	Failure string
	// Messages are lines of the program's own log.
	Messages []Line
	// Detailed, Summary and Minimal are the traces that it was asked for.
	Detailed, Summary, Minimal []*Node
	// Unknown are the lines that were not understood.
	Unknown []Line
}

// Line is a line of the input.
type Line struct {
	Number int
	Text   string
	Reason string // why it was not understood
}

// String is the line for people.
func (l Line) String() string {
	if l.Reason == "" {
		return fmt.Sprintf("line %d: %q", l.Number, l.Text)
	}
	return fmt.Sprintf("line %d: %q: %s", l.Number, l.Text, l.Reason)
}

// Walk calls f for each node of a list in order, before its children, with the nodes that it
// is within, outermost first. It leaves out the children where f returns false.
func Walk(nodes []*Node, f func(n *Node, within []*Node) bool) {
	var walk func([]*Node, []*Node)
	walk = func(list, within []*Node) {
		for _, n := range list {
			if f(n, within) {
				walk(n.Children, append(within[:len(within):len(within)], n))
			}
		}
	}
	walk(nodes, nil)
}
