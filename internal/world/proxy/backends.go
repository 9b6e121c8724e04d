package proxy

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// zoneLabel is the label of nodes with the name of their zone.
const zoneLabel = "topology.kubernetes.io/zone"

// place is where the local node is.
type place struct{ node, zone string }

func (r *resolver) place() place {
	p := place{node: r.view.LocalNode()}
	if n, ok := r.view.Node(p.node); ok {
		p.zone = n.Labels[zoneLabel]
	}
	return p
}

// has tells whether an end point is on the local node.
func (p place) has(e *world.Endpoint) bool { return e.Node != "" && e.Node == p.node }

// backend is one end point at one port.
type backend struct {
	addr     netip.AddrPort
	endpoint *world.Endpoint
	order    int // of the slices, which have an order
}

// compare orders backends; of those with one address and port the one to believe is first.
func (b backend) compare(c backend) int {
	if d := b.addr.Compare(c.addr); d != 0 {
		return d
	}
	return cmp.Or(cmp.Compare(rank(b.endpoint), rank(c.endpoint)), cmp.Compare(b.order, c.order))
}

// backends are all end points of one port of the service in order of address and port,
// each once; they are good until the next call. A slice's port says by its name which port
// of the service it is for.
func (r *resolver) backends(port world.ServicePort) []backend {
	count := 0
	for _, s := range r.slices {
		count += len(s.Endpoints)
	}
	list := slices.Grow(r.buffer[:0], count)
	for _, s := range r.slices {
		for _, p := range s.Ports {
			if p.Name != port.Name || p.Protocol != port.Protocol {
				continue
			}
			for i := range s.Endpoints {
				for _, a := range s.Endpoints[i].Addrs {
					list = append(list, backend{netip.AddrPortFrom(a, p.Port), &s.Endpoints[i], len(list)})
				}
			}
		}
	}
	r.buffer = list
	slices.SortFunc(list, backend.compare)
	return slices.CompactFunc(list, func(a, b backend) bool { return a.addr == b.addr })
}

// rank orders several accounts of one address and port, the one to believe first: while an
// end point moves from one slice to another both have it, and the address of a pod that ends
// may be another pod's already, whose readiness counts then.
func rank(e *world.Endpoint) int {
	rank := 0
	if e.Terminating {
		rank += 4
	}
	if !e.Ready {
		rank += 2
	}
	if !e.Serving {
		rank++
	}
	return rank
}

// choose applies Kubernetes' rules to the backends of one port, to each family on its own.
func choose(all []backend, here place) (cluster, local []netip.AddrPort) {
	first6 := slices.IndexFunc(all, func(b backend) bool { return !b.addr.Addr().Is4() })
	if first6 < 0 {
		first6 = len(all)
	}
	for _, family := range [][]backend{all[:first6], all[first6:]} {
		cluster = pick(cluster, family, forCluster(family, here))
		local = pick(local, family, forLocal(family, here))
	}
	return cluster, local
}

// rule tells whether an end point is used.
type rule func(*world.Endpoint) bool

func ready(e *world.Endpoint) bool { return e.Ready }

func ending(e *world.Endpoint) bool { return !e.Ready && e.Serving && e.Terminating }

// forCluster is the rule of policy Cluster. Hints count only when all ready end points have
// them and one is for here; those for nodes go before those for zones.
func forCluster(list []backend, here place) rule {
	var anyReady, nodeHere, zoneHere bool
	allNodes, allZones := true, here.zone != ""
	for _, b := range list {
		e := b.endpoint
		if !e.Ready {
			continue
		}
		anyReady = true
		allNodes = allNodes && len(e.ForNodes) > 0
		allZones = allZones && len(e.ForZones) > 0
		nodeHere = nodeHere || slices.Contains(e.ForNodes, here.node)
		zoneHere = zoneHere || slices.Contains(e.ForZones, here.zone)
	}
	switch {
	case !anyReady:
		return ending
	case allNodes && nodeHere:
		return func(e *world.Endpoint) bool { return e.Ready && slices.Contains(e.ForNodes, here.node) }
	case allZones && zoneHere:
		return func(e *world.Endpoint) bool { return e.Ready && slices.Contains(e.ForZones, here.zone) }
	}
	return ready
}

// forLocal is the rule of policy Local.
func forLocal(list []backend, here place) rule {
	use := ending
	if slices.ContainsFunc(list, func(b backend) bool { return b.endpoint.Ready && here.has(b.endpoint) }) {
		use = ready
	}
	return func(e *world.Endpoint) bool { return here.has(e) && use(e) }
}

// pick appends the backends that are used.
func pick(out []netip.AddrPort, list []backend, use rule) []netip.AddrPort {
	count := 0
	for _, b := range list {
		if use(b.endpoint) {
			count++
		}
	}
	if count == 0 {
		return out
	}
	out = slices.Grow(out, count)
	for _, b := range list {
		if use(b.endpoint) {
			out = append(out, b.addr)
		}
	}
	return out
}
