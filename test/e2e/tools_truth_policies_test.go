//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/ovnkctl/ovnkctl/internal/policy"
	"github.com/ovnkctl/ovnkctl/internal/trace"
)

// policies makes policies of all kinds, at random.
func (c *truth) policies(t *testing.T, random *rand.Rand) {
	t.Helper()
	role := func() string { return string(rune('a' + random.IntN(3))) }
	one := func(words ...string) string { return words[random.IntN(len(words))] }
	port := func() string {
		return one("{port: 8080}", "{port: web}", "{port: 8081, protocol: UDP}", "{port: 8000, endPort: 8080}")
	}
	peer := func() string {
		return one(
			"{podSelector: {matchLabels: {role: "+role()+"}}}",
			"{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: "+c.spaces[random.IntN(2)]+"}}}",
			"{namespaceSelector: {}, podSelector: {matchExpressions: [{key: role, operator: NotIn, values: ["+role()+"]}]}}",
			"{ipBlock: {cidr: 0.0.0.0/0, except: [10.244.0.0/24]}}",
			"{ipBlock: {cidr: '::/0'}}",
		)
	}
	for i := range 4 {
		direction, peers := "ingress", "from"
		if i%2 == 1 {
			direction, peers = "egress", "to"
		}
		c.apply(t, `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: np%d, namespace: %q}
spec:
  podSelector: {matchLabels: {role: %s}}
  policyTypes: [%s]
  %s: [{%s: [%s], ports: [%s]}, {%s: [%s]}]
`, i, c.spaces[random.IntN(2)], role(), strings.ToUpper(direction[:1])+direction[1:], direction, peers, peer(), port(), peers, peer())
	}
	pods := func() string {
		return "{pods: {namespaceSelector: {}, podSelector: {matchLabels: {role: " + role() + "}}}}"
	}
	subject := func() string {
		return fmt.Sprintf("{namespaces: {matchLabels: {kubernetes.io/metadata.name: %q}}}", c.spaces[random.IntN(2)])
	}
	c.apply(t, `
apiVersion: policy.networking.k8s.io/v1alpha1
kind: AdminNetworkPolicy
metadata: {name: truth}
spec:
  priority: %d
  subject: {pods: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %q}}, podSelector: {matchLabels: {role: %s}}}}
  ingress:
  - {name: some, action: %s, from: [%s], ports: [{portNumber: {protocol: TCP, port: 8080}}]}
  - {name: others, action: %s, from: [{namespaces: {matchLabels: {kubernetes.io/metadata.name: %q}}}]}
  egress:
  - {name: out, action: %s, to: [{networks: [%s]}], ports: [{portNumber: {protocol: %s, port: 8080}}]}
`, random.IntN(90), c.spaces[0], role(), one("Allow", "Pass"), pods(), one("Deny", "Pass"), c.spaces[1],
		one("Deny", "Allow"), one("172.30.250.0/24", "'fd30:250::/64'"), one("TCP", "UDP"))
	c.apply(t, `
apiVersion: policy.networking.k8s.io/v1alpha1
kind: BaselineAdminNetworkPolicy
metadata: {name: default}
spec:
  subject: %s
  ingress:
  - {name: base, action: %s, from: [%s]}
  egress:
  - {name: baseout, action: Deny, to: [%s], ports: [{portRange: {protocol: %s, start: 8000, end: 8081}}]}
`, subject(), one("Deny", "Allow"), pods(), pods(), one("TCP", "UDP"))
	for i, tier := range []string{"Admin", "Baseline"} {
		c.apply(t, `
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: truth-%d}
spec:
  tier: %s
  priority: %d
  subject: %s
  ingress:
  - {name: one, action: %s, from: [%s], protocols: [{tcp: {destinationPort: {number: 8080}}}]}
  - {name: two, action: %s, from: [%s], protocols: [{udp: {destinationPort: {range: {start: 8000, end: 8081}}}}]}
`, i, tier, 100+random.IntN(90), subject(), one("Accept", "Pass", "Deny"), pods(), one("Deny", "Accept"), pods())
	}
	c.apply(t, `
apiVersion: k8s.ovn.org/v1
kind: EgressFirewall
metadata: {name: default, namespace: %q}
spec: {egress: [{type: Allow, to: {cidrSelector: %s}, ports: [{protocol: TCP, port: 8080}]}, {type: Deny, to: {cidrSelector: %s}}]}
`, c.spaces[random.IntN(2)], one("172.30.250.1/32", "fd30:250::1/128"), one("0.0.0.0/0", "2000::/3", "fd30:250::/64"))
}

// packet is a question as policies see it, by what this test knows of it; false where that is
// a matter of translations.
func (q question) packet() (policy.Packet, bool) {
	p := policy.Packet{Protocol: corev1.Protocol(strings.ToUpper(string(q.protocol))), Port: q.port, Family: policy.IPv4}
	if q.at.Addr().Is6() {
		p.Family = policy.IPv6
	}
	if q.from.pod == nil {
		return p, false
	}
	p.Source = policy.Endpoint{Namespace: q.from.pod.Namespace, Pod: q.from.pod.Name}
	switch {
	case q.receiver != nil:
		p.Destination = policy.Endpoint{Namespace: q.receiver.Namespace, Pod: q.receiver.Name}
		own := q.receiver == q.from.pod
		return p, !own && !strings.HasPrefix(q.to, "svc/") || !own && q.protocol != trace.ICMP
	case q.to == q.at.Addr().String() && q.at.Addr() == outsideAddress(q.at.Addr()):
		p.Destination = policy.Endpoint{IP: q.at.Addr()}
		return p, true
	}
	return p, false
}

// decided compares who decided, as trace says, with what the rules of the policies say of the
// packet that this test made: the verdict, the rule, the row's rule, and the nearest rule.
func (c *truth) decided(ctx context.Context, tracer *trace.Tracer, q question, r *trace.Result) error {
	p, ok := q.packet()
	if !ok {
		return nil
	}
	e, err := tracer.Evaluator(ctx, q.from.pod.Spec.NodeName)
	if err != nil {
		return err
	}
	v, err := e.Evaluate(p)
	if err != nil {
		return fmt.Errorf("rules of %+v: %w", p, err)
	}
	d := r.Paths[0].Decision
	byACL := r.Verdict == trace.Dropped && strings.Contains(d.Stage, "_acl")
	if v.Allowed && byACL {
		return fmt.Errorf("no rule denies it, and trace says that %s", d.Text)
	}
	for _, stage := range policy.Stages {
		s := v.Stage(stage)
		switch {
		case s.Allowed:
			continue
		case !byACL:
			return fmt.Errorf("%s, and trace says %s: %s", s, r.Verdict, d.Text)
		case s.By != nil:
			return errors.Join(sameRule(*s.By, d), nearest(s, d))
		case d.Rule != nil || d.Row.Rule == nil || d.Row.Rule.Index >= 0:
			return fmt.Errorf("%s, and trace names rule %v, row %v", s, d.Rule, d.Row)
		}
		return nearest(s, d)
	}
	return nil
}

// sameRule compares a rule with the one that trace and the row of the database name.
func sameRule(want policy.Rule, d trace.Decision) error {
	switch {
	case d.Rule == nil || d.Rule.Object.Name != want.Object.Name || d.Rule.Object.Kind != want.Object.Kind || d.Rule.Index != want.Index || d.Rule.Direction != string(want.Direction):
		return fmt.Errorf("decided by %s, and trace names %v", want, d.Rule)
	case d.Row.Rule == nil || d.Row.Rule.Index != want.Index || d.Row.Object.Name != want.Object.Name:
		return fmt.Errorf("decided by %s, and the row is of %s %v", want, d.Row.Object, d.Row.Rule)
	}
	return nil
}

// nearest checks the rule that would have allowed the packet: it must allow, must not match,
// and of those that were compared with the packet none may have fewer terms of the same kind in
// its way.
func nearest(s policy.Decision, d trace.Decision) error {
	worth := map[string]int{string(policy.TermPort): 1, string(policy.TermPeer): 2, string(policy.TermInvalid): 4, string(policy.TermSubject): 8}
	distance := func(kinds []string) (sum int) {
		for _, k := range kinds {
			sum += worth[k]
		}
		return sum
	}
	best := -1
	for _, step := range s.Steps {
		var kinds []string
		for _, term := range step.Failed {
			kinds = append(kinds, string(term.Kind))
		}
		if step.Rule.Action == policy.Allow && !step.Matched && (step.Rule.Tier == policy.TierNetworkPolicy || step.Rule.Direction == policy.Egress) {
			if far := distance(kinds); best < 0 || far < best {
				best = far
			}
		}
	}
	if len(d.Nearest) == 0 {
		if best >= 0 {
			return errors.New("no nearest rule, and there is one that allows and was compared")
		}
		return nil
	}
	var kinds []string
	for _, term := range d.Nearest[0].Failed {
		kinds = append(kinds, term.Kind)
	}
	far := distance(kinds)
	if n := d.Nearest[0].Rule; n.Action != string(policy.Allow) || far == 0 || best >= 0 && far > best {
		return fmt.Errorf("nearest rule %s (%s, failed %v), and there is one at distance %d", n, n.Action, kinds, best)
	}
	return nil
}
