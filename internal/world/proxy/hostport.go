package proxy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// HostPort is a port of the local node, in one family, that leads to a pod.
type HostPort struct {
	Pod      world.PodKey
	Protocol world.Protocol
	// Host is the address and port that it is open on; the unspecified address of the
	// family stands for all of the node's.
	Host    netip.AddrPort
	Backend netip.AddrPort
}

// Codes of refusals of host ports.
const (
	// InvalidHostPort: a host port of the pod does not parse.
	InvalidHostPort = "InvalidHostPort"
	// HostPortTaken: an older pod, a service or the node itself has the port.
	HostPortTaken = "HostPortTaken"
)

// HostPortCodes lists the codes of all refusals of host ports.
var HostPortCodes = []string{InvalidHostPort, HostPortTaken}

// HostPorts are all host ports that the local node serves, in order of pods, as they ask
// for them.
func HostPorts(v world.View, network *world.Network) []HostPort {
	var out []HostPort
	for _, p := range v.PodsWithHostPorts() {
		ports, _ := PodHostPorts(v, network, p)
		out = append(out, ports...)
	}
	slices.SortStableFunc(out, func(a, b HostPort) int {
		return cmp.Or(strings.Compare(a.Pod.Namespace, b.Pod.Namespace), strings.Compare(a.Pod.Name, b.Pod.Name))
	})
	return out
}

// PodHostPorts are the host ports of one pod: none unless it is on the local node and has
// addresses. A port that several claim is that of services first, then of the oldest pod.
func PodHostPorts(v world.View, network *world.Network, pod *world.Pod) ([]HostPort, []Refusal) {
	if !pod.Networked() || pod.Node != v.LocalNode() {
		return nil, nil
	}
	h := hostPorts{resolver: resolver{view: v, network: network}, pod: pod}
	h.node, _ = v.Node(pod.Node)
	for _, p := range pod.Problems {
		if p.Field == world.HostPortField {
			h.refuse(InvalidHostPort, pod.Ref(), p.Message, p.Remedy)
		}
	}
	for i := range pod.HostPorts {
		for _, a := range pod.Networks[network.Name].Addresses {
			h.open(i, a.Addr())
		}
	}
	return h.out, h.refusals
}

type hostPorts struct {
	resolver
	pod  *world.Pod
	node *world.Node // nil while the cluster does not know it
	out  []HostPort
}

// open leads a host port to an address of the pod, if it is of the port's family and
// nobody else's.
func (h *hostPorts) open(index int, to netip.Addr) {
	want := &h.pod.HostPorts[index]
	on := want.HostIP
	if !on.IsValid() {
		on = unspecified(to)
	}
	if on.Is4() != to.Is4() || !h.network.HasFamily(to) {
		return
	}
	if holder := h.portHolder(index, on); holder != "" {
		h.refuse(HostPortTaken, h.pod.Ref(),
			fmt.Sprintf("host port %d/%s on %s belongs to %s", want.Port, want.Protocol, hostName(on), holder), "choose another host port, or delete what has it")
		return
	}
	h.out = append(h.out, HostPort{
		Pod: world.PodKey{Namespace: h.pod.Namespace, Name: h.pod.Name}, Protocol: want.Protocol,
		Host: netip.AddrPortFrom(on, want.Port), Backend: netip.AddrPortFrom(to, want.PodPort),
	})
}

func hostName(a netip.Addr) string {
	if a.IsUnspecified() {
		return "all addresses"
	}
	return a.String()
}

// portHolder names who has a host port before the pod; empty if nobody.
func (h *hostPorts) portHolder(index int, on netip.Addr) string {
	want := &h.pod.HostPorts[index]
	if !on.IsLoopback() {
		if s := h.service(want, on); s != "" {
			return s
		}
	}
	claims := func(p *world.HostPort) bool {
		return p.Protocol == want.Protocol && p.Port == want.Port && overlap(p.HostIP, on)
	}
	if slices.ContainsFunc(h.pod.HostPorts[:index], func(p world.HostPort) bool { return claims(&p) }) {
		return "another container of the pod"
	}
	rivals := slices.DeleteFunc(h.view.PodsWithHostPort(want.Protocol, want.Port), func(p *world.Pod) bool {
		return p.Node != h.pod.Node || !hasFamily(p.Networks[h.network.Name], on) ||
			!slices.ContainsFunc(p.HostPorts, func(p world.HostPort) bool { return claims(&p) })
	})
	if older := world.OldestPod(rivals); older != nil && older != h.pod {
		return "the older pod " + older.Namespace + "/" + older.Name
	}
	return ""
}

// service names the service, or the part of the node, that has a port before all pods.
func (h *hostPorts) service(want *world.HostPort, on netip.Addr) string {
	port := world.ServicePort{Protocol: want.Protocol, Port: want.Port}
	if h.node == nil {
		return h.reserved(on, port)
	}
	for _, s := range h.view.ServicesWithNodePort(want.Protocol, want.Port) {
		if ServesNodePorts(h.node) && slices.ContainsFunc(s.ClusterIPs, func(a netip.Addr) bool { return a.Is4() == on.Is4() }) {
			return "the node port of service " + s.Key().String()
		}
	}
	for _, a := range NodeAddrs(h.view, h.network, h.node) {
		if !overlap(a, on) {
			continue
		}
		if s := world.OldestService(h.view.ServicesAt(want.Protocol, netip.AddrPortFrom(a, want.Port))); s != nil {
			return "service " + s.Key().String()
		}
		if who := h.reserved(a, port); who != "" {
			return who
		}
	}
	return ""
}

// overlap tells whether two addresses of host ports are partly the same; on is of one
// family, the other may be the zero Addr for all of both.
func overlap(a, on netip.Addr) bool {
	if !a.IsValid() {
		return true
	}
	return a == on || a.Is4() == on.Is4() && (a.IsUnspecified() || on.IsUnspecified())
}

func hasFamily(n world.PodNetwork, a netip.Addr) bool {
	return slices.ContainsFunc(n.Addresses, func(p netip.Prefix) bool { return p.Addr().Is4() == a.Is4() })
}

func unspecified(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// HostPortsTouched yields the pods of the local node whose host ports a change may alter.
func HostPortsTouched(v world.View, c world.Change) []world.PodKey {
	t := portsTouched{view: v}
	switch c.Ref.Kind {
	case world.KindPod:
		t.pod(c.OldPod)
		t.pod(c.NewPod)
	case world.KindService:
		t.service(c.OldService)
		t.service(c.NewService)
	case world.KindEndpointSlice:
		for _, s := range []*world.EndpointSlice{c.OldSlice, c.NewSlice} {
			if s != nil && s.ServiceKey() == apiService {
				for _, p := range s.Ports {
					t.port(p.Protocol, p.Port)
				}
			}
		}
	case world.KindNode:
		if c.Ref.Name == v.LocalNode() && (c.OldNode == nil || c.NewNode == nil || !sameForServices(c.OldNode, c.NewNode)) {
			t.add(v.PodsWithHostPorts())
		}
	}
	return t.keys
}

type portsTouched struct {
	view world.View
	keys []world.PodKey
}

func (t *portsTouched) add(pods []*world.Pod) {
	for _, p := range pods {
		if k := (world.PodKey{Namespace: p.Namespace, Name: p.Name}); p.Node == t.view.LocalNode() && !slices.Contains(t.keys, k) {
			t.keys = append(t.keys, k)
		}
	}
}

func (t *portsTouched) port(protocol world.Protocol, port uint16) {
	t.add(t.view.PodsWithHostPort(protocol, port))
}

// pod adds a pod and those that want the same ports.
func (t *portsTouched) pod(p *world.Pod) {
	if p == nil || len(p.HostPorts) == 0 && len(p.Problems) == 0 {
		return
	}
	t.add([]*world.Pod{p})
	for _, h := range p.HostPorts {
		t.port(h.Protocol, h.Port)
	}
}

func (t *portsTouched) service(s *world.Service) {
	if s == nil {
		return
	}
	for _, p := range s.Ports {
		if len(s.ExternalIPs)+len(s.Ingress) > 0 {
			t.port(p.Protocol, p.Port)
		}
		if p.NodePort != 0 {
			t.port(p.Protocol, p.NodePort)
		}
	}
}
