package policy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovnkctl/ovnkctl/internal/policy"
)

// nearest is what Nearest says, one line per rule.
func nearest(t *testing.T, c policy.Cluster, text string, s policy.Stage) []string {
	t.Helper()
	near, err := policy.New(c).Nearest(packet(t, text), s)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, n := range near {
		var terms []string
		for _, f := range n.Failed {
			terms = append(terms, f.String())
		}
		lines = append(lines, n.Rule.String()+": "+strings.Join(terms, "; "))
	}
	return lines
}

func TestNearest(t *testing.T) {
	t.Parallel()
	const objects = `
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {role: db}}
  ingress:
  - {from: [{ipBlock: {cidr: 10.9.0.0/16, except: [10.9.1.0/24]}}], ports: [{port: 9}]}
  - {from: [{podSelector: {matchLabels: {role: frontend}}}, {namespaceSelector: {matchLabels: {team: green}}}], ports: [{port: 5432}]}
  - {from: [{podSelector: {}, namespaceSelector: {}}], ports: [{port: 5433, endPort: 5440}, {port: web}]}
  - {from: [{ipBlock: {cidr: nonsense}}]}
---
kind: NetworkPolicy
metadata: {name: front, namespace: shop}
spec: {podSelector: {matchLabels: {role: frontend}}, ingress: [{}]}
---
kind: NetworkPolicy
metadata: {name: elsewhere, namespace: bank}
spec: {podSelector: {matchLabels: {role: none}}, ingress: [{}]}
---
kind: AdminNetworkPolicy
metadata: {name: admin}
spec:
  priority: 5
  subject: {namespaces: {}}
  ingress:
  - {name: scrape, action: Allow, from: [{namespaces: {matchLabels: {monitor: "yes"}}}]}
  - {action: Deny, from: [{namespaces: {matchLabels: {monitor: "yes"}}}]}
  - {action: Deny, from: [{namespaces: {matchLabels: {team: blue}}}], ports: [{portNumber: {port: 666}}]}
  - {name: late, action: Allow, from: [{namespaces: {matchLabels: {team: blue}}}], ports: [{portNumber: {port: 667}}]}
---
kind: AdminNetworkPolicy
metadata: {name: pass}
spec: {priority: 1, subject: {namespaces: {}}, ingress: [{action: Pass, from: [{namespaces: {matchLabels: {team: blue}}}], ports: [{portNumber: {port: 7}}]}]}
---
kind: EgressFirewall
metadata: {name: default, namespace: shop}
spec:
  egress:
  - {type: Allow, to: {cidrSelector: 203.0.113.0/24}, ports: [{protocol: TCP, port: 443}]}
  - {type: Deny, to: {cidrSelector: 0.0.0.0/0}}
  - {type: Allow, to: {cidrSelector: 0.0.0.0/0}}
---
kind: EgressFirewall
metadata: {name: default, namespace: bank}
spec: {egress: [{type: Allow, to: {cidrSelector: 203.0.113.0/24}}]}
`
	teller := "pod bank/teller 10.244.2.4 with labels {role=teller} in a namespace with labels {kubernetes.io/metadata.name=bank,team=blue}"
	db := "pod shop/db 10.244.1.3 with labels {role=db} in a namespace with labels {kubernetes.io/metadata.name=shop,team=red}"
	isolated := []string{ // a port is nearer than a peer, both, an invalid rule, another subject
		"AdminNetworkPolicy admin ingress[3] (late): port: wants TCP/667, has TCP/5432",
		"NetworkPolicy shop/db ingress[2]: port: wants TCP/5433-5440 or the TCP port named web, has TCP/5432",
		"AdminNetworkPolicy admin ingress[0] (scrape): peer: wants all pods in namespaces with monitor=yes, has " + teller,
		"NetworkPolicy shop/db ingress[1]: peer: wants pods with role=frontend in namespace shop or all pods in namespaces with team=green, has " + teller,
		"NetworkPolicy shop/db ingress[0]: peer: wants 10.9.0.0/16 except 10.9.1.0/24, has " + teller + "; port: wants TCP/9, has TCP/5432",
		`NetworkPolicy shop/db ingress[3]: invalid: wants a rule that can be understood, has spec.ingress[3].from[0].ipBlock.cidr: Invalid value: "nonsense": must be an address range such as 192.0.2.0/24 or 2001:db8::/64`,
		"NetworkPolicy shop/front ingress[0]: subject: wants pods with role=frontend in namespace shop, has " + db,
	}
	tests := []struct {
		name, packet string
		stage        policy.Stage
		want         []string
	}{
		{"isolated", "bank/teller > shop/db TCP/5432", policy.StageIngress, isolated},
		{"denied by an Admin rule: later rules cannot help", "bank/teller > shop/db TCP/666", policy.StageIngress, []string{
			"AdminNetworkPolicy admin ingress[0] (scrape): peer: wants all pods in namespaces with monitor=yes, has " + teller,
		}},
		{"passed to NetworkPolicy: rules behind the Pass cannot help", "bank/teller > shop/db TCP/7", policy.StageIngress, []string{
			strings.Replace(isolated[1], "has TCP/5432", "has TCP/7", 1),
			strings.Replace(isolated[4], "has TCP/5432", "has TCP/7", 1),
			isolated[3] + "; port: wants TCP/5432, has TCP/7",
			isolated[5],
			isolated[6],
		}},
		{"from outside no cluster-wide rule can match", "203.0.113.1 > shop/db TCP/9", policy.StageIngress, []string{
			"NetworkPolicy shop/db ingress[0]: peer: wants 10.9.0.0/16 except 10.9.1.0/24, has 203.0.113.1 outside of the cluster",
			"NetworkPolicy shop/db ingress[1]: peer: wants pods with role=frontend in namespace shop or all pods in namespaces with team=green, has 203.0.113.1 outside of the cluster; port: wants TCP/5432, has TCP/9",
			"NetworkPolicy shop/db ingress[2]: peer: wants all pods in all namespaces, has 203.0.113.1 outside of the cluster; port: wants TCP/5433-5440 or the TCP port named web, has TCP/9",
			isolated[5],
			isolated[6],
		}},
		{"firewall: only rules before the one that denied", "shop/db > 203.0.113.1 TCP/80", policy.StageFirewall, []string{
			"EgressFirewall shop/default egress[0]: port: wants TCP/443, has TCP/80",
		}},
		{"allowed", "shop/front > shop/db TCP/5432", policy.StageIngress, nil},
		{"nothing is near", "shop/db > node n2 TCP/80", policy.StageEgress, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := houses()
			load(t, &c, objects)
			if diff := cmp.Diff(tt.want, nearest(t, c, tt.packet, tt.stage)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	c := houses()
	load(t, &c, `
kind: NetworkPolicy
metadata: {name: np, namespace: shop}
spec:
  podSelector: {}
  policyTypes: [Ingress, Sideways]
  ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}, podSelector: {}}, {ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}], ports: [{port: 0}, {port: 8080, endPort: 70000}]}]
---
kind: NetworkPolicy
metadata: {name: subject, namespace: shop}
spec: {podSelector: {matchLabels: {role: "not valid"}}}
---
kind: AdminNetworkPolicy
metadata: {name: anp}
spec:
  priority: 1
  subject: {namespaces: {}, pods: {namespaceSelector: {}, podSelector: {}}}
---
kind: ClusterNetworkPolicy
metadata: {name: cnp}
spec:
  tier: Admin
  priority: 1
  subject: {namespaces: {}}
  ingress: [{action: Log, from: [{namespaces: {}}]}]
  egress: [{action: Accept, to: []}]
---
kind: BaselineAdminNetworkPolicy
metadata: {name: default}
spec: {subject: {namespaces: {}}, egress: [{action: Allow, to: [{networks: [x, "::ffff:10.0.0.0/104"]}], ports: []}]}
---
kind: EgressFirewall
metadata: {name: mine, namespace: shop}
spec: {egress: []}
`)
	var got []string
	for _, p := range policy.New(c).Problems() {
		got = append(got, p.Object.String()+" "+p.Field+": "+p.Message+" => "+p.Effect)
	}
	want := []string{
		`ClusterNetworkPolicy cnp spec.ingress[0].action: Invalid value: "Log": is not an action of this kind => the rule denies everything in its direction`,
		`ClusterNetworkPolicy cnp spec.egress[0].to: Required value: must have a peer => the rule allows nothing`,
		`AdminNetworkPolicy anp spec.subject: Forbidden: must have exactly one of namespaces and pods => the policy selects no pod`,
		`NetworkPolicy shop/np spec.policyTypes[1]: Invalid value: "Sideways": must be Ingress or Egress => the policy type is ignored`,
		`NetworkPolicy shop/np spec.ingress[0].from[0]: Forbidden: may not have both an ipBlock and a selector => the rule allows nothing`,
		`NetworkPolicy shop/np spec.ingress[0].from[1].ipBlock.except[0]: Invalid value: "10.0.0.0/8": must be a strict subset of 10.0.0.0/8 => the rule allows nothing`,
		`NetworkPolicy shop/np spec.ingress[0].ports[0]: Invalid value: 0: must be a port from 1 to 65535 => the rule allows nothing`,
		`NetworkPolicy shop/np spec.ingress[0].ports[1]: Invalid value: 70000: must be a port from 1 to 65535 => the rule allows nothing`,
		`NetworkPolicy shop/subject spec.podSelector: Forbidden: is not a selector: ... => the policy selects no pod`,
		`BaselineAdminNetworkPolicy default spec.egress[0].to[0].networks[0]: Invalid value: "x": must be an address range such as 192.0.2.0/24 or 2001:db8::/64 => the rule allows nothing`,
		`BaselineAdminNetworkPolicy default spec.egress[0].to[0].networks[1]: Invalid value: "::ffff:10.0.0.0/104": must be an address range such as 192.0.2.0/24 or 2001:db8::/64 => the rule allows nothing`,
		`BaselineAdminNetworkPolicy default spec.egress[0].ports[0]: Forbidden: must have exactly one known kind of port, has 0 => the rule allows nothing`,
		`EgressFirewall shop/mine metadata.name: Invalid value: "mine": must be default => the firewall is not used`,
	}
	for i := range got { // the words of apimachinery are its own
		if before, _, found := strings.Cut(got[i], ": values[0]"); found {
			got[i] = before + ": ... => the policy selects no pod"
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPacketsThatCannotBe(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"shop/nobody > shop/db TCP/1":      "source: there is no pod shop/nobody",
		"shop/db > bank/job TCP/1":         "destination: pod bank/job has finished and has no network",
		"node n9 > shop/db TCP/1":          "source: there is no node n9",
		"2001:db8::1 > bank/leaving TCP/1": "destination: pod bank/leaving: it has no IPv6 address",
		"2001:db8::1 > 10.244.1.3 TCP/1":   "destination: 10.244.1.3 is not its IPv6 address",
		"node n1 > 2001:db8::1 TCP/1":      "source: node n1: it has no IPv6 address",
	} {
		_, err := policy.New(houses()).Evaluate(packet(t, text))
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
