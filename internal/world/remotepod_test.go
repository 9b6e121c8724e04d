package world

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func remotePod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: "p", UID: "u", Labels: map[string]string{"app": "web"}, CreationTimestamp: metav1.Unix(7, 0),
			Annotations: map[string]string{
				"k8s.ovn.org/pod-networks": `{"default":{"ip_addresses":["10.244.2.5/24","fd00::5/64"],"mac_address":"0a:58:0a:f4:02:05"},` +
					`"ns/blue":{"ip_addresses":["10.10.0.5/24"],"mac_address":"0a:58:0a:0a:00:05"}}`,
				"kubernetes.io/ingress-bandwidth": "no",
			},
		},
		Spec: corev1.PodSpec{
			NodeName: "b",
			InitContainers: []corev1.Container{
				{Ports: []corev1.ContainerPort{{Name: "once", ContainerPort: 1}}},
				{RestartPolicy: ptr(corev1.ContainerRestartPolicyAlways), Ports: []corev1.ContainerPort{{Name: "proxy", ContainerPort: 15001}}},
			},
			Containers: []corev1.Container{
				{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, Protocol: corev1.ProtocolTCP, HostPort: 80}, {ContainerPort: 9090}}},
				{Ports: []corev1.ContainerPort{{Name: "dns", ContainerPort: 53, Protocol: corev1.ProtocolUDP}, {Name: "odd", ContainerPort: 0}}},
			},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.244.2.6", PodIPs: []corev1.PodIP{{IP: "10.244.2.6"}, {IP: "nowhere"}}},
	}
}

func TestFromRemotePod(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		change func(*corev1.Pod, *Pod)
	}{
		{"what its node allocated, nothing else", func(*corev1.Pod, *Pod) {}},
		{"not allocated yet", func(o *corev1.Pod, w *Pod) {
			o.Annotations, o.Status = nil, corev1.PodStatus{}
			w.IPs = nil
		}},
		{"allocated by another network plugin", func(o *corev1.Pod, w *Pod) {
			o.Annotations = nil
			w.IPs = []netip.Addr{addr("10.244.2.6")}
		}},
		{"an annotation that does not parse", func(o *corev1.Pod, w *Pod) {
			o.Annotations["k8s.ovn.org/pod-networks"] = "{"
			w.IPs = []netip.Addr{addr("10.244.2.6")}
		}},
		{"on its host's network", func(o *corev1.Pod, w *Pod) {
			o.Spec.HostNetwork = true
			w.HostNetwork, w.IPs = true, []netip.Addr{addr("10.244.2.6")}
		}},
		{"finished", func(o *corev1.Pod, w *Pod) {
			o.Status.Phase = corev1.PodFailed
			w.Finished, w.IPs, w.Ports = true, nil, nil
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := remotePod()
			want := &Pod{
				Namespace: "ns", Name: "p", UID: "u", Node: "b", Labels: map[string]string{"app": "web"},
				IPs:   []netip.Addr{addr("10.244.2.5"), addr("fd00::5")},
				Ports: []PodPort{{"proxy", TCP, 15001}, {"http", TCP, 8080}, {"dns", UDP, 53}},
			}
			c.change(o, want)
			got := FromRemotePod(o)
			if diff := cmp.Diff(want, got, opaque); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			local := FromPod(o)
			if diff := cmp.Diff(got.Addrs(), local.Addrs(), opaque, cmpopts.EquateEmpty()); diff != "" && len(local.Networks)+len(local.IPs) > 0 && !got.Finished {
				t.Errorf("the pod's own node says other addresses (-remote +local):\n%s", diff)
			}
			if !got.Finished && !cmp.Equal(got.Ports, local.Ports) {
				t.Errorf("the pod's own node says other ports: %v", local.Ports)
			}
		})
	}
}

func TestFromNamespace(t *testing.T) {
	t.Parallel()
	o := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: "ns", UID: "u", Labels: map[string]string{"team": "a"},
		Annotations: map[string]string{"k8s.ovn.org/acl-logging": `{"deny":"info"}`, "k8s.ovn.org/multicast-enabled": "true", "example.com/x": "y"},
	}}
	want := &Namespace{
		Name: "ns", UID: "u", Labels: map[string]string{"team": "a"},
		Annotations: map[string]string{"k8s.ovn.org/acl-logging": `{"deny":"info"}`, "k8s.ovn.org/multicast-enabled": "true"},
	}
	if diff := cmp.Diff(want, FromNamespace(o)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	o.Annotations = map[string]string{"example.com/x": "y"}
	if got := FromNamespace(o); got.Annotations != nil {
		t.Errorf("annotations of others: %v", got.Annotations)
	}
}

func TestNamespaces(t *testing.T) {
	t.Parallel()
	s := New(Config{})
	var seen []string
	s.Subscribe(func(v View, c Change) {
		n, there := v.Namespace(c.Ref.Name)
		if c.Ref.Kind != KindNamespace || n != c.NewNamespace || there != (n != nil) {
			t.Errorf("change %+v while the world has %v", c, n)
		}
		switch {
		case c.OldNamespace == nil:
			seen = append(seen, "new")
		case c.NewNamespace == nil:
			seen = append(seen, "gone")
		default:
			seen = append(seen, "changed")
		}
	})
	s.SetNamespace(&Namespace{Name: "ns", Labels: map[string]string{"a": "1"}})
	s.SetNamespace(&Namespace{Name: "ns", Labels: map[string]string{"a": "1"}})
	s.SetNamespace(&Namespace{Name: "ns", Labels: map[string]string{"a": "2"}})
	s.Read(func(v View) {
		for n := range v.Namespaces {
			if n.Labels["a"] != "2" {
				t.Errorf("the world has %+v", n)
			}
		}
	})
	s.DeleteNamespace("ns")
	s.DeleteNamespace("ns")
	if diff := cmp.Diff([]string{"new", "changed", "gone"}, seen); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}
