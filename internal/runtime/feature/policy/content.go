package policy

import (
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// SameOnEveryNode tells whether reasons with that code follow from what objects say alone, so
// that one program can report them for all nodes.
func SameOnEveryNode(code string) bool {
	switch code {
	case InvalidPolicy, InvalidLogging, EqualPriority, TooManyRules:
		return true
	}
	return false
}

// Of is the policy that a key is for; ok is false for keys of anything else.
func Of(k feature.Key) (_ world.PolicyKey, ok bool) {
	prefix, name, _ := strings.Cut(k.Name, ":")
	switch kind := world.Kind(prefix); kind {
	case world.KindNetworkPolicy, world.KindAdminNetworkPolicy, world.KindBaselineAdminNetworkPolicy,
		world.KindClusterNetworkPolicy, world.KindEgressFirewall:
		return world.PolicyKey{Kind: kind, Namespace: k.Namespace, Name: name}, true
	}
	return world.PolicyKey{}, false
}

// OfNamespace are the reasons about what a namespace says of its policies, whether it has any
// or not.
func OfNamespace(n *world.Namespace) []feature.Reason {
	var c compiler
	if _, err := readLogging(n.Annotations[loggingAnnotation]); err != nil {
		c.badLogging(n.Ref(), err)
	}
	return c.reasons
}
