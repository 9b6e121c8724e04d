package policy_test

import "testing"

func TestNetworkPolicy(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, objects, packets string }{
		{"the example of the concept page", `
kind: NetworkPolicy
metadata: {name: example, namespace: shop}
spec:
  podSelector: {matchLabels: {role: db}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from:
    - ipBlock: {cidr: 172.17.0.0/16, except: [172.17.1.0/24]}
    - namespaceSelector: {matchLabels: {team: blue}}
    - podSelector: {matchLabels: {role: frontend}}
    ports:
    - {protocol: TCP, port: 6379}
  egress:
  - to:
    - ipBlock: {cidr: 10.0.0.0/24}
    ports:
    - {protocol: TCP, port: 5978}
`, `
			yes 172.17.2.1 > shop/db TCP/6379           # by NetworkPolicy shop/example ingress[0]
			no  172.17.1.1 > shop/db TCP/6379           # isolated by NetworkPolicy shop/example
			no  172.17.2.1 > shop/db TCP/6380
			no  172.17.2.1 > shop/db UDP/6379
			yes bank/teller > shop/db TCP/6379          # by NetworkPolicy shop/example ingress[0]
			yes shop/front > shop/db TCP/6379
			no  monitoring/prom > shop/db TCP/6379
			yes shop/db > 10.0.0.7 TCP/5978             # by NetworkPolicy shop/example egress[0]
			no  shop/db > 10.0.1.7 TCP/5978
			no  shop/db > 10.0.0.7 TCP/5979
			yes monitoring/prom > shop/front TCP/6379   # allowed by default`},
		{"default deny all ingress leaves egress alone", `
kind: NetworkPolicy
metadata: {name: deny, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress]}
`, `
			no  bank/teller > shop/db TCP/80
			no  shop/front > shop/db TCP/80
			yes shop/db > bank/teller TCP/80`},
		{"allow all ingress: one empty rule, even beside a deny", `
kind: NetworkPolicy
metadata: {name: deny, namespace: shop}
spec: {podSelector: {}}
---
kind: NetworkPolicy
metadata: {name: zzz, namespace: shop}
spec: {podSelector: {}, ingress: [{}]}
---
kind: NetworkPolicy
metadata: {name: open, namespace: shop}
spec: {podSelector: {}, ingress: [{}, {}]}
`, `
			yes bank/teller > shop/db SCTP/80           # by NetworkPolicy shop/open ingress[0]
			yes 203.0.113.9 > shop/db ICMP              # by NetworkPolicy shop/open ingress[0]`},
		{"default deny all egress", `
kind: NetworkPolicy
metadata: {name: deny, namespace: shop}
spec: {podSelector: {}, policyTypes: [Egress]}
`, `
			no  shop/db > bank/teller TCP/80
			no  shop/db > node n1 TCP/80
			no  shop/db > 203.0.113.9 ICMP
			yes bank/teller > shop/db TCP/80`},
		{"without policyTypes an egress section affects both", `
kind: NetworkPolicy
metadata: {name: both, namespace: shop}
spec:
  podSelector: {}
  egress: [{to: [{podSelector: {}}]}]
`, `
			yes shop/db > shop/db UDP/53
			no  shop/front > shop/db TCP/80             # isolated by NetworkPolicy shop/both
			no  shop/db > 203.0.113.9 UDP/53
			no  shop/db > bank/teller TCP/80`},
		{"without policyTypes and egress only ingress is affected", `
kind: NetworkPolicy
metadata: {name: in, namespace: shop}
spec: {podSelector: {}}
`, `
			yes shop/db > bank/teller TCP/80
			no  bank/teller > shop/db TCP/80`},
		{"rules of a direction that policyTypes leaves out have no effect", `
kind: NetworkPolicy
metadata: {name: in, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress], egress: [{ports: [{port: 1}]}]}
`, `
			yes shop/db > bank/teller TCP/80            # allowed by default`},
		{"nor do they allow what another policy isolates", `
kind: NetworkPolicy
metadata: {name: in, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress], egress: [{}]}
---
kind: NetworkPolicy
metadata: {name: out, namespace: shop}
spec: {podSelector: {}, policyTypes: [Egress]}
`, `
			no  shop/db > bank/teller TCP/80            # isolated by NetworkPolicy shop/out`},
		{"selectors of one peer must both match, of two peers either", `
kind: NetworkPolicy
metadata: {name: both, namespace: bank}
spec:
  podSelector: {matchLabels: {role: teller}}
  ingress: [{from: [{namespaceSelector: {matchLabels: {team: red}}, podSelector: {matchLabels: {role: frontend}}}]}]
---
kind: NetworkPolicy
metadata: {name: either, namespace: bank}
spec:
  podSelector: {matchLabels: {role: frontend}}
  ingress: [{from: [{namespaceSelector: {matchLabels: {team: red}}}, {podSelector: {matchLabels: {role: teller}}}]}]
`, `
			yes shop/front > bank/teller TCP/80
			no  shop/db > bank/teller TCP/80
			no  bank/front > bank/teller TCP/80
			yes shop/db > bank/front TCP/80
			yes bank/teller > bank/front TCP/80
			yes monitoring/prom > bank/front TCP/80`},
		{"an empty pod selector is all pods of the own namespace, an empty namespace selector all pods", `
kind: NetworkPolicy
metadata: {name: own, namespace: bank}
spec: {podSelector: {matchLabels: {role: teller}}, ingress: [{from: [{podSelector: {}}]}]}
---
kind: NetworkPolicy
metadata: {name: pods, namespace: bank}
spec: {podSelector: {matchLabels: {role: frontend}}, ingress: [{from: [{namespaceSelector: {}}]}]}
`, `
			yes bank/front > bank/teller TCP/80
			no  shop/front > bank/teller TCP/80
			yes shop/front > bank/front TCP/80
			no  203.0.113.9 > bank/front TCP/80
			no  node n1 > bank/front TCP/80`},
		{"match expressions", `
kind: NetworkPolicy
metadata: {name: not, namespace: bank}
spec:
  podSelector: {matchExpressions: [{key: role, operator: In, values: [teller, frontend]}]}
  ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: monitor, operator: DoesNotExist}, {key: team, operator: NotIn, values: [blue]}]}}]}]
`, `
			yes shop/db > bank/teller TCP/80
			no  monitoring/prom > bank/teller TCP/80
			no  bank/front > bank/teller TCP/80`},
		{"an IP block matches pods by their address, and nodes", `
kind: NetworkPolicy
metadata: {name: range, namespace: bank}
spec:
  podSelector: {matchLabels: {role: teller}}
  ingress: [{from: [{ipBlock: {cidr: 10.244.1.0/24, except: [10.244.1.4/32]}}, {ipBlock: {cidr: 192.0.2.1/32}}]}]
`, `
			yes shop/db > bank/teller TCP/80
			no  shop/front > bank/teller TCP/80
			yes node n1 > bank/teller TCP/80            # bank/range ingress[0]
			no  172.17.9.1 > bank/teller TCP/80
			yes monitoring/agent > bank/teller TCP/80
			no  fd01:1::3 > fd01:2::4 TCP/80`},
		{"pods on the host network are neither subjects nor peers", `
kind: NetworkPolicy
metadata: {name: deny, namespace: monitoring}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
---
kind: NetworkPolicy
metadata: {name: monitored, namespace: bank}
spec: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {monitor: "yes"}}}]}]}
`, `
			yes monitoring/agent > shop/db TCP/80
			yes shop/db > monitoring/agent TCP/80       # no policy is about this
			no  monitoring/agent > bank/teller TCP/80
			no  monitoring/prom > bank/teller TCP/80    # isolated by NetworkPolicy monitoring/deny`},
		{"the own node reaches a pod, by every address it has; others do not", `
kind: NetworkPolicy
metadata: {name: deny, namespace: shop}
spec: {podSelector: {}}
`, `
			yes node n1 > shop/db TCP/80                # own node always reaches it
			yes 10.244.1.2 > shop/db TCP/80             # own node
			yes monitoring/agent > shop/db UDP/80       # own node
			no  node n2 > shop/db TCP/80
			no  10.244.2.2 > shop/db TCP/80`},
		{"a pod always reaches itself", `
kind: NetworkPolicy
metadata: {name: deny, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
`, `
			yes shop/db > shop/db TCP/80                # reaches itself
			yes fd01:1::3 > fd01:1::3 TCP/80
			no  shop/db > shop/front TCP/80`},
		{"ports: number, range, protocol alone, empty entry", `
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec: {podSelector: {matchLabels: {role: db}}, ingress: [{ports: [{port: 443}, {protocol: UDP, port: 1000, endPort: 1002}, {protocol: SCTP}]}]}
---
kind: NetworkPolicy
metadata: {name: front, namespace: shop}
spec: {podSelector: {matchLabels: {role: frontend}}, ingress: [{ports: [{}]}]}
`, `
			yes bank/teller > shop/db TCP/443
			no  bank/teller > shop/db UDP/443
			no  bank/teller > shop/db UDP/999
			yes bank/teller > shop/db UDP/1000
			yes bank/teller > shop/db UDP/1002
			no  bank/teller > shop/db UDP/1003
			yes bank/teller > shop/db SCTP/7
			no  bank/teller > shop/db ICMP
			yes bank/teller > shop/front TCP/7
			no  bank/teller > shop/front UDP/7`},
		{"a named port is the destination pod's own, with its protocol", `
kind: NetworkPolicy
metadata: {name: in, namespace: shop}
spec: {podSelector: {}, ingress: [{ports: [{port: web}]}]}
---
kind: NetworkPolicy
metadata: {name: out, namespace: monitoring}
spec: {podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: web, protocol: TCP}]}]}
`, `
			yes bank/teller > shop/front TCP/80
			no  bank/teller > shop/front TCP/8080
			no  bank/teller > shop/db TCP/80
			no  bank/teller > shop/db UDP/80
			yes monitoring/prom > bank/front TCP/8080
			no  monitoring/prom > bank/front TCP/80
			no  monitoring/prom > bank/teller TCP/80
			no  monitoring/prom > 203.0.113.9 TCP/80
			no  monitoring/prom > node n1 TCP/80`},
		{"finished pods do not exist, terminating ones do", `
kind: NetworkPolicy
metadata: {name: deny, namespace: bank}
spec: {podSelector: {matchLabels: {role: frontend}}}
---
kind: NetworkPolicy
metadata: {name: front, namespace: shop}
spec: {podSelector: {}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {role: frontend}}}]}]}
`, `
			no  shop/db > bank/leaving TCP/80
			yes shop/db > 10.244.2.4 TCP/80             # allowed by default
			yes bank/leaving > shop/db TCP/80
			no  10.244.2.4 > shop/db TCP/80`},
		{"a rule with an invalid part allows nothing, the others and the isolation stay", `
kind: NetworkPolicy
metadata: {name: broken, namespace: shop}
spec:
  podSelector: {}
  ingress:
  - from: [{ipBlock: {cidr: 10.244.2.0/24, except: [10.9.0.0/16]}}, {podSelector: {}}]
  - from: [{ipBlock: {cidr: 203.0.113.0/33}}]
  - ports: [{port: 20, endPort: 10}, {port: 80}]
  - from: [{}]
  - ports: [{protocol: GRE}]
  - ports: [{port: web, endPort: 90}]
  - ports: [{endPort: 90}]
  - from: [{ipBlock: {cidr: "::ffff:10.0.0.0/104"}}]
  - from: [{podSelector: {matchExpressions: [{key: role, operator: Like}]}}]
  - ports: [{port: 8443}]
`, `
			no  bank/teller > shop/db TCP/80
			no  shop/front > shop/db TCP/80
			no  203.0.113.1 > shop/db TCP/80
			yes bank/teller > shop/db TCP/8443          # ingress[9]`},
		{"bits behind the prefix do not count", `
kind: NetworkPolicy
metadata: {name: bits, namespace: shop}
spec: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.7/24}}]}]}
`, `
			yes 203.0.113.1 > shop/db TCP/80`},
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

func TestICMPOption(t *testing.T) {
	t.Parallel()
	c := houses()
	load(t, &c, `
kind: NetworkPolicy
metadata: {name: deny, namespace: shop}
spec: {podSelector: {}}`)
	check(t, c, `no bank/teller > shop/db ICMP`)
	c.AllowICMP = true
	check(t, c, `
		yes bank/teller > shop/db ICMP # ICMP passes isolation
		no  bank/teller > shop/db TCP/80`)
	load(t, &c, `
kind: AdminNetworkPolicy
metadata: {name: a}
spec: {priority: 1, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}`)
	check(t, c, `no bank/teller > shop/db ICMP # AdminNetworkPolicy a`)
}
