package policy

import (
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Keys implements feature.Feature. The order is that in which nothing that is allowed is
// dropped, should the keys not fit into one transaction: what peers are comes before the
// rules about them, and before the pods that they isolate; what nobody needs any more goes
// last.
func (Feature) Keys(v world.View, c world.Change) []feature.Key {
	fx := &c.Policy.PolicyEffects
	var keys, gone []feature.Key
	add := func(k feature.Key, present bool) {
		if present {
			keys = append(keys, k)
		} else {
			gone = append(gone, k)
		}
	}
	if c.Ref.Kind == world.KindNode {
		keys = append(keys, feature.Key{Name: nameZone})
	}
	for _, id := range fx.Selectors {
		_, _, ok := v.Selector(id)
		add(feature.Key{Name: prefixSelector + id}, ok)
	}
	for _, id := range fx.NodeSelectors {
		_, ok := v.NodeSelector(id)
		add(feature.Key{Name: prefixNodes + id}, ok)
	}
	for _, d := range fx.Domains {
		add(DomainKey(d), v.DomainInUse(d))
	}
	for _, n := range fx.Nodes {
		keys = append(keys, feature.Key{Name: prefixNode + n})
	}
	for _, p := range fx.RemotePods {
		keys = append(keys, PodKey(p.Namespace, p.Name))
	}
	keys = append(keys, policyKeys(v, c)...)
	for _, n := range fx.Namespaces {
		keys = append(keys, feature.Key{Name: prefixNamespace + n})
	}
	for _, p := range fx.LocalPods {
		keys = append(keys, PodKey(p.Namespace, p.Name))
	}
	return append(keys, gone...)
}

// policyKeys are the policies that a change concerns: of an administrator's policy also
// those that get another priority, or that it has to be told apart from.
func policyKeys(v world.View, c world.Change) []feature.Key {
	list := slices.Clone(c.Policy.Policies)
	for _, t := range []world.PolicyTier{world.TierAdmin, world.TierBaseline} {
		if !inTier(c.Policy.Old, t) && !inTier(c.Policy.New, t) {
			continue
		}
		now := v.PoliciesInTier(t)
		was := slices.DeleteFunc(slices.Clone(now), func(p *world.Policy) bool { return p == c.Policy.New })
		if inTier(c.Policy.Old, t) {
			was = append(was, c.Policy.Old)
			slices.SortFunc(was, world.ComparePolicies)
		}
		before, after := order(was), order(now)
		for k, p := range after {
			if before[k] != p && !slices.Contains(list, k) {
				list = append(list, k)
			}
		}
	}
	keys := make([]feature.Key, 0, len(list))
	for _, k := range list {
		keys = append(keys, KeyOf(k))
	}
	return keys
}

func inTier(p *world.Policy, t world.PolicyTier) bool { return p != nil && p.Tier == t }
