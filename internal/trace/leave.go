package trace

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/explain"
	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
)

// leave decides what becomes of the packet at the end of a zone.
func (w *walker) leave(s start, r run, base int) (next start, done bool) {
	var exits []exit
	for _, e := range r.exits {
		if !e.side {
			exits = append(exits, e)
		}
	}
	if len(exits) > 0 && w.path.Backend.IsValid() {
		w.path.Packet = exits[0].packet
	}
	if w.first.Protocol == ARP {
		w.neighbour(s, exits, base)
		return start{}, true
	}
	if len(exits) == 0 {
		w.ended(s, base)
		return start{}, true
	}
	e := exits[0]
	w.path.Packet = e.packet
	switch e.typ {
	case "remote":
		return w.tunnel(s, e)
	case "localnet":
		return w.outside(s, e)
	case "":
		w.delivered(s, e)
	default:
		w.path.Verdict = Unknown
		w.path.Decision = Decision{Text: fmt.Sprintf("the packet leaves node %s by port %q of type %q, which is not followed", s.node, e.port, e.typ), Node: s.node}
	}
	return start{}, true
}

// tunnel goes on in the zone that a port of the transit switch leads to.
func (w *walker) tunnel(s start, e exit) (start, bool) {
	n := names.Of("")
	for _, node := range w.facts.nodes {
		if n.TransitToRouter(node.Name) != e.port {
			continue
		}
		w.path.Hops = append(w.path.Hops, Hop{Node: s.node, Kind: HopTunnel, Text: fmt.Sprintf("GENEVE to node %s", node.Name)})
		return start{node: node.Name, datapath: n.TransitSwitch(), inport: n.TransitToRouter(s.node), packet: e.packet, from: s.node}, false
	}
	w.path.Verdict = Unreachable
	w.path.Decision = Decision{Text: fmt.Sprintf("the packet leaves node %s for %q, which is no node's port on the transit switch", s.node, e.port), Node: s.node}
	return start{}, true
}

// delivered is a packet at a port of a pod, or at the host's.
func (w *walker) delivered(s start, e exit) {
	if e.port == names.Of("").Management(s.node) {
		w.path.Hops = append(w.path.Hops, Hop{Node: s.node, Kind: HopHost, Text: "ovn-k8s-mp0 to the host"})
		w.arriveAtHost(s.node, e.packet)
		return
	}
	for _, p := range w.facts.pods {
		if p.Node == s.node && p.Networked() && names.Pod(p.Namespace, p.Name) == e.port {
			w.arrive(s.node, explain.Object{Kind: "Pod", Namespace: p.Namespace, Name: p.Name}, e.packet)
			return
		}
	}
	w.path.Verdict, w.path.Arrives = Unreachable, "port "+e.port
	w.path.Decision = Decision{Text: fmt.Sprintf("it arrives at port %q on node %s, which is of no pod that exists", e.port, s.node), Node: s.node}
}

func (w *walker) arrive(node string, o explain.Object, p Packet) {
	w.path.Arrives, w.path.Verdict = o.String(), Allowed
	to := w.facts.atAddr(p.Dst)
	if to.Object != o {
		w.path.Verdict = Unreachable
		w.path.Decision = Decision{Text: fmt.Sprintf("it arrives at %s, and %s has the address %s", o, to, p.Dst), Node: node}
		return
	}
	w.allowed(node)
}

// arriveAtHost is a packet for the host, or one that the host is to route.
func (w *walker) arriveAtHost(node string, p Packet) {
	w.path.Verdict, w.path.Arrives = Allowed, "the host of node "+node
	if n := w.facts.hostWith(p.Dst); n == nil && !slices.Contains(w.facts.management(w.facts.node(node)), p.Dst) {
		w.path.Arrives = fmt.Sprintf("%s, by the routes of node %s", p.Dst, node)
		w.path.Hops = append(w.path.Hops, Hop{Node: node, Kind: HopOutside, Text: "the host routes it, with an address of its own as the source"})
	}
	w.allowed(node)
}

// outside is a packet that leaves by the external bridge. One for a service's address at another
// node enters OVN again there.
func (w *walker) outside(s start, e exit) (start, bool) {
	bridge := "the external bridge"
	if n := w.facts.node(s.node); n != nil && n.Gateway != nil {
		bridge = n.Gateway.BridgeID
	}
	text := fmt.Sprintf("%s sends %s", bridge, e.packet)
	if e.packet.Src != s.packet.Src {
		text += fmt.Sprintf(" (source %s translated to %s)", s.packet.Src, e.packet.Src)
	}
	w.path.Hops = append(w.path.Hops, Hop{Node: s.node, Kind: HopHost, Text: text})
	for _, m := range w.facts.network.Masquerade {
		if m.Contains(e.packet.Dst) {
			w.path.Verdict, w.path.Arrives = Allowed, "the host of node "+s.node
			w.allowed(s.node)
			return start{}, true
		}
	}
	if w.facts.isService(e.packet.Dst) {
		w.path.Verdict, w.path.Decision = Unreachable, Decision{Text: w.facts.unserved(e.packet), Node: s.node}
		return start{}, true
	}
	n := w.facts.hostWith(e.packet.Dst)
	if n != nil && n.Name != s.node {
		if again, err := w.facts.enter(n, e.packet); err == nil && again.arrived == "" {
			w.path.Hops = append(w.path.Hops, again.hops...)
			w.outward = &e.packet
			return again, false
		}
	}
	w.path.Verdict, w.path.Arrives = Allowed, fmt.Sprintf("%s, outside", e.packet.Dst)
	if n != nil {
		w.path.Arrives = "the host of node " + n.Name
	} else {
		w.path.Hops = append(w.path.Hops, Hop{Node: s.node, Kind: HopOutside, Text: "beyond the node's network card OVN knows nothing"})
	}
	w.allowed(s.node)
	return start{}, true
}

// unserved says why a packet for the cluster IP of a service gets nowhere: it leaves the
// cluster, where nobody has that address.
func (f *facts) unserved(p Packet) string {
	to := f.atAddr(p.Dst)
	switch {
	case to.service == nil:
		return fmt.Sprintf("%s is in the range of cluster IPs, and no service has it: the packet leaves by the default route, and nobody outside has the address", p.Dst)
	case !p.Protocol.ports():
		return fmt.Sprintf("nobody answers %s at %s: load balancers of OVN take the ports of %s alone, and the packet leaves by the default route; that a service cannot be pinged is no fault", p.Protocol, p.Dst, to)
	}
	var has []string
	for _, port := range to.service.Ports {
		has = append(has, fmt.Sprintf("%d/%s", port.Port, port.Protocol))
	}
	return fmt.Sprintf("%s has no port %d/%s; it has %s: the packet leaves by the default route, and nobody outside has the address", to, p.DstPort, p.Protocol, list(has))
}

// neighbour is a question for a MAC.
func (w *walker) neighbour(s start, exits []exit, base int) {
	for _, e := range exits {
		if e.port == s.inport {
			w.path.Verdict, w.path.Arrives, w.path.Packet = Allowed, "OVN, which answers", e.packet
			w.path.Decision = Decision{Text: fmt.Sprintf("OVN answers: %s has %s", w.first.Dst, e.packet.EthSrc), Node: s.node}
			w.decisive(base)
			return
		}
	}
	if len(exits) == 0 {
		w.path.Verdict = Unreachable
		w.path.Decision = Decision{Text: "nobody is asked, and OVN does not answer", Node: s.node}
		w.decisive(base)
		return
	}
	var ports []string
	for _, e := range exits {
		ports = append(ports, e.port)
	}
	w.path.Arrives = strings.Join(ports, ", ")
	w.path.Verdict = Unreachable
	w.path.Decision = Decision{Text: fmt.Sprintf("OVN does not answer and asks %s, which do not have %s", w.path.Arrives, w.first.Dst), Node: s.node}
	if pod := w.destination.pod; pod != nil && slices.Contains(ports, names.Pod(pod.Namespace, pod.Name)) {
		w.path.Verdict = Allowed
		w.path.Decision.Text = fmt.Sprintf("%s is asked itself", w.destination)
	}
}

// decisive notes the last hop as the one that decided.
func (w *walker) decisive(base int) {
	if hops := w.path.Hops[base:]; len(hops) > 0 && hops[len(hops)-1].Flow != nil {
		last := hops[len(hops)-1]
		w.path.Decision.Stage, w.path.Decision.Row = last.Flow.Stage, last.Flow.Row
	}
}
