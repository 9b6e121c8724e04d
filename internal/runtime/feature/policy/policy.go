// Package policy compiles network policies of all kinds to ACLs.
//
//	policy     ACLs, in the port group of the pods that it is for
//	selector   the port group of the local pods that it selects, for subjects;
//	           an address set per family of all pods that it selects, for peers;
//	           the same of pods with a named port, by number
//	pod        its memberships in those, and in its namespace's groups of isolated pods
//	namespace  for each direction the group of isolated pods, with the ACLs that isolate
//	node       its memberships in address sets of nodes
//	zone       what no policy decides about: the own node, and pods that reach themselves
//
// Equal selectors are one, whatever policies they are in, and each pod puts itself into the
// sets: one pod more is one element more in each. Only what policies with pods on this node
// need exists.
//
// Tiers and priorities in the pipeline:
//
//	tier 0  zone: the own node, pods that reach themselves
//	tier 1  AdminNetworkPolicy, ClusterNetworkPolicy Admin   see order.go
//	tier 2  NetworkPolicy: rules 1001, isolation 1000; EgressFirewall 10000 downwards
//	tier 3  ClusterNetworkPolicy Baseline, BaselineAdminNetworkPolicy
//
// Ingress is decided where a packet leaves the switch for the pod (to-lport, outport), egress
// where it comes from the pod and load balancers have chosen a backend (from-lport with
// apply-after-lb, inport). An EgressFirewall is in the other pipeline (to-lport, inport): it
// comes after rules for egress and never meets rules for ingress, which have an outport.
package policy

import (
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Name is the feature's name.
const Name = "policy"

// Feature is the policies. The zero value is ready.
type Feature struct {
	// AllowICMP lets isolated pods have ICMP.
	AllowICMP bool
	// LogsPerSecond is how many packets each ACL logs at most; 20 when zero, which is
	// OVN-Kubernetes' default (acl-logging-rate-limit).
	LogsPerSecond int
}

var _ feature.Feature = Feature{}

// Name implements feature.Feature.
func (Feature) Name() string { return Name }

// Codes of the reasons.
const (
	// InvalidPolicy: a part of a policy is not understood.
	InvalidPolicy = "InvalidPolicy"
	// InvalidLogging: the annotation that says what to log is not understood.
	InvalidLogging = "InvalidLogging"
	// EqualPriority: two administrators' policies have the same priority.
	EqualPriority = "EqualPriority"
	// TooManyRules: the administrators' policies have more rules than OVN has priorities.
	TooManyRules = "TooManyRules"
	// UnknownDomain: the addresses of a domain name are not known.
	UnknownDomain = "UnknownDomain"
	// DomainNotAskedFor: no pod has asked for a name below a wildcard yet. This is no fault.
	DomainNotAskedFor = "DomainNotAskedFor"
)

// Codes lists the codes of all reasons that the feature gives.
var Codes = []string{InvalidPolicy, InvalidLogging, EqualPriority, TooManyRules, UnknownDomain, DomainNotAskedFor}

// What the names of keys begin with. Policies have their kind; no name has a colon.
const (
	prefixPod       = "pod:"
	prefixSelector  = "selector:"
	prefixNamespace = "namespace:"
	prefixNodes     = "nodes:"
	prefixNode      = "node:"
	prefixDomain    = "domain:"
	nameZone        = "zone"
)

// PodKey is the key of a pod's memberships: when it is done, policies are in force for the pod.
func PodKey(namespace, name string) feature.Key {
	return feature.Key{Namespace: namespace, Name: prefixPod + name}
}

// DomainKey is the key of a domain name's address sets.
func DomainKey(d world.DomainName) feature.Key { return feature.Key{Name: prefixDomain + d.String()} }

// KeyOf is the key of a policy.
func KeyOf(k world.PolicyKey) feature.Key {
	return feature.Key{Namespace: k.Namespace, Name: string(k.Kind) + ":" + k.Name}
}

// Desired implements feature.Feature.
func (f Feature) Desired(v world.View, k feature.Key) (feature.Output, []feature.Reason) {
	network, ok := v.Network(k.Network)
	if !ok {
		return feature.Output{}, nil
	}
	c := compiler{Feature: f, view: v, network: network, names: names.Of(network.Name)}
	c.out = &rows.Set{}
	prefix, name, _ := strings.Cut(k.Name, ":")
	switch prefix + ":" {
	case prefixPod:
		c.pod(world.PodKey{Namespace: k.Namespace, Name: name})
	case prefixSelector:
		c.selector(name)
	case prefixNamespace:
		c.namespace(name)
	case prefixNodes:
		c.nodeSelector(name)
	case prefixNode:
		c.node(name)
	case prefixDomain:
		c.domain(name)
	case nameZone + ":":
		c.zone()
	default:
		c.policy(world.PolicyKey{Kind: world.Kind(prefix), Namespace: k.Namespace, Name: name})
	}
	return feature.Output{NB: *c.out}, c.reasons
}

// compiler makes the rows of one key.
type compiler struct {
	Feature
	view    world.View
	network *world.Network
	names   names.Network
	out     *rows.Set
	reasons []feature.Reason
}

// families are those of the network: true for IPv4.
func (c *compiler) families() []bool {
	var out []bool
	for _, is4 := range []bool{true, false} {
		for _, s := range c.network.ClusterSubnets {
			if s.Prefix.Addr().Is4() == is4 {
				out = append(out, is4)
				break
			}
		}
	}
	return out
}
