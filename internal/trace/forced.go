package trace

import (
	"fmt"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

// A gateway router gives what it balances its own address on the join switch as the source, so
// that answers come back by it (lb_force_snat_ip, ovn-nb(5)). ovn-trace forgets the flag that
// says so as soon as it looks the connection up, and goes on with the client's address: every
// ACL behind would be asked about another packet than the real one. So a trace that has come
// through such a router ends at the join switch, and begins there anew with that address.

// forced is where the trace of a balanced packet begins anew, and the index of the step from
// which on the run is not the packet's.
func (w *walker) forced(r run, s start) (next start, at int, ok bool, err error) {
	n := names.Of("")
	router := n.GatewayRouter(s.node)
	balanced := s.source.IsValid()
	for at = range r.steps {
		step := r.steps[at]
		if step.side {
			continue
		}
		for _, a := range step.actions {
			balanced = balanced || step.ports.Datapath == router && strings.HasPrefix(a, "ct_lb") && strings.Contains(a, "force_snat")
		}
		if step.ports.Ingress && step.ports.Inport == names.JoinToRouter(router) && step.ports.Datapath == n.JoinSwitch() {
			ok = balanced
			break
		}
	}
	if !ok || s.datapath == n.JoinSwitch() || w.ct != "new" {
		return start{}, 0, false, nil
	}
	p := s.packet
	if w.path.Backend.IsValid() {
		p.Dst, p.DstPort = w.path.Backend.Addr(), w.path.Backend.Port()
	}
	if p.Src, err = w.facts.joinAddr(s.node, p.Dst); err != nil {
		return start{}, 0, false, err
	}
	join := w.facts.network.OfFamilies(w.facts.network.JoinSubnets)
	from, err := plan.JoinGatewayRouter(join, w.facts.node(s.node).ID)
	if err != nil {
		return start{}, 0, false, fmt.Errorf("join address of node %s: %w", s.node, err)
	}
	to, err := plan.JoinClusterRouter(join)
	if err != nil {
		return start{}, 0, false, fmt.Errorf("join address of the cluster router: %w", err)
	}
	p.EthSrc, p.EthDst, p.TTL = plan.MACOf(plan.Addrs(from)...), plan.MACOf(plan.Addrs(to)...), p.TTL-1
	return start{node: s.node, datapath: n.JoinSwitch(), inport: names.JoinToRouter(router), packet: p}, at, true, nil
}

// translated is the hop at which that happens.
func (s start) translated(last Hop) Hop {
	return Hop{
		Node: s.node, Kind: HopLogical, Datapath: last.Datapath, Pipeline: "egress", Inport: last.Inport, Outport: last.Outport,
		Text: fmt.Sprintf("the source becomes %s, of the gateway router", s.packet.Src), Flow: &Flow{Stage: "lr_out_snat"},
	}
}
