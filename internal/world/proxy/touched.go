package proxy

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Touched yields the services that a change may serve otherwise, in their resolution or at
// the local node's addresses: one for nearly every change, all of them when the local node is
// another than before.
func Touched(v world.View, c world.Change) []world.ServiceKey {
	t := touched{view: v}
	switch c.Ref.Kind {
	case world.KindService:
		t.service(c.OldService)
		t.service(c.NewService)
	case world.KindEndpointSlice:
		t.slice(c.OldSlice)
		t.slice(c.NewSlice)
	case world.KindNode:
		t.node(c)
	case world.KindServiceCIDR:
		t.all(func(s *world.Service) bool { return len(s.ExternalIPs)+len(s.Ingress) > 0 })
	}
	return t.keys
}

type touched struct {
	view world.View
	keys []world.ServiceKey
	seen map[world.ServiceKey]bool // of keys, once there are many
}

// fewKeys is how many keys are quicker compared one by one than looked up.
const fewKeys = 16

func (t *touched) add(k world.ServiceKey) {
	if t.seen == nil && len(t.keys) >= fewKeys {
		t.seen = map[world.ServiceKey]bool{}
		for _, k := range t.keys {
			t.seen[k] = true
		}
	}
	if t.seen != nil {
		if t.seen[k] {
			return
		}
		t.seen[k] = true
	} else if slices.Contains(t.keys, k) {
		return
	}
	t.keys = append(t.keys, k)
}

// all adds every service that is meant, each once as the world has it.
func (t *touched) all(meant func(*world.Service) bool) {
	for s := range t.view.Services {
		if meant(s) {
			t.keys = append(t.keys, s.Key())
		}
	}
}

func (t *touched) each(services []*world.Service) {
	for _, s := range services {
		t.add(s.Key())
	}
}

// service adds a service and those that want the same ports outside.
func (t *touched) service(s *world.Service) {
	if s == nil {
		return
	}
	t.add(s.Key())
	for _, p := range s.Ports {
		for _, list := range [][]netip.Addr{s.ExternalIPs, s.Ingress} {
			for _, a := range list {
				t.each(t.view.ServicesAt(p.Protocol, netip.AddrPortFrom(a, p.Port)))
			}
		}
		if p.NodePort != 0 {
			t.each(t.view.ServicesAtNodes(p.Protocol, p.NodePort))
		}
	}
}

func (t *touched) slice(s *world.EndpointSlice) {
	if s == nil || s.Service == "" {
		return
	}
	t.add(s.ServiceKey())
	if s.ServiceKey() != apiService {
		return
	}
	for _, p := range s.Ports {
		for _, e := range s.Endpoints {
			for _, a := range e.Addrs {
				t.each(t.view.ServicesAt(world.TCP, netip.AddrPortFrom(a, p.Port)))
			}
		}
	}
}

func (t *touched) node(c world.Change) {
	if localIsOther(t.view, c) {
		t.all(func(*world.Service) bool { return true })
		return
	}
	// Services at an address that comes, goes or changes hands.
	same := c.OldNode != nil && c.NewNode != nil && c.OldNode.Created == c.NewNode.Created
	for _, pair := range [][2]*world.Node{{c.OldNode, c.NewNode}, {c.NewNode, c.OldNode}} {
		n, other := pair[0], pair[1]
		if n == nil {
			continue
		}
		for _, a := range n.HostAddrs {
			if same && slices.ContainsFunc(other.HostAddrs, func(b netip.Prefix) bool { return b.Addr() == a.Addr() }) {
				continue
			}
			t.each(t.view.ServicesWithAddress(a.Addr()))
		}
	}
}

// localIsOther tells whether the change of a node makes the local node serve services
// otherwise: because it is the local one, or because it lays claim to its subnets, which are
// not served.
func localIsOther(v world.View, c world.Change) bool {
	if c.Ref.Name == v.LocalNode() {
		return c.OldNode == nil || c.NewNode == nil || !sameForServices(c.OldNode, c.NewNode)
	}
	local, ok := v.Node(v.LocalNode())
	if !ok || c.OldNode != nil && c.NewNode != nil && sameSubnets(c.OldNode, c.NewNode) {
		return false
	}
	return share(local, c.OldNode) || share(local, c.NewNode)
}

// sameForServices tells whether two states of the local node serve services alike.
func sameForServices(a, b *world.Node) bool {
	return a.Labels[zoneLabel] == b.Labels[zoneLabel] && sameSubnets(a, b) &&
		slices.Equal(a.HostAddrs, b.HostAddrs) && sameGateway(a.Gateway, b.Gateway)
}

// sameSubnets tells whether two states of a node hold the same subnets: of two nodes with one
// subnet the older holds it.
func sameSubnets(a, b *world.Node) bool {
	return a.Created == b.Created && maps.EqualFunc(a.Subnets, b.Subnets, slices.Equal)
}

// share tells whether two nodes have subnets that overlap; the second may be nil.
func share(a, b *world.Node) bool {
	if b == nil {
		return false
	}
	for network, subnets := range b.Subnets {
		for _, p := range subnets {
			if slices.ContainsFunc(a.Subnets[network], p.Overlaps) {
				return true
			}
		}
	}
	return false
}

func sameGateway(a, b *world.Gateway) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Mode == b.Mode && a.NodePort == b.NodePort && slices.Equal(a.Addresses, b.Addresses)
}

// NodeAddrs are the addresses that a node's ports are served at: those of its host, but
// for those that only the host itself or its link can use and those of the pod network.
func NodeAddrs(v world.View, network *world.Network, n *world.Node) []netip.Addr {
	own := slices.Concat(v.NodeSubnets(network, n), network.Masquerade)
	var out []netip.Addr
	add := func(list []netip.Prefix) {
		for _, p := range list {
			a := p.Addr()
			if a.IsLoopback() || a.IsLinkLocalUnicast() || !network.HasFamily(a) || slices.Contains(out, a) ||
				slices.ContainsFunc(own, func(q netip.Prefix) bool { return q.Contains(a) }) {
				continue
			}
			out = append(out, a)
		}
	}
	add(GatewayAddrs(n))
	add(n.HostAddrs)
	return out
}

// GatewayAddrs are the addresses that the node's gateway router shares with its host.
func GatewayAddrs(n *world.Node) []netip.Prefix {
	if n.Gateway == nil {
		return nil
	}
	return n.Gateway.Addresses
}

// ServesNodePorts tells whether the node's configuration wants node ports served.
func ServesNodePorts(n *world.Node) bool { return n.Gateway != nil && n.Gateway.NodePort }
