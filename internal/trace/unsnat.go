package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/explain"
	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

// ovn-trace stops where a gateway router looks up whether a packet for its own address is an
// answer (`ct_snat;` in lr_in_unsnat): "no visible effect", it says, and does not go on. For
// the first packet of a connection nothing is found, and the next thing that matters is the
// load balancer. So its choice is read from its row, and the trace goes on with the backend.

// stopped tells whether a run ended there.
func stopped(r run) bool {
	for i := len(r.steps) - 1; i >= 0; i-- {
		if s := r.steps[i]; !s.side {
			return s.flow.Stage == "lr_in_unsnat" && slices.Contains(s.actions, "ct_snat;")
		}
	}
	return false
}

// balancer is a load balancer of a gateway router.
type balancer struct {
	*nb.LoadBalancer
	row      explain.RowRef
	backends []netip.AddrPort
}

// balancerAt finds the load balancer that a gateway router has for the packet.
func balancerAt(rows *explain.Index, router string, p Packet) (balancer, bool) {
	var of []string
	for _, e := range rows.Entries() {
		if lr, ok := e.Model.(*nb.LogicalRouter); ok && lr.Name == router {
			of = append(of, lr.LoadBalancer...)
			for _, group := range lr.LoadBalancerGroup {
				if g, ok := rows.ByUUID(group); ok {
					of = append(of, g.Model.(*nb.LoadBalancerGroup).LoadBalancer...)
				}
			}
		}
	}
	for _, uuid := range of {
		e, ok := rows.ByUUID(uuid)
		if !ok {
			continue
		}
		lb, ok := e.Model.(*nb.LoadBalancer)
		if !ok || lb.Protocol != nil && *lb.Protocol != string(p.Protocol) {
			continue
		}
		text, ok := lb.Vips[netip.AddrPortFrom(p.Dst, p.DstPort).String()]
		if !ok {
			continue
		}
		b := balancer{LoadBalancer: lb, row: e.RowRef}
		for _, one := range strings.Split(text, ",") {
			if at, err := netip.ParseAddrPort(strings.TrimSpace(one)); err == nil {
				b.backends = append(b.backends, at)
			}
		}
		return b, true
	}
	return balancer{}, false
}

// resume goes on behind lr_in_unsnat. It returns where to, or that the packet's way is over.
func (w *walker) resume(rows *explain.Index, s start) (next start, done bool, err error) {
	last := w.path.Hops[len(w.path.Hops)-1]
	p := s.packet
	b, ok := balancerAt(rows, last.Datapath, p)
	d := Decision{Node: s.node, Stage: "lr_in_dnat", Row: &b.row}
	switch {
	case !ok:
		w.path.Verdict, d.Row = Unreachable, nil
		d.Text = fmt.Sprintf("%s takes it for an answer: no load balancer of it has %s", last.Datapath, netip.AddrPortFrom(p.Dst, p.DstPort))
	case len(b.backends) == 0:
		w.path.Verdict, d.Text = Dropped, fmt.Sprintf("the service has no end point that this client may use (%s)", b.row.Object)
		if b.Options["reject"] == "true" {
			w.path.Verdict = Rejected
		}
	default:
		next, err = w.resumeWith(b, s, last)
		return next, false, err
	}
	w.path.Decision = d
	return next, true, nil
}

// resumeWith goes on with a backend.
func (w *walker) resumeWith(b balancer, s start, last Hop) (start, error) {
	chosen, err := w.choose(b.backends)
	if err != nil {
		return start{}, err
	}
	text := fmt.Sprintf("%s chooses %s", b.row, chosen)
	p := s.packet
	p.Dst, p.DstPort = chosen.Addr(), chosen.Port()
	next := start{node: s.node, datapath: last.Datapath, inport: last.Inport, packet: p, behind: last.Flow.Table}
	if b.Options["skip_snat"] != "true" {
		if next.source, err = w.facts.joinAddr(s.node, p.Dst); err != nil {
			return start{}, err
		}
	}
	row := b.row
	w.path.Hops = append(w.path.Hops, Hop{
		Node: s.node, Kind: HopLogical, Datapath: last.Datapath, Pipeline: last.Pipeline, Inport: last.Inport, Text: text,
		Flow: &Flow{Stage: "lr_in_dnat", Row: &row},
	})
	return next, nil
}

// choose is the backend that was asked for, or the first.
func (w *walker) choose(backends []netip.AddrPort) (netip.AddrPort, error) {
	w.path.Backends, w.path.Backend = backends, backends[0]
	if !w.backend.IsValid() {
		return backends[0], nil
	}
	i := slices.IndexFunc(backends, func(b netip.AddrPort) bool { return b.Addr() == w.backend })
	if i < 0 {
		return netip.AddrPort{}, &UnknownError{Text: w.backend.String(), Why: fmt.Sprintf("not a backend there; they are %v", backends), Next: "choose one of these"}
	}
	w.path.Backend = backends[i]
	return backends[i], nil
}

// joinAddr is the gateway router's address on the join switch.
func (f *facts) joinAddr(node string, of netip.Addr) (netip.Addr, error) {
	n := f.node(node)
	join, err := plan.JoinGatewayRouter(f.network.OfFamilies(f.network.JoinSubnets), n.ID)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("join address of node %s: %w", node, err)
	}
	a, ok := plan.AddrOfFamily(plan.Addrs(join), of)
	if !ok {
		return a, fmt.Errorf("%s has no %s join address", names.Of("").GatewayRouter(node), family(of))
	}
	return a, nil
}
