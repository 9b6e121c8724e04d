//go:build e2e

package e2e

import (
	"fmt"
	"net/netip"
	"testing"
)

// Each subject is the pods of one namespace: others' tests are not concerned.
const (
	anpDeny = `
apiVersion: policy.networking.k8s.io/v1alpha1
kind: AdminNetworkPolicy
metadata: {name: "%[1]s"}
spec:
  priority: 10
  subject: {namespaces: {matchLabels: {kubernetes.io/metadata.name: "%[1]s"}}}
  ingress:
  - {name: stranger, action: Deny, from: [{namespaces: {matchLabels: {kubernetes.io/metadata.name: "%[2]s"}}}]}
`
	npAllow = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: all, namespace: "%s"}
spec: {podSelector: {matchLabels: {name: server}}, ingress: [{}]}
`
	banpDeny = `
apiVersion: policy.networking.k8s.io/v1alpha1
kind: BaselineAdminNetworkPolicy
metadata: {name: default}
spec:
  subject: {namespaces: {matchLabels: {kubernetes.io/metadata.name: "%[1]s"}}}
  ingress:
  - {name: all, action: Deny, from: [{namespaces: {}}]}
`
	cnp = `
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: "%[1]s-%[3]d"}
spec:
  tier: %[2]s
  priority: %[3]d
  subject: {namespaces: {matchLabels: {kubernetes.io/metadata.name: "%[1]s"}}}
  ingress:
  - {name: one, action: %[4]s, from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels: {name: %[5]s}}}}], protocols: [{tcp: {destinationPort: {number: 8080}}}]}
`
)

// TestAdminPolicies: what administrators deny no NetworkPolicy allows; their baseline holds
// where no NetworkPolicy says otherwise; both APIs side by side.
func TestAdminPolicies(t *testing.T) {
	a := open(t).arena(t)
	friend, mate, stranger := a.open(t, a.friend, a.server, webPort), a.open(t, a.mate, a.server, webPort), a.open(t, a.stranger, a.server, webPort)
	not := func(p path) path { p.open = !p.open; return p }

	t.Run("the administrator before the user", func(t *testing.T) {
		defer a.apply(t, npAllow, a.ns)()
		defer a.apply(t, anpDeny, a.ns, a.other)()
		a.expect(t, "denied to the other namespace alone", friend, mate, not(stranger))
		a.nodeReaches(t, a.server, true)
	})
	t.Run("the baseline", func(t *testing.T) {
		a.expect(t, "all is as it was", friend, mate, stranger)
		defer a.apply(t, banpDeny, a.ns)()
		a.expect(t, "denied where nobody says anything", not(friend), not(mate), not(stranger), not(a.open(t, a.server, a.mate, webPort)))
		remove := a.apply(t, npAllow, a.ns)
		a.expect(t, "allowed where a user allows", friend, mate, stranger, not(a.open(t, a.server, a.mate, webPort)))
		a.nodeReaches(t, a.server, true)
		remove()
		a.expect(t, "denied again", not(friend))
	})
	t.Run("both tiers of the newer API", func(t *testing.T) {
		defer a.apply(t, cnp, a.ns, "Baseline", 20, "Deny", "mate")()
		a.expect(t, "baseline", friend, not(mate), stranger)
		defer a.apply(t, cnp, a.ns, "Admin", 5, "Accept", "mate")()
		a.expect(t, "accepted by the administrator", friend, mate, stranger)
		defer a.apply(t, cnp, a.ns, "Admin", 4, "Pass", "mate")()
		a.expect(t, "passed on, before that", friend, not(mate), stranger)
		defer a.apply(t, cnp, a.ns, "Admin", 9, "Deny", "stranger")()
		defer a.apply(t, npAllow, a.ns)()
		a.expect(t, "a user between the tiers", friend, mate, not(stranger))
		defer a.apply(t, anpDeny, a.ns, a.ns)() // priority 10: after those above
		a.expect(t, "both APIs", not(friend), mate, not(stranger))
	})
	t.Run("nothing", func(t *testing.T) { a.expect(t, "all is as it was", friend, mate, stranger) })
}

const firewall = `
apiVersion: k8s.ovn.org/v1
kind: EgressFirewall
metadata: {name: default, namespace: "%s"}
spec:
  egress:
%s
`

// TestEgressFirewall: the first rule that matches decides about what leaves the cluster, and
// nothing within it is concerned.
func TestEgressFirewall(t *testing.T) {
	a := open(t).arena(t)
	var outside, all string
	for _, own := range addresses(t, a.mate) {
		host := outsideAddress(own)
		outside += fmt.Sprintf("  - {type: Allow, to: {cidrSelector: %q}, ports: [{protocol: TCP, port: %d}]}\n", netip.PrefixFrom(host, host.BitLen()), 8080)
		all += fmt.Sprintf("  - {type: Deny, to: {cidrSelector: %q}}\n", netip.PrefixFrom(own, 0).Masked())
	}
	within := []path{
		a.open(t, a.mate, a.server, webPort), a.open(t, a.mate, a.stranger, webPort), a.open(t, a.stranger, a.mate, webPort),
		a.outside(t, a.stranger, true),
	}
	a.expect(t, "no firewall", append(within, a.outside(t, a.mate, true))...)
	remove := a.apply(t, firewall, a.ns, all)
	a.expect(t, "denied", append(within, a.outside(t, a.mate, false), a.outside(t, a.friend, false))...)
	a.apply(t, firewall, a.ns, outside+all)
	a.expect(t, "one host and port allowed", append(within, a.outside(t, a.mate, true))...)
	a.apply(t, firewall, a.ns, all+outside)
	a.expect(t, "denied before it is allowed", append(within, a.outside(t, a.mate, false))...)
	remove()
	a.expect(t, "gone", append(within, a.outside(t, a.mate, true))...)
}
