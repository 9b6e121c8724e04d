package policy_test

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha2"
	"sigs.k8s.io/yaml"

	egressfirewallv1 "github.com/ovnkctl/ovnkctl/api/egressfirewall/v1"
	"github.com/ovnkctl/ovnkctl/internal/policy"
)

// houses is a small cluster with the names of the documents' examples: two nodes, pods of
// two families, a node-local view for probes, and an outside.
func houses() policy.Cluster {
	pod := func(ns, name, node, v4, v6 string, labels map[string]string, ports ...policy.ContainerPort) policy.Pod {
		return policy.Pod{
			Namespace: ns, Name: name, Node: node, Labels: labels, Ports: ports,
			IPs: []netip.Addr{netip.MustParseAddr(v4), netip.MustParseAddr(v6)},
		}
	}
	node := func(name, zone, status, second, management string) policy.Node {
		s, h, m := netip.MustParseAddr(status), netip.MustParseAddr(second), netip.MustParseAddr(management)
		return policy.Node{
			Name: name, Labels: map[string]string{"zone": zone},
			StatusIPs: []netip.Addr{s}, HostIPs: []netip.Addr{s, h}, ManagementIPs: []netip.Addr{m},
		}
	}
	namespace := func(name string, labels ...string) policy.Namespace {
		n := policy.Namespace{Name: name, Labels: map[string]string{"kubernetes.io/metadata.name": name}}
		for _, l := range labels {
			k, v, _ := strings.Cut(l, "=")
			n.Labels[k] = v
		}
		return n
	}
	web := policy.ContainerPort{Name: "web", Protocol: corev1.ProtocolTCP, Port: 80}
	webAlt := policy.ContainerPort{Name: "web", Protocol: corev1.ProtocolTCP, Port: 8080}
	webUDP := policy.ContainerPort{Name: "web", Protocol: corev1.ProtocolUDP, Port: 80}
	c := policy.Cluster{
		Namespaces: []policy.Namespace{
			namespace("shop", "team=red"), namespace("bank", "team=blue"), namespace("monitoring", "team=red", "monitor=yes"),
		},
		Pods: []policy.Pod{
			pod("shop", "db", "n1", "10.244.1.3", "fd01:1::3", map[string]string{"role": "db"}, webUDP),
			pod("shop", "front", "n1", "10.244.1.4", "fd01:1::4", map[string]string{"role": "frontend"}, web),
			pod("bank", "front", "n2", "10.244.2.3", "fd01:2::3", map[string]string{"role": "frontend"}, webAlt),
			{Namespace: "bank", Name: "job", Node: "n2", Finished: true, Labels: map[string]string{"role": "frontend"},
				IPs: []netip.Addr{netip.MustParseAddr("10.244.2.4")}},
			pod("bank", "teller", "n2", "10.244.2.4", "fd01:2::4", map[string]string{"role": "teller"}),
			pod("monitoring", "prom", "n2", "10.244.2.5", "fd01:2::5", map[string]string{"app": "prom"}),
			{Namespace: "monitoring", Name: "agent", Node: "n1", HostNetwork: true, Labels: map[string]string{"app": "agent"}},
			{Namespace: "bank", Name: "leaving", Node: "n2", Deleting: true, Labels: map[string]string{"role": "frontend"},
				IPs: []netip.Addr{netip.MustParseAddr("10.244.2.6")}},
		},
		Nodes: []policy.Node{
			node("n1", "a", "192.0.2.1", "172.17.9.1", "10.244.1.2"),
			node("n2", "b", "192.0.2.2", "172.17.9.2", "10.244.2.2"),
		},
		ClusterSubnets: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd01::/16")},
		DomainNames: map[string][]netip.Addr{
			"example.com":       {netip.MustParseAddr("203.0.113.1")},
			"www.example.com":   {netip.MustParseAddr("203.0.113.2"), netip.MustParseAddr("2001:db8::2")},
			"a.www.example.com": {netip.MustParseAddr("203.0.113.3")},
		},
	}
	return c
}

// load adds the objects of a YAML stream to a cluster.
func load(t *testing.T, c *policy.Cluster, documents string) {
	t.Helper()
	for _, doc := range strings.Split(documents, "\n---\n") {
		var kind struct {
			Kind string `json:"kind"`
		}
		if err := yaml.Unmarshal([]byte(doc), &kind); err != nil {
			t.Fatal(err)
		}
		switch kind.Kind {
		case "NetworkPolicy":
			c.NetworkPolicies = append(c.NetworkPolicies, decode[networkingv1.NetworkPolicy](t, doc))
		case "AdminNetworkPolicy":
			c.AdminNetworkPolicies = append(c.AdminNetworkPolicies, decode[v1alpha1.AdminNetworkPolicy](t, doc))
		case "BaselineAdminNetworkPolicy":
			banp := decode[v1alpha1.BaselineAdminNetworkPolicy](t, doc)
			c.BaselineAdminNetworkPolicy = &banp
		case "ClusterNetworkPolicy":
			c.ClusterNetworkPolicies = append(c.ClusterNetworkPolicies, decode[v1alpha2.ClusterNetworkPolicy](t, doc))
		case "EgressFirewall":
			c.EgressFirewalls = append(c.EgressFirewalls, decode[egressfirewallv1.EgressFirewall](t, doc))
		default:
			t.Fatalf("unknown kind %q in:\n%s", kind.Kind, doc)
		}
	}
}

func decode[T any](t *testing.T, doc string) T {
	t.Helper()
	var out T
	if err := yaml.UnmarshalStrict([]byte(doc), &out); err != nil {
		t.Fatalf("%v in:\n%s", err, doc)
	}
	return out
}

// packet reads "shop/front > bank/front TCP/80", where an end is a pod, "node n1" or an
// address.
func packet(t *testing.T, s string) policy.Packet {
	t.Helper()
	src, rest, ok := strings.Cut(s, " > ")
	i := strings.LastIndex(rest, " ")
	if !ok || i < 0 {
		t.Fatalf("packet %q", s)
	}
	p := policy.Packet{Source: endpoint(src), Destination: endpoint(rest[:i])}
	protocol, port, _ := strings.Cut(rest[i+1:], "/")
	p.Protocol = corev1.Protocol(protocol)
	for _, d := range port {
		p.Port = p.Port*10 + uint16(d-'0')
	}
	return p
}

func endpoint(s string) policy.Endpoint {
	if ip, err := netip.ParseAddr(s); err == nil {
		return policy.Endpoint{IP: ip}
	}
	if node, ok := strings.CutPrefix(s, "node "); ok {
		return policy.Endpoint{Node: node}
	}
	ns, name, _ := strings.Cut(s, "/")
	return policy.Endpoint{Namespace: ns, Pod: name}
}

// check evaluates lines of "yes|no <packet>", each with the text of the decision that it
// expects behind "#", if it matters.
func check(t *testing.T, c policy.Cluster, lines string) {
	t.Helper()
	e := policy.New(c)
	for _, line := range strings.Split(strings.TrimSpace(lines), "\n") {
		line, why, _ := strings.Cut(strings.TrimSpace(line), "#")
		want, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		text = strings.TrimSpace(text)
		v, err := e.Evaluate(packet(t, text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		all := v.Egress.String() + "; " + v.Firewall.String() + "; " + v.Ingress.String()
		if v.Allowed != (want == "yes") || !strings.Contains(all, strings.TrimSpace(why)) {
			t.Errorf("%s: allowed=%t, want %s %q: %s", text, v.Allowed, want, strings.TrimSpace(why), all)
		}
	}
}
