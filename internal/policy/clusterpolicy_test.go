package policy_test

import "testing"

func TestClusterWidePolicies(t *testing.T) {
	t.Parallel()
	// The three tiers of the conformance suite's integration test.
	const threeTiers = `
kind: NetworkPolicy
metadata: {name: allow, namespace: bank}
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
  ingress: [{from: [{namespaceSelector: {matchLabels: {team: red}}}]}]
  egress: [{to: [{namespaceSelector: {matchLabels: {team: red}}}]}]
---
kind: ClusterNetworkPolicy
metadata: {name: default}
spec:
  tier: Baseline
  priority: 10
  subject: {namespaces: {matchLabels: {team: blue}}}
  ingress: [{action: Deny, from: [{namespaces: {matchLabels: {team: red}}}]}]
`
	tests := []struct{ name, objects, packets string }{
		{"deny of the Admin tier beats NetworkPolicy", threeTiers + `---
kind: ClusterNetworkPolicy
metadata: {name: pass-example}
spec:
  tier: Admin
  priority: 10
  subject: {namespaces: {matchLabels: {team: blue}}}
  ingress: [{name: deny-red, action: Deny, from: [{namespaces: {matchLabels: {team: red}}}]}]
`, `
			no  shop/db > bank/teller TCP/80            # ClusterNetworkPolicy pass-example ingress[0] (deny-red)
			yes bank/teller > shop/db TCP/80            # by NetworkPolicy bank/allow egress[0]`},
		{"pass leads to NetworkPolicy, which then decides", threeTiers + `---
kind: ClusterNetworkPolicy
metadata: {name: pass-example}
spec:
  tier: Admin
  priority: 10
  subject: {namespaces: {matchLabels: {team: blue}}}
  ingress: [{action: Pass, from: [{namespaces: {}}]}]
---
kind: ClusterNetworkPolicy
metadata: {name: later}
spec:
  tier: Admin
  priority: 20
  subject: {namespaces: {}}
  ingress: [{action: Deny, from: [{namespaces: {}}]}]
`, `
			yes shop/db > bank/teller TCP/80            # by NetworkPolicy bank/allow ingress[0]
			no  bank/front > bank/teller TCP/80         # isolated by NetworkPolicy bank/allow
			no  bank/teller > shop/db TCP/80            # by ClusterNetworkPolicy later ingress[0]`},
		{"without NetworkPolicy pass leads to Baseline", `
kind: AdminNetworkPolicy
metadata: {name: pass}
spec: {priority: 0, subject: {namespaces: {}}, ingress: [{action: Pass, from: [{namespaces: {}}]}]}
---
kind: BaselineAdminNetworkPolicy
metadata: {name: default}
spec: {subject: {namespaces: {matchLabels: {team: blue}}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}
`, `
			no  shop/db > bank/teller TCP/80            # by BaselineAdminNetworkPolicy default ingress[0]
			yes bank/teller > shop/db TCP/80            # allowed by default`},
		{"a NetworkPolicy for egress does not keep Baseline from ingress", `
kind: NetworkPolicy
metadata: {name: out, namespace: bank}
spec: {podSelector: {}, policyTypes: [Egress], egress: [{}]}
---
kind: BaselineAdminNetworkPolicy
metadata: {name: default}
spec: {subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}], egress: [{action: Deny, to: [{networks: [0.0.0.0/0]}]}]}
`, `
			no  shop/front > bank/teller TCP/80
			yes bank/teller > 203.0.113.9 TCP/80        # by NetworkPolicy bank/out egress[0]
			no  shop/db > 203.0.113.9 TCP/80            # by BaselineAdminNetworkPolicy default egress[0]`},
		{"priorities of both kinds are one order; CNP wins a tie, then the older, then the lesser name", `
kind: AdminNetworkPolicy
metadata: {name: a-tie}
spec: {priority: 50, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}], ports: [{portNumber: {port: 1}}, {portNumber: {port: 2}}, {portNumber: {port: 3}}]}]}
---
kind: AdminNetworkPolicy
metadata: {name: first}
spec: {priority: 49, subject: {namespaces: {}}, ingress: [{action: Allow, from: [{namespaces: {}}], ports: [{portNumber: {port: 1}}]}]}
---
kind: ClusterNetworkPolicy
metadata: {name: z-tie, creationTimestamp: "2026-01-01T00:00:00Z"}
spec: {tier: Admin, priority: 50, subject: {namespaces: {}}, ingress: [{action: Accept, from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {range: {start: 1, end: 2}}}}]}]}
---
kind: ClusterNetworkPolicy
metadata: {name: b-tie, creationTimestamp: "2026-01-02T00:00:00Z"}
spec: {tier: Admin, priority: 50, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {range: {start: 1, end: 4}}}}]}]}
---
kind: ClusterNetworkPolicy
metadata: {name: c-tie, creationTimestamp: "2026-01-02T00:00:00Z"}
spec: {tier: Admin, priority: 50, subject: {namespaces: {}}, ingress: [{action: Accept, from: [{namespaces: {}}]}]}
`, `
			yes shop/db > bank/teller TCP/1             # by AdminNetworkPolicy first
			yes shop/db > bank/teller TCP/2             # by ClusterNetworkPolicy z-tie
			no  shop/db > bank/teller TCP/3             # by ClusterNetworkPolicy b-tie
			yes shop/db > bank/teller TCP/5             # by ClusterNetworkPolicy c-tie`},
		{"rules of one object are in order; the BANP is last of the Baseline tier and skipped by Pass", `
kind: BaselineAdminNetworkPolicy
metadata: {name: default}
spec: {subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}
---
kind: ClusterNetworkPolicy
metadata: {name: base}
spec:
  tier: Baseline
  priority: 1000
  subject: {pods: {namespaceSelector: {matchLabels: {team: blue}}, podSelector: {matchLabels: {role: teller}}}}
  ingress:
  - {action: Accept, from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels: {role: db}}}}]}
  - {action: Deny, from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels: {role: db}}}}]}
  - {action: Pass, from: [{namespaces: {matchLabels: {monitor: "yes"}}}]}
`, `
			yes shop/db > bank/teller TCP/80            # by ClusterNetworkPolicy base ingress[0]
			yes monitoring/prom > bank/teller TCP/80    # allowed by default
			no  shop/front > bank/teller TCP/80         # by BaselineAdminNetworkPolicy default
			no  shop/db > bank/front TCP/80             # by BaselineAdminNetworkPolicy default`},
		{"nodes, networks and domain names", `
kind: ClusterNetworkPolicy
metadata: {name: node-and-cidr-as-peers}
spec:
  tier: Admin
  priority: 75
  subject: {namespaces: {}}
  egress:
  - {action: Accept, to: [{nodes: {matchLabels: {zone: a}}}], protocols: [{tcp: {destinationPort: {number: 9100}}}]}
  - {action: Accept, to: [{domainNames: [example.com, "*.EXAMPLE.com."]}], protocols: [{tcp: {destinationPort: {number: 443}}}]}
  - {action: Accept, to: [{networks: [198.51.100.0/25, 10.244.1.3/32]}]}
  - {action: Deny, to: [{networks: [0.0.0.0/0, "::/0"]}]}
`, `
			yes bank/teller > node n1 TCP/9100          # egress[0]
			yes bank/teller > monitoring/agent TCP/9100 # egress[0]
			no  bank/teller > 172.17.9.1 TCP/9100       # egress[3]
			no  bank/teller > node n2 TCP/9100          # egress[3]
			yes bank/teller > 203.0.113.1 TCP/443       # egress[1]
			yes bank/teller > 203.0.113.3 TCP/443       # egress[1]
			no  bank/teller > 203.0.113.2 TCP/80        # egress[3]
			yes bank/teller > 2001:db8::2 TCP/443       # egress[1]
			no  bank/teller > 203.0.113.4 TCP/443
			yes bank/teller > 198.51.100.127 ICMP       # egress[2]
			no  bank/teller > 198.51.100.128 ICMP
			yes bank/teller > shop/db TCP/80            # egress[2]
			no  bank/teller > shop/front TCP/80         # egress[3]
			yes bank/teller > bank/teller TCP/80        # reaches itself`},
		{"a wildcard is not for the name itself", `
kind: AdminNetworkPolicy
metadata: {name: names}
spec:
  priority: 1
  subject: {namespaces: {}}
  egress:
  - {action: Allow, to: [{domainNames: ["*.example.com"]}]}
  - {action: Deny, to: [{networks: [203.0.113.0/24]}]}
`, `
			no  bank/teller > 203.0.113.1 TCP/443
			yes bank/teller > 203.0.113.2 TCP/443
			yes bank/teller > 203.0.113.3 TCP/443`},
		{"ports of v1alpha1: TCP by default, ranges, names of any protocol", `
kind: AdminNetworkPolicy
metadata: {name: ports}
spec:
  priority: 1
  subject: {namespaces: {}}
  ingress:
  - {action: Deny, from: [{namespaces: {}}], ports: [{namedPort: web}, {portRange: {start: 10, end: 12}}, {portNumber: {protocol: SCTP, port: 9}}]}
`, `
			no  bank/teller > shop/db UDP/80
			yes bank/teller > shop/db TCP/80
			no  bank/teller > shop/front TCP/80
			no  bank/teller > bank/front TCP/8080
			no  bank/teller > shop/db TCP/11
			yes bank/teller > shop/db UDP/11
			no  bank/teller > shop/db SCTP/9
			yes bank/teller > shop/db TCP/9
			yes bank/teller > shop/db ICMP`},
		{"host network and own node are out of reach of ingress rules", `
kind: ClusterNetworkPolicy
metadata: {name: deny}
spec: {tier: Admin, priority: 1, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}], egress: [{action: Deny, to: [{namespaces: {}}]}]}
`, `
			yes node n1 > shop/db TCP/80                # own node
			yes node n2 > shop/db TCP/80                # allowed by default
			yes 203.0.113.1 > shop/db TCP/80            # allowed by default
			yes shop/db > monitoring/agent TCP/80
			no  shop/db > monitoring/prom TCP/80`},
		{"a rule that cannot be understood: Allow matches nothing", `
kind: ClusterNetworkPolicy
metadata: {name: broken}
spec:
  tier: Admin
  priority: 1
  subject: {namespaces: {}}
  egress:
  - {action: Accept, to: [{}]}
  - {action: Accept, to: [{networks: [203.0.113.0/99]}, {namespaces: {}}]}
  - {action: Accept, to: [{namespaces: {}}], protocols: [{tcp: {}}]}
  - {action: Accept, to: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {range: {start: 9, end: 8}}}}]}
  - {action: Accept, to: [{namespaces: {}}, {networks: ["::/0"]}], protocols: [{destinationNamedPort: web}]}
  - {action: Deny, to: [{networks: ["0.0.0.0/0"]}]}
`, `
			no  bank/teller > shop/front TCP/80         # egress[5]
			no  bank/teller > 203.0.113.9 TCP/80        # egress[5]`},
		{"a rule that cannot be understood: Deny and Pass deny all, but never the own node or itself", `
kind: AdminNetworkPolicy
metadata: {name: broken}
spec:
  priority: 1
  subject: {namespaces: {matchLabels: {team: blue}}}
  ingress: [{action: Pass, from: [{}]}]
  egress: [{action: Allow, to: [{networks: [198.51.100.0/24]}]}, {action: Deny, to: [{domainNames: [example.com]}]}]
`, `
			no  203.0.113.77 > bank/teller TCP/80       # by AdminNetworkPolicy broken ingress[0]
			no  shop/db > bank/teller TCP/80
			yes node n2 > bank/teller TCP/80            # own node
			yes bank/teller > bank/teller TCP/80
			yes bank/teller > 198.51.100.9 TCP/80       # egress[0]
			no  bank/teller > 198.51.101.9 TCP/80       # egress[1]`},
		{"an unknown action is not Allow", `
kind: BaselineAdminNetworkPolicy
metadata: {name: default}
spec: {subject: {namespaces: {}}, ingress: [{action: Pass, from: [{namespaces: {matchLabels: {team: blue}}}]}]}
`, `
			no  shop/db > bank/teller TCP/80            # by BaselineAdminNetworkPolicy default`},
		{"a subject that cannot be understood selects nothing", `
kind: AdminNetworkPolicy
metadata: {name: broken}
spec: {priority: 1, subject: {}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}
---
kind: ClusterNetworkPolicy
metadata: {name: broken}
spec: {tier: Middle, priority: 1, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}
`, `
			yes shop/db > bank/teller TCP/80            # allowed by default`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := houses()
			load(t, &c, tt.objects)
			check(t, c, tt.packets)
		})
	}
}
