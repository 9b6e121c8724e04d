package live

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

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

func bigPod(i int) *corev1.Pod {
	gateway := netip.MustParseAddr("10.244.1.1")
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: fmt.Sprintf("namespace-%d", i/100), Name: fmt.Sprintf("frontend-7d9f8c6b5-%05d", i), UID: types.UID(fmt.Sprintf("2b6b8f0e-0000-4000-8000-%012d", i)),
		Labels:      map[string]string{"app.kubernetes.io/name": "frontend", "app.kubernetes.io/instance": "shop", "pod-template-hash": "7d9f8c6b5"},
		Annotations: map[string]string{"prometheus.io/scrape": "true"},
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
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: fmt.Sprintf("c%d", j), Image: "registry.example.com/team/application:1.2.3", Env: make([]corev1.EnvVar, 12)})
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: fmt.Sprintf("c%d", j), ContainerID: fmt.Sprintf("containerd://%064d", i)})
	}
	return p
}
