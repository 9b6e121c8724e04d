package world

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/world/selector"
)

// The kinds of policies.
const (
	KindNetworkPolicy              Kind = "NetworkPolicy"
	KindAdminNetworkPolicy         Kind = "AdminNetworkPolicy"
	KindBaselineAdminNetworkPolicy Kind = "BaselineAdminNetworkPolicy"
	KindClusterNetworkPolicy       Kind = "ClusterNetworkPolicy"
	KindEgressFirewall             Kind = "EgressFirewall"
)

// PolicyTier is the group of policies that decide together, one tier after the other.
type PolicyTier uint8

// The tiers. EgressFirewall is apart from the others: it decides about what they let out.
const (
	TierAdmin PolicyTier = iota
	TierNetworkPolicy
	TierBaseline
	TierEgressFirewall
)

// Direction is that of a connection, seen from the pods that a policy is for.
type Direction uint8

// The directions.
const (
	Ingress Direction = iota
	Egress
)

// Directions are both.
var Directions = [...]Direction{Ingress, Egress}

// String is "Ingress" or "Egress".
func (d Direction) String() string {
	if d == Ingress {
		return "Ingress"
	}
	return "Egress"
}

// RuleAction is what a rule does, in one word for all kinds.
type RuleAction uint8

// The actions. Allow is what ClusterNetworkPolicy calls Accept.
const (
	Allow RuleAction = iota
	Deny
	Pass
)

// Policy is what features need of a policy of any kind. It is never wider than its object:
// a rule with a part that is not understood is left out if it allows, and else denies all in
// its direction. Problems say which.
type Policy struct {
	Kind                 Kind
	Namespace, Name, UID string
	Created              int64 // Unix seconds
	Tier                 PolicyTier
	Priority             int32 // of Admin and ClusterNetworkPolicy, 0 to 1000, lower decides first
	// Subject selects the pods that the policy is for; nil when it is not understood.
	Subject *PodSelector
	// Isolates tells for each direction whether the policy's rules are all that is allowed.
	Isolates [2]bool
	Rules    []PolicyRule
	// Stateless policies do not follow connections (k8s.ovn.org/acl-stateless).
	Stateless bool
	// Logging is the annotation k8s.ovn.org/acl-logging of kinds without a namespace.
	Logging  string
	Problems []Problem
}

// PolicyRule is one rule. Rules of a direction are in order; in a NetworkPolicy, which only
// allows, the order means nothing.
type PolicyRule struct {
	Direction Direction
	Index     int    // in spec.ingress or spec.egress
	Name      string // its own, if it has one
	Action    RuleAction
	Peers     []Peer       // nil for anybody
	Ports     []PolicyPort // nil for any protocol and port
}

// Peer is one way to name the other end; exactly one of the four is set.
type Peer struct {
	Pods  *PodSelector
	Nodes *NodeSelector
	// Block is a range of addresses, less those of Except.
	Block  netip.Prefix
	Except []netip.Prefix
	Domain *DomainName
}

// DomainName stands for the addresses that names have.
type DomainName struct {
	// Name is in lower case, without a final dot.
	Name string
	// Deep has a leading "*." stand for one label or more, not exactly one.
	Deep bool
}

// PolicyPort is one way to name ports of the destination: a range, a name, or with neither
// all ports of the protocol.
type PolicyPort struct {
	Protocol    Protocol
	First, Last uint16
	Name        string
}

// Named is the name that the port must be looked up by, if it has one.
func (p PolicyPort) Named() (NamedPort, bool) {
	return NamedPort{p.Protocol, p.Name}, p.Name != ""
}

// NamedPort is a port that pods may each give another number.
type NamedPort struct {
	Protocol Protocol
	Name     string
}

// PolicyKey names a policy.
type PolicyKey struct {
	Kind            Kind
	Namespace, Name string
}

// Key names the policy.
func (p *Policy) Key() PolicyKey { return PolicyKey{p.Kind, p.Namespace, p.Name} }

// Ref names the policy's object.
func (p *Policy) Ref() ObjectRef {
	return ObjectRef{Kind: p.Kind, Namespace: p.Namespace, Name: p.Name, UID: p.UID}
}

// ComparePolicies is the order of policies in the tiers Admin and Baseline: by priority; of
// equal ones ClusterNetworkPolicy first (who has both kinds is moving to it), then the older,
// then by name. A BaselineAdminNetworkPolicy is the last.
func ComparePolicies(a, b *Policy) int {
	return cmp.Or(
		cmp.Compare(bit(a.Kind == KindBaselineAdminNetworkPolicy), bit(b.Kind == KindBaselineAdminNetworkPolicy)),
		cmp.Compare(a.Priority, b.Priority),
		cmp.Compare(bit(a.Kind != KindClusterNetworkPolicy), bit(b.Kind != KindClusterNetworkPolicy)),
		cmp.Compare(a.Created, b.Created),
		strings.Compare(a.Name, b.Name),
	)
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// PodSelector selects pods by their labels and their namespace. It never selects pods on the
// host's network, nor finished ones. Two selectors with the same ID select the same.
type PodSelector struct {
	// ID is a hash of the text: 20 hexadecimal digits.
	ID string
	// Namespace is the only namespace; empty for those that Namespaces selects.
	Namespace  string
	Namespaces selector.Labels
	Pods       selector.Labels
}

// nameLabel is the label that the API server gives every namespace: its name.
const nameLabel = "kubernetes.io/metadata.name"

// PodsIn selects pods of one namespace.
func PodsIn(namespace string, pods selector.Labels) *PodSelector {
	return newPodSelector(PodSelector{Namespace: namespace, Pods: pods})
}

// PodsOf selects pods of namespaces. Those that ask for one namespace by its name are the
// same as PodsIn.
func PodsOf(namespaces, pods selector.Labels) *PodSelector {
	if name, ok := namespaces.Only(nameLabel); ok {
		return PodsIn(name, pods)
	}
	return newPodSelector(PodSelector{Namespaces: namespaces, Pods: pods})
}

// AllPods selects all pods.
func AllPods() *PodSelector { return PodsOf(selector.Labels{}, selector.Labels{}) }

func newPodSelector(s PodSelector) *PodSelector {
	s.ID = hash(s.String())
	return &s
}

// String is the selector in words.
func (s *PodSelector) String() string { return s.where() + "/" + s.Pods.String() }

// where is the selector's namespaces in words; no label selector has a colon.
func (s *PodSelector) where() string {
	if s.Namespace != "" {
		return "namespace:" + s.Namespace
	}
	return s.Namespaces.String()
}

// NodeSelector selects addresses of nodes.
type NodeSelector struct {
	ID    string // a hash of the text
	Nodes selector.Labels
	// HostAddrs asks for all addresses of the hosts, not only those that the nodes report as
	// theirs.
	HostAddrs bool
}

// NodesOf selects nodes.
func NodesOf(nodes selector.Labels, hostAddrs bool) *NodeSelector {
	s := &NodeSelector{Nodes: nodes, HostAddrs: hostAddrs}
	s.ID = hash("nodes:" + s.String())
	return s
}

// String is the selector in words.
func (s *NodeSelector) String() string {
	if s.HostAddrs {
		return "hosts:" + s.Nodes.String()
	}
	return "addresses:" + s.Nodes.String()
}

// Addrs are the selected addresses of a node.
func (s *NodeSelector) Addrs(n *Node) []netip.Addr {
	if !s.Nodes.Matches(n.Labels) {
		return nil
	}
	if !s.HostAddrs {
		return n.InternalIPs
	}
	out := make([]netip.Addr, 0, len(n.HostAddrs))
	for _, p := range n.HostAddrs {
		out = append(out, p.Addr())
	}
	return out
}

// hash shortens a text; 80 bits, so that nobody finds two texts with the same one.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:10])
}

// String is the name, with two asterisks when it is deep.
func (d DomainName) String() string {
	if rest, wild := strings.CutPrefix(d.Name, "*."); wild && d.Deep {
		return "**." + rest
	}
	return d.Name
}
