package trace

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/explain"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

// EndKind is what an end of a connection is.
type EndKind string

// The kinds of ends.
const (
	EndPod      EndKind = "Pod"
	EndService  EndKind = "Service"
	EndNode     EndKind = "Node"
	EndExternal EndKind = "External"
)

// End is an end of a connection.
type End struct {
	Kind   EndKind        `json:"kind"`
	Object explain.Object `json:"object,omitzero"`
	Node   string         `json:"node,omitempty"`
	Addrs  []netip.Addr   `json:"addresses,omitempty"`
	// Port is what was asked for: a number or a name.
	Port string `json:"port,omitempty"`

	pod     *world.Pod
	service *world.Service
	node    *world.Node
}

// String is "Pod shop/web", or an address outside.
func (e End) String() string {
	if e.Kind == EndExternal {
		return e.Addrs[0].String()
	}
	return e.Object.String()
}

// addr is the end's address of a family.
func (e End) addr(is4 bool) (netip.Addr, bool) {
	for _, a := range e.Addrs {
		if a.Is4() == is4 {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// facts are what a trace needs of the world.
type facts struct {
	network  world.Network
	nodes    []*world.Node
	pods     []*world.Pod
	services []*world.Service
}

func readFacts(s *world.Store) (*facts, error) {
	f := &facts{}
	ok := false
	s.Read(func(v world.View) {
		var n *world.Network
		if n, ok = v.Network(""); !ok {
			return
		}
		f.network, f.nodes = *n, v.Nodes()
		for p := range v.Pods {
			f.pods = append(f.pods, p)
		}
		for p := range v.Services {
			f.services = append(f.services, p)
		}
	})
	if !ok {
		return nil, errors.New("the default network is not configured")
	}
	return f, nil
}

// ErrAmbiguous is a name that several objects have.
var ErrAmbiguous = errors.New("ambiguous")

// UnknownError is an end that does not exist.
type UnknownError struct{ Text, Why, Next string }

func (e *UnknownError) Error() string { return fmt.Sprintf("%q: %s", e.Text, e.Why) }

// Hint is what to do next.
func (e *UnknownError) Hint() string { return e.Next }

// nobody says where a name was looked for.
func nobody(namespace, name string) string {
	parts := strings.Split(name, "/")
	switch {
	case len(parts) > 1 && !slices.Contains([]string{"pod", "svc", "service", "node"}, strings.ToLower(parts[0])):
		return fmt.Sprintf("no pod or service of that name in namespace %s", parts[0])
	case len(parts) > 1:
		return "there is none of that name"
	}
	return fmt.Sprintf("no pod or service of that name in namespace %s, no node, and no address", namespace)
}

// parseEnd reads "[kind/][namespace/]name[:port]" or "address[:port]".
func (f *facts) parseEnd(namespace, text string) (End, error) {
	if at, err := netip.ParseAddrPort(text); err == nil {
		e := f.atAddr(at.Addr().Unmap())
		e.Port = strconv.Itoa(int(at.Port()))
		return e, nil
	}
	if a, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return f.atAddr(a.Unmap()), nil
	}
	name, port, _ := strings.Cut(text, ":")
	found, err := f.named(namespace, name)
	if err != nil {
		return End{}, err
	}
	switch len(found) {
	case 1:
		found[0].Port = port
		return found[0], nil
	case 0:
		return End{}, &UnknownError{
			Text: text, Why: nobody(namespace, name),
			Next: cmp.Or(f.near(namespace, name), "write pod/NAMESPACE/NAME, service/NAMESPACE/NAME, node/NAME or an address"),
		}
	}
	var list []string
	for _, e := range found {
		list = append(list, e.String())
	}
	return End{}, fmt.Errorf("%q is %w: it is %s; write the kind before it, e.g. pod/%s", text, ErrAmbiguous, strings.Join(list, " and "), name)
}

// near proposes ends whose names are like one that nobody has.
func (f *facts) near(namespace, text string) string {
	var among []explain.Object
	for _, p := range f.pods {
		among = append(among, explain.Object{Kind: "Pod", Namespace: p.Namespace, Name: p.Name})
	}
	for _, s := range f.services {
		among = append(among, explain.Object{Kind: "Service", Namespace: s.Namespace, Name: s.Name})
	}
	for _, n := range f.nodes {
		among = append(among, explain.Object{Kind: "Node", Name: n.Name})
	}
	return explain.DoYouMean(explain.Near(slices.Values(among), explain.Like(text, namespace)))
}

var kindNames = map[string]EndKind{
	"pod": EndPod, "pods": EndPod, "po": EndPod,
	"service": EndService, "services": EndService, "svc": EndService,
	"node": EndNode, "nodes": EndNode, "no": EndNode,
}

// named are all ends that a name can mean.
func (f *facts) named(namespace, text string) ([]End, error) {
	words := strings.Split(text, "/")
	var kind EndKind
	if k, ok := kindNames[words[0]]; ok && len(words) > 1 {
		kind, words = k, words[1:]
	}
	explicit := len(words) == 2
	if explicit {
		namespace, words = words[0], words[1:]
	}
	if len(words) != 1 || words[0] == "" {
		return nil, &UnknownError{Text: text, Why: "not a name", Next: "write [KIND/][NAMESPACE/]NAME[:PORT] or ADDRESS[:PORT]"}
	}
	name := words[0]
	var out []End
	for _, p := range f.pods {
		if (kind == "" || kind == EndPod) && p.Namespace == namespace && p.Name == name {
			if p.Finished {
				return nil, &UnknownError{Text: text, Why: "the pod has finished: its addresses are free", Next: "choose a pod that runs"}
			}
			out = append(out, f.ofPod(p))
		}
	}
	for _, s := range f.services {
		if (kind == "" || kind == EndService) && s.Namespace == namespace && s.Name == name {
			out = append(out, ofService(s))
		}
	}
	for _, n := range f.nodes {
		if (kind == "" && !explicit || kind == EndNode) && n.Name == name {
			out = append(out, f.ofNode(n))
		}
	}
	return out, nil
}

func (f *facts) node(name string) *world.Node {
	for _, n := range f.nodes {
		if n.Name == name {
			return n
		}
	}
	return nil
}

func (f *facts) ofPod(p *world.Pod) End {
	e := End{Kind: EndPod, Object: explain.Object{Kind: "Pod", Namespace: p.Namespace, Name: p.Name}, Node: p.Node, pod: p, node: f.node(p.Node)}
	e.Addrs = p.Addrs()
	if p.HostNetwork && e.node != nil {
		e.Addrs = nodeAddrs(e.node)
	}
	return e
}

func ofService(s *world.Service) End {
	return End{Kind: EndService, Object: explain.Object{Kind: "Service", Namespace: s.Namespace, Name: s.Name}, Addrs: s.ClusterIPs, service: s}
}

func (f *facts) ofNode(n *world.Node) End {
	return End{Kind: EndNode, Object: explain.Object{Kind: "Node", Name: n.Name}, Node: n.Name, Addrs: nodeAddrs(n), node: n}
}

// nodeAddrs are the addresses of a node's host, its primary ones first.
func nodeAddrs(n *world.Node) []netip.Addr {
	out := slices.Clone(n.InternalIPs)
	for _, list := range [][]netip.Prefix{n.PrimaryAddrs, n.HostAddrs} {
		for _, a := range plan.Addrs(list) {
			if !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	return out
}

// atAddr is the end that has an address; outside of the cluster if nobody.
func (f *facts) atAddr(a netip.Addr) End {
	e := End{Kind: EndExternal}
	for _, n := range f.nodes {
		if slices.Contains(nodeAddrs(n), a) || slices.Contains(f.management(n), a) {
			e = f.ofNode(n)
		}
	}
	for _, s := range f.services {
		if slices.Contains(s.ClusterIPs, a) || slices.Contains(s.ExternalIPs, a) || slices.Contains(s.Ingress, a) {
			e = ofService(s)
		}
	}
	for _, p := range f.pods {
		if !p.HostNetwork && !p.Finished && slices.Contains(p.Addrs(), a) {
			e = f.ofPod(p)
		}
	}
	e.Addrs = []netip.Addr{a}
	return e
}

// management are the addresses of a node's management port.
func (f *facts) management(n *world.Node) []netip.Addr {
	var out []netip.Addr
	for _, s := range n.Subnets[f.network.Name] {
		out = append(out, plan.Management(s))
	}
	return out
}

// port finds the number of the destination's port, and the protocol if that was left open.
func (f *facts) port(dst End, protocol Protocol, explicit string) (Protocol, uint16, error) {
	text := dst.Port
	if explicit != "" {
		text = explicit
	}
	if dst.service != nil {
		return servicePort(dst.service, protocol, text)
	}
	if protocol == "" && text == "" {
		return ICMP, 0, nil
	}
	if protocol == "" {
		protocol = TCP
	}
	if !protocol.ports() {
		if text != "" {
			return "", 0, fmt.Errorf("%s has no ports, and %s is one", protocol, text)
		}
		return protocol, 0, nil
	}
	if text == "" {
		return "", 0, &UnknownError{Text: dst.String(), Why: fmt.Sprintf("%s needs a port", protocol), Next: "write the port behind the name, " + dst.Object.Name + ":80"}
	}
	if n, err := strconv.ParseUint(text, 10, 16); err == nil && n > 0 {
		return protocol, uint16(n), nil
	}
	if dst.pod != nil {
		var has []string
		for _, p := range dst.pod.Ports {
			if p.Name == text && Protocol(p.Protocol) == protocol {
				return protocol, p.Port, nil
			}
			has = append(has, fmt.Sprintf("%s (%d/%s)", p.Name, p.Port, p.Protocol))
		}
		return "", 0, &UnknownError{Text: text, Why: fmt.Sprintf("no %s port of %s; it has %s", protocol, dst, list(has)), Next: "use a number"}
	}
	return "", 0, &UnknownError{Text: text, Why: "not the number of a port", Next: "use a number from 1 to 65535"}
}

func list(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}

// servicePort finds a port of a service by name or number, or its only one.
func servicePort(s *world.Service, protocol Protocol, text string) (Protocol, uint16, error) {
	if protocol == ICMP && text == "" {
		return ICMP, 0, nil // nobody answers, which is an answer, too
	}
	if protocol == ICMP || protocol == ARP {
		return "", 0, &UnknownError{
			Text: s.Key().String(), Why: fmt.Sprintf("services have TCP, UDP and SCTP alone, not %s", strings.TrimSpace(string(protocol)+" "+text)),
			Next: "ask for one of its ports, or for a pod behind it",
		}
	}
	var has []string
	var matching []world.ServicePort
	for _, p := range s.Ports {
		has = append(has, strings.TrimSpace(fmt.Sprintf("%s %d/%s", p.Name, p.Port, p.Protocol)))
		if (protocol == "" || Protocol(p.Protocol) == protocol) && (text == "" || text == p.Name || text == strconv.Itoa(int(p.Port))) {
			matching = append(matching, p)
		}
	}
	if len(matching) == 1 || len(matching) > 1 && text != "" {
		return Protocol(matching[0].Protocol), matching[0].Port, nil
	}
	if n, err := strconv.ParseUint(text, 10, 16); err == nil && n > 0 && len(matching) == 0 {
		if protocol == "" {
			protocol = TCP
		}
		return protocol, uint16(n), nil // nobody listens there, which is an answer, too
	}
	return "", 0, &UnknownError{Text: s.Key().String(), Why: fmt.Sprintf("which port? The service has %s", list(has)), Next: "write the port behind the name, " + s.Name + ":80"}
}
