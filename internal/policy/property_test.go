package policy_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
	"sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/ovnkctl/ovnkctl/internal/policy"
	"github.com/ovnkctl/ovnkctl/internal/policy/policytest"
)

func verdict(t *rapid.T, e *policy.Evaluator, p policy.Packet) policy.Verdict {
	t.Helper()
	v, err := e.Evaluate(p)
	if err != nil {
		t.Fatalf("%+v: %v", p, err)
	}
	return v
}

// packets draws some packets, or all of a protocol where a property is cheap.
func packets(t *rapid.T, c policy.Cluster) []policy.Packet {
	out := make([]policy.Packet, 60)
	for i := range out {
		out[i] = policytest.Packet(t, c)
	}
	return out
}

func TestAnAddedAllowRuleNeverRemovesAnAllow(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := policytest.Cluster(t, policytest.Config{Invalid: true})
		np := policytest.NetworkPolicy(t, c, policytest.Config{}, "added-to")
		np.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}
		more := *np.DeepCopy()
		r := policytest.NetworkPolicyRule(t, c, policytest.Config{Invalid: true})
		more.Spec.Egress = append(more.Spec.Egress, r)
		more.Spec.Ingress = append(more.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: r.To, Ports: r.Ports})

		with := c
		c.NetworkPolicies = append(slices.Clip(c.NetworkPolicies), np)
		with.NetworkPolicies = append(slices.Clip(with.NetworkPolicies), more)
		before, after := policy.New(c), policy.New(with)
		for _, p := range packets(t, c) {
			if verdict(t, before, p).Allowed && !verdict(t, after, p).Allowed {
				t.Fatalf("%+v is allowed without the rule only", p)
			}
		}
	})
}

func TestTheOrderOfObjectsDoesNotMatter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := policytest.Cluster(t, policytest.Config{Invalid: true})
		other := c
		other.NetworkPolicies = rapid.Permutation(c.NetworkPolicies).Draw(t, "network policies")
		other.AdminNetworkPolicies = rapid.Permutation(c.AdminNetworkPolicies).Draw(t, "admin")
		other.ClusterNetworkPolicies = rapid.Permutation(c.ClusterNetworkPolicies).Draw(t, "cluster")
		other.EgressFirewalls = rapid.Permutation(c.EgressFirewalls).Draw(t, "firewalls")
		other.Pods = rapid.Permutation(c.Pods).Draw(t, "pods")
		other.Namespaces = rapid.Permutation(c.Namespaces).Draw(t, "namespaces")
		a, b := policy.New(c), policy.New(other)
		for _, p := range packets(t, c) {
			if diff := cmp.Diff(verdict(t, a, p), verdict(t, b, p)); diff != "" {
				t.Fatalf("%+v: %s", p, diff)
			}
		}
	})
}

// Without ranges and names there is nothing in a policy that could tell the families apart.
func TestBothFamiliesAreTreatedAlike(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := policytest.Cluster(t, policytest.Config{})
		if len(c.Nodes[0].StatusIPs) < 2 {
			t.Skip("one family")
		}
		everybody := &metav1.LabelSelector{}
		for i := range c.NetworkPolicies {
			s := &c.NetworkPolicies[i].Spec
			for _, r := range s.Ingress {
				withoutRanges(r.From)
			}
			for _, r := range s.Egress {
				withoutRanges(r.To)
			}
		}
		for i := range c.ClusterNetworkPolicies {
			for _, r := range c.ClusterNetworkPolicies[i].Spec.Egress {
				for j := range r.To {
					if p := &r.To[j]; len(p.Networks)+len(p.DomainNames) > 0 {
						*p = v1alpha2.ClusterNetworkPolicyEgressPeer{Namespaces: everybody}
					}
				}
			}
		}
		c.AdminNetworkPolicies, c.BaselineAdminNetworkPolicy = nil, nil
		e := policy.New(c)
		for _, p := range policytest.Packets(c, corev1.ProtocolTCP) {
			if p.Family == policy.IPv6 || !isPod(c, p.Source) || !isPod(c, p.Destination) {
				continue
			}
			p6 := p
			p6.Family = policy.IPv6
			if v4, v6 := verdict(t, e, p), verdict(t, e, p6); v4.Allowed != v6.Allowed {
				t.Fatalf("%+v: IPv4 %t, IPv6 %t", p, v4.Allowed, v6.Allowed)
			}
		}
	})
}

func withoutRanges(peers []networkingv1.NetworkPolicyPeer) {
	for i := range peers {
		if peers[i].IPBlock != nil {
			peers[i] = networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{}}
		}
	}
}

func TestAPodIsNeverKeptFromItselfNorFromItsNode(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := policytest.Cluster(t, policytest.Config{Invalid: true})
		e := policy.New(c)
		for _, p := range policytest.Packets(c, corev1.ProtocolTCP, policy.ICMP) {
			v := verdict(t, e, p)
			self := p.Source == p.Destination
			own := slices.ContainsFunc(c.Pods, func(o policy.Pod) bool {
				return o.Name == p.Destination.Pod && o.Node == p.Source.Node
			})
			if self && !v.Allowed || own && !v.Ingress.Allowed {
				t.Fatalf("%+v: %+v", p, v)
			}
		}
	})
}

func TestTheFirstAdminRuleDecidesAboutPods(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := policytest.Cluster(t, policytest.Config{Invalid: true})
		action := rapid.SampledFrom([]v1alpha2.ClusterNetworkPolicyRuleAction{
			v1alpha2.ClusterNetworkPolicyRuleActionAccept, v1alpha2.ClusterNetworkPolicyRuleActionDeny,
		}).Draw(t, "action")
		all := &metav1.LabelSelector{}
		first := v1alpha2.ClusterNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "first"}}
		first.Spec = v1alpha2.ClusterNetworkPolicySpec{
			Tier: v1alpha2.AdminTier, Priority: -1, Subject: v1alpha2.ClusterNetworkPolicySubject{Namespaces: all},
			Ingress: []v1alpha2.ClusterNetworkPolicyIngressRule{{Action: action, From: []v1alpha2.ClusterNetworkPolicyIngressPeer{{Namespaces: all}}}},
			Egress:  []v1alpha2.ClusterNetworkPolicyEgressRule{{Action: action, To: []v1alpha2.ClusterNetworkPolicyEgressPeer{{Namespaces: all}}}},
		}
		c.ClusterNetworkPolicies = append(c.ClusterNetworkPolicies, first)
		e := policy.New(c)
		for _, p := range packets(t, c) {
			v := verdict(t, e, p)
			for _, d := range []policy.Decision{v.Egress, v.Ingress} {
				if d.Reason == policy.ByRule && d.By.Object.Name == "first" {
					if d.Allowed != (action == v1alpha2.ClusterNetworkPolicyRuleActionAccept) {
						t.Fatalf("%+v: %s", p, d)
					}
				} else if isPod(c, p.Source) && isPod(c, p.Destination) && d.Reason != policy.BySelf {
					t.Fatalf("%+v: not decided by the first rule but %s", p, d)
				}
			}
		}
	})
}

// isPod is true for pods with a network of their own.
func isPod(c policy.Cluster, e policy.Endpoint) bool {
	return slices.ContainsFunc(c.Pods, func(p policy.Pod) bool {
		return e.Pod == p.Name && e.Namespace == p.Namespace && !p.HostNetwork
	})
}

func TestBaselineIsSilentWhereNetworkPolicyIsolates(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := policytest.Cluster(t, policytest.Config{})
		without := c
		without.BaselineAdminNetworkPolicy = nil
		without.ClusterNetworkPolicies = slices.DeleteFunc(slices.Clone(c.ClusterNetworkPolicies), func(p v1alpha2.ClusterNetworkPolicy) bool {
			return p.Spec.Tier == v1alpha2.BaselineTier
		})
		a, b := policy.New(c), policy.New(without)
		for _, p := range packets(t, c) {
			va, vb := verdict(t, a, p), verdict(t, b, p)
			for _, s := range policy.Stages {
				if len(va.Stage(s).Isolating) == 0 {
					continue
				}
				if diff := cmp.Diff(va.Stage(s), vb.Stage(s)); diff != "" {
					t.Fatalf("%+v: %s", p, diff)
				}
			}
		}
	})
}

func TestTheFirewallDoesNotSeePolicies(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := policytest.Cluster(t, policytest.Config{Invalid: true})
		alone := c
		alone.NetworkPolicies, alone.AdminNetworkPolicies, alone.ClusterNetworkPolicies = nil, nil, nil
		alone.BaselineAdminNetworkPolicy = nil
		a, b := policy.New(c), policy.New(alone)
		for _, p := range packets(t, c) {
			va, vb := verdict(t, a, p), verdict(t, b, p)
			if diff := cmp.Diff(va.Firewall, vb.Firewall); diff != "" {
				t.Fatalf("%+v: %s", p, diff)
			}
			if isPod(c, p.Destination) && !va.Firewall.Allowed {
				t.Fatalf("%+v: the firewall is about a pod", p)
			}
		}
	})
}

func TestAPartThatCannotBeUnderstoodNeverWidens(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := policytest.Cluster(t, policytest.Config{})
		spoiled := c
		spoiled.NetworkPolicies, spoiled.ClusterNetworkPolicies = nil, nil
		for _, np := range c.NetworkPolicies {
			np = *np.DeepCopy()
			for i := range np.Spec.Ingress {
				if r := &np.Spec.Ingress[i]; rapid.Bool().Draw(t, "spoil") {
					r.Ports = append(r.Ports, networkingv1.NetworkPolicyPort{EndPort: new(int32)})
				}
			}
			spoiled.NetworkPolicies = append(spoiled.NetworkPolicies, np)
		}
		for _, cnp := range c.ClusterNetworkPolicies {
			cnp = *cnp.DeepCopy()
			for i := range cnp.Spec.Egress {
				if r := &cnp.Spec.Egress[i]; rapid.Bool().Draw(t, "spoil") {
					r.To = append(r.To, v1alpha2.ClusterNetworkPolicyEgressPeer{})
				}
			}
			spoiled.ClusterNetworkPolicies = append(spoiled.ClusterNetworkPolicies, cnp)
		}
		a, b := policy.New(c), policy.New(spoiled)
		for _, p := range packets(t, c) {
			if !verdict(t, a, p).Allowed && verdict(t, b, p).Allowed {
				t.Fatalf("%+v is allowed with the spoiled rules only", p)
			}
		}
	})
}

// A rule is near if the packet is allowed once the rule matches everything.
func TestNearRulesWouldHaveAllowed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := policytest.Cluster(t, policytest.Config{Without: []string{"AdminNetworkPolicy", "BaselineAdminNetworkPolicy"}})
		e := policy.New(c)
		for _, p := range packets(t, c) {
			v := verdict(t, e, p)
			for _, s := range policy.Stages {
				near, err := e.Nearest(p, s)
				if err != nil {
					t.Fatal(err)
				}
				if v.Stage(s).Allowed && near != nil {
					t.Fatalf("%+v: allowed, yet %v is near", p, near)
				}
				for _, n := range near {
					if len(n.Failed) == 0 {
						t.Fatalf("%+v: %s is near, and nothing failed", p, n.Rule)
					}
					if after := verdict(t, policy.New(widened(c, n.Rule)), p).Stage(s); !after.Allowed {
						t.Fatalf("%+v: %s is near, but when it matches everything: %s", p, n.Rule, after)
					}
				}
			}
		}
	})
}

// widened is the cluster with one rule that matches everything, for all pods it can select.
func widened(c policy.Cluster, r policy.Rule) policy.Cluster {
	all := &metav1.LabelSelector{}
	switch r.Object.Kind {
	case "NetworkPolicy":
		c.NetworkPolicies = slices.Clone(c.NetworkPolicies)
		for i, np := range c.NetworkPolicies {
			if np.Name != r.Object.Name {
				continue
			}
			np = *np.DeepCopy()
			np.Spec.PodSelector = *all
			if r.Direction == policy.Ingress {
				np.Spec.Ingress[r.Index] = networkingv1.NetworkPolicyIngressRule{}
			} else {
				np.Spec.Egress[r.Index] = networkingv1.NetworkPolicyEgressRule{}
			}
			c.NetworkPolicies[i] = np
		}
	case "ClusterNetworkPolicy":
		// The subject cannot be widened without the other rules of the object: the rule
		// becomes an object of its own, just before.
		for _, cnp := range c.ClusterNetworkPolicies {
			if cnp.Name != r.Object.Name {
				continue
			}
			lone := *cnp.DeepCopy()
			lone.Name, lone.Spec.Ingress, lone.Spec.Egress = lone.Name+"-", nil, nil
			lone.CreationTimestamp = metav1.Time{}
			lone.Spec.Subject = v1alpha2.ClusterNetworkPolicySubject{Namespaces: all}
			accept := v1alpha2.ClusterNetworkPolicyRuleActionAccept
			lone.Spec.Ingress = []v1alpha2.ClusterNetworkPolicyIngressRule{{Action: accept, From: []v1alpha2.ClusterNetworkPolicyIngressPeer{{Namespaces: all}}}}
			lone.Spec.Egress = []v1alpha2.ClusterNetworkPolicyEgressRule{{Action: accept, To: []v1alpha2.ClusterNetworkPolicyEgressPeer{
				{Networks: []v1alpha2.CIDR{"0.0.0.0/0", "::/0"}},
			}}}
			c.ClusterNetworkPolicies = append(slices.Clip(c.ClusterNetworkPolicies), lone)
		}
	case "EgressFirewall":
		c.EgressFirewalls = slices.Clone(c.EgressFirewalls)
		for i, f := range c.EgressFirewalls {
			if f.Namespace == r.Object.Namespace {
				f = *f.DeepCopy()
				f.Spec.Egress = slices.Insert(f.Spec.Egress, r.Index, *f.Spec.Egress[r.Index].DeepCopy())
				f.Spec.Egress[r.Index].Ports = nil
				f.Spec.Egress[r.Index].To.DNSName, f.Spec.Egress[r.Index].To.NodeSelector = "", nil
				f.Spec.Egress[r.Index].To.CIDRSelector = "::/0"
				f.Spec.Egress = slices.Insert(f.Spec.Egress, r.Index, f.Spec.Egress[r.Index])
				f.Spec.Egress[r.Index].To.CIDRSelector = "0.0.0.0/0"
				c.EgressFirewalls[i] = f
			}
		}
	}
	return c
}

// TestTheGeneratorReachesEverything keeps the properties above from becoming empty.
func TestTheGeneratorReachesEverything(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	clusters := rapid.Custom(func(t *rapid.T) policy.Cluster {
		return policytest.Cluster(t, policytest.Config{Invalid: rapid.Bool().Draw(t, "invalid")})
	})
	for seed := range 60 {
		c := clusters.Example(seed)
		e := policy.New(c)
		if len(e.Problems()) > 0 {
			seen["problem"]++
		}
		for _, p := range policytest.Packets(c, corev1.ProtocolTCP, policy.ICMP) {
			v, err := e.Evaluate(p)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range policy.Stages {
				d := v.Stage(s)
				if d.Reason == policy.ByRule {
					seen[string(s)+" "+d.By.Object.Kind+" "+string(d.By.Action)]++
				} else {
					seen[string(s)+" "+string(d.Reason)]++
				}
			}
		}
	}
	want := []string{
		"Egress AdminNetworkPolicy Allow", "Egress AdminNetworkPolicy Deny", "Egress BaselineAdminNetworkPolicy Allow",
		"Egress BaselineAdminNetworkPolicy Deny", "Egress ClusterNetworkPolicy Allow", "Egress ClusterNetworkPolicy Deny",
		"Egress Default", "Egress ICMP", "Egress Isolation", "Egress NetworkPolicy Allow", "Egress NoSubject", "Egress Self",
		"EgressFirewall Default", "EgressFirewall EgressFirewall Allow", "EgressFirewall EgressFirewall Deny", "EgressFirewall NoSubject",
		"Ingress AdminNetworkPolicy Allow", "Ingress AdminNetworkPolicy Deny", "Ingress BaselineAdminNetworkPolicy Allow",
		"Ingress BaselineAdminNetworkPolicy Deny", "Ingress ClusterNetworkPolicy Allow", "Ingress ClusterNetworkPolicy Deny",
		"Ingress Default", "Ingress ICMP", "Ingress Isolation", "Ingress NetworkPolicy Allow", "Ingress NoSubject",
		"Ingress OwnNode", "Ingress Self", "problem",
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(seen))); diff != "" {
		t.Error(diff)
	}
	for what, n := range seen {
		t.Logf("%8d %s", n, what)
	}
}
