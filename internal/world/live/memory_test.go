package live

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/ovnkctl/ovnkctl/internal/annotation"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// BenchmarkMemory reports how many bytes of heap each object leaves behind in the world,
// after it came in protobuf as from an API server. Labels and annotations are those of
// ordinary clusters.
func BenchmarkMemory(b *testing.B) {
	b.Run("node", func(b *testing.B) {
		keep(b, bigNode, func(s *world.Store, n *corev1.Node) { s.SetNode(world.FromNode(n)) })
	})
	b.Run("pod", func(b *testing.B) {
		keep(b, bigPod, func(s *world.Store, p *corev1.Pod) { s.SetPod(world.FromPod(p)) })
	})
	b.Run("pod of another node", func(b *testing.B) {
		c := converter{node: "here"}
		keep(b, bigPod, func(s *world.Store, p *corev1.Pod) { s.SetPod(c.pod(p)) })
	})
	b.Run("namespace", func(b *testing.B) {
		keep(b, bigNamespace, func(s *world.Store, n *corev1.Namespace) { s.SetNamespace(world.FromNamespace(n)) })
	})
	b.Run("service", func(b *testing.B) {
		keep(b, bigService, func(s *world.Store, o *corev1.Service) { s.SetService(world.FromService(o)) })
	})
	b.Run("slice of 3", func(b *testing.B) {
		keep(b, bigSlice(3), func(s *world.Store, o *discoveryv1.EndpointSlice) { s.SetSlice(world.FromEndpointSlice(o)) })
	})
	b.Run("slice of 100", func(b *testing.B) {
		keep(b, bigSlice(100), func(s *world.Store, o *discoveryv1.EndpointSlice) { s.SetSlice(world.FromEndpointSlice(o)) })
	})
}

// object is a pointer to a Kubernetes object.
type object[T any] interface {
	*T
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

func keep[T any, O object[T]](b *testing.B, build func(int) O, set func(*world.Store, O)) {
	const count = 5000
	wire := [][]byte{}
	for i := range count {
		data, err := build(i).Marshal()
		if err != nil {
			b.Fatal(err)
		}
		wire = append(wire, data)
	}
	var perObject float64
	for b.Loop() {
		before := heap()
		store := world.New(world.Config{})
		for _, data := range wire {
			o := O(new(T))
			if err := o.Unmarshal(data); err != nil {
				b.Fatal(err)
			}
			set(store, o)
		}
		perObject = float64(heap()-before) / count
		runtime.KeepAlive(store)
	}
	b.ReportMetric(perObject, "heap-bytes/object")
	b.ReportMetric(float64(len(wire[0])), "wire-bytes/object")
	b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N)/count, "ns/object")
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func bigService(i int) *corev1.Service {
	v4 := netip.AddrFrom4([4]byte{10, 96, byte(i / 256), byte(i)}).String()
	policy := corev1.ServiceInternalTrafficPolicyCluster
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{
		Namespace: fmt.Sprintf("namespace-%d", i/100), Name: fmt.Sprintf("frontend-%05d", i), UID: types.UID(fmt.Sprintf("3b6b8f0e-0000-4000-8000-%012d", i)),
		Labels:      map[string]string{"app.kubernetes.io/name": "frontend", "app.kubernetes.io/instance": "shop"},
		Annotations: map[string]string{"prometheus.io/scrape": "true"},
	}}
	s.Spec = corev1.ServiceSpec{
		Type: corev1.ServiceTypeClusterIP, ClusterIP: v4, ClusterIPs: []string{v4}, InternalTrafficPolicy: &policy,
		Selector: map[string]string{"app.kubernetes.io/name": "frontend"},
		Ports: []corev1.ServicePort{
			{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromString("http")},
			{Name: "metrics", Protocol: corev1.ProtocolTCP, Port: 9090, TargetPort: intstr.FromString("metrics")},
		},
	}
	return s
}

// bigSlice makes slices of so many end points on 500 nodes in three zones.
func bigSlice(count int) func(int) *discoveryv1.EndpointSlice {
	return func(i int) *discoveryv1.EndpointSlice {
		s := &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: fmt.Sprintf("namespace-%d", i/100), Name: fmt.Sprintf("frontend-%05d-x7k2p", i), UID: types.UID(fmt.Sprintf("4b6b8f0e-0000-4000-8000-%012d", i)),
				Labels: map[string]string{discoveryv1.LabelServiceName: fmt.Sprintf("frontend-%05d", i), discoveryv1.LabelManagedBy: "endpointslice-controller.k8s.io"},
			},
			AddressType: discoveryv1.AddressTypeIPv4,
			Ports:       []discoveryv1.EndpointPort{{Name: ptr("http"), Port: ptr(int32(8080)), Protocol: ptr(corev1.ProtocolTCP)}, {Name: ptr("metrics"), Port: ptr(int32(9090)), Protocol: ptr(corev1.ProtocolTCP)}},
		}
		for j := range count {
			zone := fmt.Sprintf("eu-central-1%c", 'a'+j%3)
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{netip.AddrFrom4([4]byte{10, 244, byte(i), byte(j)}).String()}, NodeName: ptr(fmt.Sprintf("ip-10-0-%d-17.eu-central-1.compute.internal", (i+j)%500)),
				Zone: &zone, Hints: &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: zone}}},
				Conditions: discoveryv1.EndpointConditions{Ready: ptr(true), Serving: ptr(true), Terminating: ptr(false)},
				TargetRef:  &corev1.ObjectReference{Kind: "Pod", Name: fmt.Sprintf("frontend-7d9f8c6b5-%05d", j), UID: types.UID(fmt.Sprintf("2b6b8f0e-0000-4000-8000-%012d", j))},
			})
		}
		return s
	}
}

func ptr[T any](v T) *T { return &v }

func bigNode(i int) *corev1.Node {
	name := fmt.Sprintf("ip-10-%d-%d-17.eu-central-1.compute.internal", i/256, i%256)
	v4 := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i / 256), byte(i), 17}), 16)
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: name, UID: types.UID(fmt.Sprintf("1a6b8f0e-0000-4000-8000-%012d", i)),
		Labels: map[string]string{
			"kubernetes.io/hostname": name, "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux",
			"beta.kubernetes.io/arch": "amd64", "beta.kubernetes.io/os": "linux", "node.kubernetes.io/instance-type": "m6i.2xlarge",
			"topology.kubernetes.io/zone": "eu-central-1a", "topology.kubernetes.io/region": "eu-central-1", "node-role.kubernetes.io/worker": "",
		},
		Annotations: map[string]string{"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
	}}
	subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, byte(i / 256), byte(i), 0}), 24)
	annotation.NodeID.Put(n.Annotations, i+2)
	annotation.NodeSubnets.Put(n.Annotations, map[string][]netip.Prefix{"default": {subnet, netip.MustParsePrefix("fd00:10:244:2::/64")}})
	annotation.NodeTransit.Put(n.Annotations, []netip.Prefix{v4, netip.MustParsePrefix("fd97::2/64")})
	annotation.NodeChassisID.Put(n.Annotations, string(n.UID))
	annotation.NodePrimaryAddrs.Put(n.Annotations, []netip.Prefix{v4})
	annotation.NodeHostAddrs.Put(n.Annotations, []netip.Prefix{v4})
	annotation.NodeEncapIPs.Put(n.Annotations, []netip.Addr{v4.Addr()})
	annotation.L3Gateway.Put(n.Annotations, annotation.Gateway{
		Mode: annotation.ModeShared, BridgeID: "br-ex", InterfaceID: "br-ex_" + name, MAC: "02:42:ac:12:00:03",
		Addresses: []netip.Prefix{v4}, NextHops: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, NodePort: true,
	})
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: v4.Addr().String()}, {Type: corev1.NodeHostName, Address: name}}
	for j := range 50 {
		n.Status.Images = append(n.Status.Images, corev1.ContainerImage{Names: []string{fmt.Sprintf("registry.example.com/team/application-%d@sha256:%064d", j, j)}, SizeBytes: 1 << 28})
	}
	return n
}

func bigNamespace(i int) *corev1.Namespace {
	name := fmt.Sprintf("namespace-%d", i)
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, UID: types.UID(fmt.Sprintf("5b6b8f0e-0000-4000-8000-%012d", i)),
		Labels: map[string]string{"kubernetes.io/metadata.name": name, "team": "shop", "pod-security.kubernetes.io/enforce": "restricted"},
	}}
}

func bigPod(i int) *corev1.Pod {
	gateway := netip.MustParseAddr("10.244.1.1")
	owner := types.UID(fmt.Sprintf("6b6b8f0e-0000-4000-8000-%012d", i/10)) // replicas
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: fmt.Sprintf("namespace-%d", i/100), Name: fmt.Sprintf("frontend-7d9f8c6b5-%05d", i), UID: types.UID(fmt.Sprintf("2b6b8f0e-0000-4000-8000-%012d", i)),
		Labels:      map[string]string{"app.kubernetes.io/name": "frontend", "app.kubernetes.io/instance": "shop", "pod-template-hash": "7d9f8c6b5"},
		Annotations: map[string]string{"prometheus.io/scrape": "true"},

		OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "frontend-7d9f8c6b5", UID: owner, Controller: ptr(true)}},
	}}
	annotation.PodNetworks.Put(p.Annotations, map[string]annotation.PodNetwork{"default": {
		Addresses: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(i / 256), byte(i)}), 24)}, MAC: "0a:58:0a:f4:01:05",
		Gateways: []netip.Addr{gateway},
		Routes: []annotation.Route{
			{Dest: netip.MustParsePrefix("10.244.0.0/16"), NextHop: gateway}, {Dest: netip.MustParsePrefix("10.96.0.0/16"), NextHop: gateway},
			{Dest: netip.MustParsePrefix("169.254.0.5/32"), NextHop: gateway}, {Dest: netip.MustParsePrefix("100.64.0.0/16"), NextHop: gateway},
		},
		Role: annotation.RolePrimary,
	}})
	p.Spec.NodeName = "ip-10-0-0-17.eu-central-1.compute.internal"
	for j := range 3 {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: fmt.Sprintf("c%d", j), Image: "registry.example.com/team/application:1.2.3", Env: make([]corev1.EnvVar, 12),
			Ports: []corev1.ContainerPort{{Name: fmt.Sprintf("port-%d", j), ContainerPort: 8080, Protocol: corev1.ProtocolTCP}}})
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: fmt.Sprintf("c%d", j), ContainerID: fmt.Sprintf("containerd://%064d", i)})
	}
	return p
}
