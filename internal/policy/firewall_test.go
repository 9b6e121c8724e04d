package policy_test

import "testing"

func TestEgressFirewall(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, objects, packets string }{
		{"first match wins, default allow, other namespaces free", `
kind: EgressFirewall
metadata: {name: default, namespace: shop}
spec:
  egress:
  - {type: Allow, to: {cidrSelector: 203.0.113.0/28}, ports: [{protocol: TCP, port: 443}]}
  - {type: Deny, to: {cidrSelector: 203.0.113.0/24}}
`, `
			yes shop/db > 203.0.113.15 TCP/443          # by EgressFirewall shop/default egress[0]
			no  shop/db > 203.0.113.15 UDP/443          # by EgressFirewall shop/default egress[1]
			no  shop/db > 203.0.113.16 TCP/443
			no  shop/db > 203.0.113.16 ICMP
			yes shop/db > 198.51.100.1 TCP/443
			yes bank/teller > 203.0.113.16 TCP/443
			yes 203.0.113.16 > shop/db TCP/443
			yes monitoring/agent > 203.0.113.16 TCP/443`},
		{"deny everything leaves the cluster's inside alone, but not host networks", `
kind: EgressFirewall
metadata: {name: default, namespace: shop}
spec: {egress: [{type: Deny, to: {cidrSelector: 0.0.0.0/0}}, {type: Deny, to: {cidrSelector: "::/0"}}]}
`, `
			yes shop/db > bank/teller TCP/80
			yes fd01:1::3 > fd01:2::4 TCP/80
			yes shop/db > 10.244.2.2 TCP/80             # no policy is about this
			yes shop/db > shop/db TCP/80
			no  shop/db > monitoring/agent TCP/80
			no  shop/db > node n1 TCP/80
			no  fd01:1::3 > 2001:db8::1 TCP/80`},
		{"node selectors are for all addresses of the hosts", `
kind: EgressFirewall
metadata: {name: default, namespace: shop}
spec:
  egress:
  - {type: Allow, to: {nodeSelector: {matchLabels: {zone: b}}}}
  - {type: Deny, to: {nodeSelector: {}}}
`, `
			yes shop/db > node n2 TCP/80                # egress[0]
			yes shop/db > 172.17.9.2 TCP/80             # egress[0]
			no  shop/db > 172.17.9.1 TCP/80
			no  shop/db > node n1 TCP/80
			yes shop/db > 203.0.113.9 TCP/80`},
		{"a wildcard is exactly one label", `
kind: EgressFirewall
metadata: {name: default, namespace: shop}
spec:
  egress:
  - {type: Allow, to: {dnsName: "*.Example.com"}}
  - {type: Deny, to: {dnsName: unknown.example.org}}
  - {type: Deny, to: {cidrSelector: 203.0.113.0/24}}
`, `
			no  shop/db > 203.0.113.1 TCP/80
			yes shop/db > 203.0.113.2 TCP/80
			no  shop/db > 203.0.113.3 TCP/80`},
		{"the firewall and the policies must both allow", `
kind: EgressFirewall
metadata: {name: default, namespace: shop}
spec: {egress: [{type: Allow, to: {cidrSelector: 198.51.100.0/24}}, {type: Deny, to: {cidrSelector: 0.0.0.0/0}}]}
---
kind: NetworkPolicy
metadata: {name: out, namespace: shop}
spec: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 203.0.113.0/24}}]}]}
---
kind: AdminNetworkPolicy
metadata: {name: open}
spec: {priority: 1, subject: {namespaces: {}}, egress: [{action: Allow, to: [{networks: [192.0.2.0/24]}]}]}
`, `
			no  shop/db > 203.0.113.1 TCP/80            # denied by EgressFirewall shop/default egress[1]
			no  shop/db > 198.51.100.1 TCP/80           # isolated by NetworkPolicy shop/out
			no  shop/db > 192.0.2.1 TCP/80              # denied by EgressFirewall shop/default egress[1]`},
		{"rules that cannot be understood, and another name", `
kind: EgressFirewall
metadata: {name: default, namespace: shop}
spec:
  egress:
  - {type: Allow, to: {cidrSelector: 203.0.113.0}}
  - {type: Allow, to: {cidrSelector: 203.0.113.0/24, dnsName: example.com}}
  - {type: Allow, to: {}}
  - {type: Allow, to: {cidrSelector: 203.0.113.1/32}, ports: [{protocol: TCP, port: 0}]}
  - {type: Allow, to: {cidrSelector: 203.0.113.2/32}}
  - {type: Deny, to: {cidrSelector: 10.0.0/8}}
---
kind: EgressFirewall
metadata: {name: other, namespace: bank}
spec: {egress: [{type: Deny, to: {cidrSelector: 0.0.0.0/0}}]}
`, `
			no  shop/db > 203.0.113.1 TCP/80            # egress[5]
			yes shop/db > 203.0.113.2 TCP/80            # egress[4]
			no  shop/db > 198.51.100.1 TCP/80           # egress[5]
			yes shop/db > bank/teller TCP/80
			yes bank/teller > 203.0.113.1 TCP/80`},
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
