package world

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ovnkctl/ovnkctl/internal/annotation"
)

var (
	prefix = netip.MustParsePrefix
	addr   = netip.MustParseAddr
	opaque = cmp.Options{
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	}
)

func TestFromNode(t *testing.T) {
	t.Parallel()
	internal := func(ips ...string) (s corev1.NodeStatus) {
		for _, ip := range ips {
			s.Addresses = append(s.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip})
		}
		return s
	}
	labels := map[string]string{"kubernetes.io/hostname": "n1"}
	cases := []struct {
		name string
		node corev1.Node
		want Node
	}{
		{
			name: "new node",
			node: corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "u1"}},
			want: Node{Name: "n1", UID: "u1"},
		},
		{
			name: "complete node",
			node: corev1.Node{
				ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "u1", Labels: labels, Annotations: map[string]string{
					"k8s.ovn.org/node-id":                         "3",
					"k8s.ovn.org/node-subnets":                    `{"default":["10.244.1.0/24","fd00:10:244:2::/64"]}`,
					"k8s.ovn.org/node-transit-switch-port-ifaddr": `{"ipv4":"100.88.0.3/16","ipv6":"fd97::3/64"}`,
					"k8s.ovn.org/node-chassis-id":                 "c1",
					"k8s.ovn.org/l3-gateway-config": `{"default":{"mode":"local","bridge-id":"br-ex","interface-id":"br-ex_n1",` +
						`"mac-address":"02:42:ac:12:00:03","ip-addresses":["172.18.0.3/16"],"next-hops":["172.18.0.1"],"node-port-enable":"true","vlan-id":"5"}}`,
					"k8s.ovn.org/node-primary-ifaddr": `{"ipv4":"172.18.0.3/16"}`,
					"k8s.ovn.org/host-cidrs":          `["172.18.0.3/16","10.9.0.3/24"]`,
					"k8s.ovn.org/node-encap-ips":      `["10.9.0.3"]`,
					"k8s.ovn.org/gateway-mtu-support": "false",
				}},
				Status: internal("172.18.0.3", "fc00::3"),
			},
			want: Node{
				Name: "n1", UID: "u1", Labels: labels,
				InternalIPs: []netip.Addr{addr("172.18.0.3"), addr("fc00::3")},
				ID:          3,
				Subnets:     map[string][]netip.Prefix{"default": {prefix("10.244.1.0/24"), prefix("fd00:10:244:2::/64")}},
				Transit:     []netip.Prefix{prefix("100.88.0.3/16"), prefix("fd97::3/64")},
				ChassisID:   "c1",
				Gateway: &Gateway{Mode: GatewayLocal, BridgeID: "br-ex", InterfaceID: "br-ex_n1", MAC: "02:42:ac:12:00:03",
					Addresses: []netip.Prefix{prefix("172.18.0.3/16")}, NextHops: []netip.Addr{addr("172.18.0.1")}, VLAN: 5, NodePort: true},
				PrimaryAddrs: []netip.Prefix{prefix("172.18.0.3/16")},
				HostAddrs:    []netip.Prefix{prefix("172.18.0.3/16"), prefix("10.9.0.3/24")},
				EncapIPs:     []netip.Addr{addr("10.9.0.3")},
				NoGatewayMTU: true,
			},
		},
		{
			name: "no tunnel end point said, gateway disabled",
			node: corev1.Node{
				ObjectMeta: metav1.ObjectMeta{Name: "n1", Annotations: map[string]string{"k8s.ovn.org/l3-gateway-config": `{"default":{"mode":""}}`}},
				Status:     internal("172.18.0.3", "fc00::3"),
			},
			want: Node{Name: "n1", InternalIPs: []netip.Addr{addr("172.18.0.3"), addr("fc00::3")}, EncapIPs: []netip.Addr{addr("172.18.0.3")}},
		},
		{
			name: "problems leave the rest alone",
			node: corev1.Node{
				ObjectMeta: metav1.ObjectMeta{Name: "n1", Annotations: map[string]string{
					"k8s.ovn.org/node-id": "one", "k8s.ovn.org/node-chassis-id": "c1",
				}},
				Status: internal("nowhere", "172.18.0.3"),
			},
			want: Node{
				Name: "n1", ChassisID: "c1", InternalIPs: []netip.Addr{addr("172.18.0.3")}, EncapIPs: []netip.Addr{addr("172.18.0.3")},
				Problems: []Problem{
					{"status.addresses", `InternalIP "nowhere" is not an IP address`, "correct the --node-ip of the kubelet or the cloud provider"},
					{annotation.NodeID.Key(), `"one": want a decimal number from 2 to 32767`, "remove the annotation and `ovnkctl controller` writes it again"},
				},
			},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(&c.want, FromNode(&c.node), opaque); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestFromPod(t *testing.T) {
	t.Parallel()
	now := metav1.Now()
	networks := `{"default":{"ip_addresses":["10.244.1.5/24"],"mac_address":"0a:58:0a:f4:01:05","gateway_ips":["10.244.1.1"],` +
		`"routes":[{"dest":"10.244.0.0/16","nextHop":"10.244.1.1"}],"role":"primary"}}`
	meta := func(annotations map[string]string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u", Annotations: annotations}
	}
	tooMuch := "is not a bandwidth from 1k to 1P bits per second; the pod has no limit"
	cases := []struct {
		name string
		pod  corev1.Pod
		want Pod
	}{
		{
			name: "attached pod",
			pod: corev1.Pod{
				ObjectMeta: meta(map[string]string{"k8s.ovn.org/pod-networks": networks, ingressBandwidth: "10M", egressBandwidth: "1500k"}),
				Spec:       corev1.PodSpec{NodeName: "n1"},
			},
			want: Pod{
				Namespace: "ns", Name: "p", UID: "u", Node: "n1", IngressRate: 10_000_000, EgressRate: 1_500_000,
				Networks: map[string]PodNetwork{"default": {
					Addresses: []netip.Prefix{prefix("10.244.1.5/24")}, MAC: "0a:58:0a:f4:01:05", Gateways: []netip.Addr{addr("10.244.1.1")},
					Routes: []Route{{prefix("10.244.0.0/16"), addr("10.244.1.1")}},
				}},
			},
		},
		{
			name: "host network pods have nothing of ours",
			pod: corev1.Pod{
				ObjectMeta: meta(map[string]string{"k8s.ovn.org/pod-networks": "rubbish", ingressBandwidth: "rubbish"}),
				Spec:       corev1.PodSpec{NodeName: "n1", HostNetwork: true},
			},
			want: Pod{Namespace: "ns", Name: "p", UID: "u", Node: "n1", HostNetwork: true},
		},
		{
			name: "finished and going",
			pod: corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", DeletionTimestamp: &now, Labels: map[string]string{"a": "b"}},
				Status:     corev1.PodStatus{Phase: corev1.PodFailed},
			},
			want: Pod{Namespace: "ns", Name: "p", Finished: true, Deleting: true, Labels: map[string]string{"a": "b"}},
		},
		{
			name: "static pod with an address",
			pod: corev1.Pod{
				ObjectMeta: meta(map[string]string{"kubernetes.io/config.source": "file"}),
				Status:     corev1.PodStatus{Phase: corev1.PodPending, PodIP: "10.244.1.5"},
			},
			want: Pod{Namespace: "ns", Name: "p", UID: "u", Static: true, Started: true},
		},
		{
			name: "a pod from the API is not static",
			pod:  corev1.Pod{ObjectMeta: meta(map[string]string{"kubernetes.io/config.source": "api"})},
			want: Pod{Namespace: "ns", Name: "p", UID: "u"},
		},
		{
			name: "problems are named and harm nothing else",
			pod: corev1.Pod{ObjectMeta: meta(map[string]string{
				"k8s.ovn.org/pod-networks": "[]", ingressBandwidth: "999", egressBandwidth: "2P",
			})},
			want: Pod{
				Namespace: "ns", Name: "p", UID: "u",
				Problems: []Problem{
					{"k8s.ovn.org/pod-networks", `"[]": want a JSON object such as {"default":{"ip_addresses":["10.244.1.5/24"],…}}; ` +
						`there is a JSON array`,
						"delete the pod, so that its replacement gets a new allocation"},
					{ingressBandwidth, `"999" ` + tooMuch, "write a quantity such as 10M"},
					{egressBandwidth, `"2P" ` + tooMuch, "write a quantity such as 10M"},
				},
			},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(&c.want, FromPod(&c.pod), opaque); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestEqualObjectsAreNoChange(t *testing.T) {
	t.Parallel()
	s := New(Config{})
	var changes []Change
	s.Subscribe(func(_ View, c Change) { changes = append(changes, c) })
	node := func(id int) *Node { return &Node{Name: "n", ID: id, Labels: map[string]string{"a": "b"}} }
	pod := func() *Pod { return &Pod{Namespace: "ns", Name: "p", UID: "u"} }
	steps := []struct {
		what string
		do   func()
		want int // changes published
	}{
		{"new node", func() { s.SetNode(node(2)) }, 1},
		{"its heartbeat", func() { s.SetNode(node(2)) }, 0},
		{"another id", func() { s.SetNode(node(3)) }, 1},
		{"new pod", func() { s.SetPod(pod()) }, 1},
		{"its status", func() { s.SetPod(pod()) }, 0},
		{"allocation", func() {
			s.Allocate(PodKey{"ns", "p"}, "u", DefaultNetwork, PodNetwork{Addresses: []netip.Prefix{prefix("10.0.0.5/24")}})
		}, 1},
		{"its status beside the allocation", func() { s.SetPod(pod()) }, 0},
		{"the annotation that says the same", func() {
			p := pod()
			p.Networks = map[string]PodNetwork{DefaultNetwork: {Addresses: []netip.Prefix{prefix("10.0.0.5/24")}}}
			s.SetPod(p)
		}, 0},
	}
	for _, step := range steps {
		before := len(changes)
		step.do()
		if got := len(changes) - before; got != step.want {
			t.Errorf("%s: %d changes, want %d", step.what, got, step.want)
		}
	}
}
