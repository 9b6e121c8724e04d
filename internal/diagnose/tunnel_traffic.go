package diagnose

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/nodecheck"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

var tunnelTraffic = &Check{
	Code: "OVNK-TUN-004", Severity: Error,
	Title: "packets between two nodes get lost",
	Meaning: "A node asked the router of another node for an echo, through the tunnel that pods use, and got none, although both have all that they need. " +
		"Pods of the two nodes do not reach each other.",
	Remedy: "See whether the nodes reach each other at their tunnel end points, and whether a firewall of a node or of the network between them " +
		"lets UDP port 6081 through in both directions. On a node: tcpdump -ni NIC udp port 6081. " +
		"`ovnkctl diagnose drift` tells of flows that somebody else made or deleted.",
	causes: tunnelCauses(),
	find: func(c *Cluster, found func(Finding)) {
		c.lost(func(p nodecheck.Peer) bool { return !p.Small }, noEcho, found)
	},
}

var tunnelMTU = &Check{
	Code: "OVNK-MTU-002", Severity: Error,
	Title: "large packets between two nodes get lost",
	Meaning: "A node asked the router of another node for an echo, through the tunnel that pods use. A small packet came back, one of the largest size " +
		"that a pod may send did not. Connections between pods of the two nodes are made and then hang.",
	Remedy: "Something between the nodes takes only smaller packets than their NICs: raise its MTU, or set network.mtu to what fits, less the bytes of GENEVE " +
		"(58, over IPv6 78), and restart the pods: an interface keeps the MTU that it was made with.",
	causes: append([]cause{{podMTU.Code, sameNode}}, tunnelCauses()...),
	find: func(c *Cluster, found func(Finding)) {
		c.lost(func(p nodecheck.Peer) bool { return p.Small && !p.Large }, noLargeEcho, found)
	},
}

func noEcho(a, b string, p nodecheck.Peer) string {
	return fmt.Sprintf("node %s gets no echo of node %s (%s) through the tunnel", a, b, p.Address)
}

func noLargeEcho(a, b string, p nodecheck.Peer) string {
	return fmt.Sprintf("node %s gets echoes of small packets of node %s (%s) through the tunnel, and none of packets of %d bytes", a, b, p.Address, p.Bytes)
}

// tunnelCauses is what explains that a tunnel does not work.
func tunnelCauses() []cause {
	return nodeDown(
		cause{nodeIncomplete.Code, sameNode}, cause{nodeConflict.Code, sameNode}, cause{chassisIdentity.Code, sameNode},
		cause{northdBehind.Code, sameNode}, cause{integrationBridge.Code, sameNode}, cause{controllerBehind.Code, sameNode},
		cause{externalBridge.Code, sameNode}, cause{encapAddress.Code, sameNode}, cause{remoteChassis.Code, sameNode},
		cause{tunnelPort.Code, sameNode}, cause{drift.Code, nodeItself}, cause{hostSysctl.Code, sameNode},
		cause{flowDrift.Code, sameNode}, cause{hostDrift.Code, sameNode},
	)
}

// pair are two nodes in order of their names.
type pair struct{ a, b string }

func (k pair) other(n string) string {
	if k.a == n {
		return k.b
	}
	return k.a
}

// lost finds the pairs of nodes between which echoes get lost. Both ends see that, and of a
// node that is cut off all others: it is told of once.
func (c *Cluster) lost(bad func(nodecheck.Peer) bool, message func(a, b string, p nodecheck.Peer) string, found func(Finding)) {
	pairs, first := c.lossy(bad)
	for len(pairs) > 0 {
		worst := busiest(pairs)
		var f Finding
		rest := pairs[:0:0]
		for _, k := range pairs {
			if k.a != worst && k.b != worst {
				rest = append(rest, k)
				continue
			}
			other := k.other(worst)
			if f.Message == "" {
				f = Finding{Node: worst, Object: nodeObject(other), Message: message(worst, other, first[k])}
			}
			f.peers = append(f.peers, other)
		}
		if len(f.peers) > 1 {
			f.Object = nodeObject(worst)
			f.Message += "; likewise " + strings.Join(f.peers[1:], ", ")
		}
		found(f)
		pairs = rest
	}
}

// lossy are the pairs of nodes, and of each an echo that got lost.
func (c *Cluster) lossy(bad func(nodecheck.Peer) bool) ([]pair, map[pair]nodecheck.Peer) {
	var pairs []pair
	first := map[pair]nodecheck.Peer{}
	for _, n := range c.Nodes {
		r, ok := n.check()
		if !ok {
			continue
		}
		for _, p := range r.Peers {
			peer := c.routerOf(p.Address)
			if !bad(p) || peer == "" || peer == n.Name {
				continue
			}
			k := pair{min(n.Name, peer), max(n.Name, peer)}
			if _, known := first[k]; !known {
				first[k] = p
				pairs = append(pairs, k)
			}
		}
	}
	return pairs, first
}

// busiest is the node that is in most of the pairs.
func busiest(pairs []pair) string {
	worst, count := pairs[0].a, map[string]int{}
	for _, k := range pairs {
		count[k.a]++
		count[k.b]++
		for _, n := range []string{k.a, k.b} {
			if count[n] > count[worst] {
				worst = n
			}
		}
	}
	return worst
}

// routerOf is the node whose router has an address in its pod subnet.
func (c *Cluster) routerOf(a netip.Addr) string {
	for _, n := range c.Nodes {
		o, ok := c.node(n.Name)
		if !ok {
			continue
		}
		for _, s := range o.Subnets[world.DefaultNetwork] {
			if plan.Gateway(s) == a {
				return n.Name
			}
		}
	}
	return ""
}
