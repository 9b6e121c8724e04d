package policy

import (
	"fmt"
	"strings"
)

// Stage is one of the three places where a connection can be dropped.
type Stage string

// The stages, in the order in which a packet meets them.
const (
	StageEgress   Stage = "Egress"
	StageFirewall Stage = "EgressFirewall"
	StageIngress  Stage = "Ingress"
)

// Stages are all stages in the order in which a packet meets them.
var Stages = [...]Stage{StageEgress, StageFirewall, StageIngress}

// Tier is the group of policies that a rule belongs to.
type Tier string

// The tiers. EgressFirewall is a tier of its own stage.
const (
	TierAdmin         Tier = "Admin"
	TierNetworkPolicy Tier = "NetworkPolicy"
	TierBaseline      Tier = "Baseline"
	TierFirewall      Tier = "EgressFirewall"
)

// Action is what a rule does with a connection that it matches, in one word for all kinds.
type Action string

// The actions. Allow is what ClusterNetworkPolicy calls Accept.
const (
	Allow Action = "Allow"
	Deny  Action = "Deny"
	Pass  Action = "Pass"
)

// Direction is the list of a policy's spec that a rule is in.
type Direction string

// The directions. A Direction is the last word of its field's path.
const (
	Egress  Direction = "egress"
	Ingress Direction = "ingress"
)

// Object is a policy object. Namespace is empty for kinds of the cluster.
type Object struct {
	Kind, Namespace, Name string
}

// String is "NetworkPolicy ns/name".
func (o Object) String() string {
	if o.Namespace == "" {
		return o.Kind + " " + o.Name
	}
	return o.Kind + " " + o.Namespace + "/" + o.Name
}

// Rule is the identity of one rule.
type Rule struct {
	Object    Object
	Tier      Tier
	Priority  int32 // of the object; 0 for kinds that have none
	Direction Direction
	Index     int    // in spec.ingress or spec.egress
	Name      string // the rule's own name, if it has one
	Action    Action
}

// String is "AdminNetworkPolicy name egress[2] (its name)".
func (r Rule) String() string {
	s := fmt.Sprintf("%s %s[%d]", r.Object, r.Direction, r.Index)
	if r.Name != "" {
		s += " (" + r.Name + ")"
	}
	return s
}

// Reason says why a stage decided as it did.
type Reason string

// The reasons of a decision.
const (
	ByRule      Reason = "Rule"      // Decision.By matched
	ByIsolation Reason = "Isolation" // isolated by Decision.Isolating, and no rule of theirs matched
	ByDefault   Reason = "Default"   // nothing decided: allowed
	ByNoSubject Reason = "NoSubject" // the end is not a pod, or the stage is not about this packet
	BySelf      Reason = "Self"      // a pod and itself
	ByOwnNode   Reason = "OwnNode"   // the pod's own node reaches it
	ByICMP      Reason = "ICMP"      // isolated, but ICMP is let through by configuration
)

// Verdict is the answer for one packet: allowed if all stages allow it.
type Verdict struct {
	Allowed                   bool
	Egress, Firewall, Ingress Decision
}

// Decision is the decision of one stage.
type Decision struct {
	Allowed bool
	Reason  Reason
	// By is the rule that decided, nil unless the reason is ByRule. Where several rules of
	// NetworkPolicies match it is the first by namespace, name and index.
	By *Rule
	// Isolating are the NetworkPolicies that select the pod for this direction.
	Isolating []Object
	// Steps are the rules that were compared, in order: of the policies that select the pod,
	// until one decided; of NetworkPolicies all.
	Steps []Step
}

// Step is one rule that was compared with the packet.
type Step struct {
	Rule    Rule
	Matched bool
	Failed  []Term // why not, empty if Matched
}

// TermKind is a part of a rule that can fail to match.
type TermKind string

// The parts of a rule.
const (
	TermSubject TermKind = "Subject" // the policy does not select the pod
	TermPeer    TermKind = "Peer"    // no peer is the other end
	TermPort    TermKind = "Port"    // no port is the destination port
	TermInvalid TermKind = "Invalid" // the rule cannot be understood and allows nothing
)

// Term is a part of a rule that did not match the packet.
type Term struct {
	Kind  TermKind
	Wants string // what the rule says
	Has   string // what the packet has
}

// String is one line for people.
func (t Term) String() string {
	return fmt.Sprintf("%s: wants %s, has %s", strings.ToLower(string(t.Kind)), t.Wants, t.Has)
}

// Stage returns the decision of a stage.
func (v Verdict) Stage(s Stage) Decision {
	switch s {
	case StageFirewall:
		return v.Firewall
	case StageIngress:
		return v.Ingress
	default:
		return v.Egress
	}
}

// String is one line for people.
func (d Decision) String() string {
	word := "allowed"
	if !d.Allowed {
		word = "denied"
	}
	switch d.Reason {
	case ByRule:
		return fmt.Sprintf("%s by %s", word, d.By)
	case ByIsolation:
		return fmt.Sprintf("%s: isolated by %s, and no rule allows it", word, d.Isolating[0])
	case ByICMP:
		return word + ": ICMP passes isolation by configuration"
	case ByOwnNode:
		return word + ": a pod's own node always reaches it"
	case BySelf:
		return word + ": a pod always reaches itself"
	case ByNoSubject:
		return word + ": no policy is about this"
	default:
		return word + " by default"
	}
}

// Problem is a part of an object that could not be understood.
type Problem struct {
	Object  Object
	Field   string // e.g. spec.ingress[0].from[1].ipBlock.cidr
	Message string // what is wrong, with the decisive value
	Effect  string // what becomes of the rule or object
}
