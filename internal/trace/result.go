package trace

import (
	"fmt"
	"net/netip"

	"github.com/ovnkctl/ovnkctl/internal/explain"
	"github.com/ovnkctl/ovnkctl/internal/policy"
)

// Verdict is what becomes of a packet.
type Verdict string

// The verdicts.
const (
	// Allowed: it arrives.
	Allowed Verdict = "Allowed"
	// Dropped: a rule drops it silently.
	Dropped Verdict = "Dropped"
	// Rejected: it is answered with a refusal.
	Rejected Verdict = "Rejected"
	// Unreachable: nothing forbids it, and there is no way.
	Unreachable Verdict = "Unreachable"
	// Unknown: the trace ended where nothing could be read.
	Unknown Verdict = "Unknown"
)

// Result is the answer to one question.
type Result struct {
	Source      End      `json:"source"`
	Destination End      `json:"destination"`
	Protocol    Protocol `json:"protocol"`
	Port        uint16   `json:"port,omitempty"`
	// Verdict is that of all paths: Allowed if the packet arrives by each.
	Verdict Verdict `json:"verdict"`
	// Paths is one way, or one for each backend that was asked for.
	Paths []*Path `json:"paths"`
}

// Path is one way of a packet.
type Path struct {
	Verdict  Verdict  `json:"verdict"`
	Decision Decision `json:"decision"`
	// Backend is what a load balancer chose, among Backends.
	Backend  netip.AddrPort   `json:"backend,omitzero"`
	Backends []netip.AddrPort `json:"backends,omitempty"`
	// Arrives is where the packet got to, Packet what it is there.
	Arrives string `json:"arrives,omitempty"`
	Packet  Packet `json:"packet"`
	Hops    []Hop  `json:"hops"`
	// Physical is what Open vSwitch does, if that was asked for.
	Physical []*Physical `json:"physical,omitempty"`
	// Reply is the way back, if it was asked for.
	Reply *Path `json:"reply,omitempty"`
	// Problems are what makes the answer uncertain: lines that were not understood, and
	// objects and rows that disagree.
	Problems []string `json:"problems,omitempty"`
}

// Decision is what decided.
type Decision struct {
	// Text is one sentence.
	Text  string `json:"text"`
	Node  string `json:"node,omitempty"`
	Stage string `json:"stage,omitempty"`
	// Row is the row of the Northbound database, with its object.
	Row *explain.RowRef `json:"row,omitempty"`
	// Rule is the rule of a policy that decided, by the reference evaluator; Isolating are
	// the policies that isolate the pod where no rule did.
	Rule      *Rule            `json:"rule,omitempty"`
	Isolating []explain.Object `json:"isolating,omitempty"`
	// Nearest are the rules that would have allowed the packet, the nearest first.
	Nearest []Near `json:"nearest,omitempty"`
}

// says is the part of a decision that the reference evaluator knows.
func (d *Decision) says(s policy.Decision, near []policy.Near) {
	d.Text, d.Nearest = s.String(), nearOf(near)
	if s.By != nil {
		r := ruleOf(*s.By)
		d.Rule = &r
	}
	for _, o := range s.Isolating {
		d.Isolating = append(d.Isolating, objectOf(o))
	}
}

// DecisionOf is what the reference evaluator says, where OVN was not asked.
func DecisionOf(s policy.Decision, near []policy.Near) *Decision {
	d := &Decision{}
	d.says(s, near)
	return d
}

// Rule is a rule of a policy.
type Rule struct {
	Object    explain.Object `json:"object"`
	Tier      string         `json:"tier"`
	Direction string         `json:"direction"`
	Index     int            `json:"index"` // in spec.ingress or spec.egress
	Name      string         `json:"name,omitempty"`
	Action    string         `json:"action"`
}

// String is "NetworkPolicy shop/web ingress[0]".
func (r Rule) String() string {
	s := fmt.Sprintf("%s %s[%d]", r.Object, r.Direction, r.Index)
	if r.Name != "" {
		s += " (" + r.Name + ")"
	}
	return s
}

// Near is a rule that would have allowed the packet if some terms had matched.
type Near struct {
	Rule   Rule   `json:"rule"`
	Failed []Term `json:"failed"`
}

// Term is a part of a rule that did not match.
type Term struct {
	Kind  string `json:"kind"`  // Subject, Peer, Port or Invalid
	Wants string `json:"wants"` // what the rule says
	Has   string `json:"has"`   // what the packet has
}

func objectOf(o policy.Object) explain.Object {
	return explain.Object{Kind: o.Kind, Namespace: o.Namespace, Name: o.Name}
}

func ruleOf(r policy.Rule) Rule {
	return Rule{
		Object: objectOf(r.Object), Tier: string(r.Tier), Direction: string(r.Direction), Index: r.Index, Name: r.Name, Action: string(r.Action),
	}
}

func nearOf(list []policy.Near) []Near {
	var out []Near
	for _, n := range list {
		near := Near{Rule: ruleOf(n.Rule)}
		for _, t := range n.Failed {
			near.Failed = append(near.Failed, Term{Kind: string(t.Kind), Wants: t.Wants, Has: t.Has})
		}
		out = append(out, near)
	}
	return out
}

// HopKind is what a hop is.
type HopKind string

// The kinds of hops.
const (
	HopLogical HopKind = "Logical" // a logical flow
	HopTunnel  HopKind = "Tunnel"  // between two zones
	HopHost    HopKind = "Host"    // the node's host and its external bridge
	HopOutside HopKind = "Outside"
)

// Hop is one step of a path.
type Hop struct {
	Node string  `json:"node"`
	Kind HopKind `json:"kind"`
	// Text says what happens, for all kinds but logical flows.
	Text string `json:"text,omitempty"`

	Datapath string   `json:"datapath,omitempty"`
	Pipeline string   `json:"pipeline,omitempty"` // "ingress" or "egress"
	Inport   string   `json:"inport,omitempty"`
	Outport  string   `json:"outport,omitempty"`
	Flow     *Flow    `json:"flow,omitempty"`
	OpenFlow []string `json:"openflow,omitempty"`
}

// Flow is a logical flow that a packet met.
type Flow struct {
	Table    int      `json:"table"`
	Stage    string   `json:"stage"`
	Priority int      `json:"priority"`
	Match    string   `json:"match"`
	Actions  []string `json:"actions,omitempty"`
	// Cookie is the first eight digits of the flow's UUID, which its OpenFlow flows have.
	Cookie string `json:"cookie,omitempty"`
	// Row is what northd made the flow for.
	Row *explain.RowRef `json:"row,omitempty"`
}
