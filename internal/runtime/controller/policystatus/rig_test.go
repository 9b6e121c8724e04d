package policystatus

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/network-policy-api/apis/v1alpha1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha2"

	egressfirewallv1 "github.com/ovnkctl/ovnkctl/api/egressfirewall/v1"
	"github.com/ovnkctl/ovnkctl/internal/runtime/kube"
	"github.com/ovnkctl/ovnkctl/internal/runtime/kube/kubetest"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/live"
)

// rig is a Keeper with an API server. Tests run in a synctest bubble.
type rig struct {
	*kubetest.Server
	keeper  *Keeper
	metrics *prometheus.Registry
	stop    func()
}

// start runs a Keeper that knows of the nodes a and b.
func start(t *testing.T, s *kubetest.Server) *rig {
	t.Helper()
	r := prepare(t, s)
	r.keeper.SetNode("a", "")
	r.keeper.SetNode("b", "")
	r.keeper.NodesKnown()
	synctest.Wait()
	return r
}

// prepare runs a Keeper that knows of no nodes yet.
func prepare(t *testing.T, s *kubetest.Server) *rig {
	t.Helper()
	log, r := slog.New(slog.DiscardHandler), &rig{Server: s, metrics: prometheus.NewRegistry()}
	recorder, err := kube.NewRecorder(kube.RecorderConfig{Client: s.Client(t), Component: "test", Instance: "one", Logger: log, Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(s.Config())
	if err != nil {
		t.Fatal(err)
	}
	policies, err := live.NewPolicyClient(s.Config(), client)
	if err != nil {
		t.Fatal(err)
	}
	r.keeper, err = New(Config{
		Client: s.Client(t), Policies: policies, Events: recorder, Logger: log, Registerer: r.metrics,
		Network: world.Network{Name: world.DefaultNetwork, ClusterSubnets: []world.ClusterSubnet{{Prefix: netip.MustParsePrefix("10.244.0.0/16"), HostLength: 24}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.keeper.Run(ctx) }()
	go recorder.Run(ctx)
	r.stop = func() { cancel(); <-done; synctest.Wait() }
	t.Cleanup(r.stop)
	synctest.Wait()
	return r
}

// settleDown has all tries that wait for their time happen.
func (r *rig) settleDown() {
	synctest.Wait()
	time.Sleep(2 * lastRetry)
	synctest.Wait()
}

// nothing is a policy for tests of what is said only.
var nothing = &world.Policy{}

// writes counts patches of policies.
func (r *rig) writes() int {
	return r.Requests("PATCH /apis/policy.networking.k8s.io") + r.Requests("PATCH /apis/k8s.ovn.org")
}

// events are the events so far as "Kind name reason note".
func (r *rig) events() (list []string) {
	for _, o := range r.List("events") {
		e := o.(*eventsv1.Event)
		list = append(list, e.Regarding.Kind+" "+e.Regarding.Name+" "+e.Reason+" "+e.Note)
	}
	slices.Sort(list)
	return list
}

// condition is that of the first object of a resource with the name, as "status reason message".
func (r *rig) condition(t *testing.T, resource, name string) (text string, c metav1.Condition) {
	t.Helper()
	synctest.Wait()
	for _, o := range r.List(resource) {
		var conditions []metav1.Condition
		var m metav1.Object
		switch o := o.(type) {
		case *v1alpha1.AdminNetworkPolicy:
			m, conditions = o, o.Status.Conditions
		case *v1alpha1.BaselineAdminNetworkPolicy:
			m, conditions = o, o.Status.Conditions
		case *v1alpha2.ClusterNetworkPolicy:
			m, conditions = o, o.Status.Conditions
		case *egressfirewallv1.EgressFirewall:
			m, conditions = o, o.Status.Conditions
		}
		for _, c := range conditions {
			if m.GetName() == name && c.Type == ConditionType {
				return string(c.Status) + " " + c.Reason + " " + c.Message, c
			}
		}
	}
	return "", c
}

func (r *rig) expect(t *testing.T, resource, name, want string) {
	t.Helper()
	if got, c := r.condition(t, resource, name); got != want {
		t.Errorf("%s %s says\n %q, want\n %q", resource, name, got, want)
	} else if want != "" && c.LastTransitionTime.IsZero() {
		t.Errorf("%s %s: since when is not said", resource, name)
	}
}

const ready = "True SetupSucceeded All rules are in force"

func meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("uid-" + namespace + name), Generation: 1}
}

func all() *metav1.LabelSelector { return &metav1.LabelSelector{} }

func broken() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}}
}

// admin is an AdminNetworkPolicy with one rule for ingress.
func admin(name string, priority int32, from *metav1.LabelSelector) *v1alpha1.AdminNetworkPolicy {
	return &v1alpha1.AdminNetworkPolicy{ObjectMeta: meta("", name), Spec: v1alpha1.AdminNetworkPolicySpec{
		Priority: priority, Subject: v1alpha1.AdminNetworkPolicySubject{Namespaces: all()},
		Ingress: []v1alpha1.AdminNetworkPolicyIngressRule{{
			Name: "from-friends", Action: v1alpha1.AdminNetworkPolicyRuleActionAllow,
			From: []v1alpha1.AdminNetworkPolicyIngressPeer{{Namespaces: from}},
		}},
	}}
}

func baseline() *v1alpha1.BaselineAdminNetworkPolicy {
	return &v1alpha1.BaselineAdminNetworkPolicy{ObjectMeta: meta("", "default"), Spec: v1alpha1.BaselineAdminNetworkPolicySpec{
		Subject: v1alpha1.AdminNetworkPolicySubject{Namespaces: all()},
	}}
}

func cluster(name string, tier v1alpha2.Tier, priority int32) *v1alpha2.ClusterNetworkPolicy {
	return &v1alpha2.ClusterNetworkPolicy{ObjectMeta: meta("", name), Spec: v1alpha2.ClusterNetworkPolicySpec{
		Tier: tier, Priority: priority, Subject: v1alpha2.ClusterNetworkPolicySubject{Namespaces: all()},
	}}
}

func firewall(namespace, name string, cidrs ...string) *egressfirewallv1.EgressFirewall {
	f := &egressfirewallv1.EgressFirewall{ObjectMeta: meta(namespace, name)}
	for _, c := range cidrs {
		f.Spec.Egress = append(f.Spec.Egress, egressfirewallv1.EgressFirewallRule{
			Type: egressfirewallv1.EgressFirewallRuleDeny, To: egressfirewallv1.EgressFirewallDestination{CIDRSelector: c},
		})
	}
	return f
}

// network is a NetworkPolicy that lets a range in, but for another.
func network(namespace, name, cidr, except string) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{ObjectMeta: meta(namespace, name), Spec: networkingv1.NetworkPolicySpec{
		Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{
			IPBlock: &networkingv1.IPBlock{CIDR: cidr, Except: []string{except}},
		}}}},
	}}
}

func namespace(name, logging string) *corev1.Namespace {
	n := &corev1.Namespace{ObjectMeta: meta("", name)}
	if logging != "" {
		n.Annotations = map[string]string{"k8s.ovn.org/acl-logging": logging}
	}
	return n
}
