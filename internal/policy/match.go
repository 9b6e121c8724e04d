package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// peer is one way in which a rule names the other end.
type peer interface {
	matches(end) bool
	String() string
}

// podPeer selects pods by their labels and those of their namespace. It never selects pods
// on the host network ("host-networked pods are not included in this type of peer"): an
// end has a pod only if that has a network of its own.
type podPeer struct {
	namespace  string          // only this one; empty for those that namespaces selects
	namespaces labels.Selector // nil if namespace is set
	pods       labels.Selector
}

func (p podPeer) matches(h end) bool {
	if h.pod == nil || !p.pods.Matches(labels.Set(h.pod.Labels)) {
		return false
	}
	if p.namespace != "" {
		return h.pod.Namespace == p.namespace
	}
	return p.namespaces.Matches(labels.Set(h.labels))
}

func (p podPeer) String() string {
	s := "all pods"
	if !p.pods.Empty() {
		s = "pods with " + p.pods.String()
	}
	switch {
	case p.namespace != "":
		return s + " in namespace " + p.namespace
	case p.namespaces.Empty():
		return s + " in all namespaces"
	default:
		return s + " in namespaces with " + p.namespaces.String()
	}
}

// block is an address range with holes. It matches addresses whoever has them: a pod's
// address is in the range or is not.
type block struct {
	cidr   netip.Prefix
	except []netip.Prefix
}

func (b block) matches(h end) bool {
	inside := func(p netip.Prefix) bool { return p.Contains(h.addr) }
	return b.cidr.Contains(h.addr) && !slices.ContainsFunc(b.except, inside)
}

func (b block) String() string {
	if len(b.except) == 0 {
		return b.cidr.String()
	}
	return fmt.Sprintf("%s except %s", b.cidr, joined(b.except, ", "))
}

// addresses are the known addresses of something: of selected nodes, of a domain name.
type addresses struct {
	of    string
	addrs []netip.Addr
}

func (a addresses) matches(h end) bool { return slices.Contains(a.addrs, h.addr) }

func (a addresses) String() string { return a.of + " (" + joined(a.addrs, ", ") + ")" }

// port is one way in which a rule names destination ports.
type port struct {
	protocol    corev1.Protocol // empty for any, only together with a name
	first, last int32           // both 0 for every port of the protocol
	name        string          // of container ports of the destination; empty for none
}

func (p port) matches(x exchange) bool {
	if p.protocol != "" && p.protocol != x.protocol {
		return false
	}
	if p.name != "" {
		return x.dst.pod != nil && slices.ContainsFunc(x.dst.pod.Ports, func(c ContainerPort) bool {
			return c.Name == p.name && c.Protocol == x.protocol && c.Port == x.port
		})
	}
	return p.last == 0 || p.first <= int32(x.port) && int32(x.port) <= p.last
}

func (p port) String() string {
	switch {
	case p.name != "" && p.protocol == "":
		return "the port named " + p.name
	case p.name != "":
		return fmt.Sprintf("the %s port named %s", p.protocol, p.name)
	case p.last == 0:
		return string(p.protocol)
	case p.first == p.last:
		return fmt.Sprintf("%s/%d", p.protocol, p.first)
	default:
		return fmt.Sprintf("%s/%d-%d", p.protocol, p.first, p.last)
	}
}

// joined is the strings of all items with a separator between them.
func joined[T fmt.Stringer](items []T, separator string) string {
	words := make([]string, len(items))
	for i, item := range items {
		words[i] = item.String()
	}
	return strings.Join(words, separator)
}

func labelString(l map[string]string) string { return labels.Set(l).String() }
