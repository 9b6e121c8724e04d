package explain

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/selector"
)

// labels is a selector of one label.
func labels(t *testing.T, text string) selector.Labels {
	t.Helper()
	key, value, _ := strings.Cut(text, "=")
	l, err := selector.From(&metav1.LabelSelector{MatchLabels: map[string]string{key: value}})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// furnished is a cluster with a policy, a service with end points, and a host.
func furnished(t *testing.T) *cluster {
	t.Helper()
	c := newCluster(t)
	addr := netip.MustParseAddr
	c.world.SetNode(&world.Node{
		Name: "n1", ID: 2, InternalIPs: []netip.Addr{addr("172.30.0.11")}, Gateway: &world.Gateway{Mode: world.GatewayShared, BridgeID: "br-ext", MAC: "02:00:00:00:00:01"},
		Subnets: map[string][]netip.Prefix{world.DefaultNetwork: {netip.MustParsePrefix("10.244.1.0/24")}},
	})
	cart := world.PodsIn("shop", labels(t, "app=cart"))
	c.world.SetNamespace(&world.Namespace{Name: "shop", Labels: map[string]string{"team": "shop"}})
	c.world.SetPod(&world.Pod{Namespace: "shop", Name: "cart", Node: "n1", Labels: map[string]string{"app": "cart"}, Networks: map[string]world.PodNetwork{
		world.DefaultNetwork: {Addresses: []netip.Prefix{netip.MustParsePrefix("10.244.1.7/24")}, MAC: "0a:58:0a:f4:01:07", Gateways: []netip.Addr{addr("10.244.1.1")}},
	}})
	c.world.SetPod(&world.Pod{Namespace: "shop", Name: "cart-host", Node: "n1", HostNetwork: true, Labels: map[string]string{"app": "cart"}})
	c.world.SetPolicy(&world.Policy{
		Kind: world.KindNetworkPolicy, Namespace: "shop", Name: "web", Tier: world.TierNetworkPolicy, Isolates: [2]bool{true, false},
		Subject: world.PodsIn("shop", labels(t, "app=web")), Rules: []world.PolicyRule{
			{
				Direction: world.Ingress, Index: 0, Peers: []world.Peer{{Pods: cart}, {
					Block: netip.MustParsePrefix("192.0.2.0/24"), Except: []netip.Prefix{netip.MustParsePrefix("192.0.2.8/29")},
				}}, Ports: []world.PolicyPort{{Protocol: world.TCP, First: 80, Last: 80}, {Protocol: world.TCP, Name: "admin"}, {Protocol: world.UDP, First: 1, Last: 9}},
			},
			{Direction: world.Ingress, Index: 1, Peers: []world.Peer{{Pods: world.AllPods()}}, Ports: []world.PolicyPort{{Protocol: world.SCTP}}},
		},
	})
	c.world.SetPolicy(&world.Policy{
		Kind: world.KindAdminNetworkPolicy, Name: "first", Tier: world.TierAdmin, Priority: 7, Subject: cart,
		Rules: []world.PolicyRule{{Direction: world.Egress, Name: "out", Action: world.Deny, Peers: []world.Peer{{Domain: &world.DomainName{Name: "*.example.com"}}}}},
	})
	c.world.SetService(&world.Service{
		Namespace: "shop", Name: "web", ClusterIPs: []netip.Addr{addr("10.96.0.10")}, ExternalIPs: []netip.Addr{addr("198.51.100.9")},
		AffinitySeconds: 60, ExternalLocal: true,
		Ports: []world.ServicePort{{Name: "http", Protocol: world.TCP, Port: 80, NodePort: 30080}, {Name: "none", Protocol: world.UDP, Port: 53}},
	})
	c.world.SetSlice(&world.EndpointSlice{
		Namespace: "shop", Name: "web-1", Service: "web", Ports: []world.EndpointPort{{Name: "http", Protocol: world.TCP, Port: 8080}},
		Endpoints: []world.Endpoint{
			{Addrs: []netip.Addr{addr("10.244.1.7")}, Node: "n1", Ready: true, Serving: true},
			{Addrs: []netip.Addr{addr("10.244.9.9")}, Node: "n9"},
		},
	})
	c.texts = map[string]string{
		inspect.TextNFT: `table inet ovn-kubernetes { # handle 4
	map nodeports-v4 { # handle 4
		typeof meta l4proto . th dport : ip daddr . th dport
		elements = { tcp . 3008 : 10.96.0.11 . 80,
			     tcp . 30080 : 10.96.0.10 . 80 }
	}
	chain services { # handle 8
		ip daddr 10.96.0.10 counter packets 3 bytes 99 drop comment "x" # handle 22
	}
}
`,
		inspect.TextFlows + "br-ext": ` cookie=0xdeff105, duration=5.8s, table=0, n_packets=1, n_bytes=9, idle_age=5, priority=110,tcp,in_port=2,nw_src=172.30.0.11,tp_src=30080 actions=output:1
 cookie=0xdeff105, duration=5.8s, table=0, n_packets=0, n_bytes=0, idle_age=5, priority=110,udp,in_port=2,tp_src=30080 actions=output:1
`,
		inspect.TextRoutes:     `[{"dst":"10.244.0.0/16","gateway":"10.244.1.1","dev":"ovn-k8s-mp0","table":"main"},{"dst":"10.244.1.7","dev":"abc_3","table":"main"},{"dst":"10.244.1.7","dev":"lo","table":"local"}]`,
		inspect.TextNeighbours: `[{"dst":"10.244.1.7","dev":"ovn-k8s-mp0","lladdr":"0a:58:0a:f4:01:07","state":["STALE"]}]`,
		inspect.TextLinks:      `[{"ifname":"abc_3","operstate":"UP","mtu":1400,"address":"5a:00:00:00:00:01"},{"ifname":"lo"}]`,
		inspect.TextFlows + "br-int": ` cookie=0x44444444, duration=5.8s, table=46, n_packets=4, n_bytes=9, idle_age=5, priority=2001,reg15=0x3 actions=resubmit(,47)
 cookie=0x44444444, duration=5.8s, table=46, n_packets=3, n_bytes=9, idle_age=5, priority=2001,reg15=0x4 actions=resubmit(,47)
 cookie=0x4444444, duration=5.8s, table=46, n_packets=9, n_bytes=9, idle_age=5, priority=2001 actions=drop
`,
	}
	return c
}

// said is the text of an explanation without its rows.
func said(t *testing.T, o Options) string {
	t.Helper()
	o.Node = "n1"
	e, err := Run(t.Context(), furnished(t), o)
	if err != nil {
		t.Fatal(err)
	}
	e.Rows = nil
	var b strings.Builder
	if err := e.Text(&b, false); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestFacts: what the cluster and the hosts say of objects.
func TestFacts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		o    Options
		want string
	}{
		{"pod", Options{Text: "pod/shop/cart"}, `pod/shop/cart: pod shop/cart on node n1, with the addresses 10.244.1.7
  labels      app=cart
  attached    MAC 0a:58:0a:f4:01:07, gateways 10.244.1.1
  backend of  Service shop/web at 10.244.1.7, ports 8080/tcp, ready
  subject of  AdminNetworkPolicy first (1 egress rule)
  peer in     NetworkPolicy shop/web ingress rule 0 (allow), NetworkPolicy shop/web ingress rule 1 (allow)
host of node n1
  route: 10.244.1.7 dev abc_3 table main
  neighbour: 10.244.1.7 dev ovn-k8s-mp0 at 0a:58:0a:f4:01:07 STALE
  link: abc_3, state UP, MTU 1400, MAC 5a:00:00:00:00:01
`},
		{"pod on the host", Options{Text: "pod/shop/cart-host"}, `pod/shop/cart-host: pod shop/cart-host on node n1, on the host's network
  labels  app=cart
`},
		{"service", Options{Text: "svc/shop/web"}, `svc/shop/web: service shop/web at 10.96.0.10, ports 80/tcp, 53/udp
  external IPs  198.51.100.9
  traffic       externalTrafficPolicy Local: from outside, a node sends to its own backends alone
  affinity      a client keeps its backend for 60 s
  port          80/tcp http, node port 30080: 10.244.1.7:8080 (cart on n1)
                53/udp none: no backends, connections are refused
host of node n1
  nft inet ovn-kubernetes nodeports-v4: tcp . 30080 : 10.96.0.10 . 80
  nft inet ovn-kubernetes services: ip daddr 10.96.0.10 counter packets 3 bytes 99 drop comment "x"
  br-ext: cookie=0xdeff105, table=0, n_packets=1, priority=110,tcp,in_port=2,nw_src=172.30.0.11,tp_src=30080 actions=output:1
`},
		{"policy", Options{Text: "netpol/shop/web"}, `netpol/shop/web: NetworkPolicy shop/web for namespace:shop/app=web, with 2 rules
  for       no pod now, of pods with app=web of namespace shop
  isolates  ingress: what no NetworkPolicy allows is dropped
  rule      ingress 0: allow from pods with app=cart of namespace shop, 192.0.2.0/24 but not 192.0.2.8/29 on 80/tcp, the port named admin/tcp, 1-9/udp
            ingress 1: allow from all pods of all namespaces on sctp
`},
		{"admin policy", Options{Text: "anp/first"}, `anp/first: AdminNetworkPolicy first for namespace:shop/app=cart, with 1 rule
  order  tier Admin, priority 7
  for    1 pod: shop/cart
  rule   egress 0 (out): deny to *.example.com on any port
`},
		{"namespace", Options{Text: "ns/shop"}, `ns/shop: namespace shop
  labels  team=shop
  pods    2
  policy  AdminNetworkPolicy first (1 egress rule)
          NetworkPolicy shop/web (isolates ingress but for 2 rules)
`},
		{"node", Options{Text: "node/n1"}, `node/n1: node n1 with the addresses 172.30.0.11 and the pod subnets 10.244.1.0/24
  node id  2
  gateway  shared mode, bridge br-ext, MAC 02:00:00:00:00:01, addresses none, next hops none
  pods     1 with an address of their own, 1 on the host's network
`},
		{"flows", Options{Text: "NP:shop:web:Ingress:0", Flows: true}, `NP:shop:web:Ingress:0: ACL NP:shop:web:Ingress:0, made for NetworkPolicy shop/web, ingress rule 0
  for       no pod now, of pods with app=web of namespace shop
  isolates  ingress: what no NetworkPolicy allows is dropped
  rule      ingress 0: allow from pods with app=cart of namespace shop, 192.0.2.0/24 but not 192.0.2.8/29 on 80/tcp, the port named admin/tcp, 1-9/udp
            ingress 1: allow from all pods of all namespaces on sctp
logical flow 44444444-0000-4000-8000-000000000001
  node n1, egress, table 6 ls_out_acl_eval, priority 2001
  match    outport == @a1
  actions  next;
  made for ACL NP:shop:web:Ingress:0
  br-int   2 flows, 7 packets
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if d := cmp.Diff(c.want, said(t, c.o)); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestNear: who mistypes a name is told the names that are like it.
func TestNear(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"pod/shop/car": "do you mean pod/shop/cart, or pod/shop/cart-host?", "netpol/shop/we": "do you mean netpol/shop/web, or svc/shop/web?",
		"pod/other/cart": "do you mean pod/shop/cart, or pod/shop/cart-host?", "anp/firs": "do you mean anp/first?", "node/n": "do you mean node/n1?",
	} {
		_, err := Run(t.Context(), furnished(t), Options{Text: text, Node: "n1"})
		var unknown *UnknownError
		if !errors.As(err, &unknown) || unknown.Hint() != want {
			t.Errorf("%s: %v, hint %q, want %q", text, err, unknown.Hint(), want)
		}
	}
	_, err := Run(t.Context(), furnished(t), Options{Text: "zzz"})
	var unknown *UnknownError
	if !errors.As(err, &unknown) || !strings.Contains(unknown.Hint(), "--help") || !strings.Contains(err.Error(), "not all was read: rows of node n2") {
		t.Errorf("%v, hint %q", err, unknown.Hint())
	}
}

// TestHostOfGarbage: what is no JSON is a problem of that node, and the rest is told.
func TestHostOfGarbage(t *testing.T) {
	t.Parallel()
	c := furnished(t)
	c.texts[inspect.TextRoutes] = "{"
	e, err := Run(t.Context(), c, Options{Text: "pod/shop/cart", Node: "n1"})
	if err != nil || len(e.Problems) != 1 || !strings.Contains(e.Problems[0], "host of node n1: routes: ") || len(e.Host) != 2 {
		t.Errorf("%v, %+v", err, e)
	}
}
