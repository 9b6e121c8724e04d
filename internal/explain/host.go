package explain

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/inspect/iproute"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// HostLine is something outside of OVN, on a node's host, that an object has.
type HostLine struct {
	Node string `json:"node"`
	// Where is what it is part of, e.g. the external bridge, "route" or "nft inet ovn-kubernetes services".
	Where string `json:"where"`
	Text  string `json:"text"`
}

// marks are what to look for on hosts.
type marks struct {
	words []string // addresses, names of links
	// ports are node ports with their protocols.
	ports []world.ServicePort
}

func (m *marks) none() bool { return len(m.words) == 0 && len(m.ports) == 0 }

func (m *marks) addrs(list ...netip.Addr) {
	for _, a := range list {
		m.words = append(m.words, a.String())
	}
}

// in tells whether a line of nftables, a flow or a route has one of the marks.
func (m *marks) in(line string) bool {
	for _, w := range m.words {
		if hasWord(line, w) {
			return true
		}
	}
	for _, p := range m.ports {
		protocol, number := strings.ToLower(string(p.Protocol)), strconv.Itoa(int(p.NodePort))
		switch {
		case hasWord(line, protocol+" . "+number): // an element of a map of nftables
			return true
		case strings.Contains(line, protocol+",") || strings.Contains(line, protocol+"6,"): // a flow
			if hasWord(line, "tp_dst="+number) || hasWord(line, "tp_src="+number) {
				return true
			}
		}
	}
	return false
}

// marksOf are the marks of an object or an address; none if hosts have nothing of its kind.
func (e *explainer) marksOf() marks {
	var m marks
	o := e.out.Object
	if a, err := netip.ParseAddr(strings.Trim(e.out.Subject, "[]")); err == nil {
		m.addrs(a.Unmap())
		return m
	}
	e.world.Read(func(v world.View) {
		switch o.Kind {
		case string(world.KindPod):
			if p, ok := v.Pod(world.PodKey{Namespace: o.Namespace, Name: o.Name}); ok && !p.HostNetwork {
				m.addrs(p.Addrs()...)
			}
		case string(world.KindService):
			s, ok := v.Service(world.ServiceKey{Namespace: o.Namespace, Name: o.Name})
			if !ok {
				return
			}
			for _, list := range [][]netip.Addr{s.ClusterIPs, s.ExternalIPs, s.Ingress} {
				m.addrs(list...)
			}
			for _, p := range s.Ports {
				if p.NodePort != 0 {
					m.ports = append(m.ports, p)
				}
			}
		}
	})
	for i := range e.out.Rows {
		if r := &e.out.Rows[i]; o.Kind == string(world.KindPod) && r.Database == "ovs" && r.Table == "Interface" {
			m.words = append(m.words, r.Name)
		}
	}
	return m
}

// hosts adds what the hosts have of the object.
func (e *explainer) hosts(ctx context.Context) error {
	m := e.marksOf()
	if m.none() {
		return nil
	}
	found, errs := make([][]HostLine, len(e.nodes)), make([]error, len(e.nodes))
	var g errgroup.Group
	g.SetLimit(nodesAtOnce)
	for i, n := range e.nodes {
		g.Go(func() error {
			found[i], errs[i] = e.host(ctx, n, &m)
			return nil
		})
	}
	_ = g.Wait() // of each node it is told what is wrong
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for i, n := range e.nodes {
		e.out.Host = append(e.out.Host, found[i]...)
		if errs[i] != nil {
			e.out.Problems = append(e.out.Problems, fmt.Sprintf("host of node %s: %v", n, errs[i]))
		}
	}
	return nil
}

// hostText is a text that is looked through, and how lines are made of it.
type hostText struct {
	text  string
	lines func(node, text string, m *marks) ([]HostLine, error)
}

// onHost are those of every node.
var onHost = []hostText{
	{inspect.TextNFT, nftLines},
	{inspect.TextRoutes, routeLines}, {inspect.TextRoutes6, routeLines},
	{inspect.TextNeighbours, neighbourLines},
	{inspect.TextLinks, linkLines},
}

func (e *explainer) host(ctx context.Context, node string, m *marks) ([]HostLine, error) {
	looks := slices.Clone(onHost)
	if bridge := e.externalBridge(node); bridge != "" {
		looks = append(looks, hostText{inspect.TextFlows + bridge, flowLines(bridge)})
	}
	found, errs := make([][]HostLine, len(looks)), make([]error, len(looks))
	var all sync.WaitGroup
	for i, h := range looks {
		all.Go(func() {
			text, err := e.source.Text(ctx, node, h.text)
			switch {
			case errors.Is(err, inspect.ErrAbsent): // a record may lack it
			case err != nil:
				errs[i] = err
			default:
				found[i], errs[i] = h.lines(node, text, m)
			}
		})
	}
	all.Wait()
	return slices.Concat(found...), errors.Join(errs...)
}

// nftLines are the rules and elements with a mark, each with its table and chain, set or map.
func nftLines(node, text string, m *marks) ([]HostLine, error) {
	var out []HostLine
	table, part := "", ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		words := strings.Fields(line)
		switch {
		case len(words) > 2 && words[0] == "table":
			table, part = words[1]+" "+words[2], ""
			continue
		case len(words) > 1 && (words[0] == "chain" || words[0] == "set" || words[0] == "map") && strings.Contains(line, "{"):
			part = words[1]
			continue
		case !m.in(line):
			continue
		}
		where := "nft " + strings.TrimSpace(table+" "+part)
		line, _, _ = strings.Cut(line, " # handle ")
		if _, elements, ok := strings.Cut(line, "elements = {"); ok {
			line = elements
		} else if strings.Contains(line, " comment ") { // a rule
			out = append(out, HostLine{node, where, line})
			continue
		}
		for element := range strings.SplitSeq(strings.Trim(line, " {},"), ", ") {
			if m.in(element) {
				out = append(out, HostLine{node, where, strings.TrimSpace(element)})
			}
		}
	}
	return out, nil
}

// flowCounters are what differs each time one looks, but for the packets.
var flowCounters = regexp.MustCompile(` (duration|n_bytes|idle_age|hard_age)=[^, ]*,?`)

// externalBridge is what the node's gateway is on; empty where it is not known.
func (e *explainer) externalBridge(node string) (bridge string) {
	e.world.Read(func(v world.View) {
		if n, ok := v.Node(node); ok && n.Gateway != nil {
			bridge = n.Gateway.BridgeID
		}
	})
	return bridge
}

// flowLines makes lines of a bridge's flows with a mark.
func flowLines(bridge string) func(node, text string, m *marks) ([]HostLine, error) {
	return func(node, text string, m *marks) ([]HostLine, error) {
		var out []HostLine
		for line := range strings.Lines(text) {
			if m.in(line) {
				out = append(out, HostLine{node, bridge, strings.TrimSpace(flowCounters.ReplaceAllString(line, ""))})
			}
		}
		return out, nil
	}
}

// routeLines are the routes with a mark; those of the table local follow from addresses.
func routeLines(node, text string, m *marks) ([]HostLine, error) {
	routes, err := iproute.Routes(text)
	if err != nil {
		return nil, err
	}
	var out []HostLine
	for _, r := range routes {
		if r.Table == "local" {
			continue
		}
		line := r.Dst
		for _, word := range [][2]string{{"via", r.Gateway}, {"dev", r.Dev}, {"src", r.PrefSrc}, {"table", r.Table}} {
			if word[1] != "" {
				line += " " + word[0] + " " + word[1]
			}
		}
		if m.in(line) {
			out = append(out, HostLine{node, "route", line})
		}
	}
	return out, nil
}

func neighbourLines(node, text string, m *marks) ([]HostLine, error) {
	neighbours, err := iproute.Neighbours(text)
	if err != nil {
		return nil, err
	}
	var out []HostLine
	for _, n := range neighbours {
		if m.in(n.Dst) {
			out = append(out, HostLine{node, "neighbour", fmt.Sprintf("%s dev %s at %s %s", n.Dst, n.Dev, n.LLAddr, joined(n.State))})
		}
	}
	return out, nil
}

// linkLines are the host's ends of pods, and links that have an address.
func linkLines(node, text string, m *marks) ([]HostLine, error) {
	links, err := iproute.Links(text)
	if err != nil {
		return nil, err
	}
	var out []HostLine
	for _, l := range links {
		line := fmt.Sprintf("%s, state %s, MTU %d, MAC %s", l.IfName, l.OperState, l.MTU, l.Address)
		named := slices.Contains(m.words, l.IfName)
		for _, a := range l.Addresses {
			if m.in(a.Local) {
				line, named = line+", has "+a.Local, true
			}
		}
		if named {
			out = append(out, HostLine{node, "link", line})
		}
	}
	return out, nil
}
