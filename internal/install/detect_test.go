package install

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/version"
	fakediscovery "k8s.io/client-go/discovery/fake"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"
)

func fakeCluster(t *testing.T, objects ...runtime.Object) *cluster {
	t.Helper()
	client := fake.NewClientset(objects...)
	discovery, ok := client.Discovery().(*fakediscovery.FakeDiscovery)
	if !ok {
		t.Fatal("the fake has no fake discovery")
	}
	discovery.FakedServerVersion = &version.Info{GitVersion: "v1.37.2+k3s1"}
	return &cluster{kube: client}
}

func configMap(namespace, name, key, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string]string{key: value}}
}

func staticPod(component string, flags ...string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: component + "-n1", Labels: map[string]string{"component": component}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Command: append([]string{component}, flags...)}}},
	}
}

func apiServers(addresses ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kubernetes", Labels: map[string]string{"kubernetes.io/service-name": "kubernetes"}},
		Ports:      []discoveryv1.EndpointPort{{Port: ptr.To[int32](6443)}},
	}
	for _, a := range addresses {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}})
	}
	s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{"192.0.2.99"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(false)}})
	return s
}

func serviceCIDR(cidrs ...string) *networkingv1.ServiceCIDR {
	return &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "kubernetes"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: cidrs}}
}

const clusterInfo = `apiVersion: v1
kind: Config
clusters:
- name: ""
  cluster: {server: "https://k8s.example.com:6443"}
`

func TestDetect(t *testing.T) {
	t.Parallel()
	adm := configMap("kube-system", "kubeadm-config", "ClusterConfiguration",
		"controlPlaneEndpoint: lb.example.com:6443\nnetworking: {podSubnet: \"10.0.0.0/16,fd01::/56\", serviceSubnet: 10.1.0.0/16}\n")
	for _, test := range []struct {
		name    string
		objects []runtime.Object
		want    []Detection
	}{
		{"nothing is known", nil, nil},
		{"kubeadm", []runtime.Object{adm, configMap("kube-public", "cluster-info", "kubeconfig", clusterInfo), apiServers("192.0.2.1")}, []Detection{
			{bootstrapPath, "https://k8s.example.com:6443,https://lb.example.com:6443,https://192.0.2.1:6443", "ConfigMap kube-public/cluster-info, kubeadm-config, EndpointSlice default/kubernetes"},
			{"network.serviceSubnets", "10.1.0.0/16", "kubeadm-config"},
			{"network.clusterSubnets", "10.0.0.0/16/24,fd01::/56/64", "kubeadm-config"},
		}},
		{"a load balancer of kubeadm", []runtime.Object{adm, apiServers("192.0.2.1")}, []Detection{
			{bootstrapPath, "https://lb.example.com:6443,https://192.0.2.1:6443", "kubeadm-config, EndpointSlice default/kubernetes"},
			{"network.serviceSubnets", "10.1.0.0/16", "kubeadm-config"},
			{"network.clusterSubnets", "10.0.0.0/16/24,fd01::/56/64", "kubeadm-config"},
		}},
		{"ServiceCIDRs know best", []runtime.Object{adm, serviceCIDR("10.2.0.0/16")}, []Detection{
			{bootstrapPath, "https://lb.example.com:6443", "kubeadm-config"},
			{"network.serviceSubnets", "10.2.0.0/16", "ServiceCIDR objects"},
			{"network.clusterSubnets", "10.0.0.0/16/24,fd01::/56/64", "kubeadm-config"},
		}},
		{"flags of static pods", []runtime.Object{
			staticPod("kube-apiserver", "--service-cluster-ip-range=10.3.0.0/16"),
			staticPod("kube-controller-manager", "--cluster-cidr=10.4.0.0/16", "--node-cidr-mask-size=26"),
			apiServers("192.0.2.3", "192.0.2.2"),
		}, []Detection{
			{bootstrapPath, "https://192.0.2.2:6443,https://192.0.2.3:6443", "EndpointSlice default/kubernetes"},
			{"network.serviceSubnets", "10.3.0.0/16", "flags of kube-apiserver"},
			{"network.clusterSubnets", "10.4.0.0/16/26", "flags of kube-controller-manager"},
		}},
		{"a cluster of one node", []runtime.Object{staticPod("kube-controller-manager", "--cluster-cidr=10.4.0.0/24")}, []Detection{
			{"network.clusterSubnets", "10.4.0.0/24/25", "flags of kube-controller-manager"},
		}},
		{"the API server has IPv6", []runtime.Object{apiServers("2001:db8::1"), serviceCIDR("fd02::/112")}, []Detection{
			{bootstrapPath, "https://[2001:db8::1]:6443", "EndpointSlice default/kubernetes"},
			{"network.serviceSubnets", "fd02::/112", "ServiceCIDR objects"},
			{"network.clusterSubnets", "fd00:10:244::/48/64", "default for IPv6 Services"},
		}},
		{"an API server that tells others its loopback address", []runtime.Object{apiServers("127.0.0.1", "::1", "0.0.0.0", "169.254.1.1")}, []Detection{
			{bootstrapPath, "https://operator.example.com:443", "kubeconfig"},
		}},
		{"dual-stack Services", []runtime.Object{serviceCIDR("10.5.0.0/16", "fd02::/112")}, []Detection{
			{"network.serviceSubnets", "10.5.0.0/16,fd02::/112", "ServiceCIDR objects"},
			{"network.clusterSubnets", "10.244.0.0/16/24,fd00:10:244::/48/64", "default for dual-stack Services"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := fakeCluster(t, test.objects...)
			if len(test.want) > 0 && test.want[0].Source == "kubeconfig" {
				c.server = "https://operator.example.com"
			}
			f, err := c.look(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, f.detect(defaultClusterSubnets(testChart(t)))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCompleteLeavesWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	asked := values{"network": map[string]any{"serviceSubnets": "10.9.0.0/16", "mtu": 1300.0}}
	got, used := complete(asked, []Detection{{"network.serviceSubnets", "10.1.0.0/16", "x"}, {"kubernetes.apiServer", "https://a:1", "y"}})
	want := values{"network": map[string]any{"serviceSubnets": "10.9.0.0/16", "mtu": 1300.0}, "kubernetes": map[string]any{"apiServer": "https://a:1"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Detection{{"kubernetes.apiServer", "https://a:1", "y"}}, used); diff != "" {
		t.Error(diff)
	}
}
