package trace

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/policy"
)

// The bits by which stages of ACLs tell the next one their decision, from OVN 23.09 on:
// reg8[16] allows, reg8[17] drops, reg8[18] rejects.
const (
	decidedDrop   = "reg8[17] = 1;"
	decidedReject = "reg8[18] = 1;"
)

// ends say what it means that a packet ends in a stage, by the beginning of its name.
var ends = []struct {
	stage   string
	verdict Verdict
	text    string
}{
	{"ls_in_check_port_sec", Dropped, "port security: the packet is not one that its port may send"},
	{"ls_in_apply_port_sec", Dropped, "port security: the packet is not one that its port may send"},
	{"ls_out_check_port_sec", Dropped, "port security: the packet is not for its port"},
	{"ls_out_apply_port_sec", Dropped, "port security: the packet is not for its port"},
	{"ls_in_l2_lkup", Unreachable, "no port of the switch has the packet's MAC"},
	{"ls_in_l2_unknown", Unreachable, "no port of the switch has the packet's MAC"},
	{"ls_in_pre_lb", Dropped, "a load balancer refuses the packet"},
	{"ls_in_lb", Dropped, "the service has no end point that this client may use"},
	{"lr_in_dnat", Dropped, "the service has no end point that this client may use"},
	{"lr_in_admission", Dropped, "the packet is not for the router"},
	{"lr_in_ip_input", Dropped, "the router drops the packet"},
	{"lr_in_ip_routing", Unreachable, "no route to the destination"},
	{"lr_in_policy", Dropped, "a routing policy drops the packet"},
	{"lr_in_arp_resolve", Unreachable, "the MAC of the next hop is not known"},
	{"lr_in_arp_request", Unreachable, "the MAC of the next hop is not known: the router asks for it and drops the packet"},
}

// isACL tells stages in which ACLs decide.
func isACL(stage string) bool { return strings.Contains(stage, "_acl") }

// ended is a packet that went nowhere.
func (w *walker) ended(s start, base int) {
	hops := w.path.Hops[base:]
	if len(hops) == 0 {
		w.path.Verdict, w.path.Decision = Unknown, Decision{Text: "ovn-trace shows no flow", Node: s.node}
		return
	}
	last := hops[len(hops)-1]
	rejected := slices.ContainsFunc(last.Flow.Actions, func(a string) bool { return strings.HasPrefix(a, "reject ") || strings.HasPrefix(a, "reject{") })
	w.path.Verdict = Dropped
	if rejected {
		w.path.Verdict = Rejected
	}
	w.path.Decision = Decision{Node: s.node, Stage: last.Flow.Stage, Row: last.Flow.Row}
	switch {
	case isACL(last.Flow.Stage):
		w.byACL(hops)
		w.explainPolicy()
		return
	case w.stayed(last), w.asksOutside(s, last):
		return
	}
	for _, e := range ends {
		if strings.HasPrefix(last.Flow.Stage, e.stage) {
			w.path.Decision.Text = e.text
			if !rejected {
				w.path.Verdict = e.verdict
			}
		}
	}
	if w.path.Decision.Text == "" {
		w.path.Decision.Text = fmt.Sprintf("stage %s of %s drops it", last.Flow.Stage, last.Datapath)
	}
	if last.Flow.Row != nil && last.Flow.Row.Object.String() != "" {
		w.path.Decision.Text += " (" + last.Flow.Row.Object.String() + ")"
	}
}

// asksOutside is a packet for a next hop outside that the gateway router has not heard of yet:
// nothing but the answer to its question keeps it.
func (w *walker) asksOutside(s start, last Hop) bool {
	n := names.Of("")
	router := n.GatewayRouter(s.node)
	if !strings.HasPrefix(last.Flow.Stage, "lr_in_arp_request") || last.Datapath != router {
		return false
	}
	for _, h := range w.path.Hops {
		if h.Flow == nil || h.Datapath != router || !strings.HasPrefix(h.Flow.Stage, "lr_in_ip_routing") {
			continue
		}
		if slices.Contains(h.Flow.Actions, fmt.Sprintf("outport = %q;", names.RouterToExternal(router))) {
			w.path.Arrives = w.path.Packet.Dst.String() + ", outside"
			w.path.Hops = append(w.path.Hops, Hop{Node: s.node, Kind: HopOutside, Text: "the MAC of the next hop is not known yet: the gateway router asks for it, and the first packet is lost"})
			w.path.Verdict = Allowed
			w.allowed(s.node)
			return true
		}
	}
	return false
}

// stayed is a packet that would leave by the port that it came in by.
func (w *walker) stayed(last Hop) bool {
	for _, a := range last.Flow.Actions {
		if strings.HasPrefix(a, "/* omitting output ") {
			w.path.Verdict = Unreachable
			w.path.Decision.Text = fmt.Sprintf("it would leave %s by the port that it came in by", last.Datapath)
			return true
		}
	}
	return false
}

// byACL finds the ACL that decided. Since OVN 23.09 one stage looks ACLs up and a later one
// drops.
func (w *walker) byACL(hops []Hop) {
	last := hops[len(hops)-1]
	d := &w.path.Decision
	d.Text = "an ACL decided"
	for i := len(hops) - 1; i >= 0 && hops[i].Datapath == last.Datapath && hops[i].Pipeline == last.Pipeline; i-- {
		f := hops[i].Flow
		if f.Row != nil && f.Row.Table == nb.ACLTable &&
			(f == last.Flow || slices.Contains(f.Actions, decidedDrop) || slices.Contains(f.Actions, decidedReject)) {
			d.Stage, d.Row = f.Stage, f.Row
			break
		}
	}
	if d.Row == nil {
		return
	}
	d.Text = d.Row.String()
	if o := d.Row.Object.String(); o != "" {
		d.Text = o
		if d.Row.Rule != nil {
			d.Text += ", " + d.Row.Rule.String()
		}
	}
}

// question is the packet for the reference evaluator: as policies of a stage see it, behind the
// load balancer. Those of the receiver see the source that it has got on the way.
func (w *walker) question(stage policy.Stage) (policy.Packet, bool) {
	p := policy.Packet{Protocol: corev1.Protocol(strings.ToUpper(string(w.first.Protocol))), Port: w.first.DstPort, Family: policy.IPv4}
	src, dst := w.first.Src, w.first.Dst
	switch {
	case w.outward != nil && stage != policy.StageIngress:
		dst, p.Port = w.outward.Dst, w.outward.DstPort
	case w.path.Backend.IsValid():
		dst = w.path.Backend.Addr()
		if port := w.path.Backend.Port(); port != 0 {
			p.Port = port
		}
	}
	if dst.Is6() {
		p.Family = policy.IPv6
	}
	if w.first.Protocol == ARP || w.ct != "new" {
		return p, false
	}
	p.Source = w.facts.endpoint(w.source, src)
	if stage == policy.StageIngress && w.now.Src.IsValid() && w.now.Src != src {
		p.Source = w.facts.endpoint(w.facts.atAddr(w.now.Src), w.now.Src)
	}
	p.Destination = w.facts.endpoint(w.facts.atAddr(dst), dst)
	return p, true
}

// stages are what the reference evaluator says of each stage, until one denies the packet.
func (w *walker) stages() (all []policy.Decision, denied policy.Stage, err error) {
	for _, stage := range policy.Stages {
		p, ok := w.question(stage)
		if !ok {
			return nil, "", errNoQuestion
		}
		v, err := w.policy.Evaluate(p)
		if err != nil {
			return nil, "", err
		}
		all = append(all, v.Stage(stage))
		if !v.Stage(stage).Allowed {
			return all, stage, nil
		}
	}
	return all, "", nil
}

// errNoQuestion is a packet that policies are not about.
var errNoQuestion = errors.New("policies are not about it")

// endpoint is an end for the reference evaluator. Of several addresses of a node it is the
// one that the packet has; what the host has for its connections to services is nobody's.
func (f *facts) endpoint(e End, a netip.Addr) policy.Endpoint {
	switch e.Kind {
	case EndPod:
		return policy.Endpoint{Namespace: e.pod.Namespace, Pod: e.pod.Name}
	case EndNode:
		if slices.Contains(nodeAddrs(e.node), a) || slices.Contains(f.management(e.node), a) {
			return policy.Endpoint{Node: e.node.Name, IP: a}
		}
	}
	return policy.Endpoint{IP: a}
}

// explainPolicy says which rule decided, and which would have allowed the packet.
func (w *walker) explainPolicy() {
	all, denied, err := w.stages()
	d := &w.path.Decision
	switch {
	case errors.Is(err, errNoQuestion):
		return
	case err != nil:
		w.path.Problems = append(w.path.Problems, fmt.Sprintf("the policies cannot be asked why: %v", err))
		return
	case denied == "":
		w.path.Problems = append(w.path.Problems, fmt.Sprintf(
			"the policies as they are allow the packet, and OVN drops it (%s): the node has not caught up, or its rows were changed", d.Text))
		return
	}
	p, _ := w.question(denied)
	near, err := w.policy.Nearest(p, denied)
	if err != nil {
		w.path.Problems = append(w.path.Problems, fmt.Sprintf("the nearest rule is not known: %v", err))
	}
	s := all[len(all)-1]
	d.says(s, near)
	w.compare(s)
}

// compare notes where the row that decided is not of the rule that the evaluator names.
func (w *walker) compare(s policy.Decision) {
	row := w.path.Decision.Row
	if row == nil {
		w.path.Problems = append(w.path.Problems, "the ACL that decided is not known: its logical flow has no row")
		return
	}
	o := row.Object
	same := row.Rule != nil
	switch {
	case !same:
	case s.By != nil:
		same = o.Kind == s.By.Object.Kind && o.Namespace == s.By.Object.Namespace && o.Name == s.By.Object.Name &&
			row.Rule.Index == s.By.Index && row.Rule.Direction == string(s.By.Direction)
	default:
		same = row.Rule.Index < 0
	}
	if !same {
		w.path.Problems = append(w.path.Problems, fmt.Sprintf("the row that decided is %s (%s), and the policies as they are name another: %s", row, o, s))
	}
}

// allowed says why a packet arrives.
func (w *walker) allowed(node string) {
	w.path.Decision = Decision{Text: "nothing forbids it", Node: node}
	all, denied, err := w.stages()
	if err != nil {
		return // an end that policies know nothing of
	}
	if denied != "" {
		w.path.Problems = append(w.path.Problems, fmt.Sprintf(
			"the policies as they are deny the packet (%s), and OVN lets it pass: the node has not caught up, or its rows were changed", all[len(all)-1]))
		return
	}
	for _, s := range all {
		if s.By != nil {
			r := ruleOf(*s.By)
			w.path.Decision.Rule, w.path.Decision.Text = &r, "allowed by "+s.By.String()
		}
	}
}
