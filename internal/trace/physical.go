package trace

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/explain"
	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
	"github.com/ovnkctl/ovnkctl/internal/trace/ofproto"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

// Physical is what Open vSwitch does with the packet on one node.
type Physical struct {
	Node string `json:"node"`
	// Flow is what ofproto/trace was asked.
	Flow string `json:"flow"`
	// Passes are the passes through the tables: each lookup of a connection begins another.
	Passes []PhysicalPass `json:"passes"`
	// Missing are stages of the logical trace whose flows the packet did not meet; without
	// problems there are none up to where the two can be compared.
	Missing []string `json:"missing,omitempty"`
}

// PhysicalPass is one pass through the tables.
type PhysicalPass struct {
	Recirculation string         `json:"recirculation,omitempty"`
	Flows         []PhysicalFlow `json:"flows"`
	Actions       string         `json:"actions"` // of the datapath
	SlowPath      []string       `json:"slowPath,omitempty"`
	Notes         []string       `json:"notes,omitempty"`
}

// PhysicalFlow is an OpenFlow flow that the packet met.
type PhysicalFlow struct {
	Table    int    `json:"table"`
	Priority int    `json:"priority"`
	Match    string `json:"match"`
	Cookie   string `json:"cookie,omitempty"` // eight digits; empty for none
}

// String is how ofproto/trace writes it.
func (f PhysicalFlow) String() string {
	return strings.TrimPrefix(fmt.Sprintf("%s, priority %d", f.Match, f.Priority), ", ")
}

// physical joins what Open vSwitch does, where the packet enters OVN by an interface.
func (w *walker) physical(ctx context.Context, z Zone, rows *explain.Index, s start, base int) error {
	in, err := w.facts.ingress(rows, s)
	if err != nil {
		w.path.Problems = append(w.path.Problems, fmt.Sprintf("no physical trace on node %s: %v", s.node, err))
		return nil
	}
	flow := in + "," + s.packet.openflow()
	text, err := z.OFProtoTrace(ctx, names.IntegrationBridge, flow)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil { // the logical trace is told without it: a record has no switch to ask
		w.path.Problems = append(w.path.Problems, fmt.Sprintf("no physical trace on node %s: %v", s.node, err))
		return nil
	}
	t := ofproto.Parse(text)
	for _, l := range t.Unknown {
		w.path.Problems = append(w.path.Problems, "ofproto/trace printed what is not understood: "+l.String())
	}
	p := &Physical{Node: s.node, Flow: flow}
	met := map[string][]string{}
	for _, pass := range t.Passes {
		p.Passes = append(p.Passes, physicalPass(pass, met))
	}
	hops := w.path.Hops[base:]
	for i := range hops {
		if hops[i].Flow != nil && hops[i].Node == s.node {
			hops[i].OpenFlow = met[hops[i].Flow.Cookie]
		}
	}
	p.Missing = missing(hops, s.node)
	w.path.Physical = append(w.path.Physical, p)
	return nil
}

// missing are the stages of the logical trace that the physical one passed by, before the
// last one that it did meet.
func missing(hops []Hop, node string) []string {
	var out, since []string
	for _, h := range hops {
		// The ingress pipeline of the transit switch is done where the packet came from.
		elsewhere := h.Datapath == names.Of("").TransitSwitch() && h.Pipeline == "ingress"
		if h.Flow == nil || h.Node != node || h.Flow.Cookie == "" || elsewhere {
			continue
		}
		if len(h.OpenFlow) == 0 {
			since = append(since, h.Datapath+" "+h.Flow.Stage)
			continue
		}
		out, since = append(out, since...), nil
	}
	return out
}

func physicalPass(pass *ofproto.Pass, met map[string][]string) PhysicalPass {
	out := PhysicalPass{Recirculation: pass.Recirculation, Actions: pass.Actions, SlowPath: pass.SlowPath}
	if pass.Failure != "" {
		out.Notes = append(out.Notes, pass.Failure)
	}
	bridge := ""
	ofproto.Walk(pass.Nodes, func(n *ofproto.Node) {
		switch n.Kind {
		case ofproto.Bridge:
			bridge = n.Text
		case ofproto.Warning, ofproto.Error:
			out.Notes = append(out.Notes, n.Text)
		case ofproto.Detail:
			if strings.HasPrefix(n.Text, "tunneling") || strings.HasPrefix(n.Text, "output to") {
				out.Notes = append(out.Notes, n.Text)
			}
		case ofproto.Table:
			if n.Flow.NoMatch {
				return
			}
			f := PhysicalFlow{Table: n.Flow.Table, Priority: n.Flow.Priority, Match: n.Flow.Match}
			if n.Flow.Cookie != 0 {
				f.Cookie = fmt.Sprintf("%08x", n.Flow.Cookie)
				text := fmt.Sprintf("%s table=%d %s", bridge, f.Table, f)
				if !slices.Contains(met[f.Cookie], text) {
					met[f.Cookie] = append(met[f.Cookie], text)
				}
			}
			out.Flows = append(out.Flows, f)
		}
	})
	return out
}

// ingress is where the packet enters br-int: an interface, or a tunnel with the keys of the
// datapath and ports in its metadata, as ovn-controller sets them (ovn-architecture(7)).
func (f *facts) ingress(rows *explain.Index, s start) (string, error) {
	ports := map[string]*sb.PortBinding{}
	var tunnel *vswitch.Interface
	from := f.node(s.from)
	for _, e := range rows.Entries() {
		switch m := e.Model.(type) {
		case *sb.PortBinding:
			ports[m.LogicalPort] = m
		case *vswitch.Interface:
			if m.ExternalIDs["iface-id"] == s.inport {
				return ofPort(m)
			}
			if from != nil && slices.ContainsFunc(from.EncapIPs, func(a netip.Addr) bool { return m.Options["remote_ip"] == a.String() }) {
				tunnel = m
			}
		}
	}
	n := names.Of("")
	in, out := ports[s.inport], ports[n.TransitToRouter(s.node)]
	switch {
	case in == nil:
		return "", fmt.Errorf("port %s is not in the Southbound database", s.inport)
	case in.Type != "remote":
		return "", fmt.Errorf("port %s of type %q is no interface of Open vSwitch", s.inport, in.Type)
	case out == nil || tunnel == nil:
		return "", fmt.Errorf("there is no tunnel from node %s", s.from)
	}
	port, err := ofPort(tunnel)
	return fmt.Sprintf("%s,tun_id=%#x,tun_metadata0=%#x", port, plan.TransitTunnelKey(f.network.ID), in.TunnelKey<<16|out.TunnelKey), err
}

func ofPort(i *vswitch.Interface) (string, error) {
	if i.Ofport == nil || *i.Ofport <= 0 {
		return "", fmt.Errorf("interface %s has no OpenFlow port", i.Name)
	}
	return "in_port=" + strconv.Itoa(*i.Ofport), nil
}

// openflow is the packet as ofproto/trace reads it.
func (p Packet) openflow() string {
	l3, protocol, typ := "nw", string(p.Protocol), "icmp"
	if p.Src.Is6() {
		l3, protocol, typ = "ipv6", protocol+"6", "icmpv6"
	}
	out := fmt.Sprintf("dl_src=%s,dl_dst=%s", p.EthSrc, p.EthDst)
	switch {
	case p.Protocol == ARP && p.Src.Is4():
		return fmt.Sprintf("arp,%s,arp_op=1,arp_spa=%s,arp_tpa=%s,arp_sha=%s", out, p.Src, p.Dst, p.EthSrc)
	case p.Protocol == ARP:
		return fmt.Sprintf("icmp6,%s,ipv6_src=%s,ipv6_dst=%s,nw_ttl=255,icmpv6_type=135,icmpv6_code=0,nd_target=%s,nd_sll=%s",
			out, p.Src, solicitedNode(p.Dst), p.Dst, p.EthSrc)
	}
	out = fmt.Sprintf("%s,%s,%s_src=%s,%s_dst=%s,nw_ttl=%d", protocol, out, l3, p.Src, l3, p.Dst, p.TTL)
	switch {
	case p.Protocol.ports():
		return fmt.Sprintf("%s,%s_src=%d,%s_dst=%d", out, p.Protocol, p.SrcPort, p.Protocol, p.DstPort)
	case p.Src.Is4():
		return fmt.Sprintf("%s,%s_type=%d,%s_code=0", out, typ, echo4, typ)
	}
	return fmt.Sprintf("%s,%s_type=%d,%s_code=0", out, typ, echo6, typ)
}
