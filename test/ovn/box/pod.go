//go:build linux

package box

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/pods"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

// firstPod is the offset of the first pod's address: behind gateway and management port.
const firstPod = 5

// podMTU leaves room for GENEVE over IPv6.
const podMTU = 1400

// Pod is a pod with a network namespace.
type Pod struct {
	Key   world.PodKey
	NS    string
	Addrs []netip.Addr
	MAC   string
	Zone  *Zone
	port  string // interface on the integration bridge
}

// LogicalPort is the name of the pod's port.
func (p *Pod) LogicalPort() string { return names.Pod(p.Key.Namespace, p.Key.Name) }

// AddPod creates a pod in the namespace default.
func (z *Zone) AddPod(name string) *Pod {
	z.box.t.Helper()
	return z.AddPodIn("default", name)
}

// AddPodIn creates a pod on the zone's node, allocates its addresses, and connects its
// network namespace when the engine has made its port, as the CNI server does. Its name is
// that of no other pod of the box.
func (z *Zone) AddPodIn(namespace, name string) *Pod {
	z.box.t.Helper()
	z.pods++
	p := &Pod{Key: world.PodKey{Namespace: namespace, Name: name}, Zone: z, port: fmt.Sprint("pod", z.pods)}
	var allocation world.PodNetwork
	for _, s := range z.Subnets {
		a, _ := plan.Nth(s, uint64(firstPod+z.pods))
		p.Addrs = append(p.Addrs, a)
		allocation.Addresses = append(allocation.Addresses, plan.With(a, s))
		allocation.Gateways = append(allocation.Gateways, plan.Gateway(s))
	}
	p.MAC = plan.MACOf(p.Addrs...)
	allocation.MAC = p.MAC
	uid := types.UID("uid-" + name)
	z.World.SetPod(world.FromPod(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Key.Namespace, Name: name, UID: uid},
		Spec:       corev1.PodSpec{NodeName: z.Name},
	}))
	if !z.World.Allocate(p.Key, string(uid), world.DefaultNetwork, allocation) {
		z.box.t.Fatalf("pod %s is gone", p.Key)
	}
	z.Wait(pods.Name, feature.Key{Namespace: p.Key.Namespace, Name: p.Key.Name})
	z.plug(p, string(uid), allocation)
	return p
}

// Wait waits until what a key wants is in the databases.
func (z *Zone) Wait(featureName string, k feature.Key) {
	z.box.t.Helper()
	ctx, cancel := context.WithTimeout(z.box.ctx, Patience)
	defer cancel()
	if err := z.Engine.Wait(ctx, featureName, k); err != nil {
		z.box.t.Fatalf("%s: %v", z.Name, err)
	}
}

// plug connects the pod's namespace with the integration bridge.
func (z *Zone) plug(p *Pod, uid string, allocation world.PodNetwork) {
	z.box.t.Helper()
	b := z.box
	p.NS = b.namespace("p-" + p.Key.Name)
	b.ip(p.NS, fmt.Sprintf("link add eth0 mtu %d address %s type veth peer name %s mtu %d netns %s", podMTU, p.MAC, p.port, podMTU, z.NS))
	b.ip(z.NS, "link set "+p.port+" up")
	b.ip(p.NS, "link set eth0 up")
	for i, a := range allocation.Addresses {
		b.ip(p.NS, "addr add "+a.String()+" dev eth0"+nodad(a.Addr()))
		b.ip(p.NS, "route add default via "+allocation.Gateways[i].String())
	}
	z.addInterface(p.port, p.LogicalPort(), p.MAC, fmt.Sprintf("external_ids:iface-id-ver=%q", uid))
	z.waitInstalled(p.port)
}

// DeletePod removes a pod and its namespace.
func (z *Zone) DeletePod(p *Pod) {
	z.box.t.Helper()
	z.vsctl("del-port", names.IntegrationBridge, p.port)
	if err := removeNamespace(p.NS); err != nil {
		z.box.t.Fatal(err)
	}
	z.World.DeletePod(p.Key)
	z.Wait(pods.Name, feature.Key{Namespace: p.Key.Namespace, Name: p.Key.Name})
}

// addInterface adds an interface to the integration bridge for a logical port.
func (z *Zone) addInterface(name, logical, mac string, settings ...string) {
	z.box.t.Helper()
	args := []string{"add-port", names.IntegrationBridge, name, "--", "set", "Interface", name,
		fmt.Sprintf("external_ids:iface-id=%q", logical), fmt.Sprintf("external_ids:attached_mac=%q", mac)}
	z.vsctl(append(args, settings...)...)
}

// waitInstalled waits until ovn-controller has made the flows of an interface.
func (z *Zone) waitInstalled(name string) {
	z.box.t.Helper()
	z.vsctl("wait-until", "Interface", name, "external_ids:ovn-installed=true")
}
