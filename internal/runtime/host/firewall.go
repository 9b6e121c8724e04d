package host

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/nft"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

// The tables that are ours; all others are left alone.
const (
	tableFamily = "inet"
	tableName   = "ovn-kubernetes"
	guardFamily = "netdev"
	guardName   = "ovnkctl-guard"
)

// Priorities of base chains (nft(8)).
const (
	priorityFilter = 0
	prioritySNAT   = 100
	// priorityGuard is before everything that could act on a frame; packet sockets, by
	// which Open vSwitch gets its copy, are served before all ingress chains.
	priorityGuard = -500
)

// desiredTable is the table of the host's address translation; the node's pod subnets
// must be known.
func desiredTable(in input) nft.Table {
	t := nft.Table{Family: tableFamily, Name: tableName}
	t.Sets = append(t.Sets,
		nft.Set{Name: "remote-node-ips-v4", Type: "ipv4_addr", Elements: texts(inFamily(ipv4, in.zone.RemoteNodes, self))},
		nft.Set{Name: "remote-node-ips-v6", Type: "ipv6_addr", Elements: texts(inFamily(ipv6, in.zone.RemoteNodes, self))})
	t.Chains = append(t.Chains, nft.Chain{
		Name: "no-pmtud", Base: base("filter", "input", priorityFilter),
		Rules: []nft.Rule{
			{Text: "ip saddr @remote-node-ips-v4 icmp type destination-unreachable icmp code frag-needed counter drop",
				Comment: "a tunnel's path MTU is not that between the nodes"},
			{Text: "ip6 saddr @remote-node-ips-v6 icmpv6 type packet-too-big counter drop",
				Comment: "a tunnel's path MTU is not that between the nodes"},
		},
	})
	serviceTable(in, &t)
	t.Chains = append(t.Chains, managementSNAT(in))
	if in.Network.GatewayMode == world.GatewayLocal {
		t.Chains = append(t.Chains, localGateway(in)...)
	}
	return t
}

// managementSNAT gives what enters the pod network the source that pods can answer to.
func managementSNAT(in input) nft.Chain {
	c := nft.Chain{Name: "mgmtport-snat", Base: base("nat", "postrouting", prioritySNAT)}
	c.Rules = append(c.Rules,
		nft.Rule{Text: fmt.Sprintf("oifname != %q return", ManagementPort), Comment: "only into the pod network"},
		nft.Rule{Text: "ip6 saddr fe80::/10 return", Comment: "neighbour and router discovery"})
	c.Rules = append(c.Rules, keepSource(in)...)
	for _, s := range in.subnets() {
		a := plan.Management(s)
		c.Rules = append(c.Rules, nft.Rule{
			Text:    fmt.Sprintf("%s saddr != %s counter snat %s to %s", nftProto(a), a, nftProto(a), a),
			Comment: "pods answer to the management port",
		})
	}
	return c
}

// localGateway lets pods leave by the host's own routing with the host's own address.
func localGateway(in input) []nft.Chain {
	masq := nft.Chain{Name: "ovn-kube-local-gw-masq", Base: base("nat", "postrouting", prioritySNAT+1)}
	masq.Rules = append(masq.Rules, nft.Rule{Text: fmt.Sprintf("oifname %q return", ManagementPort), Comment: "only to the outside"})
	for _, f := range in.families() {
		if a, _, ok := in.masquerade(f, plan.MasqueradeOVN); ok {
			masq.Rules = append(masq.Rules, nft.Rule{
				Text: fmt.Sprintf("%s saddr %s counter masquerade", nftProto(a), a), Comment: "of OVN's masquerade address",
			})
		}
	}
	masq.Rules = append(masq.Rules, nft.Rule{Text: "jump ovn-kube-pod-subnet-masq", Comment: "of this node's pods"})
	pods := nft.Chain{Name: "ovn-kube-pod-subnet-masq"}
	for _, s := range in.subnets() {
		pods.Rules = append(pods.Rules, nft.Rule{
			Text: fmt.Sprintf("%s saddr %s counter masquerade", nftProto(s.Addr()), s), Comment: "pods leave as their node",
		})
	}
	// A chain comes before the rules that jump to it.
	return []nft.Chain{pods, masq}
}

// guardTable keeps the NIC's frames from the host's own stack: in userspace the switch
// gets a copy of each, and the stack would act on the other one, too.
func guardTable(nic string) nft.Table {
	return nft.Table{Family: guardFamily, Name: guardName, Chains: []nft.Chain{{
		Name: chainName(nic),
		Base: &nft.Base{Type: "filter", Hook: "ingress", Priority: priorityGuard, Policy: "drop", Device: nic},
	}}}
}

// chainName makes an identifier of nft of a device's name.
func chainName(dev string) string {
	out := []byte("nic-" + dev)
	for i, b := range out {
		if letter := b|0x20 >= 'a' && b|0x20 <= 'z'; !letter && (b < '0' || b > '9') {
			out[i] = '_'
		}
	}
	return string(out)
}

func base(kind, hook string, priority int) *nft.Base {
	return &nft.Base{Type: kind, Hook: hook, Priority: priority, Policy: "accept"}
}

func nftProto(a netip.Addr) string {
	if a.Is6() {
		return "ip6"
	}
	return "ip"
}

func texts(addrs []netip.Addr) []string {
	var out []string
	for _, a := range addrs {
		out = append(out, a.String())
	}
	slices.Sort(out)
	return slices.Compact(out)
}
