package policy_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ovnkctl/ovnkctl/internal/policy"
	"github.com/ovnkctl/ovnkctl/internal/policy/policytest"
)

func TestLikeness(t *testing.T) {
	t.Parallel()
	var c policy.Cluster
	load(t, &c, `
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - {from: [{podSelector: {matchExpressions: [{key: tier, operator: Exists}]}}], ports: [{port: web}]}
  - {from: [{ipBlock: {cidr: 10.0.0.0/24}}]}
`)
	l := policy.New(c).Likeness()
	if d := cmp.Diff([]string{"app", "tier"}, l.Labels); d != "" {
		t.Error(d)
	}
	pod := func(labels, port, ip string) policy.Pod {
		p := policy.Pod{Labels: map[string]string{}, IPs: []netip.Addr{netip.MustParseAddr(ip)}, Ports: []policy.ContainerPort{{Name: port, Protocol: "TCP", Port: 80}}}
		for _, kv := range strings.Fields(labels) {
			k, v, _ := strings.Cut(kv, "=")
			p.Labels[k] = v
		}
		return p
	}
	base := l.Of(pod("app=db other=1", "sql", "10.0.0.1"))
	for _, c := range []struct {
		labels, port, ip string
		same             bool
	}{
		{"app=db", "other", "10.0.0.200", true},
		{"app=web", "sql", "10.0.0.1", false},
		{"app=db tier=", "sql", "10.0.0.1", false}, // there, and empty
		{"app=db", "web", "10.0.0.1", false},
		{"app=db", "sql", "10.0.1.1", false},
	} {
		if same := l.Of(pod(c.labels, c.port, c.ip)) == base; same != c.same {
			t.Errorf("%+v: alike %t", c, same)
		}
	}
}

// TestPodsThatAreAlikeAreTreatedAlike: what the matrix of reachability rests on.
func TestPodsThatAreAlikeAreTreatedAlike(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := policytest.Cluster(t, policytest.Config{Invalid: true})
		e := policy.New(c)
		l := e.Likeness()
		packets := packets(t, c)
		for i, a := range c.Pods {
			for _, b := range c.Pods[i+1:] {
				if a.Namespace != b.Namespace || a.HostNetwork || b.HostNetwork || a.Finished || b.Finished || l.Of(a) != l.Of(b) {
					continue
				}
				for _, p := range packets {
					others := [2]policy.Packet{p, p}
					for k, pod := range []policy.Pod{a, b} {
						others[k].Source = policy.Endpoint{Namespace: pod.Namespace, Pod: pod.Name}
					}
					alike(t, e, others)
					others = [2]policy.Packet{p, p}
					for k, pod := range []policy.Pod{a, b} {
						others[k].Destination = policy.Endpoint{Namespace: pod.Namespace, Pod: pod.Name}
					}
					alike(t, e, others)
				}
			}
		}
	})
}

// alike checks that two packets have the same verdict.
func alike(t *rapid.T, e *policy.Evaluator, packets [2]policy.Packet) {
	t.Helper()
	var verdicts [2]policy.Verdict
	for i, p := range packets {
		if p.Source == p.Destination {
			return // a pod and itself
		}
		var err error
		if verdicts[i], err = e.Evaluate(p); err != nil {
			return // it lacks the family
		}
		if verdicts[i].Ingress.Reason == policy.ByOwnNode {
			return // a pod's own node is no other pod's
		}
	}
	if verdicts[0].Allowed != verdicts[1].Allowed {
		t.Fatalf("%+v and %+v: %+v", packets[0], packets[1], verdicts)
	}
}
