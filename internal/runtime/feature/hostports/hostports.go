// Package hostports makes the load balancers that lead ports of the local node to its pods.
//
// The key is a pod. For each protocol it owns one load balancer:
//
//	HostPort_<namespace>/<pod>_<TCP|UDP|SCTP>, in clusterLBGroup
//	    <address of the node>:<host port> → <address of the pod>:<its port>
//
// so that pods of the node reach the port by the node's switch, and the outside by the
// gateway router, with the client's address kept. Other nodes' pods come from the outside.
// The host's own connections, and those by loopback addresses, are the host's own matter.
package hostports

import (
	"net/netip"
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/ovn/balance"
	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/proxy"
)

// Name is the feature's name.
const Name = "hostports"

// Feature is the load balancers of host ports. The zero value is ready.
type Feature struct{}

var _ feature.Feature = Feature{}

// Name implements feature.Feature.
func (Feature) Name() string { return Name }

// Codes lists the codes of all reasons that the feature gives.
var Codes = proxy.HostPortCodes

// Keys implements feature.Feature.
func (Feature) Keys(v world.View, c world.Change) []feature.Key {
	var keys []feature.Key
	for _, k := range proxy.HostPortsTouched(v, c) {
		keys = append(keys, feature.Key{Namespace: k.Namespace, Name: k.Name})
	}
	return keys
}

// Desired implements feature.Feature.
func (Feature) Desired(v world.View, k feature.Key) (feature.Output, []feature.Reason) {
	var out feature.Output
	network, ok := v.Network(k.Network)
	if !ok {
		return out, nil
	}
	pod, ok := v.Pod(world.PodKey{Namespace: k.Namespace, Name: k.Name})
	if !ok {
		return out, nil
	}
	ports, refusals := proxy.PodHostPorts(v, network, pod)
	var reasons []feature.Reason
	for _, r := range refusals {
		reasons = append(reasons, feature.Reason(r))
	}
	node, ok := v.Node(v.LocalNode())
	if !ok {
		return out, reasons
	}
	addrs := proxy.NodeAddrs(v, network, node)
	for _, protocol := range []world.Protocol{world.TCP, world.UDP, world.SCTP} {
		if vips := vipsOf(ports, protocol, addrs); len(vips) > 0 {
			balancer(&out.NB, network, pod, protocol, vips)
		}
	}
	return out, reasons
}

// vipsOf are the ports of one protocol at those addresses of the node that they are open on.
func vipsOf(ports []proxy.HostPort, protocol world.Protocol, addrs []netip.Addr) map[string]string {
	vips := map[string]string{}
	for _, p := range ports {
		if p.Protocol != protocol {
			continue
		}
		on := []netip.Addr{p.Host.Addr()}
		if p.Host.Addr().IsUnspecified() {
			on = addrs
		}
		for _, a := range on {
			if a.Is4() == p.Backend.Addr().Is4() && slices.Contains(addrs, a) {
				vips[netip.AddrPortFrom(a, p.Host.Port()).String()] = p.Backend.String()
			}
		}
	}
	return vips
}

func balancer(out *rows.Set, network *world.Network, pod *world.Pod, protocol world.Protocol, vips map[string]string) {
	n, text := names.Of(network.Name), string(protocol)
	out.AddTo(rows.Target{Table: nb.LoadBalancerGroupTable, Name: n.ClusterGroup()}, "load_balancer", text, &nb.LoadBalancer{
		Name: n.HostPort(pod.Namespace, pod.Name, text), Protocol: &text, Vips: vips,
		Options: balance.Options(network, protocol, balance.Flavour{KeepSource: true}),
		ExternalIDs: map[string]string{
			names.KeyKind: string(world.KindPod), names.KeyOwner: pod.Namespace + "/" + pod.Name,
		},
	})
}
