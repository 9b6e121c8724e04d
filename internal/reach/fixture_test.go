package reach

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/network-policy-api/apis/v1alpha1"

	"github.com/ovnkctl/ovnkctl/internal/explain"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/policy"
	"github.com/ovnkctl/ovnkctl/internal/trace"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// shop is a cluster whose OVN does what policies say: those of the cluster, or others.
type shop struct {
	world    *world.Store
	policies policy.Cluster
	does     policy.Cluster
	// unread are nodes whose OVN does not answer.
	unread map[string]error
	// alone is an OVN that cannot trace several packets in one go.
	alone bool
	// started and stop are called with each batch; with stop it has no answers.
	started, stop func()

	mu      sync.Mutex
	batches []int
	single  int
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func newShop() *shop {
	s := &shop{unread: map[string]error{}}
	s.world = world.New(world.Config{Networks: []world.Network{{
		Name: world.DefaultNetwork, GatewayMode: world.GatewayShared,
		ClusterSubnets: []world.ClusterSubnet{{Prefix: netip.MustParsePrefix("10.244.0.0/16"), HostLength: 24}},
		ServiceSubnets: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")},
		JoinSubnets:    []netip.Prefix{netip.MustParsePrefix("100.64.0.0/16")},
		Masquerade:     []netip.Prefix{netip.MustParsePrefix("169.254.0.0/17")},
	}}})
	for i, name := range []string{"n1", "n2"} {
		s.world.SetNode(&world.Node{
			Name: name, ID: i + 2, InternalIPs: []netip.Addr{addr(fmt.Sprint("172.30.0.1", i))},
			Subnets: map[string][]netip.Prefix{world.DefaultNetwork: {netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", i+1))}},
			Gateway: &world.Gateway{BridgeID: "br-ex", InterfaceID: "br-ex_" + name, MAC: "0a:58:ac:1e:00:0b"},
		})
	}
	for _, name := range []string{"audit", "idle", "shop"} {
		s.world.SetNamespace(&world.Namespace{Name: name, Labels: map[string]string{"kubernetes.io/metadata.name": name}})
	}
	s.pod("shop", "cart", "10.244.1.5", "app=cart")
	s.pod("shop", "db-0", "10.244.1.6", "app=db", world.PodPort{Name: "sql", Protocol: world.TCP, Port: 5432})
	http := world.PodPort{Name: "http", Protocol: world.TCP, Port: 8080}
	s.pod("shop", "web-1", "10.244.1.7", "app=web", http, world.PodPort{Name: "dns", Protocol: world.UDP, Port: 8081})
	s.pod("shop", "web-2", "10.244.1.8", "app=web", http)
	s.pod("audit", "reader", "10.244.1.9", "")
	s.world.SetPod(&world.Pod{Namespace: "shop", Name: "agent", Node: "n1", HostNetwork: true})
	s.world.SetPod(&world.Pod{Namespace: "shop", Name: "pending", Labels: map[string]string{"app": "web"}})
	s.world.SetPod(&world.Pod{Namespace: "shop", Name: "done", Node: "n1", Finished: true})
	s.service("web", "10.96.0.10", world.ServicePort{Name: "http", Protocol: world.TCP, Port: 80}, 8080, "10.244.1.7", "10.244.1.8")
	s.service("db", "10.96.0.11", world.ServicePort{Name: "sql", Protocol: world.TCP, Port: 5432}, 5432, "10.244.1.6")
	s.service("mail", "10.96.0.12", world.ServicePort{Name: "smtp", Protocol: world.TCP, Port: 25}, 25)
	s.policies = trace.ClusterOf(s.world)
	s.policies.NetworkPolicies = []networkingv1.NetworkPolicy{dbFromCart()}
	s.policies.AdminNetworkPolicies = []v1alpha1.AdminNetworkPolicy{noAudit()}
	s.does = s.policies
	return s
}

func (s *shop) pod(namespace, name, ip, label string, ports ...world.PodPort) {
	node := "n1"
	if strings.HasPrefix(ip, "10.244.2.") {
		node = "n2"
	}
	p := &world.Pod{Namespace: namespace, Name: name, Node: node, IPs: []netip.Addr{addr(ip)}, Ports: ports, Labels: map[string]string{"pod-template-hash": name}}
	if k, v, ok := strings.Cut(label, "="); ok {
		p.Labels[k] = v
	}
	s.world.SetPod(p)
}

func (s *shop) service(name, ip string, p world.ServicePort, target uint16, backends ...string) {
	s.world.SetService(&world.Service{Namespace: "shop", Name: name, ClusterIPs: []netip.Addr{addr(ip)}, Ports: []world.ServicePort{p}})
	slice := &world.EndpointSlice{Namespace: "shop", Name: name, Service: name, Ports: []world.EndpointPort{{Name: p.Name, Protocol: p.Protocol, Port: target}}}
	for _, b := range backends {
		slice.Endpoints = append(slice.Endpoints, world.Endpoint{Addrs: []netip.Addr{addr(b)}, Ready: true, Serving: true})
	}
	s.world.SetSlice(slice)
}

func dbFromCart() networkingv1.NetworkPolicy {
	sql := intstr.FromInt32(5432)
	return networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db-from-cart"},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}},
			Ingress: []networkingv1.NetworkPolicyIngressRule{{
				From:  []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "cart"}}}},
				Ports: []networkingv1.NetworkPolicyPort{{Port: &sql}},
			}},
		},
	}
}

func noAudit() v1alpha1.AdminNetworkPolicy {
	named := func(name string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: name}}
	}
	return v1alpha1.AdminNetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "audit-stays-out"},
		Spec: v1alpha1.AdminNetworkPolicySpec{
			Priority: 10, Subject: v1alpha1.AdminNetworkPolicySubject{Namespaces: named("shop")},
			Ingress: []v1alpha1.AdminNetworkPolicyIngressRule{{
				Name: "no-audit", Action: v1alpha1.AdminNetworkPolicyRuleActionDeny,
				From: []v1alpha1.AdminNetworkPolicyIngressPeer{{Namespaces: named("audit")}},
			}},
		},
	}
}

func (s *shop) World(context.Context) (*world.Store, error)              { return s.world, nil }
func (s *shop) Policies(context.Context, string) (policy.Cluster, error) { return s.policies, nil }
func (s *shop) Zone(_ context.Context, node string) (trace.Zone, error) {
	z := &shopZone{shop: s, node: node, evaluator: policy.New(s.does)}
	if s.alone {
		return z, nil
	}
	return manyZone{z}, nil
}

// shopZone is the OVN of a node of the shop.
type shopZone struct {
	*shop
	node      string
	evaluator *policy.Evaluator
}

// The rows behind what the zone's ovn-trace shows: the ACLs that deny.
var (
	isolation = &nb.ACL{UUID: "0000abcd-0000-4000-8000-000000000000", ExternalIDs: map[string]string{
		"ovnkctl.io/owner": "policy/namespace:shop", "ovnkctl.io/row": "ingress/deny",
	}}
	isolates = "0000000a-0000-4000-8000-000000000000"
)

func (*shopZone) Rows(context.Context) (*explain.Index, error) {
	x := explain.NewIndex("n1")
	t, _ := ovn.Northbound().Table(nb.ACLTable)
	x.Add(t, isolation)
	return x, nil
}

func (*shopZone) LogicalFlows(context.Context, []string) ([]*sb.LogicalFlow, error) {
	return []*sb.LogicalFlow{{UUID: isolates, ExternalIDs: map[string]string{"stage-hint": isolation.UUID[:8]}}}, nil
}

func (*shopZone) OFProtoTrace(context.Context, string, string) (string, error) {
	return "", errors.New("nobody asks for it")
}

// OVNTrace counts the traces that come alone.
func (z *shopZone) OVNTrace(_ context.Context, r trace.Request) (string, error) {
	z.mu.Lock()
	z.single++
	z.mu.Unlock()
	return z.answer(r)
}

var flow = regexp.MustCompile(`inport == "([^"]*)".*ip4\.src == (\S+) && ip4\.dst == (\S+) && ip\.ttl == 64 && (\w+)(?:.*\.dst == (\d+))?`)

// answer is what ovn-trace prints.
func (z *shopZone) answer(r trace.Request) (string, error) {
	if err := z.unread[z.node]; err != nil {
		return "", err
	}
	m := flow.FindStringSubmatch(r.Microflow)
	if m == nil {
		return "", fmt.Errorf("microflow %q", r.Microflow)
	}
	number, _ := strconv.Atoi(m[5])
	protocol := strings.ToUpper(m[4])
	if protocol == "ICMP4" {
		protocol = "ICMP"
	}
	v, err := z.evaluator.Evaluate(policy.Packet{
		Source: policy.Endpoint{IP: addr(m[2])}, Destination: policy.Endpoint{IP: addr(m[3])},
		Protocol: corev1.Protocol(protocol), Port: uint16(number), //nolint:gosec // of a microflow
	})
	if err != nil {
		return "", err
	}
	out := ""
	z.world.Read(func(w world.View) {
		for p := range w.Pods {
			for _, a := range p.IPs {
				if a.String() == m[3] {
					out = p.Namespace + "_" + p.Name
				}
			}
		}
	})
	in, eg := fmt.Sprintf("ingress(dp=%q, inport=%q)", z.node, m[1]), fmt.Sprintf("egress(dp=%q, inport=%q, outport=%q)", z.node, m[1], out)
	head := fmt.Sprintf("# x\n# Detailed trace.\n\n%s\n%s\n28. ls_in_l2_lkup (northd.c:1): 1, priority 50, uuid 0000000c\n    outport = %q;\n    output;\n\n%s\n%s\n",
		in, strings.Repeat("-", len(in)), out, eg, strings.Repeat("-", len(eg)))
	if !v.Allowed {
		return head + " 4. ls_out_acl_eval (northd.c:1): ip, priority 2000, uuid 0000000a\n    reg8[17] = 1;\n    next;\n" +
			" 6. ls_out_acl_action (northd.c:1): reg8[17] == 1, priority 1000, uuid 0000000b\n    reg8[17] = 0;\n# Minimal trace.\n", nil
	}
	return head + fmt.Sprintf("12. ls_out_apply_port_sec (northd.c:1): 1, priority 0, uuid 0000000d\n    output;\n    /* output to %[1]q, type \"\" */\n# Minimal trace.\noutput(%[1]q);\n", out), nil
}

// manyZone traces several packets in one go.
type manyZone struct{ *shopZone }

func (z manyZone) OVNTraces(ctx context.Context, requests []trace.Request) ([]trace.Answer, error) {
	z.mu.Lock()
	z.batches = append(z.batches, len(requests))
	z.mu.Unlock()
	if z.started != nil {
		z.started()
	}
	if z.stop != nil {
		z.stop()
		return nil, ctx.Err()
	}
	if err := z.unread["many"]; err != nil {
		return nil, err
	}
	var out []trace.Answer
	for _, r := range requests {
		text, err := z.answer(r)
		out = append(out, trace.Answer{Text: text, Err: err})
	}
	return out, nil
}

// run asks, and fails the test if that fails.
func (s *shop) run(t *testing.T, o Options) *Result {
	t.Helper()
	r, err := Run(t.Context(), s, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// lines are the cells, one line each.
func lines(r *Result) string { return strings.Join(r.Names(), "\n") + "\n" }
