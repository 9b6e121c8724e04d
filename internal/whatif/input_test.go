package whatif

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/ovnkctl/ovnkctl/internal/explain"
	"github.com/ovnkctl/ovnkctl/internal/inspect"
)

var ranges = []string{"10.96.0.0/16", "fd00:10:96::/112"}

func meta(namespace, name string, labels map[string]string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels}
}

// shop is a cluster with two web pods, one of them not ready, and a service.
func shop() *inspect.Objects {
	web := map[string]string{"app": "web"}
	pod := func(name, ip string, ready corev1.ConditionStatus) corev1.Pod {
		return corev1.Pod{
			ObjectMeta: meta("shop", name, web),
			Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{
				{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}},
			}},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: ip}}, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}},
		}
	}
	return &inspect.Objects{
		Namespaces: []corev1.Namespace{{ObjectMeta: meta("", "shop", map[string]string{"team": "a", corev1.LabelMetadataName: "shop"})}},
		Pods:       []corev1.Pod{pod("web-0", "10.244.0.3", corev1.ConditionTrue), pod("web-1", "10.244.0.4", corev1.ConditionFalse)},
		Services: []corev1.Service{{
			ObjectMeta: meta("shop", "web", nil),
			Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeNodePort, Selector: web, ClusterIP: "10.96.1.0", ClusterIPs: []string{"10.96.1.0"}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
				Ports: []corev1.ServicePort{{Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromString("http"), NodePort: 30000}},
			},
		}},
		EndpointSlices: []discoveryv1.EndpointSlice{{ObjectMeta: meta("shop", "web-abc", map[string]string{discoveryv1.LabelServiceName: "web"}), AddressType: discoveryv1.AddressTypeIPv4}},
		NetworkPolicies: []networkingv1.NetworkPolicy{
			{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "old", UID: "its-uid"}},
		},
	}
}

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// laid lays a manifest over the shop.
func laid(t *testing.T, text string, without ...string) *overlay {
	t.Helper()
	o, err := lay(t, text, without...)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func lay(t *testing.T, text string, without ...string) (*overlay, error) {
	t.Helper()
	var with []string
	if text != "" {
		with = []string{file(t, "f.yaml", text)}
	}
	in, err := Read(with, without, "shop", nil)
	if err != nil {
		return nil, err
	}
	objects := shop()
	o, err := in.over(objects, ranges, time.Unix(1000, 0))
	if d := cmp.Diff(shop(), objects); d != "" {
		t.Errorf("the cluster's own objects are changed: %s", d)
	}
	return o, err
}

// TestBadInput: what cannot be taken is named, with what to do.
func TestBadInput(t *testing.T) {
	t.Parallel()
	policy := "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a}\n"
	for _, c := range []struct {
		name, text string
		without    []string
		says       []string
	}{
		{"no YAML", "a: [", nil, []string{"f.yaml", "did not find"}},
		{"no object", "a: 1\n", nil, []string{"no apiVersion or no kind"}},
		{"a list", "- a\n", nil, []string{"no Kubernetes object"}},
		{"nothing", "# only a comment\n", nil, []string{"no object in it"}},
		{"another kind", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n", nil, []string{"Deployment of apps/v1", "NetworkPolicy"}},
		{"another version", "apiVersion: networking.k8s.io/v1beta1\nkind: NetworkPolicy\nmetadata: {name: a}\n", nil, []string{"version v1, not v1beta1"}},
		{"unknown field", policy + "---\n" + policy + "spec: {podselector: {}}\n", nil, []string{"document 2", `unknown field "spec.podselector"`}},
		{"twice the same field", policy + "spec: {podSelector: {}, podSelector: {}}\n", nil, []string{"podSelector", "already set"}},
		{"wrong type", policy + "spec: {podSelector: 7}\n", nil, []string{"podSelector"}},
		{"no name", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {generateName: a-}\n", nil, []string{"generateName"}},
		{"bad name", strings.Replace(policy, "name: a", "name: A_b", 1), nil, []string{`"A_b" is not a name`}},
		{"item of a list", "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Secret, metadata: {name: a}}]\n", nil, []string{"item 1", "Secret"}},
		{"new pod", "apiVersion: v1\nkind: Pod\nmetadata: {name: new}\n", nil, []string{"no such pod", "not known before it runs"}},
		{"second baseline", "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: BaselineAdminNetworkPolicy\nmetadata: {name: a}\n", nil, []string{"other names than default"}},
		{"priority", "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy\nmetadata: {name: a}\nspec: {priority: 1001}\n", nil, []string{"1001", "from 0 to 1000"}},
		{"tier", "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: a}\nspec: {tier: Top}\n", nil, []string{`tier "Top"`}},
		{"firewall's name", "apiVersion: k8s.ovn.org/v1\nkind: EgressFirewall\nmetadata: {name: a}\nspec: {egress: []}\n", nil, []string{"other names than default"}},
		{"service without ports", "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n", nil, []string{"without ports"}},
		{"cluster IP in use", "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterIP: 10.96.1.0, ports: [{port: 1}]}\n", nil, []string{"10.96.1.0", "shop/web"}},
		{"node port in use", "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {type: NodePort, ports: [{port: 1, nodePort: 30000}]}\n", nil, []string{"30000", "shop/web"}},
		{"unnamed ports", "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 1}, {port: 2}]}\n", nil, []string{"name of its own"}},
		{"without what is not there", "", []string{"netpol/nope"}, []string{"--without=netpol/nope", "there is no NetworkPolicy shop/nope"}},
		{"without a kind", "", []string{"thing/a/b"}, []string{`"thing" is none`}},
		{"without a name", "", []string{"netpol"}, []string{"names no object"}},
		{"a namespace for what has none", "", []string{"anp/a/b"}, []string{"in no namespace"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := lay(t, c.text, c.without...)
			var bad *InputError
			if !errors.As(err, &bad) {
				t.Fatalf("%v is no InputError", err)
			}
			for _, text := range c.says {
				if !strings.Contains(err.Error()+" "+bad.Next, text) {
					t.Errorf("%q (%q) does not say %q", err, bad.Next, text)
				}
			}
		})
	}
}

// TestFolder: all manifests of a folder are read, and nothing else in it.
func TestFolder(t *testing.T) {
	t.Parallel()
	path := file(t, "b.yml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: b}\n")
	dir := filepath.Dir(path)
	for name, text := range map[string]string{"a.json": `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}`, "notes.txt": "no manifest"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	in, err := Read([]string{dir, "-"}, nil, "", strings.NewReader("apiVersion: v1\nkind: Namespace\nmetadata: {name: c}\n---\n# nothing\n"))
	if err != nil {
		t.Fatal(err)
	}
	o, err := in.over(shop(), ranges, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range o.edits {
		names = append(names, e.Object.Name)
	}
	if !slices.Equal(names, []string{"a", "b", "c"}) {
		t.Errorf("objects %v", names)
	}
	for _, bad := range []string{t.TempDir(), "no-such-file"} {
		if _, err := Read([]string{bad}, nil, "", nil); err == nil {
			t.Errorf("%s is read", bad)
		}
	}
}

// TestDefaults: objects get what the API server would give them.
func TestDefaults(t *testing.T) {
	t.Parallel()
	o := laid(t, `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: both}
spec:
  egress: [{ports: [{port: 53}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: old, namespace: shop}
spec:
  podSelector: {}
`)
	if len(o.objects.NetworkPolicies) != 2 {
		t.Fatalf("%d policies", len(o.objects.NetworkPolicies))
	}
	old, both := o.objects.NetworkPolicies[0], o.objects.NetworkPolicies[1]
	if !slices.Equal(both.Spec.PolicyTypes, []networkingv1.PolicyType{"Ingress", "Egress"}) || *both.Spec.Egress[0].Ports[0].Protocol != corev1.ProtocolTCP ||
		both.Namespace != "shop" || both.CreationTimestamp.Unix() != 1000 {
		t.Errorf("new policy: %+v", both)
	}
	if !slices.Equal(old.Spec.PolicyTypes, []networkingv1.PolicyType{"Ingress"}) || old.UID != "its-uid" {
		t.Errorf("replaced policy: %+v", old)
	}
	want := []Edit{
		{explain.Object{Kind: "NetworkPolicy", Namespace: "shop", Name: "both"}, Added, o.edits[0].From},
		{explain.Object{Kind: "NetworkPolicy", Namespace: "shop", Name: "old"}, Replaced, o.edits[1].From},
	}
	if d := cmp.Diff(want, o.edits); d != "" {
		t.Error(d)
	}
	if !strings.HasSuffix(o.edits[1].From, "f.yaml, document 2") {
		t.Errorf("from %q", o.edits[1].From)
	}
}

// TestWithout: what is left out is gone, and what is replaced is not.
func TestWithout(t *testing.T) {
	t.Parallel()
	o := laid(t, "", "networkpolicies/shop/old", "svc/web")
	if len(o.objects.NetworkPolicies) != 0 || len(o.objects.Services) != 0 || len(o.objects.EndpointSlices) != 0 {
		t.Errorf("left: %+v", o.objects)
	}
	o = laid(t, "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: old}\n", "netpol/shop/old")
	if len(o.objects.NetworkPolicies) != 1 || o.edits[0].Action != Replaced {
		t.Errorf("%+v", o.edits)
	}
}

// TestUnchanged: what is there already as the file has it is told from what would be different.
func TestUnchanged(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want string }{
		{"apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: a}}\n", Unchanged},
		{"apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: b}}\n", Replaced},
		{"apiVersion: v1\nkind: Pod\nmetadata: {name: web-0}\n", Unchanged},
		{"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: old}\n", Replaced}, // it lacks its types there
	} {
		o := laid(t, c.text)
		if len(o.edits) != 1 || o.edits[0].Action != c.want || o.edits[0].pending() != (c.want == Replaced) {
			t.Errorf("%s: %+v, want %s", c.text, o.edits, c.want)
		}
	}
}

// TestServices: addresses, ports and end points are those that the cluster would choose.
func TestServices(t *testing.T) {
	t.Parallel()
	o := laid(t, `
apiVersion: v1
kind: Service
metadata: {name: front}
spec:
  type: NodePort
  ipFamilyPolicy: PreferDualStack
  selector: {app: web}
  ports: [{port: 80, targetPort: http}]
`)
	s := o.objects.Services[1]
	if !slices.Equal(s.Spec.ClusterIPs, []string{"10.96.1.1", "fd00:10:96::100"}) || s.Spec.Ports[0].NodePort != 30001 || s.Spec.Ports[0].Protocol != corev1.ProtocolTCP {
		t.Errorf("%+v", s.Spec)
	}
	var slice *discoveryv1.EndpointSlice
	for i := range o.objects.EndpointSlices {
		if ofService(&o.objects.EndpointSlices[i], "shop", "front") {
			slice = &o.objects.EndpointSlices[i]
		}
	}
	if slice == nil || len(slice.Endpoints) != 2 || *slice.Ports[0].Port != 8080 || !*slice.Endpoints[0].Conditions.Ready || *slice.Endpoints[1].Conditions.Ready {
		t.Errorf("end points %+v", slice)
	}
	if text := strings.Join(o.notes, "\n"); !strings.Contains(text, "10.96.1.1") || !strings.Contains(text, "30001") || !strings.Contains(text, "1 ready") {
		t.Errorf("notes %q", o.notes)
	}
	// What changes nothing of the end points leaves the slices that are there.
	o = laid(t, "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {type: NodePort, selector: {app: web}, ports: [{port: 81, targetPort: http}]}\n")
	s = o.objects.Services[0]
	if s.Spec.ClusterIP != "10.96.1.0" || len(o.objects.EndpointSlices) != 1 || o.objects.EndpointSlices[0].Name != "web-abc" {
		t.Errorf("%+v, slices %+v", s.Spec, o.objects.EndpointSlices)
	}
}

// TestLabels: a pod's labels decide of which services it is an end point, and a file's labels
// are put over those that are there.
func TestLabels(t *testing.T) {
	t.Parallel()
	o := laid(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: web-0, labels: {app: other}}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {tier: front}}\n")
	if p := o.objects.Pods[0]; p.Labels["app"] != "other" || p.Spec.NodeName != "n1" {
		t.Errorf("%+v", p)
	}
	if len(o.objects.EndpointSlices) != 1 || len(o.objects.EndpointSlices[0].Endpoints) != 1 || o.objects.EndpointSlices[0].Endpoints[0].Addresses[0] != "10.244.0.4" {
		t.Errorf("%+v", o.objects.EndpointSlices)
	}
	want := map[string]string{"team": "a", "tier": "front", corev1.LabelMetadataName: "shop"}
	if d := cmp.Diff(want, o.objects.Namespaces[0].Labels); d != "" {
		t.Error(d)
	}
	o = laid(t, "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: nowhere}\n")
	if len(o.warnings) != 1 || !strings.Contains(o.warnings[0], "no namespace nowhere") {
		t.Errorf("warnings %q", o.warnings)
	}
}
