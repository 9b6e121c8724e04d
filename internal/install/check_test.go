package install

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func node(name, address string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/os": "linux"}},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name}, {Type: corev1.NodeInternalIP, Address: address}}},
	}
}

func daemonSet(namespace, name string, annotations ...string) *appsv1.DaemonSet {
	ds := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: map[string]string{}}}
	for i := 0; i < len(annotations); i += 2 {
		ds.Annotations[annotations[i]] = annotations[i+1]
	}
	return ds
}

func proxy(nodes map[string]string) *appsv1.DaemonSet {
	ds := daemonSet("kube-system", "kube-proxy")
	ds.Spec.Template.Spec.NodeSelector = nodes
	return ds
}

func TestChecks(t *testing.T) {
	t.Parallel()
	good := []runtime.Object{node("n1", "192.0.2.11"), apiServers("192.0.2.1"), serviceCIDR("10.96.0.0/16")}
	for _, test := range []struct {
		name    string
		objects []runtime.Object
		set     []string
		spoil   func(*subject)
		want    []string // "level check: part of what"
	}{
		{name: "a good cluster", objects: good},
		{name: "an old one", objects: good, spoil: func(s *subject) { s.facts.version = version.MustParseGeneric("v1.29.9") },
			want: []string{"failure version: Kubernetes 1.29.9 is older than 1.30.0"}},
		{name: "nothing known", objects: nil, want: []string{
			"failure api-server: no address of the API server was found that nodes can reach",
			"warning service-subnets: the service subnets of the cluster are unknown",
			"warning node-addresses: the cluster has no Linux node yet",
		}},
		{name: "three API servers", objects: append(good[:1:1], apiServers("192.0.2.1", "192.0.2.2", "192.0.2.3"), good[2])},
		{name: "a chosen API server", objects: good, set: []string{"kubernetes.apiServer=https://lb:1"}},
		{name: "the Service as the API server", objects: good, set: []string{"kubernetes.apiServer=https://10.96.0.1:443"},
			want: []string{"failure api-server: 10.96.0.1 is an address of a Service"}},
		{name: "API servers that are gone", objects: good, set: []string{`kubernetes.bootstrapServers=https://192.0.2.8:6443\,https://192.0.2.9:6443`},
			want: []string{"warning api-server: none of the addresses 192.0.2.8, 192.0.2.9 is one of the API servers' (EndpointSlice default/kubernetes)"}},
		{name: "API servers of which one is gone", objects: good, set: []string{`kubernetes.bootstrapServers=https://192.0.2.1:6443\,https://192.0.2.9:6443`}},
		{name: "other service subnets", objects: good, set: []string{"network.serviceSubnets=10.97.0.0/16"},
			want: []string{"failure service-subnets: network.serviceSubnets is 10.97.0.0/16, but Services have 10.96.0.0/16"}},
		{name: "nodes inside", objects: append(good[1:], node("a", "10.244.3.4"), node("b", "100.64.0.9"), node("c", "100.88.1.1"), node("d", "10.96.0.77")), want: []string{
			"failure node-addresses: node a has the address 10.244.3.4, which is in 10.244.0.0/16 of network.clusterSubnets",
			"failure node-addresses: node b has the address 100.64.0.9, which is in 100.64.0.0/16 of network.joinSubnets",
			"failure node-addresses: node c has the address 100.88.1.1, which is in 100.88.0.0/16 of network.transitSubnets",
			"failure node-addresses: node d has the address 10.96.0.77, which is in 10.96.0.0/16 of network.serviceSubnets",
		}},
		{name: "other networks", objects: append(good, daemonSet("kube-system", "cilium"), daemonSet("ovn-kubernetes", "ovnkube-node"), daemonSet("x", "multus")), want: []string{
			"failure other-cni: Cilium is installed: DaemonSet kube-system/cilium",
			"failure other-cni: OVN-Kubernetes is installed: DaemonSet ovn-kubernetes/ovnkube-node",
		}},
		{name: "this network", objects: append(good, daemonSet("ovn-kubernetes", "ovnkube-node", "meta.helm.sh/release-name", Release, "meta.helm.sh/release-namespace", "ovn-kubernetes"))},
		{name: "this network elsewhere", objects: append(good, daemonSet("other", "ovnkube-node", "meta.helm.sh/release-name", Release, "meta.helm.sh/release-namespace", "other")), want: []string{
			"failure other-cni: OVN-Kubernetes is installed: DaemonSet other/ovnkube-node",
		}},
		{name: "kube-proxy", objects: append(good, proxy(nil)), want: []string{"failure kube-proxy: kube-proxy is installed (DaemonSet kube-system/kube-proxy)"}},
		{name: "kube-proxy for nodes to come", objects: append(good[1:], proxy(map[string]string{"kubernetes.io/os": "linux"})), want: []string{
			"failure kube-proxy: kube-proxy is installed", "warning node-addresses: the cluster has no Linux node yet"}},
		{name: "kube-proxy that was stopped", objects: append(good, proxy(map[string]string{"kubernetes.io/os": "linux", "ovnkctl.io/kube-proxy": "stopped"}))},
		{name: "kube-proxy on Windows", objects: append(good, proxy(map[string]string{"kubernetes.io/os": "windows"}))},
		{name: "an ending namespace", objects: append(good, namespaceWith(func(ns *corev1.Namespace) {
			ns.DeletionTimestamp = &metav1.Time{}
			ns.Finalizers = []string{"kubernetes"}
		})),
			want: []string{"failure namespace: namespace ovn-kubernetes is being deleted"}},
		{name: "a restricted namespace", objects: append(good, namespaceWith(func(ns *corev1.Namespace) { ns.Labels = map[string]string{podSecurityEnforce: "baseline"} })),
			want: []string{"failure namespace: namespace ovn-kubernetes refuses pods with the host's network: its pod security level is baseline"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := testSubject(t, test.set, test.objects...)
			if test.spoil != nil {
				test.spoil(s)
			}
			got, err := check(t.Context(), s, nil)
			if err != nil {
				t.Fatal(err)
			}
			matchFindings(t, got, test.want)
		})
	}
}

func matchFindings(t *testing.T, got []Finding, want []string) {
	t.Helper()
	var lines []string
	for i, f := range got {
		line := string(f.Level) + " " + f.Check + ": " + f.What
		if i < len(want) && strings.HasPrefix(line, want[i]) {
			line = want[i]
		}
		if f.Next == "" {
			t.Errorf("%s: nothing to do next", line)
		}
		lines = append(lines, line)
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}

func namespaceWith(change func(*corev1.Namespace)) *corev1.Namespace {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: DefaultNamespace}}
	change(ns)
	return ns
}

// testSubject is a cluster whose user may do everything.
func testSubject(t *testing.T, set []string, objects ...runtime.Object) *subject {
	t.Helper()
	c := fakeCluster(t, objects...)
	allow(t, c, func(authorizationv1.ResourceAttributes) bool { return true })
	f, err := c.look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	asked, err := Values{Set: set}.read(nil)
	if err != nil {
		t.Fatal(err)
	}
	chart := testChart(t)
	all, used := complete(asked, f.detect(defaultClusterSubnets(chart)))
	r, err := render(chart, all, DefaultNamespace)
	if err != nil {
		t.Fatal(err)
	}
	return &subject{cluster: c, facts: f, namespace: DefaultNamespace, config: r.config, detected: used}
}

func allow(t *testing.T, c *cluster, may func(authorizationv1.ResourceAttributes) bool) {
	t.Helper()
	client, ok := c.kube.(*fake.Clientset)
	if !ok {
		t.Fatal("not a fake")
	}
	client.PrependReactor("create", "selfsubjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		review, ok := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview)
		if !ok {
			return false, nil, nil
		}
		review = review.DeepCopy()
		review.Status.Allowed = may(*review.Spec.ResourceAttributes)
		return true, review, nil
	})
}

func TestCheckPermissions(t *testing.T) {
	t.Parallel()
	s := testSubject(t, nil, node("n1", "192.0.2.11"), apiServers("192.0.2.1"), serviceCIDR("10.96.0.0/16"))
	allow(t, s.cluster, func(a authorizationv1.ResourceAttributes) bool {
		return a.Namespace == DefaultNamespace // a user of one namespace
	})
	got, err := check(t.Context(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	matchFindings(t, got, []string{"failure permissions: you may not: create namespaces, create clusterroles, escalate clusterroles, bind clusterroles, create validatingadmissionpolicies"})
}

func TestSkippedChecksWarn(t *testing.T) {
	t.Parallel()
	s := testSubject(t, nil, node("n1", "192.0.2.11"), apiServers("192.0.2.1"), serviceCIDR("10.96.0.0/16"), daemonSet("a", "cilium"), daemonSet("b", "calico-node"))
	all, err := check(t.Context(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	var p *Problem
	if err := failed(all); !errors.As(err, &p) || !strings.Contains(p.Next, "--skip-check other-cni") || strings.Count(p.What, "other-cni") != 1 {
		t.Errorf("%v", err)
	}
	for _, skip := range []string{"other-cni", "all"} {
		some, err := check(t.Context(), s, []string{skip})
		if err != nil {
			t.Fatal(err)
		}
		if err := failed(some); err != nil || len(some) != 2 || some[0].Level != Warning {
			t.Errorf("--skip-check %s: %v, %+v", skip, err, some)
		}
	}
	if _, err := check(t.Context(), s, []string{"other"}); !errors.As(err, &p) || p.ExitCode() != exitUsage {
		t.Errorf("an unknown check: %v", err)
	}
}
