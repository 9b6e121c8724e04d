package trace

import (
	"context"
	"net/netip"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/ovnkctl/ovnkctl/internal/explain"
	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// prefetcher is a Source that can begin to read before it is asked. A node that is far away
// costs several round trips, and a packet visits one after the other.
type prefetcher interface {
	// prefetch begins to read what a trace between the ends will need. What cannot be read is
	// no problem before somebody asks for it.
	prefetch(ctx context.Context, source, destination End, backend netip.Addr)
}

// World implements Source. Where the nodes are reached is looked up beside it.
func (s *snapshot) World(ctx context.Context) (*world.Store, error) {
	go s.from.Nodes(ctx) //nolint:errcheck // whoever needs them hears of it
	return s.Snapshot.World(ctx)
}

func (s *snapshot) prefetch(ctx context.Context, source, destination End, backend netip.Addr) {
	if s.from.Origin().Kind != inspect.Live {
		return // a record has no round trips
	}
	read := func(node string) {
		n := s.from.Node(node)
		explain.Prefetch(ctx, n)
		// Behind the rows, which are needed first.
		_, _ = n.Database(ctx, ovn.Southbound(), sb.LogicalFlowTable)
	}
	for _, node := range []string{source.Node, destination.Node} {
		if node != "" {
			go read(node)
		}
	}
	if destination.service == nil {
		return
	}
	go func() {
		o, err := s.from.Objects(ctx, inspect.EndpointSlices)
		if err != nil {
			return
		}
		if node := nodeOf(o, destination.service.Key(), backend); node != "" && node != source.Node {
			read(node)
		}
	}()
}

// nodeOf is the node of the end point of a service that a trace will choose, most likely: the
// one with that address, or the first.
func nodeOf(o *inspect.Objects, service world.ServiceKey, backend netip.Addr) string {
	node, first := "", netip.Addr{}
	for i := range o.EndpointSlices {
		e := &o.EndpointSlices[i]
		if e.Namespace != service.Namespace || e.Labels[discoveryv1.LabelServiceName] != service.Name {
			continue
		}
		for j := range e.Endpoints {
			p := &e.Endpoints[j]
			if p.NodeName == nil || len(p.Addresses) == 0 || p.Conditions.Ready != nil && !*p.Conditions.Ready {
				continue
			}
			switch a, err := netip.ParseAddr(p.Addresses[0]); {
			case err != nil:
			case a == backend:
				return *p.NodeName
			case node == "" || a.Less(first):
				node, first = *p.NodeName, a
			}
		}
	}
	return node
}
