package explain

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/output"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/proxy"
)

// Fact is one thing to know of an object, from the cluster's objects.
type Fact struct {
	// Name says what it is, e.g. "backend of".
	Name string `json:"name"`
	Text string `json:"text"`
	// Object is the other object that it is about, if it is about one.
	Object Object `json:"object,omitzero"`
}

// listed bounds the names in one fact: the rest is counted.
const listed = 8

// facts are what there is to know of an object.
func facts(v world.View, o Object) []Fact {
	f := &factList{view: v}
	switch o.Kind {
	case string(world.KindPod):
		if p, ok := v.Pod(world.PodKey{Namespace: o.Namespace, Name: o.Name}); ok {
			f.pod(p)
		}
	case string(world.KindService):
		if s, ok := v.Service(world.ServiceKey{Namespace: o.Namespace, Name: o.Name}); ok {
			f.service(s)
		}
	case string(world.KindNode):
		if n, ok := v.Node(o.Name); ok {
			f.node(n)
		}
	case string(world.KindNamespace):
		f.namespace(o.Name)
	default:
		if p, ok := v.Policy(world.PolicyKey{Kind: world.Kind(o.Kind), Namespace: o.Namespace, Name: o.Name}); ok {
			f.policy(p)
		}
	}
	return f.list
}

type factList struct {
	view world.View
	list []Fact
}

func (f *factList) say(name, format string, args ...any) {
	f.list = append(f.list, Fact{Name: name, Text: fmt.Sprintf(format, args...)})
}

func (f *factList) about(name string, o Object, text string) {
	f.list = append(f.list, Fact{Name: name, Text: strings.TrimSpace(o.String() + " " + text), Object: o})
}

func (f *factList) problems(list []world.Problem) {
	for _, p := range list {
		f.say("problem", "%s: %s; %s", p.Field, p.Message, p.Remedy)
	}
}

// pod is where a pod is, what it serves, and which policies are about it.
func (f *factList) pod(p *world.Pod) {
	if len(p.Labels) > 0 {
		f.say("labels", "%s", labelText(p.Labels))
	}
	if a, ok := p.Networks[world.DefaultNetwork]; ok && a.MAC != "" {
		f.say("attached", "MAC %s, gateways %s", a.MAC, texts(a.Gateways))
	}
	for _, h := range p.HostPorts {
		f.say("host port", "%d/%s to port %d", h.Port, h.Protocol, h.PodPort)
	}
	f.backendOf(p)
	f.policiesOf(p)
	f.problems(p.Problems)
}

// backendOf are the services that send to a pod.
func (f *factList) backendOf(p *world.Pod) {
	for s := range f.view.EndpointSlices {
		for i := range s.Endpoints {
			e := &s.Endpoints[i]
			if len(e.Addrs) == 0 || !slices.Contains(p.Addrs(), e.Addrs[0]) {
				continue
			}
			ports := make([]string, 0, len(s.Ports))
			for _, port := range s.Ports {
				ports = append(ports, fmt.Sprintf("%d/%s", port.Port, port.Protocol))
			}
			o := Object{Kind: string(world.KindService), Namespace: s.Namespace, Name: s.Service}
			f.about("backend of", o, fmt.Sprintf("at %s, ports %s, %s", e.Addrs[0], joined(ports), condition(e)))
		}
	}
}

func condition(e *world.Endpoint) string {
	switch {
	case e.Ready:
		return "ready"
	case e.Serving && e.Terminating:
		return "terminating, still serving"
	case e.Terminating:
		return "terminating"
	}
	return "not ready: it gets no connections"
}

// policiesOf are the policies whose subject a pod is, and the rules that name it as the peer.
func (f *factList) policiesOf(p *world.Pod) {
	var peers []string
	for policy := range f.sortedPolicies() {
		if policy.Subject != nil && f.view.Selects(policy.Subject, p) {
			f.about("subject of", objectOf(policy), "("+effect(policy)+")")
		}
		for i := range policy.Rules {
			r := &policy.Rules[i]
			if slices.ContainsFunc(r.Peers, func(peer world.Peer) bool { return peer.Pods != nil && f.view.Selects(peer.Pods, p) }) {
				peers = append(peers, fmt.Sprintf("%s %s rule %d (%s)", objectOf(policy), way(r.Direction), r.Index, actionText(r.Action)))
			}
		}
	}
	if len(peers) > 0 {
		f.say("peer in", "%s", some(peers))
	}
}

// sortedPolicies yields all policies by kind, namespace and name.
func (f *factList) sortedPolicies() func(func(*world.Policy) bool) {
	all := slices.SortedFunc(f.view.Policies, func(a, b *world.Policy) int {
		return cmp.Or(strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return slices.Values(all)
}

// effect is what a policy does to its subject.
func effect(p *world.Policy) string {
	var counts [2]int
	for i := range p.Rules {
		counts[p.Rules[i].Direction]++
	}
	var says []string
	for _, d := range world.Directions {
		switch {
		case p.Isolates[d] && counts[d] == 0:
			says = append(says, "isolates "+way(d))
		case p.Isolates[d]:
			says = append(says, fmt.Sprintf("isolates %s but for %s", way(d), output.Counted(counts[d], "rule")))
		case counts[d] > 0:
			says = append(says, output.Counted(counts[d], way(d)+" rule"))
		}
	}
	if len(says) == 0 {
		return "no rules"
	}
	return strings.Join(says, "; ")
}

// way is a direction in lower case, as policies' fields are.
func way(d world.Direction) string { return strings.ToLower(d.String()) }

// service is where a service is served, and which pods are behind each port.
func (f *factList) service(s *world.Service) {
	for role, list := range map[string][]netip.Addr{"external IPs": s.ExternalIPs, "load balancer": s.Ingress} {
		if len(list) > 0 {
			f.say(role, "%s", texts(list))
		}
	}
	if len(s.SourceRanges) > 0 {
		f.say("sources", "from outside only %s", texts(s.SourceRanges))
	}
	slices.SortFunc(f.list, func(a, b Fact) int { return strings.Compare(a.Name, b.Name) }) // of a map
	if s.ExternalLocal {
		f.say("traffic", "externalTrafficPolicy Local: from outside, a node sends to its own backends alone")
	}
	if s.HealthCheckPort != 0 {
		f.say("health", "port %d of each node tells load balancers whether it has backends", s.HealthCheckPort)
	}
	if s.InternalLocal {
		f.say("traffic", "internalTrafficPolicy Local: from pods, a node sends to its own backends alone")
	}
	if s.AffinitySeconds > 0 {
		f.say("affinity", "a client keeps its backend for %d s", s.AffinitySeconds)
	}
	if s.Idled {
		f.say("idle", "it sleeps: the first packet wakes it")
	}
	network, ok := f.view.Network("")
	if !ok || len(s.ClusterIPs) == 0 {
		return
	}
	resolved, refused := proxy.Resolve(f.view, network, s)
	for i := range resolved.Ports {
		f.servicePort(&resolved.Ports[i], network)
	}
	for _, r := range refused {
		f.say("problem", "%s: %s; %s", r.Code, r.Message, r.Remedy)
	}
}

func (f *factList) servicePort(p *proxy.Port, network *world.Network) {
	name := fmt.Sprintf("%d/%s", p.Port, p.Protocol)
	if p.Name != "" {
		name += " " + p.Name
	}
	if p.NodePort != 0 {
		name += fmt.Sprintf(", node port %d", p.NodePort)
	}
	if len(p.Cluster) == 0 {
		f.say("port", "%s: no backends, connections are refused", name)
		return
	}
	backends := make([]string, 0, len(p.Cluster))
	for _, at := range p.Cluster {
		text := at.String()
		if pods := f.view.PodsWithAddress(network.Name, at.Addr()); len(pods) > 0 {
			text += fmt.Sprintf(" (%s on %s)", pods[0].Name, pods[0].Node)
		} else if nodes := f.view.NodesWithAddress(at.Addr()); len(nodes) > 0 {
			text += fmt.Sprintf(" (host %s)", nodes[0].Name)
		}
		backends = append(backends, text)
	}
	f.say("port", "%s: %s", name, some(backends))
}

// node is a node's place in the network.
func (f *factList) node(n *world.Node) {
	if n.ID != 0 {
		f.say("node id", "%d", n.ID)
	}
	if len(n.Transit) > 0 {
		f.say("transit", "%s", texts(n.Transit))
	}
	if n.ChassisID != "" {
		f.say("chassis", "%s", n.ChassisID)
	}
	if len(n.EncapIPs) > 0 {
		f.say("tunnels", "from %s", texts(n.EncapIPs))
	}
	if g := n.Gateway; g != nil {
		f.say("gateway", "%s mode, bridge %s, MAC %s, addresses %s, next hops %s", g.Mode, g.BridgeID, g.MAC, texts(g.Addresses), texts(g.NextHops))
	}
	networked, host := 0, 0
	for p := range f.view.Pods {
		switch {
		case p.Node != n.Name || p.Finished:
		case p.HostNetwork:
			host++
		default:
			networked++
		}
	}
	f.say("pods", "%d with an address of their own, %d on the host's network", networked, host)
	f.problems(n.Problems)
}

// namespace is what is in a namespace, and which policies are about all of it.
func (f *factList) namespace(name string) {
	if n, ok := f.view.Namespace(name); ok && len(n.Labels) > 0 {
		f.say("labels", "%s", labelText(n.Labels))
	}
	pods := 0
	for p := range f.view.Pods {
		if p.Namespace == name && !p.Finished {
			pods++
		}
	}
	f.say("pods", "%d", pods)
	if _, says, ok := f.view.Multicast(name); ok {
		f.say("multicast", "%s is %q", world.MulticastAnnotation, says)
	}
	for p := range f.sortedPolicies() {
		if p.Namespace == name || p.Subject != nil && p.Namespace == "" && f.anyOf(p.Subject, name) {
			f.about("policy", objectOf(p), "("+effect(p)+")")
		}
	}
}

// anyOf tells whether a selector selects a pod of a namespace.
func (f *factList) anyOf(s *world.PodSelector, namespace string) bool {
	for p := range f.view.Pods {
		if p.Namespace == namespace && f.view.Selects(s, p) {
			return true
		}
	}
	return false
}

func objectOf(p *world.Policy) Object {
	return Object{Kind: string(p.Kind), Namespace: p.Namespace, Name: p.Name}
}

// some is a list in words, of which a long one is cut.
func some(list []string) string {
	if len(list) > listed {
		return fmt.Sprintf("%s and %d more", joined(list[:listed]), len(list)-listed)
	}
	return joined(list)
}

func joined(list []string) string { return strings.Join(list, ", ") }

func labelText(labels map[string]string) string {
	out := make([]string, 0, len(labels))
	for k, v := range labels {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return joined(out)
}
