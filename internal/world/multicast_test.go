package world

import (
	"slices"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/world/selector"
)

// TestMulticastCosts: what a namespace's annotation touches. Where a policy has made the
// groups of all its pods, it is the namespace alone.
func TestMulticastCosts(t *testing.T) {
	t.Parallel()
	s := New(Config{LocalNode: "n1", Networks: []Network{{Name: DefaultNetwork, Multicast: true}}})
	var last PolicyEffects
	s.Subscribe(func(_ View, c Change) { last = c.Policy.PolicyEffects })
	says := func(namespace, value, label string) {
		s.SetNamespace(&Namespace{Name: namespace, Labels: map[string]string{"team": label}, Annotations: map[string]string{MulticastAnnotation: value}})
	}
	says("tv", "false", "a")
	for _, p := range []*Pod{{Namespace: "tv", Name: "here", Node: "n1"}, {Namespace: "tv", Name: "there", Node: "n2"}, {Namespace: "radio", Name: "here", Node: "n1"}} {
		s.SetPod(p)
	}
	check := func(what string, touched []string, pods int) {
		t.Helper()
		if !slices.Equal(last.Multicast, touched) || len(last.LocalPods)+len(last.RemotePods) != pods {
			t.Errorf("%s: touches %+v, want multicast of %v and %d pods", what, last, touched, pods)
		}
	}
	says("tv", "true", "a")
	check("allowed", []string{"tv"}, 2)
	says("tv", "true", "b")
	check("another label", nil, 0)
	s.SetPod(&Pod{Namespace: "tv", Name: "new", Node: "n1"})
	check("another pod", nil, 1)
	says("tv", "false", "b")
	check("not allowed", []string{"tv"}, 3)

	all := PodsIn("tv", selector.Labels{})
	s.SetPolicy(&Policy{
		Kind: KindNetworkPolicy, Namespace: "tv", Name: "p", Tier: TierNetworkPolicy, Subject: all,
		Rules: []PolicyRule{{Direction: Ingress, Peers: []Peer{{Pods: all}}}},
	})
	says("tv", "true", "b")
	check("allowed, with a policy for all pods", []string{"tv"}, 0)
	if len(last.Selectors)+len(last.Policies) > 1 { // the policy itself, for its annotation of the namespace
		t.Errorf("touches %+v", last)
	}
	s.Read(func(v View) {
		if pods, says, ok := v.Multicast("tv"); !ok || says != "true" || pods.ID != all.ID {
			t.Errorf("tv has %v, %q, %v", pods, says, ok)
		}
		if _, _, ok := v.Multicast("radio"); ok {
			t.Error("radio has multicast, which is not there at all")
		}
	})
	for _, name := range []string{"here", "new"} {
		s.DeletePod(PodKey{"tv", name})
	}
	check("no pod left here", []string{"tv"}, 1+1) // the one that goes, and the other node's, out of the set
	s.Read(func(v View) {
		if _, _, ok := v.Multicast("tv"); ok {
			t.Error("multicast without a pod on the node")
		}
	})
}
