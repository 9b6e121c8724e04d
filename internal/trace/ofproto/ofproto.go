// Package ofproto reads what `ovs-appctl ofproto/trace` prints, strictly: each line is
// understood, or reported with its number and text.
//
// Connection tracking and hashing end a pass through the tables; the packet comes back and
// passes again:
//
//	Flow: tcp,in_port=4,…                      a pass begins
//	bridge("br-int")
//	----------------
//	 8. metadata=0x3, priority 50, cookie 0x3f17ea7d
//	    resubmit(,9)
//	Datapath actions: ct(zone=15,nat),recirc(0x44c)
//	===…
//	recirc(0x44c) - resume conntrack with …    the next
package ofproto

import "fmt"

// Kind is what a node of a trace is.
type Kind string

// The kinds.
const (
	Bridge  Kind = "Bridge"
	Table   Kind = "Table"
	Thaw    Kind = "Thaw" // where a packet that comes back goes on
	Bucket  Kind = "Bucket"
	Action  Kind = "Action"
	Detail  Kind = "Detail"
	Warning Kind = "Warning"
	Error   Kind = "Error"
)

// Node is a node of a pass.
type Node struct {
	Kind     Kind
	Text     string // without blanks and arrows
	Line     int    // in the input, from 1
	Children []*Node
	Flow     *Flow // of tables
}

// Flow is an OpenFlow flow that matched, or a table without one.
type Flow struct {
	Table    int
	Match    string
	Priority int
	// Cookie is of flows that ovn-controller made the first 32 bits of the UUID of the
	// logical flow, or of what else the flow is for; 0 for flows without.
	Cookie  uint64
	NoMatch bool
}

// Pass is one pass through the tables.
type Pass struct {
	Recirculation string // id, e.g. "0x44c"; empty for the first
	// CTState is the state that the connection is assumed to have; Assumed is true where
	// nobody said so.
	CTState string
	Assumed bool
	// NATFrom and NATTo are the ends before and after address translation, where it is
	// simulated.
	NATFrom, NATTo string
	Flow           string
	Nodes          []*Node
	Final          string // flow, or "unchanged"
	Megaflow       string
	Actions        string   // of the datapath
	SlowPath       []string // why the flow needs ovs-vswitchd for each packet
	Failure        string   // why there are no actions
}

// Trace is one run of ofproto/trace.
type Trace struct {
	Passes []*Pass
	// Limit is said when there were too many passes.
	Limit string
	// Unknown are the lines that were not understood.
	Unknown []Line
}

// Line is a line of the input.
type Line struct {
	Number int
	Text   string
	Reason string
}

// String is the line for people.
func (l Line) String() string { return fmt.Sprintf("line %d: %q: %s", l.Number, l.Text, l.Reason) }

// Walk calls f for each node of a list in order, before its children.
func Walk(nodes []*Node, f func(*Node)) {
	for _, n := range nodes {
		f(n)
		Walk(n.Children, f)
	}
}

// Flows are the flows that matched, in order, of all passes.
func (t *Trace) Flows() []*Flow {
	var out []*Flow
	for _, p := range t.Passes {
		Walk(p.Nodes, func(n *Node) {
			if n.Flow != nil && !n.Flow.NoMatch {
				out = append(out, n.Flow)
			}
		})
	}
	return out
}
