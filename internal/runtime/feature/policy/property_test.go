package policy

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	reference "github.com/ovnkctl/ovnkctl/internal/policy"
	"github.com/ovnkctl/ovnkctl/internal/policy/policytest"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/featuretest"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// thing is an object, or a domain name and its addresses.
type thing struct {
	featuretest.Object
	domain string
	addrs  []netip.Addr
}

func (o thing) set(s *world.Store) {
	if o.domain != "" {
		s.SetDomain(o.domain, o.addrs)
	} else {
		o.Set(s)
	}
}

func (o thing) remove(s *world.Store) {
	if o.domain != "" {
		s.SetDomain(o.domain, nil)
	} else {
		o.Remove(s)
	}
}

func things(c reference.Cluster) []thing {
	var out []thing
	for _, o := range featuretest.ClusterObjects(c) {
		out = append(out, thing{Object: o})
	}
	for _, name := range slices.Sorted(maps.Keys(c.DomainNames)) {
		out = append(out, thing{domain: name, addrs: c.DomainNames[name]})
	}
	return out
}

// rig is a store whose keys are followed.
type rig struct {
	f       Feature
	store   *world.Store
	touched map[feature.Key]bool
	known   map[feature.Key]string // what they want
}

func newRig(c world.Config) *rig {
	r := &rig{store: world.New(c), touched: map[feature.Key]bool{}, known: map[feature.Key]string{}}
	r.store.Subscribe(func(v world.View, ch world.Change) {
		for _, k := range r.f.Keys(v, ch) {
			r.touched[k] = true
		}
	})
	return r
}

// look computes all keys anew; one that is other than before must have been touched, and
// what keys put elements into must be there.
func (r *rig) look(t *rapid.T) {
	for k := range r.touched {
		if _, ok := r.known[k]; !ok {
			r.known[k] = ""
		}
	}
	made, wanted := map[string]bool{}, map[string]feature.Key{}
	r.store.Read(func(v world.View) {
		for k, before := range r.known {
			out, reasons := r.f.Desired(v, k)
			now := featuretest.Text(k, out, reasons)
			if now != before && !r.touched[k] {
				t.Fatalf("key %s changed and was not touched:\n%s", k, cmp.Diff(before, now))
			}
			r.known[k] = now
			for line := range strings.SplitSeq(now, "\n") {
				if words := strings.Fields(line); len(words) > 2 && strings.HasPrefix(words[2], "(") {
					made[words[0]+" "+words[1]] = true
				}
			}
			for _, m := range out.NB.Members {
				wanted[m.Parent.Table+" "+m.Parent.Name] = k
			}
		}
	})
	for parent, k := range wanted {
		if !made[parent] && !strings.HasPrefix(parent, "Logical_Switch ") { // topology's
			t.Fatalf("key %s puts something into %s, which no key makes", k, parent)
		}
	}
	clear(r.touched)
}

// text is what all keys want, without those that want nothing.
func (r *rig) text() string {
	var b strings.Builder
	for _, k := range slices.SortedFunc(maps.Keys(r.known), func(a, b feature.Key) int { return strings.Compare(a.String(), b.String()) }) {
		b.WriteString(r.known[k])
	}
	return b.String()
}

// TestAnyHistory: whatever comes and goes in whatever order, each key that wants something
// else is touched; in the end all is as if the final objects had come at once; and when
// everything is gone nothing is left.
func TestAnyHistory(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := policytest.Cluster(t, policytest.Config{Invalid: true})
		other := policytest.Cluster(t, policytest.Config{})
		config := world.Config{LocalNode: "node1", Networks: []world.Network{featuretest.ClusterNetwork(c)}}
		final := things(c)
		pool := append(slices.Clone(final), things(other)...)
		r := newRig(config)
		if rapid.Bool().Draw(t, "begin with all") {
			for _, o := range final {
				o.set(r.store)
			}
			r.look(t)
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			o := rapid.SampledFrom(pool).Draw(t, "object")
			if rapid.IntRange(0, 3).Draw(t, "remove") == 0 {
				o.remove(r.store)
			} else {
				o.set(r.store)
			}
			r.look(t)
		}
		for _, o := range rapid.Permutation(final).Draw(t, "final") {
			o.set(r.store)
		}
		for _, o := range things(other) {
			if !slices.ContainsFunc(final, func(p thing) bool { return same(o, p) }) {
				o.remove(r.store)
			}
		}
		r.look(t)
		fresh := newRig(config)
		for _, o := range final {
			o.set(fresh.store)
		}
		fresh.look(t)
		if want, got := fresh.text(), r.text(); want != got {
			t.Fatalf("history matters (-fresh +lived):\n%s", cmp.Diff(want, got))
		}
		for _, o := range rapid.Permutation(pool).Draw(t, "removals") {
			o.remove(r.store)
		}
		r.look(t)
		if text := r.text(); text != "" {
			t.Fatalf("left when everything is gone:\n%s", text)
		}
	})
}

// same tells whether two things take each other's place.
func same(a, b thing) bool {
	switch {
	case a.domain != "" || b.domain != "":
		return a.domain == b.domain
	case a.Node != nil && b.Node != nil:
		return a.Node.Name == b.Node.Name
	case a.Pod != nil && b.Pod != nil:
		return a.Pod.Namespace == b.Pod.Namespace && a.Pod.Name == b.Pod.Name
	case a.Namespace != nil && b.Namespace != nil:
		return a.Namespace.Name == b.Namespace.Name
	case a.Policy != nil && b.Policy != nil:
		return a.Policy.Key() == b.Policy.Key()
	}
	return false
}

// TestSelections: the index finds what comparing all selectors with all pods finds.
func TestSelections(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := policytest.Cluster(t, policytest.Config{Invalid: true})
		s := world.New(world.Config{LocalNode: "node1", Networks: []world.Network{featuretest.ClusterNetwork(c)}})
		for _, o := range rapid.Permutation(things(c)).Draw(t, "objects") {
			o.set(s)
		}
		s.Read(func(v world.View) {
			selectors := map[string]*world.PodSelector{}
			for p := range v.Policies {
				if p.Subject != nil {
					selectors[p.Subject.ID] = p.Subject
				}
				want := false
				for pod := range v.Pods {
					want = want || p.Subject != nil && pod.Node == "node1" && selects(v, p.Subject, pod)
				}
				if v.InUse(p) != want {
					t.Fatalf("policy %s in use: %v, want %v", p.Name, !want, want)
				}
			}
			for p := range v.Pods {
				found := map[string]bool{}
				for _, o := range v.Selections(p) {
					if found[o.Selector.ID] {
						t.Fatalf("pod %s is selected twice by %s", p.Name, o.Selector)
					}
					found[o.Selector.ID] = true
					selectors[o.Selector.ID] = o.Selector
				}
				for id, o := range selectors {
					if want := selects(v, o, p); want != found[id] {
						t.Fatalf("pod %s %v of %s: selected by %s: %v, want %v", p.Name, p.Labels, p.Namespace, o, found[id], want)
					}
				}
			}
		})
	})
}

func selects(v world.View, s *world.PodSelector, p *world.Pod) bool {
	if p.HostNetwork || p.Finished || !s.Pods.Matches(p.Labels) {
		return false
	}
	n, ok := v.Namespace(p.Namespace)
	if s.Namespace != "" {
		return s.Namespace == p.Namespace
	}
	return ok && s.Namespaces.Matches(n.Labels)
}

// TestProblems: what is not understood of a policy is reported where the reference evaluator
// reports something, and nowhere else.
func TestProblems(t *testing.T) {
	t.Parallel()
	found := 0
	rapid.Check(t, func(t *rapid.T) {
		c := policytest.Cluster(t, policytest.Config{Invalid: true})
		theirs := map[string][]string{}
		for _, p := range reference.New(c).Problems() {
			theirs[p.Object.String()] = append(theirs[p.Object.String()], p.Field+": "+p.Message)
		}
		for _, o := range featuretest.ClusterObjects(c) {
			if o.Policy == nil {
				continue
			}
			who := reference.Object{Kind: string(o.Policy.Kind), Namespace: o.Policy.Namespace, Name: o.Policy.Name}.String()
			if (len(theirs[who]) > 0) != (len(o.Policy.Problems) > 0) {
				t.Fatalf("%s: problems %v, the evaluator has %v", who, o.Policy.Problems, theirs[who])
			}
			found += len(o.Policy.Problems)
		}
	})
	if found == 0 {
		t.Error("no policy had a problem")
	}
}
