//go:build linux

package sim

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ovnkctl/ovnkctl/internal/annotation"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

const clusterSubnets = "10.128.0.0/9/24,fd00:10:244::/48/64"

func nodeName(i int) string {
	return fmt.Sprintf("ip-10-%d-%d-17.eu-central-1.compute.internal", i/256, i%256)
}

// clusterNode is a Node as ordinary clusters have them, with all annotations of the
// network: 10.x.y.17 is its address, 10.(128+x).y.0/24 its subnet.
func clusterNode(i int) *corev1.Node {
	host := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i / 256), byte(i), 17}), 9)
	host6 := netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0x10, 14: byte(i / 256), 15: byte(i)}), 64)
	hosts := []netip.Prefix{host, host6}
	name := nodeName(i)
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: name, UID: types.UID(fmt.Sprintf("1a6b8f0e-0000-4000-8000-%012d", i)),
		Labels: map[string]string{
			"kubernetes.io/hostname": name, "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux",
			"node.kubernetes.io/instance-type": "m6i.2xlarge", "topology.kubernetes.io/zone": "eu-central-1a",
		},
		Annotations: map[string]string{"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
	}}
	id := i + plan.FirstNodeID
	transit, err := plan.Transit([]netip.Prefix{netip.MustParsePrefix("100.88.0.0/16"), netip.MustParsePrefix("fd97::/64")}, id)
	if err != nil {
		panic(err)
	}
	annotation.NodeID.Put(n.Annotations, id)
	annotation.NodeSubnets.Put(n.Annotations, map[string][]netip.Prefix{annotation.DefaultNetwork: subnets(i)})
	annotation.NodeTransit.Put(n.Annotations, transit)
	annotation.NodeChassisID.Put(n.Annotations, string(n.UID))
	annotation.NodePrimaryAddrs.Put(n.Annotations, hosts)
	annotation.NodeHostAddrs.Put(n.Annotations, hosts)
	annotation.NodeEncapIPs.Put(n.Annotations, []netip.Addr{host.Addr()})
	annotation.L3Gateway.Put(n.Annotations, annotation.Gateway{
		Mode: annotation.ModeShared, BridgeID: "br-ex", InterfaceID: "br-ex_" + name, MAC: plan.MAC(host.Addr()),
		Addresses: hosts, NextHops: []netip.Addr{netip.MustParseAddr("10.127.255.254"), netip.MustParseAddr("fd10::ffff:ffff")}, NodePort: true,
	})
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: host.Addr().String()}, {Type: corev1.NodeInternalIP, Address: host6.Addr().String()}, {Type: corev1.NodeHostName, Address: name}}
	for j := range 50 {
		n.Status.Images = append(n.Status.Images, corev1.ContainerImage{Names: []string{fmt.Sprintf("registry.example.com/team/application-%d@sha256:%064d", j, j)}, SizeBytes: 1 << 28})
	}
	return n
}

func subnets(i int) []netip.Prefix {
	return []netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 128 | byte(i/256), byte(i), 0}), 24),
		netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0, 0, 0x10, 0x02, 0x44, byte(i / 256), byte(i)}), 64),
	}
}

// clusterPod is a pod of the first node that had its addresses before.
func clusterPod(i int) *corev1.Pod {
	of, host := subnets(0), byte(i+3)
	v6 := of[1].Addr().As16()
	v6[15] = host
	v4 := netip.AddrFrom4([4]byte{10, 128, 0, host})
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: fmt.Sprintf("namespace-%d", i/10), Name: fmt.Sprintf("frontend-7d9f8c6b5-%05d", i), UID: types.UID(fmt.Sprintf("2b6b8f0e-0000-4000-8000-%012d", i)),
		Labels:      map[string]string{"app.kubernetes.io/name": "frontend", "app.kubernetes.io/instance": "shop", "pod-template-hash": "7d9f8c6b5"},
		Annotations: map[string]string{"prometheus.io/scrape": "true"},
	}}
	gateway := of[0].Addr().Next()
	annotation.PodNetworks.Put(p.Annotations, map[string]annotation.PodNetwork{annotation.DefaultNetwork: {
		Addresses: []netip.Prefix{netip.PrefixFrom(v4, 24), netip.PrefixFrom(netip.AddrFrom16(v6), 64)}, MAC: plan.MAC(v4),
		Gateways: []netip.Addr{gateway, of[1].Addr().Next()},
		Routes:   []annotation.Route{{Dest: netip.MustParsePrefix("10.128.0.0/9"), NextHop: gateway}, {Dest: netip.MustParsePrefix("10.96.0.0/16"), NextHop: gateway}},
		Role:     annotation.RolePrimary,
	}})
	p.Spec.NodeName = nodeName(0)
	for j := range 3 {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: fmt.Sprintf("c%d", j), Image: "registry.example.com/team/application:1.2.3", Env: make([]corev1.EnvVar, 12)})
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: fmt.Sprintf("c%d", j), ContainerID: fmt.Sprintf("containerd://%064d", i)})
	}
	return p
}
